package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSensor names a sensor and includes the interface of each flow in the records.
// Without a name, records must not contain any, not even that of the machine.
func TestSensor(t *testing.T) {
	l := newLab(t)
	l.ip("link add in2 type veth peer name out2")
	l.ip("link set in2 mtu 9000 up")
	l.ip("link set out2 mtu 9000 up")
	named, unnamed := filepath.Join(l.dir, "named"), filepath.Join(l.dir, "unnamed")
	p := l.monitor(9000, "-i", "out2", "--sensor", "site \"b\"", "--ndjson", named)
	q := l.monitor(9001, "-i", "out2", "--ndjson", unnamed)
	l.replay(l.compile("start 2010-03-04T09:14:00Z\nhandshake 10.0.0.5:1050 > 10.0.0.2:25\n"))
	mustRun(t, "tcpreplay", "-q", "-i", "in2", l.compile("start 2010-03-04T09:14:00Z\nhandshake 10.0.0.5:1051 > 10.0.0.2:25\n"))
	p.captured(6)
	q.captured(6)
	for name, list := range p.metrics().series {
		for _, s := range list {
			if s.labels["sensor"] != `site "b"` {
				t.Fatalf("%s has the sensor %q", name, s.labels["sensor"])
			}
		}
	}
	_, body, err := q.request("GET", "/metrics")
	if err != nil || strings.Contains(body, "sensor=") {
		t.Errorf("a sensor without a name has one (%v)", err)
	}
	if host, err := os.Hostname(); err == nil && len(host) > 4 && strings.Contains(body, host) {
		t.Errorf("the metrics name the machine %s", host)
	}
	p.stop(syscall.SIGTERM)
	q.stop(syscall.SIGTERM)
	for file, sensor := range map[string]any{named: `site "b"`, unnamed: nil} {
		faces := map[float64]any{}
		for _, r := range recordsOf(t, file) {
			faces[r["client"].(map[string]any)["port"].(float64)] = r["interface"]
			if r["sensor"] != sensor {
				t.Errorf("%s: the sensor is %v", file, r["sensor"])
			}
		}
		if faces[1050] != "out" || faces[1051] != "out2" {
			t.Errorf("%s: the interfaces are %v", file, faces)
		}
	}
	// The written records can be read.
	out, err := exspan(t, "analyze", "--format", "ndjson", named).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(`"sensor":"site \"b\"","interface":"out2"`)) {
		t.Errorf("analyze: %v\n%s", err, out)
	}
}

