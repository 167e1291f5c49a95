package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// number returns the first number that a pattern finds in a text, or -1.
func number(pattern, text string) float64 {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		return -1
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return -1
	}
	return n
}

// flood is a running tcpreplay.
type flood struct {
	cmd *exec.Cmd
	out syncBuffer
}

// flood sends a capture repeatedly, each time from other addresses.
func (l *lab) flood(file string, frames int, pps, seconds float64) *flood {
	l.t.Helper()
	loops := max(int(pps*seconds/float64(frames)), 1)
	f := &flood{cmd: exec.Command("tcpreplay", "-q", "-K", "-i", "in", "--unique-ip", fmt.Sprintf("--loop=%d", loops), fmt.Sprintf("--pps=%g", pps), file)}
	f.cmd.Stdout, f.cmd.Stderr = &f.out, &f.out
	if err := f.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	return f
}

// ended reports whether all frames were sent; wait is still to be called.
func (f *flood) ended() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, f.cmd.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}

// wait returns the number of frames sent, and the rate in frames per second.
func (f *flood) wait(t *testing.T) (sent, pps float64) {
	t.Helper()
	if err := f.cmd.Wait(); err != nil {
		t.Fatalf("tcpreplay: %v: %s", err, f.out.String())
	}
	return number(`Actual: (\d+) packets`, f.out.String()), number(`Rated: .* ([\d.]+) pps`, f.out.String())
}

// TestRate measures the maximum rate without drops for exspan and, on the same cable, for
// tcpdump and ndpiReader. Then exspan must process a fixed share of its rate for a minute
// while it is scraped.
func TestRate(t *testing.T) {
	soak(t)
	l := newLab(t)
	file := testdata("web.pcapng")
	out, err := exec.Command("tcpreplay", "-q", "-i", "in", "--topspeed", file).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	frames := int(number(`Actual: (\d+) packets`, string(out)))

	// Each tool reports how many of the sent frames it read.
	type tool struct {
		name string
		try  func(pps float64) (sent, read, actual float64)
	}
	const seconds = 5
	var tools []tool
	for _, m := range methods {
		tools = append(tools, tool{fmt.Sprintf("exspan monitor --capture %s --workers %d", m.capture, m.workers), func(pps float64) (sent, read, actual float64) {
			p := l.monitor(9000, "--capture", m.capture, "--workers", strconv.Itoa(m.workers))
			sent, actual = l.flood(file, frames, pps, seconds).wait(t)
			time.Sleep(time.Second)
			read = p.metrics().sum("exspan_capture_packets_total")
			p.stop(syscall.SIGTERM)
			return sent, read, actual
		}})
	}
	peer := func(name string, read string, args ...string) {
		if _, err := exec.LookPath(args[0]); err != nil {
			return
		}
		tools = append(tools, tool{name, func(pps float64) (float64, float64, float64) {
			var text syncBuffer
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdout, cmd.Stderr = &text, &text
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			sent, actual := l.flood(file, frames, pps, seconds).wait(t)
			time.Sleep(time.Second)
			_ = cmd.Process.Signal(syscall.SIGINT)
			_ = cmd.Wait()
			return sent, number(read, text.String()), actual
		}})
	}
	peer("tcpdump -w /dev/null", `(\d+) packets captured`, "tcpdump", "-i", "out", "-w", "/dev/null")
	peer("ndpiReader", `of (\d+) packets total`, "ndpiReader", "-i", "out")

	best := map[string]float64{}
	for _, tl := range tools {
		for _, pps := range []float64{20e3, 50e3, 100e3, 200e3, 300e3, 500e3} {
			sent, read, actual := tl.try(pps)
			if read < sent {
				t.Logf("%-45s %7.0f/s: %.0f of %.0f frames lost", tl.name, actual, sent-read, sent)
				break
			}
			best[tl.name] = max(best[tl.name], actual)
			if actual < pps*0.9 {
				break // tcpreplay cannot send faster
			}
		}
		t.Logf("%-45s %7.0f frames/s without loss", tl.name, best[tl.name])
	}

	for _, tl := range tools[:len(methods)] {
		if best[tl.name] == 0 {
			t.Errorf("%s loses frames at any rate", tl.name)
		}
	}
	m := methods[2]
	// A few seconds without loss do not guarantee a minute without loss, because sender
	// and receiver share the machine.
	rate := best[tools[2].name] * 0.5
	p := l.monitor(9000, "--capture", m.capture, "--workers", strconv.Itoa(m.workers), "--ndjson", l.dir+"/records")
	f := l.flood(file, frames, rate, 60)
	ended := make(chan struct{})
	var sent, actual float64
	go func() {
		defer close(ended)
		sent, actual = f.wait(t)
	}()
	var took, idle []time.Duration
	request := func(path string) time.Duration {
		begin := time.Now()
		if code, _, err := p.request("GET", path); err != nil || code != 200 {
			t.Fatalf("%s: %d, %v", path, code, err)
		}
		return time.Since(begin)
	}
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		case <-time.After(250 * time.Millisecond):
		}
		took = append(took, request("/metrics"))
		idle = append(idle, request("/-/healthy")) // does nothing; measures the overhead of the machine
	}
	time.Sleep(time.Second)
	s := p.metrics()
	slices.Sort(took)
	slices.Sort(idle)
	p99, machine := took[len(took)*99/100], idle[len(idle)*99/100]
	t.Logf("60 s at %.0f frames/s: %.0f sent, %.0f read, %.0f dropped; %d scrapes, the median in %s, 99 %% within %s (of requests that do nothing %s)",
		actual, sent, s.sum("exspan_capture_packets_total"), s.sum("exspan_capture_dropped_packets_total"), len(took), took[len(took)/2], p99, machine)
	if s.sum("exspan_capture_packets_total") != sent || s.sum("exspan_capture_dropped_packets_total") != 0 {
		t.Error("frames were lost")
	}
	if n := s.sum("exspan_output_lost_total"); n != 0 {
		t.Errorf("%v records were lost", n)
	}
	if p99 > 100*time.Millisecond && machine < 20*time.Millisecond {
		t.Errorf("99 %% of the scrapes take up to %s", p99)
	}
	if d := p.stop(syscall.SIGTERM); d > 5*time.Second {
		t.Errorf("ended after %s", d)
	}
}
