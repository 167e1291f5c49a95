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
// from other addresses, for the time that EXSPAN_ENDURANCE says. After ten minutes, or
// a third of the time, neither memory nor goroutines may grow.
func TestEndurance(t *testing.T) {
	if os.Getenv("EXSPAN_ENDURANCE") == "" {
		t.Skip("takes long; EXSPAN_ENDURANCE=1h runs it")
	}
	duration, err := time.ParseDuration(os.Getenv("EXSPAN_ENDURANCE"))
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	names, err := filepath.Glob(testdata("*.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	all := &capturetest.Capture{LinkType: linkEthernet}
	for _, name := range names {
		c, err := readFrames(name)
		if err != nil {
			t.Fatal(err)
		}
		if c.LinkType == linkEthernet {
			all.Frames = append(all.Frames, c.Frames...)
		}
	}
	file := writeFrames(t, l.dir, "all.pcap", all)
	const pps = 5000
	p := l.monitor(9000, "--ndjson", "/dev/null", "-w", l.dir+"/unexpected.pcapng", "--rotate-size", "16MiB", "--rotate-keep", "1", "--state", l.dir+"/state")
	pid := p.cmd.Process.Pid
	f := l.flood(file, len(all.Frames), pps, duration.Seconds())
	defer func() { _ = f.cmd.Process.Signal(syscall.SIGTERM) }()
	start, warm := time.Now(), min(10*time.Minute, duration/3)
	var first, last [2]float64 // mean memory and goroutines of the first and the last fifth after warm
	var counts [2]float64
	for {
		time.Sleep(min(10*time.Second, duration/30))
		at := time.Since(start)
		if at > duration-time.Second {
			break
		}
		s := p.metrics()
		rss, goroutines := memoryOf(t, pid, "VmRSS"), s.sum("go_goroutines")
		if int(at.Seconds())%60 < 10 {
			t.Logf("%4.0f s: %.0f MiB, %.0f goroutines, %.0f packets, %.0f live flows, %.0f dropped", at.Seconds(), rss, goroutines,
				s.sum("exspan_ip_packets_total"), s.sum("exspan_flow_table_flows"), s.sum("exspan_capture_dropped_packets_total"))
		}
		part := (duration - warm) / 5
		switch {
		case at < warm:
		case at < warm+part:
			first[0], first[1], counts[0] = first[0]+rss, first[1]+goroutines, counts[0]+1
		case at > duration-part:
			last[0], last[1], counts[1] = last[0]+rss, last[1]+goroutines, counts[1]+1
		}
	}
	for i := range first {
		first[i], last[i] = first[i]/counts[0], last[i]/counts[1]
	}
	t.Logf("memory %.0f MiB after %s, %.0f MiB at the end, peak %.0f MiB; goroutines %.1f and %.1f", first[0], warm, last[0], memoryOf(t, pid, "VmHWM"), first[1], last[1])
	if last[0] > first[0]*1.05+4 {
		t.Errorf("memory grew from %.0f to %.0f MiB", first[0], last[0])
	}
	if math.Abs(last[1]-first[1]) > 2 {
		t.Errorf("goroutines: %.1f, then %.1f", first[1], last[1])
	}
	if s := p.metrics(); s.sum("exspan_ip_packets_total") < duration.Seconds()*pps/2 {
		t.Errorf("%.0f packets in %s", s.sum("exspan_ip_packets_total"), duration)
	}
	p.stop(syscall.SIGTERM)
}