// TestFindingsWhileOpen reads a session in clear that does not end. Its findings must be
// counted once.
func TestFindingsWhileOpen(t *testing.T) {
	l := newLab(t)
	site := filepath.Join(l.dir, "site.yaml")
	if err := os.WriteFile(site, []byte("exchange: \"2010\"\nservers: [{name: cas1, addresses: [10.0.0.11], roles: [cas]}]\nnetworks: [{cidr: 10.0.9.0/24, role: client}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := l.monitor(9000, "--site", site, "--interim", "1s")
	l.replay(l.compile(`start 2010-03-04T09:14:00Z
handshake 10.0.9.9:2005 > 10.0.0.11:110
tcp 10.0.0.11:110 > 10.0.9.9:2005 "+OK The Microsoft Exchange POP3 service is ready.\r\n"
tcp 10.0.9.9:2005 > 10.0.0.11:110 "USER user1\r\n"
tcp 10.0.0.11:110 > 10.0.9.9:2005 "+OK\r\n"
tcp 10.0.9.9:2005 > 10.0.0.11:110 "PASS secret\r\n"
tcp 10.0.0.11:110 > 10.0.9.9:2005 "+OK User successfully logged on.\r\n"
@2 tcp 10.0.9.9:2005 > 10.0.0.11:110 "STAT\r\n"
@4 tcp 10.0.9.9:2005 > 10.0.0.11:110 "STAT\r\n"
@12 tcp 10.0.9.9:2005 > 10.0.0.11:110 "STAT\r\n"
@14 tcp 10.0.9.9:2005 > 10.0.0.11:110 "STAT\r\n"
@16 tcp 10.0.9.9:2005 > 10.0.0.11:110 "STAT\r\n"
`))
	count := func() float64 {
		return p.metrics().sum("exspan_path_findings_total", "path", "2010.cas.pop3", "finding", "cleartext", "level", "violation")
	}
	l.wait("the finding", func() bool { return count() > 0 })
	s := p.metrics()
	if s.sum("exspan_flow_table_flows", "state", "live") != 1 || s.sum("exspan_path_flows_total") != 0 {
		t.Error("the flow has ended")
	}
	time.Sleep(2500 * time.Millisecond) // some interim records
	if n := count(); n != 1 {
		t.Errorf("the finding counts %v times", n)
	}
	p.stop(syscall.SIGTERM)
}

// TestStateCannotBeSaved removes the folder of the state file.
func TestStateCannotBeSaved(t *testing.T) {
	l := newLab(t)
	dir := filepath.Join(l.dir, "state")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := l.monitor(9000, "--state", filepath.Join(dir, "state.json"), "--state-interval", "1s")
	if n := p.metrics().sum("exspan_state_save_errors_total"); n != 0 {
		t.Errorf("%v errors at the start", n)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.wait("an error", func() bool { return p.metrics().sum("exspan_state_save_errors_total") >= 2 })
	if !strings.Contains(p.log.String(), "Cannot save the state") {
		t.Errorf("the log is\n%s", p.log)
	}
	if err := os.Mkdir(dir, 0o755); err != nil { // so that the monitor ends without an error
		t.Fatal(err)
	}
	p.stop(syscall.SIGTERM)
}

// TestStrangeStateFile starts with a state file that is not a regular file.
func TestStrangeStateFile(t *testing.T) {
	l := newLab(t)
	pipe := filepath.Join(l.dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{pipe, "/dev/zero", l.dir} {
		cmd := exspan(t, "monitor", "-i", "out", "--web.listen-address=", "--state", state)
		ended := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		out, err := cmd.CombinedOutput()
		if !ended.Stop() || err == nil || !strings.Contains(string(out), "not a regular file") {
			t.Errorf("%s: %v\n%s", state, err, out)
		}
	}
}

// TestPacketFileHead reads a packet file before it contains the first packet.
func TestPacketFileHead(t *testing.T) {
	l := newLab(t)
	file := filepath.Join(l.dir, "out.pcapng")
	p := l.monitor(9000, "-w", file, "--rotate-size", "64KiB")
	head, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(head, []byte("\x02\x00\x03\x00out\x00")) { // if_name
		t.Errorf("the head does not describe the interface: %q (%v)", head, err)
	}
	if out, err := exspan(t, "analyze", file).CombinedOutput(); err != nil {
		t.Errorf("analyze: %v\n%s", err, out)
	}
	p.stop(syscall.SIGTERM)
}

// TestRotatesCompressed rotates records by age, compresses old files and sets their
// modes.
func TestRotatesCompressed(t *testing.T) {
	l := newLab(t)
	file := filepath.Join(l.dir, "records")
	p := l.monitor(9000, "--ndjson", file, "--interim", "1s", "--rotate-interval", "1s", "--rotate-compress", "--file-mode", "0604", "--file-group", "nogroup")
	var old []string
	for range 100 {
		l.replay(l.compile("start 2010-03-04T09:14:00Z\nhandshake 10.0.0.5:1050 > 10.0.0.2:25\n"))
		if old, _ = filepath.Glob(file + ".*.gz"); len(old) > 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if len(old) == 0 {
		t.Fatalf("no compressed file\n%s", p.log)
	}
	packed, err := os.Open(old[0])
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil || !json.Valid(bytes.SplitAfter(data, []byte("\n"))[0]) {
		t.Errorf("the old file holds %q (%v)", data, err)
	}
	for _, name := range []string{file, old[0]} {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if gid := st.Sys().(*syscall.Stat_t).Gid; gid != 65534 || st.Mode().Perm() != 0o604 {
			t.Errorf("%s: group %d, mode %v", name, gid, st.Mode())
		}
	}
	p.stop(syscall.SIGTERM)
}

// TestCopiesAreCounted sends packets twice.
func TestCopiesAreCounted(t *testing.T) {
	l := newLab(t)
	p := l.monitor(9000)
	l.replay(l.compile(conversation), "--topspeed", "--loop=2", "--preload-pcap")
	p.captured(8)
	s := p.metrics()
	if n := s.sum("exspan_capture_duplicate_packets_total"); n == 0 || n != s.sum("exspan_capture_skipped_frames_total", "reason", "duplicate") {
		t.Errorf("%v packets count as copies", n)
	}
	p.stop(syscall.SIGTERM)
}

// TestReloadAccepts accepts a finding with a reload.
func TestReloadAccepts(t *testing.T) {
	l := newLab(t)
	site, records := filepath.Join(l.dir, "site.yaml"), filepath.Join(l.dir, "records")
	write := func(more string) {
		t.Helper()
		if err := os.WriteFile(site, []byte("exchange: \"2010\"\nservers: [{name: cas1, addresses: [10.0.0.11], roles: [cas]}]\nnetworks: [{cidr: 10.0.9.0/24, role: client}]\n"+more), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	p := l.monitor(9000, "--site", site, "--ndjson", records, "--hold", "1s", "--web.enable-lifecycle")
	write("accept: [{finding: cleartext, path: 2010.cas.pop3}, {finding: weak-auth, path: 2010.cas.pop3}]\n")
	if code, body, err := p.request("POST", "/-/reload"); err != nil || code != 200 {
		t.Fatalf("reload: %d %s (%v)", code, body, err)
	}
	l.replay(l.compile(`start 2010-03-04T09:14:00Z
handshake 10.0.9.9:2005 > 10.0.0.11:110
tcp 10.0.0.11:110 > 10.0.9.9:2005 "+OK The Microsoft Exchange POP3 service is ready.\r\n"
tcp 10.0.9.9:2005 > 10.0.0.11:110 "USER user1\r\n"
tcp 10.0.0.11:110 > 10.0.9.9:2005 "+OK\r\n"
tcp 10.0.9.9:2005 > 10.0.0.11:110 "PASS secret\r\n"
fin 10.0.9.9:2005 > 10.0.0.11:110
`))
	p.captured(10)
	p.stop(syscall.SIGTERM)
	got := finals(t, records)
	if len(got) != 1 || !strings.Contains(got[0], `"status":"expected"`) || !strings.Contains(got[0], `"level":"accepted"`) {
		t.Errorf("the records are %s", got)
	}
}
