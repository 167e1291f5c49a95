package screen

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/recent"
)

// full returns a view with everything in it that can be there, and in unusual
// length.
func full(width, height int) *view {
	s := State{At: time.Now(), Version: "1.2.3", Live: 123456, Held: 99, Message: strings.Repeat("level=WARN msg=\"\x1b[2J\" ", 20),
		Unexpected: []Count{{"no-path", 1e6}, {"wrong-role", 2}, {"wrong-version", 3}, {"local-only", 4}},
		Sensors: []Sensor{
			{Name: "sensor-with-a-long-name.example.org:10135", Bytes: 1e9, Packets: 1e6, Dropped: 1e12, DropRate: 1e5, Behind: 12, Down: []string{"eth1", "eth2"}},
			{Name: "gone", Err: errors.New(strings.Repeat("no route to host ", 20))},
		}}
	for i := range 12 {
		x := health.Sensor{State: health.State{Sensor: strings.Repeat("Zürich\x1b[2J", i+1), Version: strings.Repeat("v9", i), Rules: strings.Repeat("r ", 50), Time: s.At, Rate: 1e6, Dropped: 1 << 60},
			Heard: s.At.Add(-time.Duration(i) * time.Hour), Own: i == 0, Condition: health.Conditions()[i%4]}
		s.Fleet = append(s.Fleet, x)
	}
	s.FleetNote = strings.Repeat("no connection \x1b ", 20)
	for i := range 60 {
		s.Rows = append(s.Rows, Row{Label: fmt.Sprintf("2010.some.rather-long-label.%d", i), Name: strings.Repeat("Zürich ", i%9+1), ToServer: 1e9, Bytes: 1e15,
			Active: 1e6, Flows: 1e9, Deviating: float64(i % 2), Blocked: 99_999, Setup: 12.5, LastSeen: time.Now().Add(-48 * time.Hour),
			Findings: []Count{{"weak-auth", 12}, {"cleartext", 1e6}}})
	}
	v := &view{state: s, width: width, height: height, keys: true}
	for i := range 40 {
		v.flows = append(v.flows, recent.Flow{CommunityID: fmt.Sprint(i), ClientName: strings.Repeat("c", 60), Client: netip.MustParseAddrPort("[2001:db8:1234:5678:9abc:def0:1234:5678]:65535"),
			Server: netip.MustParseAddrPort("[2001:db8:1234:5678:9abc:def0:1234:5678]:65535"), Proto: "tcp", Status: record.Deviating, Why: strings.Repeat("because ", 80),
			Findings: []recent.Finding{{ID: record.FindingWeakAuth}, {ID: record.FindingCleartext}}})
	}
	return v
}

// TestFits wants every picture to fit into the terminal, whatever is on it.
func TestFits(t *testing.T) {
	for _, size := range [][2]int{{20, 5}, {40, 10}, {80, 24}, {100, 30}, {120, 40}, {250, 60}} {
		for _, show := range []struct {
			name string
			set  func(*view)
		}{
			{"paths", func(*view) {}}, {"end of the paths", func(v *view) { v.selected = v.rows()[59].Label }},
			{"flows", func(v *view) { v.path = v.state.Rows[3].Label }}, {"end of the flows", func(v *view) { v.path, v.flow = v.state.Rows[3].Label, "39" }},
			{"no flows", func(v *view) { v.path, v.flowsErr = "2010.x", errors.New(strings.Repeat("error ", 99)) }},
			{"help", func(v *view) { v.help = true }}, {"filter", func(v *view) { v.typing, v.filter = true, strings.Repeat("f", 99) }},
			{"nothing found", func(v *view) { v.filter = strings.Repeat("f", 99) }},
		} {
			v := full(size[0], size[1])
			show.set(v)
			lines := v.lines()
			if len(lines) != size[1] {
				t.Errorf("%s at %v: %d lines", show.name, size, len(lines))
			}
			for _, l := range lines {
				if n := len([]rune(l)); n > size[0] {
					t.Errorf("%s at %v: %d columns: %s", show.name, size, n, l)
				}
				if strings.Contains(l, "\x1b") {
					t.Errorf("%s: an escape sequence without colours: %q", show.name, l)
				}
			}
			if size[1] >= 24 && (show.name == "paths" || strings.HasPrefix(show.name, "end")) && !strings.Contains(strings.Join(lines, "\n"), "\n> ") {
				t.Errorf("%s at %v: what is chosen is not on the screen:\n%s", show.name, size, strings.Join(lines, "\n"))
			}
		}
	}
}

// TestFleet shows sensors that share: the own one is marked, what is wrong is in capitals,
// and what does not fit is counted.
func TestFleet(t *testing.T) {
	now := time.Now()
	sensor := func(name string, c health.Condition, ago time.Duration) health.Sensor {
		return health.Sensor{State: health.State{Sensor: name, Version: "1.2", Rules: "2010", Time: now, Rate: 1234, Dropped: 7}, Heard: now.Add(-ago), Condition: c}
	}
	list := []health.Sensor{sensor("one", health.Well, 0), sensor("gone", health.NotHeard, 3*time.Minute), sensor("lossy", health.Losing, time.Second)}
	list[0].Own = true
	for i := range 10 {
		list = append(list, sensor(fmt.Sprint("s", i), health.Well, 5*time.Second))
	}
	v := &view{state: State{At: now, Fleet: list}, width: 100, height: 24}
	got := strings.Join(v.lines(), "\n")
	for _, want := range []string{"\n* one     heard             1234       7  1.2      now      2010\n", "\n  gone    SILENT            1234       7  1.2      3 min    2010\n",
		"\n  lossy   LOSING PACKETS", "\n  and 9 more sensors: 9 heard;"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	v.height = 14
	if got := strings.Join(v.lines(), "\n"); !strings.Contains(got, "\nSensors: 1 silent, 1 losing packets, 11 heard\n") || strings.Contains(got, "lossy") {
		t.Errorf("on a low screen:\n%s", got)
	}
	v.height = 0
	if got := strings.Join(v.lines(), "\n"); !strings.Contains(got, "  s9  ") || strings.Contains(got, "more sensor") {
		t.Errorf("without a limit of the height not all are there:\n%s", got)
	}
	v.state.Fleet = nil
	if got := strings.Join(v.lines(), "\n"); strings.Contains(got, "SENSOR") {
		t.Errorf("sensors without sharing:\n%s", got)
	}
}
