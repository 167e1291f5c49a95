package screen

import (
	"fmt"
	"strings"

	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/text"
)

// maxFleet is the number of sensors that share that are listed above the data paths, if
// the height is limited.
const maxFleet = 6

// fleetLines lists the sensors that share, in a small table below a number of lines.
// Where that leaves no room for data paths, it is one line.
func (v *view) fleetLines(above int) []string {
	list := v.state.Fleet
	var lines []string
	if v.state.FleetNote != "" {
		lines = append(lines, cut("Sensors: "+v.state.FleetNote, v.width))
	}
	if len(list) == 0 {
		return lines
	}
	shown := list
	if v.height > 0 {
		const others = 12 // lines that are needed besides
		shown = list[:min(len(list), max(min(maxFleet, (v.height-above-others)/2), 0))]
	}
	if len(shown) == 0 {
		return append(lines, cut("Sensors: "+conditionsOf(list), v.width))
	}
	name, version := len("SENSOR"), len("VERSION")
	for i := range list {
		name, version = max(name, len([]rune(list[i].Sensor))), max(version, len([]rune(list[i].Version)))
	}
	name, version = min(name, 24), min(version, 16)
	lines = append(lines, v.paint(bold, cut("  "+pad("SENSOR", name)+"  "+pad("STATE", 14)+"  PKTS/s    LOST  "+pad("VERSION", version)+"  HEARD    RULES", v.width)))
	for i := range shown {
		lines = append(lines, v.fleetLine(&shown[i], name, version))
	}
	if rest := list[len(shown):]; len(rest) > 0 {
		lines = append(lines, cut("  and "+text.Count(uint64(len(rest)), "more sensor")+": "+conditionsOf(rest)+"; the live page lists all", v.width))
	}
	return lines
}

// conditionsOf counts sensors by how they are.
func conditionsOf(list []health.Sensor) string {
	n := health.Count(list)
	var parts []string
	for _, c := range health.Conditions() {
		if n[c] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[c], c))
		}
	}
	return strings.Join(parts, ", ")
}

// fleetLine shows a sensor. What is wrong with it is in capitals.
func (v *view) fleetLine(s *health.Sensor, name, version int) string {
	condition, style := string(s.Condition), ""
	if s.Condition != health.Well {
		condition, style = strings.ToUpper(condition), red
	}
	mark := "  "
	if s.Own {
		mark = "* "
	}
	heard := inAge(v.state.At.Sub(s.Heard))
	if s.Own {
		heard = "now"
	}
	rate, lost := inCount(s.Rate), inCount(float64(s.Dropped))
	if s.Time.IsZero() {
		rate, lost = "-", "-"
	}
	return v.paint(style, strings.TrimRight(cut(mark+pad(s.Sensor, name)+"  "+pad(condition, 14)+fmt.Sprintf("  %6s  %6s  ", rate, lost)+pad(s.Version, version)+
		"  "+pad(heard, 7)+"  "+s.Rules, v.width), " "))
}
