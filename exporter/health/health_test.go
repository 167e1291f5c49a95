package health

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Unix(1_700_000_000, 0)

func stateOf(name string, dropped uint64) *State {
	return &State{Sensor: name, Realm: "r", Time: start, Version: "1", Rules: "a", Dropped: dropped}
}

// byName returns the sensors of a list at a time.
func byName(l *List, now time.Time) map[string]Sensor {
	all := map[string]Sensor{}
	for _, s := range l.Sensors(now) {
		all[s.Sensor] = s
	}
	return all
}

// TestCheck tries states that cannot be.
func TestCheck(t *testing.T) {
	if err := stateOf("a", 1).Check(); err != nil {
		t.Errorf("a usual state: %v", err)
	}
	for name, change := range map[string]func(*State){
		"no name":                func(s *State) { s.Sensor = "" },
		"a long name":            func(s *State) { s.Sensor = strings.Repeat("x", 129) },
		"a long realm":           func(s *State) { s.Realm = strings.Repeat("x", 129) },
		"an escape sequence":     func(s *State) { s.Sensor = "a\x1b[2J" },
		"a new line":             func(s *State) { s.Version = "1\n2" },
		"right to left":          func(s *State) { s.Sensor = "a\u202eb" },
		"no UTF-8":               func(s *State) { s.Rules = "\xff" },
		"a long version":         func(s *State) { s.Version = strings.Repeat("x", 65) },
		"a long rule":            func(s *State) { s.Rules = strings.Repeat("x", 257) },
		"a long interface":       func(s *State) { s.Interfaces = []string{strings.Repeat("x", 257)} },
		"an interface of escape": func(s *State) { s.Down = []string{"\x1b"} },
		"many interfaces":        func(s *State) { s.Interfaces, s.Down = make([]string, 40), make([]string, 25) },
		"a negative rate":        func(s *State) { s.Rate = -1 },
		"negative facts":         func(s *State) { s.Facts = -1 },
	} {
		s := stateOf("a", 1)
		change(s)
		if s.Check() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// TestConditions lets sensors lose packets and interfaces, and fall silent.
func TestConditions(t *testing.T) {
	var l List
	now := start
	for range 3 {
		now = now.Add(10 * time.Second)
		for _, name := range []string{"well", "lossy", "down", "silent"} {
			s := stateOf(name, 100)
			switch {
			case name == "lossy":
				s.Dropped = uint64(now.Sub(start).Seconds()) * 5
			case name == "down":
				s.Down = []string{"eth1"}
			case name == "silent" && now.After(start.Add(10*time.Second)):
				continue
			}
			if !l.Take(s, now) {
				t.Fatal("no room")
			}
		}
	}
	now = now.Add(16 * time.Second)
	got := byName(&l, now)
	for name, want := range map[string]Condition{"well": Well, "lossy": Losing, "down": InterfaceDown, "silent": NotHeard} {
		if got[name].Condition != want {
			t.Errorf("%s is %q, want %q", name, got[name].Condition, want)
		}
	}
	if r := got["lossy"].DropRate; r != 5 {
		t.Errorf("lossy loses %v packets/s, want 5", r)
	}
	if r := got["well"].DropRate; r != 0 {
		t.Errorf("what was lost before the first state counts: %v packets/s", r)
	}
	list := append(l.Sensors(now), Own(*stateOf("zz", 0), 0, now))
	Sort(list)
	var order []string
	for _, s := range list {
		order = append(order, s.Sensor)
	}
	if want := []string{"zz", "silent", "down", "lossy", "well"}; !slices.Equal(order, want) {
		t.Errorf("the order is %v, want %v", order, want)
	}
	if n := len(byName(&l, now.Add(25*time.Hour))); n != 0 {
		t.Errorf("%d sensors are remembered after a day", n)
	}
	if n := len(l.sensors); n != 0 {
		t.Errorf("%d sensors are kept after a day", n)
	}
}

// TestKnow learns of sensors from what they told before.
func TestKnow(t *testing.T) {
	var l List
	l.Know("old", "r", start.Add(-25*time.Hour), start)
	l.Know("gone", "r", start.Add(-3*time.Hour), start)
	l.Know("gone", "r", start.Add(-2*time.Hour), start)
	l.Know("gone", "r", start.Add(-4*time.Hour), start)
	l.Know("ahead", "r", start.Add(time.Hour), start)
	l.Know("bad\x1b", "r", start, start)
	got := byName(&l, start)
	if s := got["gone"]; len(got) != 2 || s.Condition != NotHeard || !s.Heard.Equal(start.Add(-2*time.Hour)) || s.Realm != "r" {
		t.Errorf("%+v", got)
	}
	if s := got["ahead"]; !s.Heard.Equal(start) {
		t.Errorf("heard %s, want no later than now", s.Heard)
	}
	l.Take(stateOf("gone", 50), start)
	l.Know("gone", "r", start.Add(time.Minute), start.Add(time.Minute))
	if s := byName(&l, start)["gone"]; s.Condition != Well || s.DropRate != 0 || !s.Heard.Equal(start) {
		t.Errorf("after its first state: %+v", s)
	}
}

// TestFull fills a list with sensors.
func TestFull(t *testing.T) {
	var l List
	for i := range MaxSensors {
		if !l.Take(stateOf(fmt.Sprint(i), 0), start.Add(time.Duration(i))) {
			t.Fatalf("no room for sensor %d", i)
		}
	}
	if l.Take(stateOf("more", 0), start.Add(time.Second)) {
		t.Error("room for one more while all are heard")
	}
	late := start.Add(Silent + time.Second)
	if !l.Take(stateOf("more", 0), late) || len(l.sensors) != MaxSensors || l.sensors["0"] != nil {
		t.Errorf("%d sensors; the one silent for longest has to make room", len(l.sensors))
	}
}

// TestViewFromElsewhere reads a view that a hostile monitor made up.
func TestViewFromElsewhere(t *testing.T) {
	var v View
	if err := json.Unmarshal([]byte(`{"realm":"`+strings.Repeat("r", 200)+`","sensors":[{"sensor":"a","realm":"r","condition":"heard"},{"sensor":"b\u001b","realm":"r","condition":"heard"},
		{"sensor":"c","realm":"r","condition":"\u001b"},{"sensor":"","realm":"r","condition":"silent"}]}`), &v); err != nil {
		t.Fatal(err)
	}
	if n := v.Check(); n != 3 || len(v.Sensors) != 1 || v.Sensors[0].Sensor != "a" || v.Realm != "" {
		t.Errorf("%d were removed, left %+v of realm %q", n, v.Sensors, v.Realm)
	}
}
