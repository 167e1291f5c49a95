package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const mixin = "../../exporter/prometheus/mixin"

// server is a Prometheus server in a lab.
type server struct {
	t       *testing.T
	address string
}

// query returns the values of an instant query by their labels. There are none while the
// server is not up.
func (s server) query(expr string) map[string]float64 {
	s.t.Helper()
	values := map[string]float64{}
	_, body, err := request(s.address, http.MethodGet, "/api/v1/query?query="+url.QueryEscape(expr))
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err != nil || json.Unmarshal([]byte(body), &answer) != nil {
		return values
	}
	if answer.Status == "error" {
		s.t.Fatalf("%s: %s", expr, answer.Error)
	}
	for _, r := range answer.Data.Result {
		var labels []string
		for name, v := range r.Metric {
			labels = append(labels, name+"="+v)
		}
		slices.Sort(labels)
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			s.t.Fatal(err)
		}
		values[strings.Join(labels, ",")] = v
	}
	return values
}

// wait repeats a query until it has a result. A flow is counted when it has ended, which
// is 30 seconds after its connection was closed.
func (s server) wait(expr string) {
	s.t.Helper()
	for end := time.Now().Add(200 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if len(s.query(expr)) > 0 {
			return
		}
	}
	s.t.Fatalf("waited in vain for %s; alerts: %v", expr, s.query(`ALERTS`))
}

// prometheus starts a server with the configuration and the rules that the packages
// install. It scrapes once a second.
func (l *lab) prometheus(address string) server {
	l.t.Helper()
	config, err := os.ReadFile("package/prometheus.yml")
	if err != nil {
		l.t.Fatal(err)
	}
	rules, err := filepath.Abs(mixin)
	if err != nil {
		l.t.Fatal(err)
	}
	text := strings.NewReplacer("/usr/share/exspan/mixin", rules, "15s", "1s", "localhost", "127.0.0.1").Replace(string(config))
	file := filepath.Join(l.dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(l.dir, "tsdb"),
		"--web.listen-address="+address, "--log.level=warn")
	log := &syncBuffer{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if l.t.Failed() {
			l.t.Logf("prometheus:\n%s", log)
		}
	})
	return server{l.t, address}
}

