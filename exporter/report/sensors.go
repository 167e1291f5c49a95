package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/text"
)

// sensors lists the sensors that share with a monitor. It returns nil where there is no
// sharing.
func (l *Live) sensors() *table {
	if l == nil || l.Fleet == nil {
		return nil
	}
	v := l.Fleet
	t := &table{ID: "sensors", Title: "Sensors", Intro: "Sensors that share what they learn in realm " + text.Printable(v.Realm) + ", this one first, then those that need attention.",
		Cols: []col{{"Sensor", false}, {"State", false}, {"Packets/s", true}, {"Lost", true}, {"Version", false}, {"Rules", false}, {"Interfaces", false}, {"Heard", false}}}
	if !v.Connected {
		t.Intro += " This sensor has no connection to the hub now, so others may be well that are silent here."
	}
	if l.FleetJSON != "" {
		t.Links = []link{{l.FleetJSON, "As JSON"}}
	}
	own := &health.Sensor{}
	if i := slices.IndexFunc(v.Sensors, func(s health.Sensor) bool { return s.Own }); i >= 0 {
		own = &v.Sensors[i]
	}
	for i := range v.Sensors {
		t.Rows = append(t.Rows, l.sensorRow(&v.Sensors[i], own))
	}
	t.cut(maxRows, "sensor", "")
	return t
}

// sensorRow shows a sensor, and how it differs from the own one.
func (l *Live) sensorRow(s, own *health.Sensor) row {
	name := words(s.Sensor)
	if s.Own {
		name = words(s.Sensor, "this sensor")
	}
	if s.Time.IsZero() { // known by its facts alone
		return row{name, condition(l, s), {}, {}, {}, {}, {}, timeCell(l.AsOf, s.Heard)}
	}
	lost := number(s.Dropped)
	if s.DropRate > 0 {
		lost.Lines = []string{perSecond(s.DropRate)}
	}
	version, rules := words(s.Version), words(s.Rules)
	if s.Version != own.Version {
		version = words(s.Version, "this sensor: "+own.Version)
	}
	if s.Rules != own.Rules {
		rules = words(s.Rules, "differ from those of this sensor")
	}
	var interfaces []string
	for _, name := range s.Down {
		interfaces = append(interfaces, name+" is down")
	}
	interfaces = append(interfaces, s.Interfaces...)
	const most = 6
	if n := len(interfaces) - most; n > 0 {
		interfaces = append(interfaces[:most], fmt.Sprintf("%d more", n))
	}
	rate := cell{Text: text.Thousands(uint64(s.Rate + 0.5)), Sort: strconv.FormatFloat(s.Rate, 'f', 3, 64)}
	if s.Behind >= 1 {
		rate.Lines = []string{fmt.Sprintf("%.0f s behind", s.Behind)}
	}
	return row{name, condition(l, s), rate, lost, version, rules, words(strings.Join(interfaces, ", ")), timeCell(l.AsOf, s.Heard)}
}

// perSecond words a rate of packets.
func perSecond(rate float64) string {
	if rate < 1 {
		return "less than 1/s now"
	}
	return text.Thousands(uint64(rate+0.5)) + "/s now"
}

// silence words for how long a sensor has not been heard, so that it changes rarely.
func silence(d time.Duration) string {
	switch {
	case d < time.Minute:
		return ""
	case d < 2*time.Hour:
		return fmt.Sprintf("for %d min", int(d.Minutes()))
	}
	return fmt.Sprintf("for %d h", int(d.Hours()))
}

// condition shows how a sensor is.
func condition(l *Live, s *health.Sensor) cell {
	switch s.Condition {
	case health.NotHeard:
		return stateCell(state{"bad", "✕", string(s.Condition)}, s.Condition.Rank(), silence(l.Fleet.AsOf.Sub(s.Heard)))
	case health.InterfaceDown:
		return stateCell(state{"bad", "!", string(s.Condition)}, s.Condition.Rank())
	case health.Losing:
		return stateCell(state{"warn", "!", string(s.Condition)}, s.Condition.Rank())
	}
	return stateCell(state{"good", "✓", string(health.Well)}, health.Well.Rank())
}
