package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	dto "github.com/prometheus/client_model/go"

	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/share"
)

// manyFacts returns the facts of a sensor that knows n endpoints.
func manyFacts(sensor, n int) []knowledge.Fact {
	now := time.Now().UnixNano()
	var list []knowledge.Fact
	for i := range n {
		server := netip.AddrFrom4([4]byte{10, byte(sensor + 1), byte(i / 20 >> 8), byte(i / 20)})
		list = append(list, knowledge.Fact{Server: server, Port: uint16(49152 + i%20), What: "emsmdb", Value: knowledge.Value{Proof: knowledge.TwoSided, Learned: now, Used: now,
			Expires: now + int64(24*time.Hour), Source: "ept_map", From: netip.AddrPortFrom(server, 135), Annotation: "Exchange Server STORE EMSMDB Interface"}})
	}
	return list
}

// fakeSensor is a sensor without packets.
func fakeSensor(url, key, name string, facts []knowledge.Fact) *share.Share {
	return share.New(share.Options{URL: url, Credentials: key, Realm: "default", Sensor: name, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Tell:  func([]knowledge.Told) {},
		Facts: func(yield func([]knowledge.Fact) bool) { yield(facts) }})
}

// residentMiB returns the resident memory of a process in MiB.
func residentMiB(t *testing.T, pid int) float64 {
	t.Helper()
	return number(`VmRSS:\s+(\d+) kB`, string(mustRead(t, fmt.Sprintf("/proc/%d/status", pid)))) / 1024
}

