// Package health keeps what sensors that share with each other tell of themselves.
//
// What they tell comes from the network and may be made up: a list holds a bounded number
// of sensors, texts of bounded length, and counts what it refuses.
package health

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/exspan/exspan/classify/knowledge"
)

// State is what a sensor tells of itself every 10 s.
type State struct {
	Sensor  string    `json:"sensor"`
	Realm   string    `json:"realm"`
	Time    time.Time `json:"time,omitzero"` // by the clock of the sensor
	Version string    `json:"version"`
	Rules   string    `json:"rules"`
	// Packets and Dropped count since the sensor started.
	Packets uint64 `json:"packets"`
	Dropped uint64 `json:"dropped"`
	// Rate is in packets per second, and Behind in seconds between capture and reading.
	Rate   float64 `json:"packets_per_second"`
	Behind float64 `json:"behind_seconds"`
	// Interfaces are captured from; Down are those that are gone.
	Interfaces []string `json:"interfaces,omitempty"`
	Down       []string `json:"interfaces_down,omitempty"`
	Facts      int      `json:"facts"`
	// Unsent counts records that the sensor could not send since it started, because it
	// had no connection or too many waited.
	Unsent uint64 `json:"records_unsent,omitempty"`
}

// Limits of what is kept.
const (
	MaxSensors    = 1000
	maxVersion    = 64 // bytes
	maxInterfaces = 64
	// Silent is after how long without a state a sensor counts as silent: it has missed
	// three.
	Silent = 35 * time.Second
	// forget is after how long a silent sensor is forgotten.
	forget = 24 * time.Hour
)

// Check reports what keeps a state from being shown.
func (s *State) Check() error {
	if err := errors.Join(knowledge.CheckName(s.Sensor), knowledge.CheckName(s.Realm)); err != nil {
		return err
	}
	switch {
	case len(s.Version) > maxVersion:
		return fmt.Errorf("a version of %d bytes, at most %d can be", len(s.Version), maxVersion)
	case len(s.Interfaces)+len(s.Down) > maxInterfaces:
		return fmt.Errorf("%d interfaces, at most %d can be", len(s.Interfaces)+len(s.Down), maxInterfaces)
	case s.Rate < 0 || s.Behind < 0 || s.Facts < 0:
		return errors.New("a negative number")
	}
	return knowledge.CheckTexts(slices.Concat([]string{s.Version, s.Rules}, s.Interfaces, s.Down)...)
}

// Condition is how a sensor is, the gravest first.
type Condition string

// The conditions.
const (
	NotHeard      Condition = "silent"
	InterfaceDown Condition = "interface down"
	Losing        Condition = "losing packets" // between its last two states
	Well          Condition = "heard"
)

// Conditions returns all conditions, the gravest first.
func Conditions() []Condition { return []Condition{NotHeard, InterfaceDown, Losing, Well} }

// Rank returns the place of a condition among Conditions, or -1.
func (c Condition) Rank() int { return slices.Index(Conditions(), c) }

// Sensor is what is known of a sensor.
type Sensor struct {
	State
	// Heard is when it was heard last, by the clock of who heard it.
	Heard     time.Time `json:"heard"`
	Own       bool      `json:"own,omitempty"` // it is the sensor that tells of the fleet
	Condition Condition `json:"condition"`
	// DropRate is in packets per second, between its last two states.
	DropRate float64 `json:"dropped_per_second"`
}

// View is the fleet at one time, as one of its sensors sees it.
type View struct {
	AsOf  time.Time `json:"as_of"`
	Realm string    `json:"realm"`
	// Connected reports whether that sensor is connected. If it is not, others may fall
	// silent that are well.
	Connected bool `json:"connected"`
	// Sensors begin with that sensor, then those that need attention.
	Sensors []Sensor `json:"sensors"`
}

// Names returns the sensors in a condition.
func (v *View) Names(c Condition) []string {
	var names []string
	for i := range v.Sensors {
		if v.Sensors[i].Condition == c {
			names = append(names, v.Sensors[i].Sensor)
		}
	}
	return names
}

