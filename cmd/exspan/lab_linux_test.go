package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"

	"github.com/exspan/exspan/capture/capturetest"
)

// lab is a network namespace with the two ends of a cable: packets sent to "in" are
// captured on "out". It belongs to the thread of the test.
type lab struct {
	t   *testing.T
	dir string
}

// newLab creates a namespace, or skips the test if that is not possible.
func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "tcpreplay"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	t.Parallel() // these tests mostly wait
	// The thread is never unlocked, so it ends with the test.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		t.Skipf("network namespaces are not possible: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skip(err)
	}
	l := &lab{t, t.TempDir()}
	l.ip("link set lo up")
	l.cable()
	return l
}

func (l *lab) cable() {
	l.t.Helper()
	l.ip("link add in type veth peer name out")
	for _, end := range []string{"in", "out"} {
		// Only replayed packets may pass.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+end+"/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
			l.t.Fatal(err)
		}
		l.ip("link set " + end + " mtu 9000 up")
	}
}

func (l *lab) ip(args string) {
	l.t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// replay sends the packets of a capture file into the cable.
func (l *lab) replay(file string, args ...string) {
	l.t.Helper()
	args = append(append([]string{"-q", "-i", "in"}, args...), file)
	if out, err := exec.Command("tcpreplay", args...).CombinedOutput(); err != nil {
		l.t.Fatalf("tcpreplay %s: %v: %s", args, err, out)
	}
}

// compile compiles packets given as text to a capture file.
func (l *lab) compile(text string) string {
	l.t.Helper()
	data, err := capturetest.Compile("packets", []byte(text))
	if err != nil {
		l.t.Fatal(err)
	}
	f, err := os.CreateTemp(l.dir, "*.pcap")
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		l.t.Fatal(err)
	}
	return f.Name()
}

// exspan returns a command that runs exspan in the namespace.
func exspan(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = "exspan" // TestMain checks the name
	return cmd
}

// proc is a running monitor.
type proc struct {
	lab     *lab
	cmd     *exec.Cmd
	address string
	log     *syncBuffer
	ended   chan error
}

// monitor starts exspan monitor on the cable and waits until it captures.
func (l *lab) monitor(port int, args ...string) *proc {
	l.t.Helper()
	return l.monitorTo(nil, port, args...)
}

func (l *lab) monitorTo(stdout *os.File, port int, args ...string) *proc {
	l.t.Helper()
	p := &proc{lab: l, address: fmt.Sprintf("127.0.0.1:%d", port), log: &syncBuffer{}, ended: make(chan error, 1)}
	p.cmd = exspan(l.t, append([]string{"monitor", "-i", "out", "--web.listen-address", p.address}, args...)...)
	p.cmd.Stderr = p.log
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	if err := p.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	l.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	l.wait("the monitor to be ready", func() bool {
		select {
		case err := <-p.ended:
			l.t.Fatalf("the monitor ended: %v\n%s", err, p.log)
		default:
		}
		code, _, err := p.request(http.MethodGet, "/-/ready")
		return err == nil && code == http.StatusOK
	})
	return p
}

// wait waits until a condition is true.
func (l *lab) wait(what string, true func() bool) {
	l.t.Helper()
	for range 1000 {
		if true() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	l.t.Fatalf("timed out waiting for %s", what)
}

// request makes a request from the test's own thread, the only one in the namespace.
func (p *proc) request(method, path string) (code int, body string, err error) {
	return request(p.address, method, path)
}

func request(address, method, path string) (code int, body string, err error) {
	c, err := net.Dial("tcp4", address)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	req, err := http.NewRequest(method, "http://"+address+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Close = true
	if err := req.Write(c); err != nil {
		return 0, "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// metrics scrapes the monitor.
func (p *proc) metrics() *sample {
	p.lab.t.Helper()
	code, body, err := p.request(http.MethodGet, "/metrics")
	if err != nil || code != http.StatusOK {
		p.lab.t.Fatalf("scrape: %d, %v", code, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		p.lab.t.Fatal(err)
	}
	var list []*dto.MetricFamily
	for _, f := range families {
		list = append(list, f)
	}
	s := newSample(list)
	return &s
}

// captured waits until the given number of frames was read.
func (p *proc) captured(frames float64) {
	p.lab.t.Helper()
	var got float64
	for range 1000 {
		if got = p.metrics().sum("exspan_capture_frames_total"); got >= frames {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.lab.t.Fatalf("%v frames were read, want %v\n%s", got, frames, p.log)
}

// stop ends the monitor with a signal and returns how long that took.
func (p *proc) stop(sig syscall.Signal) time.Duration {
	p.lab.t.Helper()
	begin := time.Now()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.lab.t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		if err != nil && sig != syscall.SIGKILL {
			p.lab.t.Errorf("the monitor ended with %v\n%s", err, p.log)
		}
		// An end at which everything is written is no error.
		_, end, _ := strings.Cut(p.log.String(), "msg=Ending")
		if strings.Contains(end, "level=ERROR") && !strings.Contains(end, "Records were lost") {
			p.lab.t.Errorf("errors at the end:\n%s", end)
		}
	case <-time.After(20 * time.Second):
		p.lab.t.Fatalf("the monitor does not end\n%s", p.log)
	}
	return time.Since(begin)
}

var clockTime = regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`)

// recordsOf returns the records of an NDJSON file that may be growing. A line without an
// end is still being written and is ignored.
func recordsOf(t *testing.T, file string) (all []map[string]any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data[:bytes.LastIndexByte(data, '\n')+1]) {
		var r map[string]any
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%s: %v in %q", file, err, line)
		}
		all = append(all, r)
	}
	return all
}

// finals returns the final records of an NDJSON file, sorted and without times.
func finals(t *testing.T, file string) []string {
	t.Helper()
	var list []string
	for _, r := range recordsOf(t, file) {
		if r["state"] != "ended" {
			continue
		}
		delete(r, "first")
		delete(r, "last")
		delete(r, "setup_us")
		delete(r, "interface") // files have none
		if e, ok := r["endpoint"].(map[string]any); ok {
			delete(e, "learned")
		}
		v := r["verdict"].(map[string]any)
		if why, ok := v["why"].(string); ok {
			v["why"] = clockTime.ReplaceAllString(why, "T")
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(b))
	}
	slices.Sort(list)
	return list
}

// soak skips a test that takes minutes unless EXSPAN_SOAK is set.
func soak(t *testing.T) {
	t.Helper()
	if os.Getenv("EXSPAN_SOAK") == "" {
		t.Skip("takes long; EXSPAN_SOAK=1 runs it")
	}
}
