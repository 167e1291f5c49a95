package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// methods lists the capture methods that tests use.
var methods = []struct {
	capture string
	workers int
}{{"pcap", 1}, {"pcap", 2}, {"afpacket", 1}, {"afpacket", 2}}

// equalsFile replays a capture and verifies that the final records equal those of
// analyze.
func equalsFile(t *testing.T, name string, speed float64) {
	l := newLab(t)
	file, site := testdata(name+".pcapng"), testdata(name+".site.yaml")
	reference := filepath.Join(l.dir, "file")
	if out, err := exspan(t, "analyze", "--hold", "5m", "--format", "ndjson", "-o", reference, "--site", site, file).CombinedOutput(); err != nil {
		t.Fatalf("analyze: %v: %s", err, out)
	}
	want := finals(t, reference)
	if len(want) < 3 {
		t.Fatalf("only %d flows", len(want))
	}
	var procs []*proc
	for i, m := range methods {
		procs = append(procs, l.monitor(9000+i, "--capture", m.capture, "--workers", strconv.Itoa(m.workers), "--site", site,
			"--interim", "1s", "--ndjson", filepath.Join(l.dir, strconv.Itoa(i))))
	}
	l.replay(file, fmt.Sprintf("--multiplier=%g", speed))
	time.Sleep(time.Second) // longer than any packet is held back
	for i, p := range procs {
		s := p.metrics()
		if n := s.sum("exspan_capture_dropped_packets_total"); n != 0 {
			t.Errorf("%+v: %v frames were dropped", methods[i], n)
		}
		if d := p.stop(syscall.SIGTERM); d > 5*time.Second {
			t.Errorf("%+v: ended after %s", methods[i], d)
		}
		got := finals(t, filepath.Join(l.dir, strconv.Itoa(i)))
		if !slices.Equal(got, want) {
			t.Errorf("%+v: %d records, want %d", methods[i], len(got), len(want))
			for _, r := range got {
				if !slices.Contains(want, r) {
					t.Errorf("only live: %s", r)
				}
			}
			for _, r := range want {
				if !slices.Contains(got, r) {
					t.Errorf("only of the file: %s", r)
				}
			}
		}
	}
}

// TestLiveEqualsFile replays a recording at nine times its speed.
func TestLiveEqualsFile(t *testing.T) { equalsFile(t, "web", 9) }

// TestLiveEqualsFiles replays every recorded capture at its original speed.
func TestLiveEqualsFiles(t *testing.T) {
	soak(t)
	files, err := filepath.Glob(testdata("*.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pcapng")
		t.Run(name, func(t *testing.T) { equalsFile(t, name, 1) })
	}
}

// TestIdleEnds verifies that the monitor ends promptly even without packets.
func TestIdleEnds(t *testing.T) {
	l := newLab(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for i, m := range methods {
			p := l.monitor(9000+i, "--capture", m.capture, "--workers", strconv.Itoa(m.workers))
			if d := p.stop(sig); d > 2*time.Second {
				t.Errorf("%+v: ended %s after %s", m, d, sig)
			}
		}
	}
}

const (
	// A client asks the mapper for the endpoint of EMSMDB.
	announced = `start 2010-03-04T09:14:00Z
handshake 10.0.0.9:1050 > 10.0.0.5:135
tcp 10.0.0.9:1050 > 10.0.0.5:135 rpc-bind(epmapper)
tcp 10.0.0.5:135 > 10.0.0.9:1050 rpc-bind-ack(135)
tcp 10.0.0.9:1050 > 10.0.0.5:135 epm-map(emsmdb)
tcp 10.0.0.5:135 > 10.0.0.9:1050 epm-mapped(emsmdb 46861)
fin 10.0.0.9:1050 > 10.0.0.5:135
`
	// A conversation on that port, captured after its beginning.
	conversation = `start 2010-03-04T09:15:00Z
tcp 10.0.0.9:1051 > 10.0.0.5:46861 rpc-request(11)
tcp 10.0.0.5:46861 > 10.0.0.9:1051 rpc-response()
tcp 10.0.0.9:1051 > 10.0.0.5:46861 rpc-request(11)
tcp 10.0.0.5:46861 > 10.0.0.9:1051 rpc-response()
`
)

