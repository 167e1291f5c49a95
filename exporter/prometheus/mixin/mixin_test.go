package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	exporter "github.com/exspan/exspan/exporter/prometheus"
	"github.com/exspan/exspan/rules"
)

// ofMonitor are metrics that the command monitor adds to those of the exporter,
// with their labels. Its own test holds a scrape against the mixin.
var ofMonitor = map[string][]string{
	"exspan_config_last_reload_successful":     nil,
	"exspan_capture_behind_seconds":            nil,
	"exspan_capture_one_way_connections_ratio": nil,
	"exspan_capture_interface_up":              {"interface"},
	"exspan_output_lost_total":                 {"output"},
	"exspan_state_save_errors_total":           nil,
	"exspan_write_undecided_packets_total":     nil,
	"exspan_build_info":                        {"version"},
}

// described returns the labels of every metric there is, by name; series of
// histograms included.
func described(t *testing.T) map[string][]string {
	t.Helper()
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	ch := make(chan *prometheus.Desc)
	go func() {
		exporter.New(packs).Describe(ch)
		close(ch)
	}()
	metrics := map[string][]string{}
	form := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{([\w,]*)\}`)
	for d := range ch {
		m := form.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("a description has another form: %s", d)
		}
		labels := strings.Split(m[2], ",")
		metrics[m[1]] = labels
		// Which are histograms the description does not say.
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			metrics[m[1]+suffix] = append(slices.Clone(labels), "le")
		}
	}
	for name, labels := range ofMonitor {
		metrics[name] = labels
	}
	return metrics
}

var (
	ofExpr   = regexp.MustCompile(`(?m)^\s*(?:- )?expr: (?:>-|(.*))\n((?:\s{10,}.*\n)*)`)
	recorded = regexp.MustCompile(`(?m)^\s*- record: (.*)$`)
	selector = regexp.MustCompile(`([a-z]+:)?(exspan_\w+)(:\w+)?(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"`)
	grouping = regexp.MustCompile(`(?:by|without) \(([^)]*)\)`)
)

// ruleExprs returns the expressions of a file of rules.
func ruleExprs(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var exprs []string
	for _, m := range ofExpr.FindAllStringSubmatch(string(data), -1) {
		exprs = append(exprs, m[1]+m[2])
	}
	if n := strings.Count(string(data), "expr:"); len(exprs) != n || n == 0 {
		t.Fatalf("%s: found %d expressions of %d", file, len(exprs), n)
	}
	return exprs
}

// dashboardExprs returns the expressions of the dashboard, by title of their
// panel, with Grafana's variables filled in.
func dashboardExprs(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("exspan-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title, Type string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$job", "exspan", "$instance", ".+", "$path", ".+")
	exprs := map[string][]string{}
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			exprs[p.Title] = append(exprs[p.Title], fill.Replace(target.Expr))
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q at column %d, line %d: overlaps %q or the edge", p.Title, x, y, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	for _, v := range d.Templating.List {
		if strings.HasPrefix(v.Definition, "label_values(") {
			metric, _, _ := strings.Cut(strings.TrimPrefix(v.Definition, "label_values("), ", "+v.Name)
			exprs["variable "+v.Name] = []string{fill.Replace(metric)}
		}
	}
	if len(exprs) < 20 {
		t.Fatalf("found %d panels", len(exprs))
	}
	return exprs
}

func TestDashboardIsRendered(t *testing.T) {
	want, err := render()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("exspan-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("exspan-dashboard.json is not what go run ./exporter/prometheus/mixin writes")
	}
}

// mistakes returns what an expression names that nothing exports.
func mistakes(expr string, metrics map[string][]string, rules []string) []string {
	var out []string
	labels := map[string]bool{"job": true, "instance": true, "alertname": true, "le": true}
	used := map[string]bool{}
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		level, name, operation, selected := m[1], m[2], m[3], m[4]
		known, ok := metrics[name]
		if operation != "" {
			if !slices.Contains(rules, level+name+operation) {
				out = append(out, level+name+operation+" is not recorded")
			}
			known = []string{strings.TrimSuffix(level, ":")}
		} else if !ok {
			out = append(out, name+" is not exported")
			continue
		}
		for _, l := range known {
			labels[l] = true
		}
		for _, l := range matcher.FindAllStringSubmatch(selected, -1) {
			used[l[1]] = true
			if !slices.Contains(known, l[1]) && l[1] != "job" && l[1] != "instance" {
				out = append(out, fmt.Sprintf("%s has no label %s", name, l[1]))
			}
		}
	}
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		for _, l := range strings.Split(m[1], ",") {
			if l = strings.TrimSpace(l); l != "" && !labels[l] {
				out = append(out, fmt.Sprintf("no metric in %q has the label %s", expr, l))
			}
		}
	}
	return out
}

// TestNames holds every expression to the metrics and labels that exspan
// exports and the rules record.
func TestNames(t *testing.T) {
	metrics := described(t)
	data, err := os.ReadFile("exspan-rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, m := range recorded.FindAllStringSubmatch(string(data), -1) {
		rules = append(rules, m[1])
	}
	all := dashboardExprs(t)
	for _, file := range []string{"exspan-rules.yaml", "exspan-alerts.yaml"} {
		all[file] = ruleExprs(t, file)
	}
	for where, exprs := range all {
		for _, expr := range exprs {
			for _, m := range mistakes(expr, metrics, rules) {
				t.Errorf("%s: %s", where, m)
			}
		}
	}
	// What is recorded is used.
	for _, name := range rules {
		used := 0
		for where, exprs := range all {
			if where != "exspan-rules.yaml" {
				used += strings.Count(strings.Join(exprs, "\n"), name)
			}
		}
		if used == 0 {
			t.Errorf("%s is recorded and not used", name)
		}
	}
}

