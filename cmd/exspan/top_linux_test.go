package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// terminal is a program in a terminal of tmux.
type terminal struct {
	t      *testing.T
	socket string
	width  int
}

// newTerminal starts exspan in a terminal of the given size. env holds settings such as
// "TERM=dumb".
func newTerminal(t *testing.T, width, height int, env string, args ...string) *terminal {
	t.Helper()
	return newTerminalAfter(t, width, height, env, "", args...)
}

// newTerminalAfter is newTerminal with more shell after the command, such as
// "| less".
func newTerminalAfter(t *testing.T, width, height int, env, after string, args ...string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("no terminal to test in: ", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t, filepath.Join(t.TempDir(), "tmux"), width}
	command := env + ` bash -c 'exec -a exspan "$0" "$@"' '` + self + "'"
	for _, a := range args {
		command += " '" + a + "'"
	}
	x.tmux("-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height),
		"bash", "-c", command+after+"; echo; echo ended with $?; sleep 1000")
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", x.socket, "kill-server").Run() })
	return x
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.socket}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// keys types keys, given by their names in tmux.
func (x *terminal) keys(names ...string) {
	x.t.Helper()
	x.tmux(append([]string{"send-keys"}, names...)...)
}

// wait waits until the screen contains all of the texts and returns the screen.
func (x *terminal) wait(texts ...string) string {
	x.t.Helper()
	var screen string
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		screen = x.tmux("capture-pane", "-p")
		missing := false
		for _, text := range texts {
			missing = missing || !strings.Contains(screen, text)
		}
		if !missing {
			return screen
		}
	}
	x.t.Fatalf("the screen does not show %q:\n%s", texts, screen)
	return ""
}

// lacks fails t if a screen contains a text.
func lacks(t *testing.T, screen, text string) {
	t.Helper()
	if strings.Contains(screen, text) {
		t.Errorf("%q is on the screen:\n%s", text, screen)
	}
}