// TestStateSurvivesKill kills the monitor between the mapper's answer and a session that
// depends on it.
func TestStateSurvivesKill(t *testing.T) {
	l := newLab(t)
	state, records := filepath.Join(l.dir, "state.json"), filepath.Join(l.dir, "records")
	args := []string{"--state", state, "--state-interval", "1s", "--ndjson", records, "--exchange", "2010"}
	p := l.monitor(9000, args...)
	l.replay(l.compile(announced + strings.TrimPrefix(conversation, "start 2010-03-04T09:15:00Z\n")))
	l.wait("the state", func() bool {
		b, _ := os.ReadFile(state)
		return strings.Contains(string(b), "46861")
	})
	p.stop(syscall.SIGKILL)
	if err := os.Remove(records); err != nil {
		t.Fatal(err)
	}
	rest := l.compile(conversation)

	p = l.monitor(9000, args...)
	l.replay(rest)
	p.captured(4)
	p.stop(syscall.SIGTERM)
	got := finals(t, records)
	if len(got) != 1 {
		t.Fatalf("%d records: %s", len(got), got)
	}
	var r struct {
		Endpoint struct{ Service, Source string }
		Verdict  struct{ Group, Confidence string }
	}
	if err := json.Unmarshal([]byte(got[0]), &r); err != nil {
		t.Fatal(err)
	}
	if r.Endpoint.Service != "emsmdb" || r.Endpoint.Source != "ept_map" || r.Verdict.Group != "2010.mapi.client" || r.Verdict.Confidence != "learned" {
		t.Errorf("the session is %s", got[0])
	}

	// A damaged file is reported, renamed and not fatal.
	if err := os.WriteFile(state, []byte(`{"version":1,"endpo`), 0o600); err != nil {
		t.Fatal(err)
	}
	p = l.monitor(9000, args...)
	if !strings.Contains(p.log.String(), "Ignoring the damaged state file") {
		t.Errorf("the damaged file was not reported:\n%s", p.log)
	}
	if aside, _ := filepath.Glob(state + ".damaged.*"); len(aside) != 1 {
		t.Errorf("put aside are %v", aside)
	}
	if b, err := os.ReadFile(state); err != nil || !json.Valid(b) {
		t.Errorf("the state file is %q, %v", b, err)
	}
	p.stop(syscall.SIGTERM)
}

func TestReload(t *testing.T) {
	l := newLab(t)
	site := filepath.Join(l.dir, "site.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(site, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("exchange: \"2010\"\n")
	// The same packets come again and again: none is to be taken for a copy.
	p := l.monitor(9000, "--site", site, "--duplicate-window", "0", "--web.enable-lifecycle")
	successful := func() float64 { return p.metrics().sum("exspan_config_last_reload_successful") }
	if successful() != 1 {
		t.Error("the first reload is not counted as successful")
	}
	first := p.metrics().sum("exspan_config_last_reload_success_timestamp_seconds")

	write("exchange: \"2010\"\nservers: [{name: mb, addresses: [nonsense]}]\n")
	code, body, err := p.request(http.MethodPost, "/-/reload")
	if err != nil || code != http.StatusInternalServerError || !strings.Contains(body, "site.yaml:2:") {
		t.Errorf("a bad file: %d %q %v", code, body, err)
	}
	if successful() != 0 || !strings.Contains(p.log.String(), "Reload failed") {
		t.Errorf("a bad file was not reported:\n%s", p.log)
	}

	// The file becomes valid while packets pass. None may be lost.
	write("exchange: \"2010\"\nservers: [{name: mb, addresses: [10.0.0.5], roles: [mailbox]}, {name: dc, addresses: [10.0.0.2], roles: [dc, gc]}]\n")
	const loops = 200
	replayed := make(chan error, 1)
	file := l.compile(conversation)
	cmd := exec.Command("tcpreplay", "-q", "-i", "in", "--pps=2000", fmt.Sprintf("--loop=%d", loops), file)
	if err := cmd.Start(); err != nil { // on this thread, which is the one in the namespace
		t.Fatal(err)
	}
	go func() { replayed <- cmd.Wait() }()
	for range 10 {
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if code, body, err := p.request(http.MethodPost, "/-/reload"); err != nil || code != http.StatusOK {
			t.Errorf("a good file: %d %q %v", code, body, err)
		}
	}
	if err := <-replayed; err != nil {
		t.Fatal(err)
	}
	p.captured(4 * loops)
	s := p.metrics()
	if s.sum("exspan_ip_packets_total") != 4*loops || s.sum("exspan_capture_dropped_packets_total") != 0 {
		t.Errorf("%v packets of %d, %v dropped", s.sum("exspan_ip_packets_total"), 4*loops, s.sum("exspan_capture_dropped_packets_total"))
	}
	if successful() != 1 || s.sum("exspan_config_last_reload_success_timestamp_seconds") <= first {
		t.Error("the good file is not in effect")
	}
	// The new site file is now in effect.
	l.replay(l.compile(counted))
	l.wait("the new label", func() bool { return p.metrics().sum("exspan_path_bytes_total", "path", countedPath) > 0 })

	if code, _, _ := p.request(http.MethodGet, "/-/reload"); code != http.StatusMethodNotAllowed {
		t.Errorf("GET reloads: %d", code)
	}
	p.stop(syscall.SIGTERM)
}