// TestMistakes makes sure that TestNames can fail.
func TestMistakes(t *testing.T) {
	metrics := map[string][]string{"exspan_a_total": {"path"}}
	rules := []string{"path:exspan_a:rate5m"}
	for expr, want := range map[string]string{
		`sum by (path) (rate(exspan_a_total{job="x", path="y"}[5m]))`: "",
		`path:exspan_a:rate5m{path="y"}`:                              "",
		`exspan_b_total`:                                              "exspan_b_total is not exported",
		`path:exspan_b:rate5m`:                                        "path:exspan_b:rate5m is not recorded",
		`exspan_a_total{reason="x"}`:                                  "exspan_a_total has no label reason",
		`sum by (reason) (exspan_a_total)`:                            `no metric in "sum by (reason) (exspan_a_total)" has the label reason`,
	} {
		if got := strings.Join(mistakes(expr, metrics, rules), "; "); got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtool(t *testing.T) {
	t.Run("check", func(t *testing.T) { promtool(t, "check", "rules", "exspan-rules.yaml", "exspan-alerts.yaml") })
	t.Run("test", func(t *testing.T) { promtool(t, "test", "rules", "rules_test.yaml") })
}

// TestDashboardSyntax has promtool read the dashboard's expressions as rules.
func TestDashboardSyntax(t *testing.T) {
	var b strings.Builder
	b.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for where, exprs := range dashboardExprs(t) {
		for _, expr := range exprs {
			n++
			fmt.Fprintf(&b, "  - record: panel_%d # %s\n    expr: %q\n", n, where, expr)
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

// TestRunbook wants a section of the runbook for every alert, and no other section.
func TestRunbook(t *testing.T) {
	page, err := os.ReadFile("runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(string(page), -1) {
		sections = append(sections, m[1])
	}
	data, err := os.ReadFile("exspan-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var alerts []string
	for _, text := range strings.Split(string(data), "- alert: ")[1:] {
		name, _, _ := strings.Cut(text, "\n")
		alerts = append(alerts, name)
		link := "runbook_url: https://github.com/exspan/exspan/blob/main/exporter/prometheus/mixin/runbook.md#" + strings.ToLower(name) + "\n"
		if strings.Count(text, link) != 1 {
			t.Errorf("%s does not link to its section of the runbook", name)
		}
		if !strings.Contains(string(readme), "| "+name+" |") {
			t.Errorf("README.md does not list %s", name)
		}
	}
	if !slices.Equal(sections, alerts) || len(alerts) == 0 {
		t.Errorf("the runbook has sections on\n%s\nand there are alerts\n%s", sections, alerts)
	}
}

// TestAlertsCanFire compares thresholds with what is possible: packets are at most
// seconds old when they are read, as the ring of the kernel holds no more.
func TestAlertsCanFire(t *testing.T) {
	for _, expr := range ruleExprs(t, "exspan-alerts.yaml") {
		if strings.Contains(expr, "exspan_capture_behind_seconds") {
			t.Errorf("%s: cannot fire", expr)
		}
	}
}

// TestTables wants rates or increases in tables and graphs, as a raw counter begins anew
// with the monitor.
func TestTables(t *testing.T) {
	raw := regexp.MustCompile(`(?:rate|increase)\((?:\w+:)?exspan_\w+(?::total)?\{[^}]*\}\[`)
	counter := regexp.MustCompile(`exspan_\w+_total\b|exspan_\w+:total\b`)
	for panel, exprs := range dashboardExprs(t) {
		for _, expr := range exprs {
			if !strings.HasPrefix(panel, "variable ") && counter.MatchString(raw.ReplaceAllString(expr, "")) {
				t.Errorf("%s: %s shows a raw counter", panel, expr)
			}
		}
	}
}

// TestJsonnet renders the mixin with another configuration.
func TestJsonnet(t *testing.T) {
	jsonnet, err := exec.LookPath("jsonnet")
	if err != nil {
		t.Skip("jsonnet is not installed")
	}
	out, err := exec.Command(jsonnet, "-e", `(import 'mixin.libsonnet') + { _config+:: { exspanSelector: 'job="sensors"', captureDrops: 7, runbookURL: 'http://wiki/%s', grafanaDashboardTags: ['mail'] } }
		+ { all: { alerts: $.prometheusAlerts, rules: $.prometheusRules, dashboard: $.grafanaDashboards['exspan.json'] } }`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	type rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	var got struct {
		All struct {
			Alerts, Rules rules
			Dashboard     struct{ Tags []string }
		}
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, g := range got.All.Alerts.Groups {
		for _, r := range g.Rules {
			seen[r.Alert] = r.Expr
			if r.Annotations["runbook_url"] != "http://wiki/"+strings.ToLower(r.Alert) {
				t.Errorf("%s links to %s", r.Alert, r.Annotations["runbook_url"])
			}
		}
	}
	if !strings.Contains(seen["ExspanDown"], `job="sensors"`) || strings.Contains(string(out), `job=\"exspan\"`) {
		t.Errorf("ExspanDown is %s", seen["ExspanDown"])
	}
	if !strings.HasSuffix(seen["ExspanCaptureDrops"], "> 7") {
		t.Errorf("ExspanCaptureDrops is %s", seen["ExspanCaptureDrops"])
	}
	if len(got.All.Rules.Groups) != 2 || !slices.Equal(got.All.Dashboard.Tags, []string{"mail"}) {
		t.Errorf("%d groups of rules, tags %s", len(got.All.Rules.Groups), got.All.Dashboard.Tags)
	}
}