// TestShareScale lets one sensor join 20 that know 100,000 endpoints, or 4,000 unless
// EXSPAN_SHARE is set.
func TestShareScale(t *testing.T) {
	const sensors = 20
	each := 200
	if os.Getenv("EXSPAN_SHARE") != "" {
		each = 5000
	}
	dir := t.TempDir()
	program, add := buildHub(t, dir)
	keys := map[string]string{"one": add("one")}
	for i := range sensors {
		keys[fmt.Sprint("s", i)] = add(fmt.Sprint("s", i))
	}
	web := freeAddr(t)
	hubAddr, hub := runHub(t, program, dir)
	begin := time.Now()
	var group sync.WaitGroup
	for i := range sensors {
		group.Go(func() {
			name := fmt.Sprint("s", i)
			s := fakeSensor("nats://"+hubAddr, keys[name], name, manyFacts(i, each))
			s.Start()
			defer s.Close()
			for range 6000 {
				if s.Counts().Own >= each {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Errorf("%s wrote %d facts", name, s.Counts().Own)
		})
	}
	group.Wait()
	t.Logf("%d sensors wrote %d facts in %.1f s; memory of the hub %.0f MiB", sensors, sensors*each, time.Since(begin).Seconds(), residentMiB(t, hub.Process.Pid))

	cmd := exspan(t, "monitor", "-r", "-", "--max-memory", "4GiB", "--web.listen-address", web, "--sensor", "one", "--share", "nats://"+hubAddr, "--share-credentials", keys["one"])
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log syncLog
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	recording := mustRead(t, "../../testdata/rpc.pcapng")
	if _, err := stdin.Write(recording); err != nil { // and it stays open
		t.Fatal(err)
	}
	begin = time.Now()
	facts, was := 0.0, 0.0
	for range 6000 {
		if s, ok := metricsOf(web); ok {
			if was == 0 {
				was = residentMiB(t, cmd.Process.Pid)
			}
			if facts = s.sum("exspan_share_facts", "of", "endpoints"); facts >= float64(sensors*each) {
				break
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	if facts != float64(sensors*each) {
		t.Fatalf("the sensor knows %v endpoints of others, want %d\n%s", facts, sensors*each, log.String())
	}
	t.Logf("a new sensor had the snapshot of %d facts after %.1f s; its memory went from %.0f to %.0f MiB, that of the hub is %.0f MiB", sensors*each, time.Since(begin).Seconds(),
		was, residentMiB(t, cmd.Process.Pid), residentMiB(t, hub.Process.Pid))
	if perFact := (residentMiB(t, cmd.Process.Pid) - was) * (1 << 20) / float64(sensors*each); perFact > 8<<10 {
		t.Errorf("a fact takes %.0f bytes", perFact)
	}
}

type syncLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncLog) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncLog) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// watcher is a running "exspan observe --follow".
type watcher struct {
	*exec.Cmd
	t        *testing.T
	patience time.Duration // of until
	out, log syncLog
	ended    chan error
}

func newWatcher(t *testing.T, patience time.Duration, args ...string) *watcher {
	t.Helper()
	w := &watcher{Cmd: exspan(t, append([]string{"observe", "--follow"}, args...)...), t: t, patience: patience, ended: make(chan error, 1)}
	w.Stdout, w.Stderr = &w.out, &w.log
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.ended <- w.Wait() }()
	t.Cleanup(func() { _ = w.Process.Kill() })
	return w
}

// until waits until a condition is true.
func (w *watcher) until(what string, true func() bool) {
	w.t.Helper()
	for range w.patience / (50 * time.Millisecond) {
		if true() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatalf("timed out waiting for %s\n%s\n%s", what, w.out.String(), w.log.String())
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// metricsOf reads the metrics of a monitor, if it answers.
func metricsOf(address string) (*sample, bool) {
	code, body, err := request(address, "GET", "/metrics")
	if err != nil || code != 200 {
		return nil, false
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		return nil, false
	}
	var list []*dto.MetricFamily
	for _, f := range families {
		list = append(list, f)
	}
	s := newSample(list)
	return &s, true
}

// buildHub builds exspan-hub, and returns it with a function that adds a user and
// returns the file of its key.
func buildHub(t *testing.T, dir string) (program string, add func(name string, more ...string) string) {
	t.Helper()
	program = filepath.Join(dir, "exspan-hub")
	if out, err := exec.Command("go", "build", "-o", program, "../exspan-hub").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program, func(name string, more ...string) string {
		file := filepath.Join(dir, name+".nk")
		if out, err := exec.Command(program, append([]string{"--data", dir, "user", "add", name, "-o", file}, more...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return file
	}
}

// runHub starts a hub.
func runHub(t *testing.T, program, dir string) (address string, hub *exec.Cmd) {
	t.Helper()
	address = freeAddr(t)
	return address, runHubAt(t, program, dir, address)
}

func runHubAt(t *testing.T, program, dir, address string) *exec.Cmd {
	t.Helper()
	hub := exec.Command(program, "--data", dir, "--listen", address)
	if err := hub.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Process.Kill(); _ = hub.Wait() })
	for range 200 { // until it is there
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return hub
}

// TestObserveHubRestart follows what a sensor reports over a hub that is killed, stays
// away for some time, and starts again. What comes after that is printed, by the same
// filter, and it is said what is missing. A viewer who is removed is told so.
func TestObserveHubRestart(t *testing.T) {
	dir := t.TempDir()
	program, add := buildHub(t, dir)
	one, viewer := add("one"), add("viewer", "--viewer")
	address, hub := runHub(t, program, dir)
	records, err := exspan(t, "analyze", "--format", "ndjson", "--sensor", "one", "--site", "../../testdata/rpc.site.yaml", "../../testdata/rpc.pcapng").Output()
	if err != nil {
		t.Fatal(err)
	}
	var wanted, other []byte
	for line := range bytes.Lines(records) {
		switch {
		case bytes.Contains(line, []byte(`"port":22,`)) && bytes.Contains(line, []byte(`"unexpected"`)):
			wanted = bytes.Clone(line)
		case bytes.Contains(line, []byte(`"port":135,`)):
			other = bytes.Clone(line)
		}
	}
	if wanted == nil || other == nil {
		t.Fatal("the recording has not the flows that this test needs")
	}
	watcher := newWatcher(t, time.Minute, "--hub", "nats://"+address, "--hub-credentials", viewer, "--status", "unexpected", "--port", "22", "--format", "ndjson")
	sensor := share.New(share.Options{URL: "nats://" + address, Credentials: one, Realm: "default", Sensor: "one", Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Tell: func([]knowledge.Told) {}, Facts: func(yield func([]knowledge.Fact) bool) { yield(nil) }, State: func() health.State { return health.State{Version: "1"} }})
	said := func(text string) func() bool {
		return func() bool { return strings.Contains(watcher.log.String(), text) }
	}
	send := func() { _, _ = sensor.Write(other); _, _ = sensor.Write(wanted); _, _ = sensor.Write(other) }
	printed := func(n int) func() bool {
		return func() bool { return watcher.out.String() == strings.Repeat(string(wanted), n) }
	}
	time.Sleep(time.Second) // the watcher subscribes
	sensor.Start()
	defer sensor.Close()
	watcher.until("the sensor", said("sensor one is there: exspan 1"))
	send()
	watcher.until("the first flow", printed(1))

	_ = hub.Process.Kill()
	_ = hub.Wait()
	watcher.until("the break", said("the hub: the connection broke"))
	watcher.until("the sensor's break", func() bool { return !sensor.Connected() })
	send() // nobody gets these
	if log := watcher.log.String(); !strings.Contains(log, "records are missing from ") {
		t.Errorf("it does not say since when:\n%s", log)
	}
	runHubAt(t, program, dir, address)
	watcher.until("the connection", said("the hub: connected again; what sensors sent between "))
	watcher.until("the sensor", func() bool { return sensor.Connected() })
	watcher.until("the count of what is missing", said("sensor one could not send 3 records after "))
	send()
	watcher.until("the flow after the restart", printed(2))

	if text, err := exec.Command(program, "--data", dir, "user", "remove", "viewer").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	select {
	case err := <-watcher.ended:
		if err == nil || watcher.ProcessState.ExitCode() != exitError || !strings.Contains(watcher.log.String(), "uthoriz") {
			t.Errorf("a viewer who was removed ends with %v\n%s", err, watcher.log.String())
		}
	case <-time.After(time.Minute):
		t.Errorf("a viewer who was removed waits for ever\n%s", watcher.log.String())
	}
	t.Log(watcher.log.String())
}

// TestObserveHub follows what two sensors report over a hub, one of which lies.
func TestObserveHub(t *testing.T) {
	dir := t.TempDir()
	program, add := buildHub(t, dir)
	one, bad, viewer := add("one"), add("bad"), add("viewer", "--viewer")
	hub, _ := runHub(t, program, dir)
	watcher := newWatcher(t, 30*time.Second, "--hub", "nats://"+hub, "--hub-credentials", viewer, "--reason", "no-path", "--width", "200")

	liar := fakeSensor("nats://"+hub, bad, "bad", nil)
	liar.Start()
	defer liar.Close()
	cmd := exspan(t, "monitor", "-r", "-", "--web.listen-address=", "--site", "../../testdata/rpc.site.yaml", "--sensor", "one", "--share", "nats://"+hub, "--share-credentials", one)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if _, err := stdin.Write(mustRead(t, "../../testdata/rpc.pcapng")); err != nil {
		t.Fatal(err)
	}
	watcher.until("the state of the sensor", func() bool {
		return strings.Contains(watcher.log.String(), "sensor one is there: exspan ") && liar.Connected()
	})
	for _, lie := range []string{"{", `{"sensor":"bad"}` + "\n", `{"sensor":"one","proto":"tcp"}` + "\n", "\n\n"} {
		_, _ = liar.Write([]byte(lie))
	}
	if err := stdin.Close(); err != nil { // the end writes what is open
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	watcher.until("the flow", func() bool { return strings.Contains(watcher.out.String(), "UNEXPECTED") })
	if s := watcher.out.String(); !strings.Contains(s, " one  ") || !strings.Contains(s, "mb1:22/tcp") || strings.Contains(s, "6002") {
		t.Errorf("it printed\n%s", s)
	}
	if err := watcher.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-watcher.ended; err != nil {
		t.Errorf("observe ended with %v\n%s", err, watcher.log.String())
	}
	for _, args := range [][]string{{"--hub", "nats://h"}, {"--hub", "h", "--follow"}, {"--hub", "nats://h", "--follow", "--server", "http://x"}, {"--hub", "nats://h", "--follow", "--status", "unexpected,expected"}} {
		if out, err := exspan(t, append([]string{"observe"}, args...)...).CombinedOutput(); err == nil || !strings.Contains(string(out), "--hub") {
			t.Errorf("%v: %v %s", args, err, out)
		}
	}
}