const (
	// Bytes counted by hand: SYN, SYN-ACK and ACK 3 x 40; 40 + 100 to the server; 40 +
	// 200 back; at the end 40 + 40 to the server and 40 back; UDP 20 + 8 + 72.
	counted = `start 2010-03-04T09:14:00Z
handshake 10.0.0.5:1050 > 10.0.0.2:3268
tcp 10.0.0.5:1050 > 10.0.0.2:3268 zero(100)
tcp 10.0.0.2:3268 > 10.0.0.5:1050 zero(200)
fin 10.0.0.5:1050 > 10.0.0.2:3268
udp 10.0.0.9:2000 > 10.0.0.8:9999 zero(72)
`
	countedPath = "2010.ad.mailbox"
)

// TestScrape compares a scrape with traffic counted by hand and with Prometheus' rules
// for metrics.
func TestScrape(t *testing.T) {
	l := newLab(t)
	site := filepath.Join(l.dir, "site.yaml")
	if err := os.WriteFile(site, []byte("servers: [{name: mb, addresses: [10.0.0.5], roles: [mailbox]}, {name: dc, addresses: [10.0.0.2], roles: [dc, gc]}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := l.monitor(9000, "--site", site)
	before := p.metrics()
	if before.sum("exspan_capture_interface_up", "interface", "out") != 1 {
		t.Error("the interface is not reported as up")
	}
	l.replay(l.compile(counted))
	p.captured(9)
	s := p.metrics()
	if got := s.sum("exspan_ip_bytes_total"); got != 40*8+100+200+100 {
		t.Errorf("exspan_ip_bytes_total is %v", got)
	}
	if got := s.sum("exspan_path_bytes_total") + s.sum("exspan_pending_bytes"); got != s.sum("exspan_ip_bytes_total") {
		t.Errorf("%v bytes are counted by path or pending, want %v", got, s.sum("exspan_ip_bytes_total"))
	}
	if got := s.sum("exspan_pending_bytes"); got == 0 {
		t.Error("nothing is pending right after the packets")
	}
	// The TCP flow has ended and settles at most 5 s after its end. The UDP flow settles
	// 10 s after its first packet.
	l.wait("the traffic to settle", func() bool {
		s = p.metrics()
		if s.sum("exspan_pending_bytes") == 0 {
			return true
		}
		time.Sleep(100 * time.Millisecond)
		return false
	})
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"exspan_path_bytes_total", []string{"path", countedPath, "direction", "to_server"}, 40 + 40 + 140 + 80},
		{"exspan_path_bytes_total", []string{"path", countedPath, "direction", "to_client"}, 40 + 240 + 40},
		{"exspan_path_packets_total", []string{"path", countedPath, "direction", "to_server"}, 5},
		{"exspan_path_packets_total", []string{"path", countedPath, "direction", "to_client"}, 3},
		{"exspan_path_bytes_total", []string{"path", "none"}, 100},
		{"exspan_capture_packets_total", []string{"interface", "out"}, 9},
		{"exspan_capture_dropped_packets_total", nil, 0},
		{"exspan_pending_packets", nil, 0},
	} {
		if got := s.sum(c.name, c.labels...); got != c.want {
			t.Errorf("%s%v is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	series := 0
	for name, list := range s.series {
		if strings.HasPrefix(name, "exspan_") {
			series += len(list)
		}
	}
	t.Logf("%d series", series)
	if series > 4000 {
		t.Errorf("%d series", series)
	}
	if len(s.series["exspan_build_info"]) != 1 {
		t.Error("there is no exspan_build_info")
	}

	code, body, err := p.request(http.MethodGet, "/")
	if err != nil || code != http.StatusOK || !strings.Contains(body, "/metrics") {
		t.Errorf("the landing page: %d %v", code, err)
	}
	if code, _, _ := p.request(http.MethodGet, "/-/healthy"); code != http.StatusOK {
		t.Errorf("/-/healthy: %d", code)
	}
	if code, _, _ := p.request(http.MethodGet, "/debug/pprof/cmdline"); code == http.StatusOK {
		if _, body, _ := p.request(http.MethodGet, "/debug/pprof/cmdline"); strings.Contains(body, "monitor") {
			t.Error("profiles are served without being enabled")
		}
	}
	if _, err := exec.LookPath("promtool"); err == nil {
		_, body, _ = p.request(http.MethodGet, "/metrics")
		lint := exec.Command("promtool", "check", "metrics")
		lint.Stdin = strings.NewReader(body)
		if out, err := lint.CombinedOutput(); err != nil {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	}
	out, err := exspan(t, "top", "--once", "--interval", "200ms", "http://"+p.address).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "directory access of Mailbox servers") {
		t.Errorf("exspan top: %v\n%s", err, out)
	}
	p.stop(syscall.SIGTERM)
}

// TestPrometheusScrapes verifies that a Prometheus server can scrape the monitor.
func TestPrometheusScrapes(t *testing.T) {
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip(err)
	}
	l := newLab(t)
	p := l.monitor(9000)
	l.replay(l.compile(counted))
	config := filepath.Join(l.dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("scrape_configs: [{job_name: exspan, scrape_interval: 1s, static_configs: [{targets: ['"+p.address+"']}]}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const server = "127.0.0.1:9090"
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(l.dir, "tsdb"), "--web.listen-address="+server)
	var log syncBuffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	query := func(q string) string {
		_, body, err := request(server, http.MethodGet, "/api/v1/query?query="+q)
		if err != nil {
			return ""
		}
		var r struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		if json.Unmarshal([]byte(body), &r) != nil || len(r.Data.Result) != 1 {
			return ""
		}
		return fmt.Sprint(r.Data.Result[0].Value[1])
	}
	l.wait("the target to be up", func() bool { return query("up%7Bjob=%22exspan%22%7D") == "1" })
	l.wait("the bytes", func() bool { return query("sum(exspan_ip_bytes_total)") == strconv.Itoa(40*8+100+200+100) })
	p.stop(syscall.SIGTERM)
}

// TestFullDisk fills the disk to which records are written. Capturing must continue,
// losses must be counted, and written records must be complete. Writing must continue
// when there is room again.
func TestFullDisk(t *testing.T) {
	l := newLab(t)
	disk := filepath.Join(l.dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip(err)
	}
	defer func() { _ = unix.Unmount(disk, unix.MNT_DETACH) }()
	ballast, records := filepath.Join(disk, "ballast"), filepath.Join(disk, "records")
	if err := os.WriteFile(ballast, make([]byte, 48<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	p := l.monitor(9000, "--ndjson", records, "--interim", "1s")
	var text strings.Builder
	text.WriteString("start 2010-03-04T09:14:00Z\n")
	const flows = 200 // about 300 bytes per record, one record per second
	for i := range flows {
		fmt.Fprintf(&text, "handshake 10.0.1.%d:1050 > 10.0.0.2:3268\n", i+1)
	}
	l.replay(l.compile(text.String()))
	p.captured(3 * flows)
	lost := func() float64 { return p.metrics().sum("exspan_output_lost_total", "output", "ndjson") }
	l.wait("a loss", func() bool { return lost() > 0 })
	if !strings.Contains(p.log.String(), "Writing failed") {
		t.Errorf("the full disk was not reported:\n%s", p.log)
	}
	whole := len(recordsOf(t, records)) // fails on an incomplete record
	if whole >= flows {
		t.Errorf("%d records written and %v lost of %d flows on a full disk", whole, lost(), flows)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	l.replay(l.compile("start 2010-03-04T09:14:00Z\nhandshake 10.0.2.1:1051 > 10.0.0.2:3268\nfin 10.0.2.1:1051 > 10.0.0.2:3268\n"))
	p.captured(3*flows + 6)
	if n := p.metrics().sum("exspan_ip_packets_total"); n != 3*flows+6 {
		t.Errorf("%v packets", n)
	}
	l.wait("a record after there was room again", func() bool { return len(recordsOf(t, records)) > whole })
	p.stop(syscall.SIGTERM)
	data, err := os.ReadFile(records)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(data, []byte("\n")) {
		t.Error("the file ends with half a record")
	}
}

// TestSlowReader writes records to a pipe that nobody reads, and then to a closed pipe.
func TestSlowReader(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			l := newLab(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p := l.monitorTo(w, 9000, "--ndjson", "-", "--queue-size", "64KiB", "--hold", "1s")
			w.Close()
			if closed {
				r.Close()
			} else {
				defer r.Close()
			}
			var text strings.Builder
			text.WriteString("start 2010-03-04T09:14:00Z\n")
			const flows = 1000 // about 300 KB of records, for a pipe of 64 KiB and a queue of 64 KiB
			for i := range flows {
				fmt.Fprintf(&text, "handshake 10.0.1.1:%d > 10.0.0.2:3268\nfin 10.0.1.1:%d > 10.0.0.2:3268\n", i+1000, i+1000)
			}
			l.replay(l.compile(text.String()))
			p.captured(6 * flows)
			l.wait("a loss", func() bool {
				return p.metrics().sum("exspan_output_lost_total", "output", "ndjson") > 0
			})
			if n := p.metrics().sum("exspan_ip_packets_total"); n != 6*flows {
				t.Errorf("%v packets of %d", n, 6*flows)
			}
			if d := p.stop(syscall.SIGTERM); d > 5*time.Second {
				t.Errorf("ended after %s", d)
			}
		})
	}
}

// TestInterfaceVanishes removes the cable and restores it.
func TestInterfaceVanishes(t *testing.T) {
	for _, m := range methods {
		t.Run(fmt.Sprintf("%s-%d", m.capture, m.workers), func(t *testing.T) {
			l := newLab(t)
			p := l.monitor(9000, "--capture", m.capture, "--workers", strconv.Itoa(m.workers))
			file := l.compile(conversation)
			l.replay(file)
			p.captured(4)
			l.ip("link delete in")
			l.wait("the interface to be missed", func() bool { return p.metrics().sum("exspan_capture_interface_up") == 0 })
			if code, _, err := p.request(http.MethodGet, "/-/ready"); err != nil || code != http.StatusServiceUnavailable {
				t.Errorf("/-/ready without an interface: %d (%v)", code, err)
			}
			l.cable()
			l.wait("the interface to be back", func() bool { return p.metrics().sum("exspan_capture_interface_up") == 1 })
			if code, _, err := p.request(http.MethodGet, "/-/ready"); err != nil || code != http.StatusOK {
				t.Errorf("/-/ready with an interface: %d (%v)", code, err)
			}
			l.replay(file)
			p.captured(8)
			s := p.metrics()
			if n := s.sum("exspan_capture_packets_total"); n != 8 {
				t.Errorf("exspan_capture_packets_total is %v, want 8", n)
			}
			for _, want := range []string{"Cannot read the interface; waiting for it", "is back"} {
				if !strings.Contains(p.log.String(), want) {
					t.Errorf("%q was not reported:\n%s", want, p.log)
				}
			}
			p.stop(syscall.SIGTERM)
		})
	}
}

// TestUser gives up privileges but that of capturing, which goes on when the
// interface vanishes and comes back.
func TestUser(t *testing.T) {
	l := newLab(t)
	if err := os.Chmod(l.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for d := l.dir; d != "/"; d = filepath.Dir(d) { // nobody must be able to traverse it
		st, err := os.Stat(d)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode()&0o001 == 0 {
			if err := os.Chmod(d, st.Mode().Perm()|0o011); err != nil {
				t.Fatal(err)
			}
		}
	}
	state := filepath.Join(l.dir, "state.json")
	p := l.monitor(9000, "--user", "nobody", "--state", state)
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		t.Fatal(threads, err)
	}
	for _, f := range threads {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for _, line := range strings.Split(string(b), "\n") {
			key, value, _ := strings.Cut(line, ":")
			switch key {
			case "Uid", "Gid":
				if slices.Contains(strings.Fields(value), "0") {
					t.Errorf("%s: %s", f, line)
				}
			case "Groups":
				if slices.Contains(strings.Fields(value), "0") {
					t.Errorf("%s: %s", f, line)
				}
			case "CapEff", "CapPrm", "CapInh", "CapAmb":
				if strings.TrimSpace(value) != "0000000000002000" { // CAP_NET_RAW
					t.Errorf("%s: %s", f, line)
				}
			case "NoNewPrivs":
				if strings.TrimSpace(value) != "1" {
					t.Errorf("%s: %s", f, line)
				}
			}
		}
	}
	l.replay(l.compile(conversation))
	p.captured(4)
	for range 2 {
		l.ip("link delete in")
		l.wait("the interface to be missed", func() bool { return p.metrics().sum("exspan_capture_interface_up") == 0 })
		l.cable()
		l.wait("the interface to be back", func() bool { return p.metrics().sum("exspan_capture_interface_up") == 1 })
	}
	l.replay(l.compile(conversation))
	p.captured(8)
	p.stop(syscall.SIGTERM)
	if st, err := os.Stat(state); err != nil || st.Sys().(*syscall.Stat_t).Uid != 65534 {
		t.Errorf("the state file is not that user's: %v", err)
	}
}

// TestTwoTaps sends each direction of the traffic over a cable of its own, as taps do,
// and verifies that the flows are complete.
func TestTwoTaps(t *testing.T) {
	if _, err := exec.LookPath("tcpprep"); err != nil {
		t.Skip(err)
	}
	l := newLab(t)
	l.ip("link add in2 type veth peer name out2")
	l.ip("link set in2 mtu 9000 up")
	l.ip("link set out2 mtu 9000 up")
	file := l.compile(announced + strings.TrimPrefix(conversation, "start 2010-03-04T09:15:00Z\n"))
	cache := filepath.Join(l.dir, "cache")
	if out, err := exec.Command("tcpprep", "--cidr=10.0.0.5/32", "-i", file, "-o", cache).CombinedOutput(); err != nil {
		t.Fatalf("tcpprep: %v: %s", err, out)
	}
	reference := filepath.Join(l.dir, "file")
	if out, err := exspan(t, "analyze", "--hold", "5m", "--format", "ndjson", "-o", reference, file).CombinedOutput(); err != nil {
		t.Fatalf("analyze: %v: %s", err, out)
	}
	want := finals(t, reference)
	for i, m := range methods {
		records := filepath.Join(l.dir, strconv.Itoa(i))
		p := l.monitor(9000, "-i", "out2", "--capture", m.capture, "--workers", strconv.Itoa(m.workers), "--ndjson", records)
		l.replay(file, "--intf2=in2", "--cachefile="+cache)
		p.captured(14)
		s := p.metrics()
		for _, name := range []string{"out", "out2"} {
			if n := s.sum("exspan_capture_packets_total", "interface", name); n < 5 {
				t.Errorf("%+v: %v packets on %s", m, n, name)
			}
		}
		p.stop(syscall.SIGTERM)
		if got := finals(t, records); !slices.Equal(got, want) {
			t.Errorf("%+v: the records are\n%s\nwant\n%s", m, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestOffloadWarning enables an offload and expects a warning.
func TestOffloadWarning(t *testing.T) {
	if _, err := exec.LookPath("ethtool"); err != nil {
		t.Skip(err)
	}
	l := newLab(t)
	for _, on := range []string{"on", "off"} {
		if out, err := exec.Command("ethtool", "-K", "out", "gro", on).CombinedOutput(); err != nil {
			t.Skipf("ethtool: %v: %s", err, out)
		}
		p := l.monitor(9000)
		if told := strings.Contains(p.log.String(), "offload=GRO"); told != (on == "on") {
			t.Errorf("with GRO %s the log is\n%s", on, p.log)
		}
		p.stop(syscall.SIGTERM)
	}
}
