package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/classify/flow"
)

// memoryOf returns a value of /proc/PID/status in MiB.
func memoryOf(t *testing.T, pid int, name string) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(name + `:\s*(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no %s", name)
	}
	n, _ := strconv.ParseFloat(string(m[1]), 64)
	return n / 1024
}

// TestEndurance replays all Ethernet recordings at 5,000 packets a second, each time
// from other addresses, for the time that EXSPAN_ENDURANCE says. The addresses come
// from a pool that starts again a little after the time-out of UDP flows, so that old
// flows end and new ones begin all the time. After ten minutes, or two thirds of the
// time, what a limit bounds or a time-out ends is full or steady: a UDP flow ends after
// three minutes and is held for five. From there on neither memory nor goroutines may
// grow.
func TestEndurance(t *testing.T) {
	if os.Getenv("EXSPAN_ENDURANCE") == "" {
		t.Skip("takes long; EXSPAN_ENDURANCE=1h runs it")
	}
	duration, err := time.ParseDuration(os.Getenv("EXSPAN_ENDURANCE"))
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	file, frames := l.recordings()
	const pps = 5000
	p := l.monitor(9000, "--ndjson", "/dev/null", "-w", l.dir+"/unexpected.pcapng", "--rotate-size", "16MiB", "--rotate-keep", "1", "--state", l.dir+"/state")
	pid := p.cmd.Process.Pid
	warm := min(10*time.Minute, duration*2/3)
	pool := min(flow.UDPTimeout+20*time.Second, warm/2)
	var f *flood
	replay := func() { f = l.flood(file, frames, pps, pool.Seconds()) }
	replay()
	defer func() { _ = f.cmd.Process.Signal(syscall.SIGTERM) }()
	start := time.Now()
	var sums [2]steadiness // of the first and the last fifth after warm
	var logged time.Duration
	for {
		// A flood that ended starts again with the first addresses of the pool.
		for next := time.Now().Add(min(10*time.Second, duration/30)); time.Now().Before(next); time.Sleep(100 * time.Millisecond) {
			if f.ended() {
				f.wait(t)
				replay()
			}
		}
		at := time.Since(start)
		if at > duration-time.Second {
			break
		}
		s := p.metrics()
		now := steadiness{rss: memoryOf(t, pid, "VmRSS"), heap: s.sum("go_memstats_next_gc_bytes") / (1 << 20), goroutines: s.sum("go_goroutines"), samples: 1}
		if at >= logged {
			logged += time.Minute
			t.Logf("%4.0f s: %.0f MiB, heap %.0f MiB, %.0f goroutines, %.0f packets, %.0f dropped, %.0f live and %.0f held flows", at.Seconds(), now.rss, now.heap, now.goroutines,
				s.sum("exspan_ip_packets_total"), s.sum("exspan_capture_dropped_packets_total"), s.sum("exspan_flow_table_flows", "state", "live"), s.sum("exspan_flow_table_flows", "state", "held"))
		}
		part := (duration - warm) / 5
		switch {
		case at < warm:
		case at < warm+part:
			sums[0].add(now)
		case at > duration-part:
			sums[1].add(now)
		}
	}
	first, last := sums[0].mean(), sums[1].mean()
	t.Logf("after %s: %s; at the end: %s; peak %.0f MiB", warm, first, last, memoryOf(t, pid, "VmHWM"))
	if last.rss > first.rss*1.05+4 {
		t.Errorf("memory grew from %.0f to %.0f MiB", first.rss, last.rss)
	}
	if last.heap > first.heap*1.05+4 {
		t.Errorf("the heap grew from %.0f to %.0f MiB", first.heap, last.heap)
	}
	if math.Abs(last.goroutines-first.goroutines) > 2 {
		t.Errorf("goroutines: %.1f, then %.1f", first.goroutines, last.goroutines)
	}
	if s := p.metrics(); s.sum("exspan_ip_packets_total") < duration.Seconds()*pps/2 {
		t.Errorf("%.0f packets in %s", s.sum("exspan_ip_packets_total"), duration)
	}
	p.stop(syscall.SIGTERM)
}

// steadiness is the sum of some measurements: memory and heap in MiB, and goroutines.
// The heap is the size at which garbage is collected next, which follows from what was
// alive at the last collection; the size of the moment would depend on the time since.
type steadiness struct{ rss, heap, goroutines, samples float64 }

func (s *steadiness) add(o steadiness) {
	s.rss, s.heap, s.goroutines, s.samples = s.rss+o.rss, s.heap+o.heap, s.goroutines+o.goroutines, s.samples+o.samples
}

// mean returns the mean of the measurements.
func (s steadiness) mean() steadiness {
	return steadiness{s.rss / s.samples, s.heap / s.samples, s.goroutines / s.samples, 1}
}

func (s steadiness) String() string {
	return fmt.Sprintf("%.0f MiB, heap %.0f MiB, %.1f goroutines", s.rss, s.heap, s.goroutines)
}

// recordings writes the frames of all Ethernet recordings to one file, and returns
// its name and the number of frames.
func (l *lab) recordings() (file string, frames int) {
	l.t.Helper()
	names, err := filepath.Glob(testdata("*.pcapng"))
	if err != nil {
		l.t.Fatal(err)
	}
	all := &capturetest.Capture{LinkType: linkEthernet}
	for _, name := range names {
		c, err := readFrames(name)
		if err != nil {
			l.t.Fatal(err)
		}
		if c.LinkType == linkEthernet {
			all.Frames = append(all.Frames, c.Frames...)
		}
	}
	return writeFrames(l.t, l.dir, "all.pcap", all), len(all.Frames)
}
