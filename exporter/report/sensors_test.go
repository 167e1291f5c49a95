package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/health"
)

// livePage returns the page of a monitor that knows of a fleet.
func livePage(t *testing.T, v *health.View) string {
	t.Helper()
	s := New(nil, Options{Packs: packsOf(t), Format: HTML, Title: "test", Assumed: "2010"})
	p, err := s.Live(&record.Summary{}, &Live{AsOf: time.Unix(1_700_000_000, 0), Flows: "/live/flows", Fleet: v, FleetJSON: "/sensors"})
	if err != nil {
		t.Fatal(err)
	}
	return string(p.HTML)
}

// sensorsSection returns the section on sensors, or nothing.
func sensorsSection(page string) string {
	_, rest, _ := strings.Cut(page, `<section id="sensors"`)
	section, _, _ := strings.Cut(rest, "</section>")
	return section
}

// TestSensors shows sensors in every condition.
func TestSensors(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	state := health.State{Sensor: "one", Realm: "r", Time: now, Version: "1.2", Rules: "2010", Packets: 1, Rate: 1234.5, Interfaces: []string{"eth0"}}
	lossy, down, other := state, state, state
	lossy.Sensor, lossy.Dropped, down.Sensor, down.Interfaces, down.Down = "lossy", 12_345, "down", nil, []string{"eth1"}
	other.Sensor, other.Version, other.Rules = "other", "1.3", "2013"
	v := &health.View{AsOf: now, Realm: "r", Connected: true, Sensors: []health.Sensor{health.Own(state, 0, now),
		{State: health.State{Sensor: "gone"}, Heard: now.Add(-3 * time.Minute), Condition: health.NotHeard}, {State: down, Heard: now, Condition: health.InterfaceDown},
		{State: lossy, Heard: now, Condition: health.Losing, DropRate: 17.2}, {State: other, Heard: now, Condition: health.Well}}}
	got := sensorsSection(livePage(t, v))
	last := -1
	for _, want := range []string{"in realm r, this one first", `href="/sensors"`, "one<small>this sensor</small>", "✓</i> heard", "1,235", "gone", "✕</i> silent", "for 3 min", "!</i> interface down",
		"eth1 is down", "!</i> losing packets", "12,345", "17/s now", "other", "1.3<small>this sensor: 1.2", "2013<small>differ from those of this sensor"} {
		at := strings.Index(got, want)
		if at <= last {
			t.Errorf("%q is missing, or not where it belongs, in\n%s", want, got)
		}
		last = max(at, last)
	}
	if strings.Contains(got, "no connection") {
		t.Error("the connection is there")
	}
	v.Connected = false
	if got := sensorsSection(livePage(t, v)); !strings.Contains(got, "no connection to the hub") {
		t.Error("nothing tells that there is no connection")
	}
	if page := livePage(t, nil); sensorsSection(page) != "" || strings.Contains(page, "/sensors") || strings.Contains(page, `href="#sensors"`) {
		t.Error("sensors are shown without sharing")
	}
}

// TestHostileSensors shows names and versions that are markup, very long and very many.
func TestHostileSensors(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	own := health.Own(health.State{Sensor: evil, Realm: evil, Time: now, Version: evil, Rules: evil, Interfaces: []string{evil}, Down: []string{evil}}, 1, now)
	v := &health.View{AsOf: now, Realm: evil, Sensors: []health.Sensor{own}}
	for i := range health.MaxSensors {
		s := own
		s.Own, s.Condition, s.Sensor, s.Version = false, health.Conditions()[i%4], evil+strings.Repeat("x", 60)+fmt.Sprint(i), strings.Repeat("\u202e<b>", 80)
		for range 60 {
			s.Interfaces = append(s.Interfaces, evil)
		}
		v.Sensors = append(v.Sensors, s)
	}
	page := livePage(t, v)
	for tag, want := range map[string]int{"<script": 2, "<img": 0} {
		if n := strings.Count(page, tag); n != want {
			t.Errorf("%d times %s in the page, want %d", n, tag, want)
		}
	}
	got := sensorsSection(page)
	if strings.Contains(got, "<b>") || !strings.Contains(got, "&lt;b&gt;") || !strings.Contains(got, "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("text of a sensor is markup in the page")
	}
	if strings.Contains(got, "\u202e") {
		t.Error("a character that turns text around is in the page")
	}
	if n := strings.Count(got, "<tr>"); n != maxRows+1 {
		t.Errorf("%d rows, want %d and the head", n, maxRows)
	}
	if !strings.Contains(got, "751 more sensors left out") {
		t.Error("nothing tells how many were left out")
	}
	if n := len(got); n > 2<<20 {
		t.Errorf("%d bytes", n)
	}
}