// unprivileged starts exspan monitor as the user nobody with only CAP_NET_RAW, the
// privilege that its unit grants.
func (l *lab) unprivileged(address string, args ...string) *proc {
	l.t.Helper()
	// That user must be able to reach the program.
	program := filepath.Join(l.dir, "exspan")
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	copyFile(l.t, self, program)
	for _, d := range []string{l.dir, filepath.Dir(l.dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
	p := &proc{lab: l, address: address, log: &syncBuffer{}, ended: make(chan error, 1)}
	p.cmd = exec.Command("setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
		"--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw", "--bounding-set=-all,+net_raw",
		program, "monitor", "-i", "out", "--web.listen-address", address}, args...)...)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	l.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if l.t.Failed() {
			l.t.Logf("exspan:\n%s", p.log)
		}
	})
	return p
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAlerts starts a Prometheus server that uses the rules of the mixin and scrapes a
// monitor. Recorded traffic raises an alert if and only if it deviates from the
// documents.
func TestAlerts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	for _, name := range []string{"setpriv", "prometheus"} {
		tool(t, name)
	}
	l := newLab(t)
	site, state := filepath.Join(l.dir, "site.yaml"), filepath.Join(l.dir, "state")
	copyFile(t, testdata("org.site.yaml"), site)
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	monitor := l.unprivileged("127.0.0.1:10135", "--web.enable-lifecycle", "--site", site, "--hold", "2s",
		"--state", filepath.Join(state, "state.json"), "--ndjson", filepath.Join(state, "flows.ndjson"))
	prom := l.prometheus("127.0.0.1:9090")
	prom.wait(`up{job="exspan"} == 1`)
	prom.wait(`count_over_time(path:exspan_path_flows_deviating:total{path="2010.cas.imap4"}[1m]) > 2`)
	if out := mustRun(t, "ip", "-d", "link", "show", "out"); !strings.Contains(out, "promiscuity 1") {
		t.Errorf("the interface is not promiscuous:\n%s", out)
	}

	// 68 connections, most of them on documented paths; see org.truth.json.
	l.replay(testdata("org.pcapng"), "-x", "10")
	prom.wait(`sum(exspan_path_flows_total{status="expected"}) >= 50 and on () sum(exspan_flow_table_flows{state="held"}) == 0`)
	time.Sleep(3 * time.Second) // for a few scrapes and evaluations
	// One of its flows deviates: edge1 to hub1, see testdata/README.md.
	if alerts := prom.query(`ALERTS{path!="2010.transport.edge-hub"}`); len(alerts) > 0 {
		t.Errorf("alerts on traffic that is as documented: %v", alerts)
	}

	// Other servers and other traffic.
	copyFile(t, testdata("mail.site.yaml"), site)
	if code, body, err := monitor.request(http.MethodPost, "/-/reload"); err != nil || code != http.StatusOK {
		t.Fatalf("reload: %d %s (%v)", code, body, err)
	}
	l.replay(testdata("mail.pcapng"), "-x", "10")
	for _, path := range []string{"2010.cas.imap4", "2010.cas.pop3", "2010.transport.hub-hub", "2010.transport.client-hub-smtp"} {
		prom.wait(`ALERTS{alertname="ExspanCleartext", alertstate="firing", path="` + path + `"}`)
		prom.wait(`ALERTS{alertname="ExspanDeviatingFlows", alertstate="firing", path="` + path + `"}`)
	}
	prom.wait(`ALERTS{alertname="ExspanUnexpectedFlows", alertstate="firing", reason="wrong-version"}`)
	prom.wait(`exspan_path_flows_total{path="2010.transport.hub-edge", status="expected"} >= 2`)
	if alerts := prom.query(`ALERTS{path="2010.transport.hub-edge"}`); len(alerts) > 0 {
		t.Errorf("alerts on a path whose flows are as documented: %v", alerts)
	}
	checkMixin(t, monitor)

	// A mistake in the site file, and the end of the monitor.
	if err := os.WriteFile(site, []byte("servers: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, err := monitor.request(http.MethodPost, "/-/reload"); err != nil || code != http.StatusInternalServerError {
		t.Errorf("reload of a file with a mistake: %d (%v)", code, err)
	}
	prom.wait(`ALERTS{alertname="ExspanReloadFailed"}`)
	monitor.stop(syscall.SIGTERM)
	prom.wait(`ALERTS{alertname="ExspanDown"}`)
}

// checkMixin compares the rules and the dashboard with the metrics that a monitor
// exports.
func checkMixin(t *testing.T, p *proc) {
	t.Helper()
	_, metrics, err := p.request(http.MethodGet, "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if promtool, err := exec.LookPath("promtool"); err == nil {
		check := exec.Command(promtool, "check", "metrics")
		check.Stdin = strings.NewReader(metrics)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	}
	// These metrics exist only when there is something to count.
	optional := []string{"exspan_capture_one_way_connections_ratio", "exspan_write_undecided_packets_total", "exspan_limit_reached_total", "exspan_relabelled_flows_total", "exspan_rtp_packets_total"}
	names := regexp.MustCompile(`[^\w:](exspan_\w+|process_\w+)[^\w:]`)
	for _, file := range []string{"exspan-rules.yaml", "exspan-alerts.yaml", "exspan-dashboard.json"} {
		data, err := os.ReadFile(filepath.Join(mixin, file))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, m := range names.FindAllSubmatch(data, -1) {
			found++
			if name := string(m[1]); !slices.Contains(optional, name) && !bytes.Contains([]byte(metrics), []byte("\n"+name)) {
				t.Errorf("%s: the monitor does not export %s", file, name)
			}
		}
		if found < 5 {
			t.Errorf("%s: %d names of metrics", file, found)
		}
	}
}