// Count returns the number of sensors by condition.
func Count(list []Sensor) map[Condition]int {
	n := map[Condition]int{}
	for i := range list {
		n[list[i].Condition]++
	}
	return n
}

// Check removes sensors that cannot be, and reports how many these were. It is for a view
// that was read from elsewhere.
func (v *View) Check() (removed int) {
	n := len(v.Sensors)
	v.Sensors = slices.DeleteFunc(v.Sensors, func(x Sensor) bool { return x.Check() != nil || x.Condition.Rank() < 0 })
	v.Sensors = v.Sensors[:min(len(v.Sensors), MaxSensors+1)]
	if knowledge.CheckName(v.Realm) != nil {
		v.Realm = ""
	}
	return n - len(v.Sensors)
}

// Sort sorts sensors: those that tell of the fleet first, then those that need attention
// most, then by name.
func Sort(list []Sensor) {
	rank := func(x *Sensor) int {
		if x.Own {
			return -1
		}
		return x.Condition.Rank()
	}
	slices.SortFunc(list, func(a, b Sensor) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.Sensor, b.Sensor), cmp.Compare(a.Realm, b.Realm))
	})
}

// List keeps the last states of other sensors. Its zero value is empty. Its methods may be
// called by any goroutine.
type List struct {
	mu      sync.Mutex
	sensors map[string]*Sensor
}

// Take takes in a state that was heard at a time, and reports whether there was room.
func (l *List) Take(s *State, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.at(s.Sensor, now)
	if x == nil {
		return false
	}
	x.DropRate = 0
	if s.Dropped > x.Dropped && !x.Time.IsZero() && now.After(x.Heard) { // it lost more since its state before
		x.DropRate = float64(s.Dropped-x.Dropped) / now.Sub(x.Heard).Seconds()
	}
	x.State, x.Heard = *s, now
	return true
}

// Know takes in that a sensor told something else at a time. That counts until its first
// state is heard.
func (l *List) Know(sensor, realm string, at, now time.Time) {
	if at.After(now) {
		at = now // clocks differ
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.sensors[sensor]
	if x == nil {
		if s := (State{Sensor: sensor, Realm: realm}); now.Sub(at) > forget || s.Check() != nil {
			return
		}
		if x = l.at(sensor, now); x == nil {
			return
		}
		x.Sensor, x.Realm = sensor, realm
	}
	if x.Time.IsZero() && x.Heard.Before(at) {
		x.Heard = at
	}
}

// at returns the entry of a sensor, which may be new. It is nil if the list is full of
// sensors that are heard.
func (l *List) at(sensor string, now time.Time) *Sensor {
	x := l.sensors[sensor]
	if x != nil {
		return x
	}
	if len(l.sensors) >= MaxSensors {
		oldest := ""
		for name, s := range l.sensors {
			if oldest == "" || s.Heard.Before(l.sensors[oldest].Heard) {
				oldest = name
			}
		}
		if now.Sub(l.sensors[oldest].Heard) <= Silent {
			return nil
		}
		delete(l.sensors, oldest)
	}
	if l.sensors == nil {
		l.sensors = map[string]*Sensor{}
	}
	x = &Sensor{}
	l.sensors[sensor] = x
	return x
}

// Sensors returns the sensors that were heard in the last day.
func (l *List) Sensors(now time.Time) []Sensor {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Sensor, 0, len(l.sensors)+1)
	for name, s := range l.sensors {
		if now.Sub(s.Heard) > forget {
			delete(l.sensors, name)
			continue
		}
		x := *s
		x.Condition = x.condition(now)
		list = append(list, x)
	}
	Sort(list)
	return list
}

func (s *Sensor) condition(now time.Time) Condition {
	switch {
	case now.Sub(s.Heard) > Silent:
		return NotHeard
	case len(s.Down) > 0:
		return InterfaceDown
	case s.DropRate > 0:
		return Losing
	}
	return Well
}

// Own returns the entry of the sensor that tells of the fleet, at a time.
func Own(s State, dropRate float64, now time.Time) Sensor {
	x := Sensor{State: s, Heard: now, Own: true, DropRate: dropRate}
	x.Condition = x.condition(now)
	return x
}
