package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/live"
	"github.com/exspan/exspan/exporter/report"
	"github.com/exspan/exspan/exporter/share"
	"github.com/exspan/exspan/rules"
)

// TestFleetShown lets two monitors share over a hub, and a third sensor whose name and
// version are markup. All ways to look at the first show all three; those of a monitor
// that does not share show none.
func TestFleetShown(t *testing.T) {
	const evilName = `evil<img src=x onerror=alert(1)>`
	dir := t.TempDir()
	program, add := buildHub(t, dir)
	one, two, third := add("one"), add("two"), add(evilName)
	hub, process := runHub(t, program, dir)
	facts := manyFacts(1, 50)
	evil := share.New(share.Options{URL: "nats://" + hub, Credentials: third, Realm: "default", Sensor: evilName, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Tell: func([]knowledge.Told) {}, Facts: func(yield func([]knowledge.Fact) bool) { yield(facts) },
		State: func() health.State { return health.State{Version: "<b>9</b>", Rules: "none"} }})
	site := writeTemp(t, "site.yaml", liveSite+"sensors: [two]\n")
	m := feedMonitor(t, "--web.enable-lifecycle", "--site", site, "--sensor", "one", "--share", "nats://"+hub, "--share-credentials", one)
	other := feedMonitor(t, "--site", writeTemp(t, "other.yaml", liveSite), "--sensor", "two", "--share", "nats://"+hub, "--share-credentials", two)
	alone := feedMonitor(t, "--site", writeTemp(t, "alone.yaml", liveSite))
	for _, x := range []*fedMonitor{m, other, alone} {
		x.feed(liveStart + clearIMAP(2001) + later)
	}
	evil.Start()
	defer evil.Close()
	view := func() (v health.View) {
		if err := json.Unmarshal([]byte(m.get(live.SensorsPath)), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	m.wait("three sensors", func() bool {
		v := view()
		return v.Connected && len(v.Sensors) == 3 && v.Sensors[1].Version != "" && v.Sensors[2].Packets > 0
	})
	if v := view(); v.Realm != "default" || v.Sensors[0].Sensor != "one" || !v.Sensors[0].Own || v.Sensors[1].Sensor != evilName || v.Sensors[2].Sensor != "two" ||
		v.Sensors[2].Version != versionNumber() || v.Sensors[2].Condition != health.Well {
		t.Errorf("%+v", v)
	}
	m.wait("the page", func() bool { return strings.Contains(m.get("/live"), "Sensors: 3 of 3 of realm default are heard.") })
	page := m.get("/live")
	_, section, _ := strings.Cut(page, `<section id="sensors"`)
	for _, want := range []string{"<small>this sensor</small>", "evil&lt;img src=x", "&lt;b&gt;9&lt;/b&gt;", "two"} {
		if !strings.Contains(section, want) {
			t.Errorf("no %q in the section on sensors\n%s", want, section)
		}
	}
	if strings.Contains(page, "<img") {
		t.Error("a name is markup in the page")
	}
	if s, ok := metricsOf(strings.TrimPrefix(m.url, "http://")); !ok || s.sum("exspan_share_sensors", "condition", "heard") != 3 || s.sum("exspan_share_sensors") != 3 {
		t.Errorf("metrics: %v", s.series["exspan_share_sensors"])
	}
	topOf := func(x *fedMonitor) string {
		out, err := exspan(t, "top", "--once", "--interval", "100ms", x.url).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for _, want := range []string{"SENSOR ", "\n* one ", "\n  two ", "\n  evil<img "} {
		if got := topOf(m); !strings.Contains(got, want) {
			t.Errorf("top shows no %q:\n%s", want, got)
		}
	}
	if code, _ := fetch(t, alone.url+live.SensorsPath); code != http.StatusNotFound || strings.Contains(alone.get("/live"), "Sensors") || strings.Contains(alone.get("/metrics"), "exspan_share") ||
		strings.Contains(topOf(alone), "SENSOR") {
		t.Errorf("sensors at a monitor that does not share, status %d", code)
	}

	// The site file comes to believe the third sensor, which writes nothing new.
	told := func() float64 {
		s, _ := metricsOf(strings.TrimPrefix(m.url, "http://"))
		return s.sum("exspan_share_facts", "of", "endpoints")
	}
	if n := told(); n != 0 {
		t.Errorf("%v endpoints of a sensor that is not believed", n)
	}
	for _, tt := range []struct {
		sensors string
		want    float64
	}{{"sensors: [two, '" + evilName + "']\n", 50}, {"sensors: [two]\n", 0}, {"", 50}} {
		if err := os.WriteFile(site, []byte(liveSite+tt.sensors), 0o600); err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(m.url+"/-/reload", "", nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(err, resp)
		}
		_ = resp.Body.Close()
		m.wait(fmt.Sprintf("%v endpoints with %q", tt.want, tt.sensors), func() bool { return told() == tt.want })
	}

	_ = process.Process.Kill()
	m.wait("the end of the connection", func() bool { return !view().Connected })
	if got := topOf(m); !strings.Contains(got, "has no connection to the hub") {
		t.Errorf("top does not tell that there is no connection:\n%s", got)
	}
	m.wait("the page", func() bool { return strings.Contains(m.get("/live"), "this sensor has no connection to the hub.") })
}

// fetch returns the status and the body of a page.
func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	rec, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Body.Close()
	var b strings.Builder
	_ = rec.Write(&b)
	return rec.StatusCode, b.String()
}

// TestTopOfAnotherMachine asks a monitor that names sensors only to its own machine.
func TestTopOfAnotherMachine(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			fmt.Fprintf(w, fakeMetrics+"# TYPE exspan_share_connected gauge\nexspan_share_connected 1\n", 5, 500, "eth0", 1, "eth0", 0)
		case live.SensorsPath:
			w.WriteHeader(http.StatusForbidden)
		default:
			t.Errorf("top asks for %s", r.URL)
		}
	}))
	defer server.Close()
	out, err := exspan(t, "top", "--once", "--interval", "100ms", server.URL).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Sensors: the monitor names the sensors it shares with only to programs on its own") || !strings.Contains(string(out), "IMAP4") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestFleetInBrowser shows sensors in every condition, and hostile ones, in wide and narrow
