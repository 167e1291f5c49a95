package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
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

// sender sends a capture into the cable, faster than tcpreplay can.
type sender struct {
	l            *lab
	binary, file string
}

func newSender(l *lab) *sender {
	l.t.Helper()
	s := &sender{l, l.dir + "/send", l.dir + "/mix.pcap"}
	mustRun(l.t, "go", "build", "-o", s.binary, "../../testdata/bench/send")
	mustRun(l.t, "go", "run", "../../testdata/bench/gen", "mix", "200000", "4000", s.file)
	return s
}

// start starts to send at a rate, with some threads. wait returns the number of frames
// sent and the rate that was reached; it may be called by another goroutine.
func (s *sender) start(pps, seconds float64, threads int) (wait func() (sent, actual float64)) {
	s.l.t.Helper()
	cmd := exec.Command(s.binary, "-i", "in", "-rate", fmt.Sprint(pps), "-seconds", fmt.Sprint(seconds), "-senders", strconv.Itoa(threads), s.file)
	var out syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.l.t.Fatal(err)
	}
	return func() (sent, actual float64) {
		if err := cmd.Wait(); err != nil {
			s.l.t.Errorf("send: %v: %s", err, out.String())
		}
		return number(`sent (\d+) frames`, out.String()), number(`: (\d+) frames/s`, out.String())
	}
}

func (s *sender) send(pps, seconds float64, threads int) (sent, actual float64) {
	s.l.t.Helper()
	return s.start(pps, seconds, threads)()
}

// rated is a tool whose rate without loss is measured. try sends at a rate, and returns
// how many frames were sent and read and what rate the sender reached.
type rated struct {
	name string
	try  func(pps float64) (sent, read, actual float64)
	best float64 // frames per second without loss
	done bool
	lost bool // at a higher rate; else the sender could do no more
}

// raise sends at higher and higher rates to each tool in turn, each time the same number
// of times, until more than half of its tries lose frames.
func raise(t *testing.T, tools []*rated) {
	const tries = 3
	for _, pps := range []float64{200e3, 400e3, 600e3, 800e3, 1e6, 1.2e6} {
		lost, reached := map[*rated]int{}, map[*rated][]float64{}
		for range tries {
			for _, tl := range tools {
				if tl.done {
					continue
				}
				sent, read, actual := tl.try(pps)
				if read < sent {
					lost[tl]++
				}
				reached[tl] = append(reached[tl], actual)
			}
		}
		for _, tl := range tools {
			if tl.done {
				continue
			}
			slices.Sort(reached[tl])
			actual := reached[tl][tries/2]
			switch {
			case lost[tl] > tries/2:
				tl.done, tl.lost = true, true
				t.Logf("%-55s loses frames at %.0f/s", tl.name, actual)
				continue
			case actual < pps*0.9:
				tl.done = true
				t.Logf("%-55s the sender is the limit, with %.0f of %.0f/s", tl.name, actual, pps)
			}
			tl.best = max(tl.best, actual)
		}
	}
	for _, tl := range tools {
		t.Logf("%-55s %8.0f frames/s without loss", tl.name, tl.best)
	}
}

// TestRate measures the maximum rate without loss for exspan and, on the same cable and in
// turn, for tcpdump, with as large a buffer, and ndpiReader. exspan must reach the rate of tcpdump. Then it must
// process half of that for a while as it is scraped.
func TestRate(t *testing.T) {
	soak(t)
	l := newLab(t)
	s := newSender(l)
	// What else the machine does is not to count: this thread, and what it starts, goes
	// before it, and shares the processors equally.
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 10}, 0); err != nil {
		t.Logf("other work on the machine counts: %v", err)
	}
	const seconds = 2
	threads := min(2, runtime.NumCPU())
	var tools []*rated
	monitor := func(args ...string) {
		tools = append(tools, &rated{name: "monitor " + strings.ReplaceAll(strings.Join(args, " "), l.dir+"/", ""), try: func(pps float64) (sent, read, actual float64) {
			p := l.monitor(9000, args...)
			sent, actual = s.send(pps, seconds, threads)
			time.Sleep(time.Second)
			read = p.metrics().sum("exspan_capture_packets_total")
			p.stop(syscall.SIGTERM)
			return sent, read, actual
		}})
	}
	for _, m := range methods {
		if m.capture != "pcap" || m.workers == 1 {
			monitor("--capture", m.capture, "--workers", strconv.Itoa(m.workers))
		}
	}
	compared := len(tools)
	monitor("--ndjson", l.dir+"/records")
	monitor("--write", l.dir+"/packets")
	monitor("--parquet", l.dir+"/parquet")
	peer := func(name string, read string, args ...string) {
		if _, err := exec.LookPath(args[0]); err != nil {
			return
		}
		tools = append(tools, &rated{name: name, try: func(pps float64) (float64, float64, float64) {
			var text syncBuffer
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdout, cmd.Stderr = &text, &text
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			sent, actual := s.send(pps, seconds, threads)
			time.Sleep(time.Second)
			_ = cmd.Process.Signal(syscall.SIGINT)
			_ = cmd.Wait()
			return sent, number(read, text.String()), actual
		}})
	}
	peer("tcpdump -w /dev/null", `(\d+) packets captured`, "tcpdump", "-i", "out", "-B", "65536", "-w", "/dev/null")
	peer("ndpiReader", `of (\d+) packets total`, "ndpiReader", "-i", "out")
	raise(t, tools)

	of := map[string]float64{}
	for _, tl := range tools {
		of[tl.name] = tl.best
	}
	for _, tl := range tools[:compared] {
		if peer := of["tcpdump -w /dev/null"]; tl.lost && tl.best < peer*0.95 {
			t.Errorf("%s takes %.0f frames/s without loss, and tcpdump %.0f", tl.name, tl.best, peer)
		}
	}
	scraped(t, s, of["monitor --capture afpacket --workers 1"]/2, threads)
}

// scraped sends at a rate that must not lose frames, while the monitor is scraped.
func scraped(t *testing.T, s *sender, rate float64, threads int) {
	const seconds = 20
	p := s.l.monitor(9000, "--ndjson", s.l.dir+"/records")
	wait := s.start(rate, seconds, threads)
	ended := make(chan struct{})
	var sent, actual float64
	go func() {
		defer close(ended)
		sent, actual = wait()
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
		case <-time.After(100 * time.Millisecond):
		}
		took = append(took, request("/metrics"))
		idle = append(idle, request("/-/healthy")) // does nothing; measures the overhead of the machine
	}
	time.Sleep(time.Second)
	m := p.metrics()
	slices.Sort(took)
	slices.Sort(idle)
	p99, machine := took[len(took)*99/100], idle[len(idle)*99/100]
	t.Logf("%d s at %.0f frames/s: %.0f sent, %.0f read, %.0f dropped; %d scrapes, the median in %s, 99 %% within %s (of requests that do nothing %s)",
		seconds, actual, sent, m.sum("exspan_capture_packets_total"), m.sum("exspan_capture_dropped_packets_total"), len(took), took[len(took)/2], p99, machine)
	if m.sum("exspan_capture_packets_total") != sent || m.sum("exspan_capture_dropped_packets_total") != 0 {
		t.Error("frames were lost")
	}
	if n := m.sum("exspan_output_lost_total"); n != 0 {
		t.Errorf("%v records were lost", n)
	}
	if p99 > 50*time.Millisecond && machine < 10*time.Millisecond {
		t.Errorf("99 %% of the scrapes take up to %s", p99)
	}
	if d := p.stop(syscall.SIGTERM); d > 5*time.Second {
		t.Errorf("ended after %s", d)
	}
}
