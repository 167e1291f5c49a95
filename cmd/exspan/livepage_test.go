package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/exporter/live"
)

// fedMonitor is a monitor that reads packets from a pipe.
type fedMonitor struct {
	t    *testing.T
	url  string
	pipe *io.PipeWriter
	text string // of the packets so far
	fed  int    // bytes of their capture
}

// feedMonitor starts a monitor. It ends with the test.
func feedMonitor(t *testing.T, args ...string) *fedMonitor {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	in, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := newRootCmd()
	var log syncBuffer
	cmd.SetArgs(append([]string{"monitor", "-r", "-", "--hold", "1s", "--web.listen-address", address}, args...))
	cmd.SetIn(in)
	cmd.SetOut(io.Discard)
	cmd.SetErr(&log)
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	t.Cleanup(func() {
		_ = out.Close()
		cancel()
		<-ended
		if strings.Contains(log.String(), "panic") {
			t.Error(log.String())
		}
	})
	m := &fedMonitor{t: t, url: "http://" + address, pipe: out}
	m.wait("the monitor", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the monitor ended: %v %s", err, log.String())
		default:
		}
		resp, err := http.Get(m.url + "/-/healthy")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil
	})
	return m
}

// feed gives the monitor further packets.
func (m *fedMonitor) feed(text string) {
	m.t.Helper()
	m.text += text
	data, err := capturetest.Compile("packets", []byte(m.text))
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.pipe.Write(data[m.fed:]); err != nil {
		m.t.Fatal(err)
	}
	m.fed = len(data)
}

// later is traffic that lets time go on, after which what has ended is final.
const later = "+20 udp 10.7.0.1:1 > 10.7.0.2:1 \"x\" times=3\n+20 udp 10.7.0.1:1 > 10.7.0.2:1 \"x\" times=3\n+20 udp 10.7.0.1:1 > 10.7.0.2:1 \"x\" times=3\n"