// windows.
func TestFleetInBrowser(t *testing.T) {
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().UTC()
	sensor := func(name string, c health.Condition, ago time.Duration) health.Sensor {
		x := health.Sensor{State: health.State{Sensor: name, Realm: "default", Time: start, Version: "1.4.0", Rules: "2010 2013 2016", Packets: 1e9, Rate: 81_234.5,
			Interfaces: []string{"eth1", "eth2"}, Facts: 312}, Heard: start.Add(-ago), Condition: c}
		return x
	}
	own, gone, lossy, down, facts := sensor("berlin", health.Well, 0), sensor("london", health.NotHeard, 200*time.Second), sensor("paris", health.Losing, 3*time.Second),
		sensor("rome", health.InterfaceDown, 4*time.Second), sensor("madrid", health.NotHeard, 9*time.Hour)
	own.Own, lossy.Dropped, lossy.DropRate, down.Down, down.Interfaces = true, 1_234_567, 310.4, []string{"eth2"}, []string{"eth1"}
	down.Version, facts.State = "1.3.2", health.State{Sensor: "madrid", Realm: "default"}
	evil := sensor(`"><img src=x onerror=alert(1)>`+strings.Repeat("w", 90), health.Well, time.Second)
	evil.Version, evil.Rules = strings.Repeat("v", 64), "<script>alert(1)</script> "+strings.Repeat("r", 200)
	view := &health.View{AsOf: start, Realm: "default", Connected: true, Sensors: []health.Sensor{own, gone, lossy, down, facts, evil, sensor("oslo", health.Well, time.Second)}}
	health.Sort(view.Sensors)
	s := live.New(live.Options{Report: report.Options{Packs: packs, Format: report.HTML, Title: "berlin", Assumed: "2010", Diagram: drawDiagram(nil)},
		Summary: func() *record.Summary { return &record.Summary{} }, Now: func() []string { return []string{fleetLine(view)} }, Fleet: func() *health.View { return view },
		Clock: func() time.Time { return time.Now().UTC() }, Criteria: queryCriteria, Fields: filterFields})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(func() { _ = s.Close(nil) })
	b := newLiveBrowser(t, server.URL)
	b.run(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(server.URL+"/live"), chromedp.WaitReady("body"))
	b.until(`document.querySelector("#live-status").textContent === "Live."`)
	if got := b.eval(`Array.from(document.querySelectorAll("#sensors-t tbody tr .badge")).map(x => x.textContent.slice(2)).join()`); got != "heard,silent,silent,interface down,losing packets,heard,heard" {
		t.Errorf("the conditions are %s", got)
	}
	if got := b.eval(`document.querySelectorAll("img").length + document.querySelectorAll("script").length`); got != "2" {
		t.Errorf("%s images and scripts, want the two scripts of the page", got)
	}
	for _, width := range []int64{1280, 390} {
		b.run(chromedp.EmulateViewport(width, 844))
		if got := b.eval(fmt.Sprintf(`document.documentElement.scrollWidth <= %d`, width)); got != "true" {
			t.Errorf("at %d px the page is %s px wide", width, b.eval(`document.documentElement.scrollWidth`))
		}
	}
	b.run(chromedp.Navigate(server.URL+"/sensors"), chromedp.WaitReady("body"))
	if got := b.eval(`document.querySelectorAll("img").length === 0 && document.body.textContent.includes("london")`); got != "true" {
		t.Error("the JSON is shown as a page")
	}
	b.run(chromedp.Navigate(server.URL+"/live"), chromedp.WaitReady("body"))
	b.clean()
	b.shoot("live-sensors-1280", 1280, 900, false, true)
	b.shoot("live-sensors-1280-dark", 1280, 900, true, true)
	b.shoot("live-sensors-390", 390, 844, false, true)
	b.shoot("live-sensors-390-dark", 390, 844, true, true)
}