// pipedMonitor starts a monitor on a pipe, waits until it has read a capture, and returns
// its address.
func pipedMonitor(t *testing.T, name string, args ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exspan(t, append([]string{"monitor", "-r", "-", "--site", "../../testdata/" + name + ".site.yaml", "--web.listen-address", address, "--log.level", "error"}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	f, err := os.Open("../../testdata/" + name + ".pcapng")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(in, f); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if code, _, err := request(address, http.MethodGet, "/-/ready"); err == nil && code == http.StatusOK {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return address
}

// TestTopScreen shows the flows of a recording in a running monitor and uses all keys. No
// flow has a final record, because no more time passes.
func TestTopScreen(t *testing.T) {
	address := pipedMonitor(t, "mail", "--web.enable-flows")
	for _, size := range [][2]int{{80, 24}, {120, 40}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			x := newTerminal(t, size[0], size[1], "", "top", "--interval", "300ms", address)
			screen := x.wait("ATTENTION: 12 deviating, 1 unexpected (wrong-version 1), 0 blocked", "> ", "q quit")
			for _, want := range []string{"PATH", "BYTES/s", "FLOWS", "LIVE", "DEV", "UNEXP", "BLOCK", "LAST", "IMAP4", "SMTP client to Hub Tra", "sort: attention"} {
				if !strings.Contains(screen, want) {
					t.Errorf("there is no %q:\n%s", want, screen)
				}
			}
			if wide := strings.Contains(screen, "FINDINGS"); wide != (size[0] == 120) {
				t.Errorf("findings beside the paths: %t:\n%s", wide, screen)
			}
			if n := strings.Count(screen, "\n"); n != size[1] {
				t.Errorf("%d lines", n)
			}

			x.keys("?")
			x.wait("page up and down")
			x.keys("x")
			screen = x.wait("sort: attention")
			lacks(t, screen, "page up and down")

			x.keys("s", "s", "s", "s")
			screen = x.wait("sort: name")
			if i, j := strings.Index(screen, "(no documented path)"), strings.Index(screen, "POP3"); i > j {
				t.Errorf("not sorted by name:\n%s", screen)
			}
			x.keys("S", "S", "S", "S")
			x.wait("sort: attention")

			x.keys("/")
			x.keys("-l", "IMAP")
			x.wait("/IMAP_")
			x.keys("Enter")
			screen = x.wait("filter: IMAP", "> IMAP4")
			lacks(t, screen, "POP3")

			x.keys("Enter") // the flows of the path; the last one is selected
			screen = x.wait("IMAP4  (2010.cas.imap4)", "TIME", "cas2:143/tcp", "weak-auth", "esc back")
			if strings.Count(screen, "DEVIATING") < 4 {
				t.Errorf("not all flows are there:\n%s", screen)
			}
			first := line(screen, "> ")
			x.keys("Down")
			for range 100 {
				if screen = x.wait("> "); line(screen, "> ") != first {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if line(screen, "> ") == first {
				t.Errorf("the arrow key does nothing:\n%s", screen)
			}
			if !strings.Contains(strings.Join(strings.Fields(screen), " "), "Not final. 1:") {
				t.Errorf("it is not said why:\n%s", screen)
			}
			x.keys("Escape")
			x.wait("filter: IMAP")
			x.keys("Escape")
			x.wait("POP3")

			x.keys("p")
			paused := x.wait("PAUSED")
			time.Sleep(1200 * time.Millisecond)
			if again := x.wait("PAUSED"); again != paused {
				t.Errorf("the picture changes though it is paused:\n%s\n%s", paused, again)
			}
			x.keys("p")
			for range 100 {
				if screen = x.wait("exspan"); !strings.Contains(screen, "PAUSED") {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			lacks(t, screen, "PAUSED")
			x.keys("q")
			x.wait("ended with 0")
		})
	}
}

// line returns the first line of a screen that begins with a text.
func line(screen, begin string) string {
	for l := range strings.Lines(screen) {
		if strings.HasPrefix(l, begin) {
			return l
		}
	}
	return ""
}

// TestTopDumb expects plain screens one after another on a dumb terminal.
func TestTopDumb(t *testing.T) {
	address := pipedMonitor(t, "mail")
	x := newTerminal(t, 80, 24, "TERM=dumb", "top", "--interval", "300ms", address)
	raw := filepath.Join(t.TempDir(), "raw")
	x.tmux("pipe-pane", "cat > "+raw)
	x.wait("ATTENTION: 12 deviating, 1 unexpected")
	var data []byte
	for range 100 {
		if data, _ = os.ReadFile(raw); strings.Count(string(data), "ATTENTION") >= 3 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n := strings.Count(string(data), "ATTENTION"); n < 3 {
		t.Errorf("%d pictures", n)
	}
	if strings.Contains(string(data), "\x1b") {
		t.Errorf("there are escape sequences: %q", data)
	}
	for l := range strings.Lines(string(data)) {
		if n := len([]rune(strings.TrimRight(l, "\r\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, l)
		}
	}
	x.keys("C-c")
	x.wait("ended with 0")
}

// fakeMetrics are the metrics of a monitor whose interface is down.
const fakeMetrics = `exspan_ip_packets_total %d
exspan_ip_bytes_total %d
exspan_capture_interface_up{interface="%s"} %d
exspan_path_bytes_total{path="2010.cas.imap4",direction="to_server"} 1000
exspan_path_flows_total{path="2010.cas.imap4",status="expected"} 7
exspan_pending_blocked_flows{path="2010.cas.imap4",outcome="refused"} 3
exspan_capture_dropped_packets_total{interface="%s",reason="kernel"} %d
`

// TestTopSensors shows several sensors at once: one that requires TLS and a password, one
// whose interface is down, and one that does not answer.
func TestTopSensors(t *testing.T) {
	n := 0
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "admin" || password != "secret" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		n += 100
		fmt.Fprintf(w, fakeMetrics, n, n*100, "eth0", 1, "eth0", 0)
	}))
	defer secure.Close()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, fakeMetrics, 5, 500, "eth7", 0, "eth7", 12)
	}))
	defer plain.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	dir := t.TempDir()
	ca, password := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "password")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	for name, data := range map[string][]byte{ca: cert, password: []byte("secret\n")} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		want string // in the error
	}{
		{[]string{secure.URL}, "certificate"},
		{[]string{secure.URL, "--insecure"}, "401 Unauthorized; --username and --password-file"},
		{[]string{secure.URL, "--username", "admin"}, "go together"},
		{[]string{gone.URL}, "refused"},
		{[]string{plain.URL, plain.URL}, "given twice"},
		{[]string{"ftp://sensor"}, "no URL of a monitor"},
	} {
		out, err := exspan(t, append([]string{"top", "--once", "--interval", "100ms"}, c.args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("top %v: %v, no %q in %s", c.args, err, c.want, out)
		}
	}
	x := newTerminal(t, 80, 24, "", "top", "--interval", "200ms", "--ca-file", ca, "--username", "admin", "--password-file", password,
		secure.URL, plain.URL, gone.URL)
	screen := x.wait(strings.TrimPrefix(plain.URL, "http://"), "INTERFACE DOWN: eth7", "DOES NOT ANSWER", "LOST 12 packets", "IMAP4")
	lacks(t, screen, "eth0")
	if l := line(screen, "> IMAP4"); !strings.Contains(l, " 14 ") || !strings.Contains(l, " 6 ") {
		t.Errorf("the sensors are not added up: %s", l)
	}
	// "Down" is red, and so is a sensor that does not answer.
	colored := x.tmux("capture-pane", "-p", "-e")
	for _, text := range []string{"INTERFACE DOWN", strings.TrimPrefix(gone.URL, "http://") + " DOES NOT ANSWER"} {
		i := strings.Index(colored, text)
		if i < 0 || !strings.HasPrefix(colored[max(strings.LastIndex(colored[:i], "\x1b["), 0):], "\x1b[31m") {
			t.Errorf("%q is not red: %q", text, colored)
		}
	}
	x.keys("Enter")
	x.wait("IMAP4  (2010.cas.imap4)", "does not serve flows", "--web.enable-flows")
	x.keys("C-c")
	x.wait("ended with 0")
}

// TestTopCaptures makes top capture and removes its cable. The log must not appear on the
// screen.
func TestTopCaptures(t *testing.T) {
	l := newLab(t)
	x := newTerminal(t, 80, 24, "", "top", "--interval", "300ms", "-i", "out")
	x.wait("no traffic yet")
	l.replay(l.compile(conversation))
	x.wait("> ", "(no documented path)")
	l.ip("link delete in")
	screen := x.wait("INTERFACE DOWN: out", "log: ")
	if first := strings.SplitN(screen, "\n", 2)[0]; !strings.HasPrefix(first, "exspan") {
		t.Errorf("the picture is broken:\n%s", screen)
	}
	if n := strings.Count(screen, "level="); n != 1 || !strings.Contains(line(screen, "log: "), "level=") {
		t.Errorf("%d log lines are on the picture:\n%s", n, screen)
	}
	l.cable()
	for range 300 {
		if screen = x.wait("exspan"); !strings.Contains(screen, "INTERFACE DOWN") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	lacks(t, screen, "INTERFACE DOWN")
	x.keys("q")
	x.wait("ended with 0")
}