func (m *fedMonitor) wait(what string, done func() bool) {
	m.t.Helper()
	for end := time.Now().Add(60 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (m *fedMonitor) get(path string) string {
	m.t.Helper()
	resp, err := http.Get(m.url + path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(body)
}

// The packets of a client that logs on in the clear, and of one that does what no document
// knows.
const (
	liveStart = "start 2010-03-04T09:14:00Z\nhost cas1 10.0.0.11\nhost hub1 10.0.0.12\nhost pc 10.0.9.9\n"
	liveSite  = `exchange: "2010"
servers:
  - {name: cas1, addresses: [10.0.0.11], roles: [cas]}
  - {name: hub1, addresses: [10.0.0.12], roles: [hub]}
networks:
  - {cidr: 10.0.9.0/24, role: client}
`
)

func clearIMAP(port int) string {
	return fmt.Sprintf(`handshake pc:%[1]d > cas1:143
tcp cas1:143 > pc:%[1]d "* OK The Microsoft Exchange IMAP4 service is ready.\r\n"
tcp pc:%[1]d > cas1:143 "1 LOGIN user secret\r\n"
tcp cas1:143 > pc:%[1]d "1 OK LOGIN completed.\r\n"
fin pc:%[1]d > cas1:143
`, port)
}

func strangeSSH(port int) string {
	return fmt.Sprintf(`handshake pc:%[1]d > hub1:2222
tcp hub1:2222 > pc:%[1]d "SSH-2.0-OpenSSH_5.3\r\n"
tcp pc:%[1]d > hub1:2222 "SSH-2.0-PuTTY\r\n"
fin pc:%[1]d > hub1:2222
`, port)
}

func writeTemp(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestPrivate asks for live pages from here and from elsewhere.
func TestPrivate(t *testing.T) {
	users := writeTemp(t, "users.yml", "basic_auth_users:\n  admin: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\n")
	tls := writeTemp(t, "tls.yml", "tls_server_config: {cert_file: a, key_file: b}\n")
	for _, tt := range []struct {
		name, from, config string
		header             map[string]string
		want               int
	}{
		{"this machine", "127.0.0.1:1000", "", nil, http.StatusOK},
		{"this machine, IPv6", "[::1]:1000", "", nil, http.StatusOK},
		{"elsewhere", "192.0.2.1:1000", "", nil, http.StatusForbidden},
		{"elsewhere, IPv6", "[2001:db8::1]:1000", "", nil, http.StatusForbidden},
		{"a proxy on this machine", "127.0.0.1:1000", "", map[string]string{"X-Forwarded-For": "192.0.2.1"}, http.StatusForbidden},
		{"elsewhere, with a password that nobody checked", "192.0.2.1:1000", "", map[string]string{"Authorization": "Basic YTpi"}, http.StatusForbidden},
		{"elsewhere, with a file without users", "192.0.2.1:1000", tls, map[string]string{"Authorization": "Basic YTpi"}, http.StatusForbidden},
		{"elsewhere, past the check of a password", "192.0.2.1:1000", users, map[string]string{"Authorization": "Basic YTpi"}, http.StatusOK},
		{"elsewhere, without a password", "192.0.2.1:1000", users, nil, http.StatusForbidden},
		{"elsewhere, the file is gone", "192.0.2.1:1000", users + ".no", map[string]string{"Authorization": "Basic YTpi"}, http.StatusForbidden},
		{"a page of another origin loads it", "127.0.0.1:1000", "", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, http.StatusForbidden},
		{"a page of another origin links to it", "127.0.0.1:1000", "", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, http.StatusOK},
	} {
		m := &monitor{webConfig: tt.config}
		for _, path := range live.Paths() {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.RemoteAddr = tt.from
			for k, v := range tt.header {
				r.Header.Set(k, v)
			}
			rec := httptest.NewRecorder()
			m.private(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(rec, r)
			if rec.Code != tt.want {
				t.Errorf("%s: %s: %d, want %d", tt.name, path, rec.Code, tt.want)
			}
			if tt.want == http.StatusForbidden && tt.header["Sec-Fetch-Mode"] == "" && !strings.Contains(rec.Body.String(), "--web.config.file") {
				t.Errorf("%s: the page does not say what to do: %s", tt.name, rec.Body)
			}
			if csp := rec.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: policy %q", tt.name, csp)
			}
		}
	}
}

// TestQueryCriteria verifies that a query chooses what flags of the same names choose.
func TestQueryCriteria(t *testing.T) {
	q := url.Values{"status": {"unexpected,deviating"}, "host": {"10.0.0.0/8", "pc"}, "port": {"25/tcp"}, "path": {""}, "finding": {"blocked"}, "reason": {"no-path"}, "role": {"cas"}}
	c, err := queryCriteria(q)
	if err != nil || len(c.Statuses) != 2 || len(c.Hosts) != 2 || len(c.Ports) != 1 || len(c.Paths) != 0 || !c.Blocked || len(c.Reasons) != 1 || len(c.Roles) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	x := filterFlags{status: []string{"unexpected"}, port: []string{"25", "143"}}
	if got := x.query().Encode(); got != "port=25&port=143&status=unexpected" {
		t.Errorf("as a query %q", got)
	}
	for query, want := range map[string]string{"statuss=x": `unknown parameter "statuss"`, "status=x": `--status: unknown "x"`, "port=x": `"x" is not a port`, "path=[": `"[" is no pattern`} {
		q, _ := url.ParseQuery(query)
		if _, err := queryCriteria(q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
}

// TestLivePage feeds a monitor, and looks at all that it serves of that.
func TestLivePage(t *testing.T) {
	m := feedMonitor(t, "--site", writeTemp(t, "site.yaml", liveSite))
	m.feed(liveStart + clearIMAP(2001) + strangeSSH(2002) + "+12 udp 10.7.0.1:1 > 10.7.0.2:1 \"x\" times=9\n")
	// What needs attention is there before it is final.
	m.wait("the flows", func() bool { return strings.Contains(m.get("/live/flows?status=unexpected"), "not final") })
	m.feed(later)
	m.wait("final verdicts", func() bool { return strings.Contains(m.get("/records"), "hub1") })
	time.Sleep(3 * time.Second) // the page is made anew
	page := m.get("/live")
	for _, want := range []string{"2 of ", "passwords in the clear", "1 unexpected", "hub1:2222/tcp", `href="/metrics?path=2010.cas.imap4"`, `<noscript><meta http-equiv="refresh"`,
		`id="diagram"`, `id="roles"`, `id="hosts"`, `id="findings"`, `id="blocked"`, `id="endpoints"`, `id="flows"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if flows := m.get("/live/flows?port=2222"); !strings.Contains(flows, "hub1:2222") || strings.Contains(flows, "cas1:143") {
		t.Error("the list of flows does not choose by port")
	}
	if report := m.get("/report"); !strings.Contains(report, "Exchange traffic report") || !strings.Contains(report, "hub1:2222") || strings.Contains(report, "data-events") {
		t.Error("the report is none")
	}
	metrics := m.get("/metrics?path=2010.cas.imap4")
	for line := range strings.Lines(metrics) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(line, `path="2010.cas.imap4"`) {
			t.Errorf("metrics of another path: %s", line)
		}
	}
	if !strings.Contains(metrics, `exspan_path_flows_total{path="2010.cas.imap4",status="deviating"} 1`) {
		t.Errorf("metrics of the path:\n%s", metrics)
	}
	if landing := m.get("/"); !strings.Contains(landing, `href="/live"`) && !strings.Contains(landing, `"live"`) {
		t.Errorf("no link to the live page: %s", landing)
	}
	if got := m.get("/records?status=deviating,expected"); strings.Contains(got, "hub1") || !strings.Contains(got, `"cas1"`) {
		t.Errorf("records %s", got)
	}
}

// TestObserve prints the flows of a monitor, and follows them.
func TestObserve(t *testing.T) {
	m := feedMonitor(t, "--site", writeTemp(t, "site.yaml", liveSite))
	m.feed(liveStart + clearIMAP(2001) + strangeSSH(2002) + later)
	m.wait("records", func() bool { return strings.Count(m.get("/records"), "\n") == 2 })
	call := func(args ...string) (string, string, int) {
		var stdout, stderr bytes.Buffer
		code := run(append([]string{"observe", "--server", m.url, "--width", "100"}, args...), &stdout, &stderr)
		return stdout.String(), stderr.String(), code
	}
	out, errs, code := call("--status", "unexpected")
	if code != exitDone || errs != "" || !strings.Contains(out, "hub1:2222/tcp") || !strings.Contains(out, "UNEXPECTED") || strings.Contains(out, "cas1") {
		t.Errorf("exit code %d, %s\n%s", code, errs, out)
	}
	// The text is that of analyze.
	data, _ := capturetest.Compile("packets", []byte(liveStart+clearIMAP(2001)+strangeSSH(2002)))
	pcap, site := writeTemp(t, "a.pcap", string(data)), writeTemp(t, "site.yaml", liveSite)
	var analyzed, stderr bytes.Buffer
	if code := run([]string{"analyze", "-q", "--site", site, "--format", "flows", "--width", "100", pcap}, &analyzed, &stderr); code != exitDone {
		t.Fatal(stderr.String())
	}
	lines := func(s string) []string {
		l := strings.Split(strings.TrimSpace(s), "\n")
		slices.Sort(l[1:])
		return l
	}
	if out, _, _ := call(); !slices.Equal(lines(out), lines(analyzed.String())) {
		t.Errorf("observe prints\n%s\nand analyze\n%s", out, analyzed.String())
	}
	out, _, _ = call("--format", "ndjson", "--port", "143")
	if out != m.get("/records?port=143") || out == "" {
		t.Errorf("NDJSON %q", out)
	}

	t.Run("examples", func(t *testing.T) {
		password := writeTemp(t, "password", "x")
		for line := range strings.Lines(newObserveCmd().Example) {
			args := strings.Fields(strings.ReplaceAll(line, "'", ""))[2:]
			if slices.Contains(args, "--hub") {
				continue // that needs a hub
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			cmd := newRootCmd()
			for i, a := range args {
				switch a {
				case "https://sensor:10135":
					args[i] = m.url
				case "password":
					args[i] = password
				}
			}
			if !slices.Contains(args, "--server") {
				args = append(args, "--server", m.url)
			}
			var stdout bytes.Buffer
			cmd.SetArgs(append([]string{"observe"}, args...))
			cmd.SetOut(&stdout)
			if err := cmd.ExecuteContext(ctx); err != nil || stdout.Len() == 0 {
				t.Errorf("%s: %v, %d bytes", line, err, stdout.Len())
			}
			cancel()
		}
	})
	t.Run("follow", func(t *testing.T) {
		var stdout, stderr syncBuffer
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			cmd := newRootCmd()
			cmd.SetArgs([]string{"observe", "--server", m.url, "-f", "--finding", "weak-auth"})
			cmd.SetOut(&stdout)
			cmd.SetErr(&stderr)
			done <- cmd.ExecuteContext(ctx)
		}()
		m.wait("the flow that was there", func() bool { return strings.Count(stdout.String(), "cas1:143") == 1 })
		m.feed(clearIMAP(2003) + strangeSSH(2004) + later)
		m.wait("the flow that came", func() bool { return strings.Count(stdout.String(), "cas1:143") == 2 })
		if out := stdout.String(); strings.Contains(out, "hub1") || strings.Count(out, "TIME") != 1 {
			t.Errorf("printed\n%s", out)
		}
		cancel()
		if err := <-done; err != nil || stderr.String() != "" {
			t.Errorf("interrupted: %v %s", err, stderr.String())
		}
	})
}

// TestObserveMistakes asks what is no monitor, and a monitor that gives nothing.
func TestObserveMistakes(t *testing.T) {
	answer := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Get("status") == "expected":
			w.Header().Set("Content-Type", "application/x-ndjson")
			fmt.Fprint(w, "{\n")
		case r.URL.Query().Has("follow"):
			w.Header().Set("Content-Type", "application/x-ndjson")
			fmt.Fprint(w, "\n")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(answer)
		}
	}))
	defer server.Close()
	for _, tt := range []struct {
		args   string
		answer int
		code   int
		want   string
	}{
		{"", http.StatusOK, exitError, "serves no records"},
		{"", http.StatusNotFound, exitError, "serves no records"},
		{"", http.StatusForbidden, exitError, "basic_auth_users"},
		{"", http.StatusUnauthorized, exitError, "--username and --password-file"},
		{"", http.StatusServiceUnavailable, exitError, "503"},
		{"--status expected", 0, exitError, "line 1: not a flow record"},
		{"--follow", 0, exitError, "the connection broke"},
		{"--status x", 0, exitUsage, `--status: unknown "x"`},
		{"--format x", 0, exitUsage, `--format: unknown "x"`},
		{"--server ftp://x", 0, exitUsage, `--server: "ftp://x" is no URL of a monitor`},
		{"--server http://127.0.0.1:1", 0, exitError, "connection refused"},
		{"file.pcap", 0, exitUsage, "takes no arguments"},
	} {
		answer = tt.answer
		var stdout, stderr bytes.Buffer
		args := append([]string{"observe", "--server", server.URL}, strings.Fields(tt.args)...)
		if code := run(args, &stdout, &stderr); code != tt.code || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%s, %d: exit code %d, %q; want %d, %q", tt.args, tt.answer, code, stderr.String(), tt.code, tt.want)
		}
	}
}