// TestFleetOf merges what several monitors say: what a sensor says of itself counts most,
// then what was heard last, and sensors of other realms are others.
func TestFleetOf(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	entry := func(realm, name string, own bool, ago time.Duration, version string) health.Sensor {
		c := health.Well
		if ago > health.Silent {
			c = health.NotHeard
		}
		return health.Sensor{State: health.State{Realm: realm, Sensor: name, Version: version}, Own: own, Heard: now.Add(-ago), Condition: c}
	}
	a := &sensor{name: "a:1", others: &health.View{Connected: true, Sensors: []health.Sensor{entry("r", "a", true, time.Second, "own"), entry("r", "b", false, 0, "heard"), entry("r", "c", false, time.Hour, "old")}}}
	b := &sensor{name: "b:1", others: &health.View{Connected: true, Sensors: []health.Sensor{entry("r", "b", true, time.Second, "own"), entry("r", "a", false, 0, "heard"), entry("r", "c", false, time.Second, "new")}}}
	other := &sensor{name: "c:1", others: &health.View{Sensors: []health.Sensor{entry("x", "a", true, 0, "own")}}}
	list, note := fleetOf([]*sensor{a, b, {name: "alone:1"}, other})
	var got []string
	for _, s := range list {
		got = append(got, s.Realm+" "+s.Sensor+" "+s.Version)
	}
	if want := "[r a own x a own r b own r c new]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if !strings.HasPrefix(note, "c:1 has no connection to the hub") {
		t.Errorf("the note is %q", note)
	}
	if list, note := fleetOf([]*sensor{{name: "alone:1"}}); list != nil || note != "" {
		t.Errorf("without sharing %v, %q", list, note)
	}
}
