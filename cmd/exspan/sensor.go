package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/cmd/exspan/internal/screen"
	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/recent"
	"github.com/exspan/exspan/rules"
)

// sensor is a monitor that top shows.
type sensor struct {
	name, url string
	take      func(context.Context) (sample, error)
	flows     func(ctx context.Context, label string) ([]recent.Flow, error)
	fleet     func(context.Context) (*health.View, error) // nil if it is never asked for

	before, now sample // the last two
	err         error  // of the last question
	others      *health.View
	othersErr   error
}

// ask takes a sample.
func (s *sensor) ask(ctx context.Context) {
	now, err := s.take(ctx)
	if s.err = err; err == nil {
		s.before, s.now = s.now, now
	}
	if s.others, s.othersErr = nil, nil; err == nil && s.fleet != nil && s.shares() {
		s.others, s.othersErr = s.fleet(ctx)
	}
}

// shares reports whether a monitor shares with others.
func (s *sensor) shares() bool { return len(s.now.series["exspan_share_connected"]) > 0 }

// rate returns the increase a second of a counter between the last two samples.
func (s *sensor) rate(name string, labels ...string) float64 {
	seconds := s.now.at.Sub(s.before.at).Seconds()
	if s.before.series == nil || seconds <= 0 || s.err != nil {
		return 0
	}
	return max(s.now.sum(name, labels...)-s.before.sum(name, labels...), 0) / seconds
}

// scrape reads the metrics of a running monitor.
func scrape(ctx context.Context, client *http.Client, at string) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	resp, err := get(ctx, client, at, string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	if err != nil {
		return sample{}, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return sample{}, fmt.Errorf("%s; --username and --password-file give name and password", resp.Status)
	default:
		return sample{}, errors.New(resp.Status)
	}
	decoder := expfmt.NewDecoder(io.LimitReader(resp.Body, 64<<20), expfmt.ResponseFormat(resp.Header))
	var families []*dto.MetricFamily
	for {
		f := new(dto.MetricFamily)
		if err := decoder.Decode(f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return sample{}, err
		}
		families = append(families, f)
	}
	s := newSample(families)
	if len(s.series["exspan_ip_packets_total"]) == 0 {
		return sample{}, errors.New("these are not the metrics of an exspan monitor")
	}
	return s, nil
}

// sample holds the metrics at one time.
type sample struct {
	at     time.Time
	series map[string][]series // by name
}

type series struct {
	labels map[string]string
	value  float64
}

func newSample(families []*dto.MetricFamily) sample {
	s := sample{time.Now(), map[string][]series{}}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			v := series{labels: map[string]string{}}
			for _, l := range m.GetLabel() {
				v.labels[l.GetName()] = l.GetValue()
			}
			switch {
			case m.Counter != nil:
				v.value = m.GetCounter().GetValue()
			case m.Gauge != nil:
				v.value = m.GetGauge().GetValue()
			case m.Untyped != nil:
				v.value = m.GetUntyped().GetValue()
			case m.Histogram != nil:
				if n := m.GetHistogram().GetSampleCount(); n > 0 {
					v.value = m.GetHistogram().GetSampleSum() / float64(n) // the mean
				}
			}
			s.series[f.GetName()] = append(s.series[f.GetName()], v)
		}
	}
	return s
}

// sum adds the series of a metric that have all the labels given, as pairs of
// name and value.
func (s *sample) sum(name string, labels ...string) float64 {
	t := 0.0
next:
	for _, v := range s.series[name] {
		for i := 0; i+1 < len(labels); i += 2 {
			if v.labels[labels[i]] != labels[i+1] {
				continue next
			}
		}
		t += v.value
	}
	return t
}

// by sums a metric by the value of a label.
func (s *sample) by(name, label string) map[string]float64 {
	sums := map[string]float64{}
	for _, v := range s.series[name] {
		sums[v.labels[label]] += v.value
	}
	return sums
}

// pathNames returns a function that names a label of metrics for people.
func pathNames(packs *rules.Packs) func(string) string {
	return func(label string) string {
		if label == record.NoneLabel {
			return "(no documented path)"
		}
		if p := packs.Path(label); p != nil {
			return p.Name
		}
		return packs.GroupName(label)
	}
}

// newState adds up what the last samples of sensors say.
func newState(sensors []*sensor, name func(string) string) screen.State {
	state := screen.State{At: time.Now()}
	rows := map[string]*screen.Row{}
	findings := map[string]map[string]float64{} // by label, then finding
	unexpected := map[string]float64{}
	for _, s := range sensors {
		for _, v := range s.now.series["exspan_build_info"] {
			state.Version = v.labels["version"]
		}
		x := screen.Sensor{Name: s.name, Err: s.err, Bytes: s.rate("exspan_ip_bytes_total"), Packets: s.rate("exspan_ip_packets_total"),
			Dropped: s.now.sum("exspan_capture_dropped_packets_total"), DropRate: s.rate("exspan_capture_dropped_packets_total"),
			Behind: s.now.sum("exspan_capture_behind_seconds")}
		for _, v := range s.now.series["exspan_capture_interface_up"] {
			if v.value == 0 {
				x.Down = append(x.Down, v.labels["interface"])
			}
		}
		state.Sensors = append(state.Sensors, x)
		state.Live += s.now.sum("exspan_flow_table_flows", "state", "live")
		state.Held += s.now.sum("exspan_flow_table_flows", "state", "held")
		for _, metric := range []string{"exspan_unexpected_flows_total", "exspan_pending_unexpected_flows"} {
			for reason, n := range s.now.by(metric, "reason") {
				unexpected[reason] += n
			}
		}
		s.addRows(rows, findings, name)
	}
	state.Fleet, state.FleetNote = fleetOf(sensors)
	for reason, n := range unexpected {
		if n > 0 {
			state.Unexpected = append(state.Unexpected, screen.Count{What: reason, N: n})
			none := rowOf(rows, record.NoneLabel, name)
			none.Unexpected += n
		}
	}
	sortCounts(state.Unexpected)
	for _, label := range slices.Sorted(maps.Keys(rows)) {
		r := rows[label]
		for finding, n := range findings[label] {
			r.Findings = append(r.Findings, screen.Count{What: finding, N: n})
		}
		sortCounts(r.Findings)
		if r.Bytes > 0 || r.Flows > 0 || r.Deviating > 0 || r.Blocked > 0 || r.Unexpected > 0 {
			state.Rows = append(state.Rows, *r)
		}
	}
	return state
}

// fleetOf merges what monitors that share know of the sensors of their realms, and says in
// words what is missing.
func fleetOf(sensors []*sensor) (list []health.Sensor, note string) {
	at := map[[2]string]int{} // by realm and name
	for _, s := range sensors {
		switch {
		case s.othersErr != nil && len(sensors) > 1:
			note = s.name + ": " + s.othersErr.Error()
		case s.othersErr != nil:
			note = s.othersErr.Error()
		case s.others == nil:
			continue
		case !s.others.Connected:
			note = s.name + " has no connection to the hub; others may be well that are silent here"
		}
		if s.others == nil {
			continue
		}
		for _, x := range s.others.Sensors {
			key := [2]string{x.Realm, x.Sensor}
			i, known := at[key]
			switch {
			case !known:
				at[key] = len(list)
				list = append(list, x)
			case x.Own || !list[i].Own && x.Heard.After(list[i].Heard):
				list[i] = x
			}
		}
	}
	health.Sort(list)
	return list, note
}

func sortCounts(c []screen.Count) {
	slices.SortFunc(c, func(a, b screen.Count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.What, b.What)) })
}

func rowOf(rows map[string]*screen.Row, label string, name func(string) string) *screen.Row {
	r := rows[label]
	if r == nil {
		r = &screen.Row{Label: label, Name: cmp.Or(name(label), label)}
		rows[label] = r
	}
	return r
}

// addRows adds the paths of a sensor to rows, and its findings by label.
func (s *sensor) addRows(rows map[string]*screen.Row, findings map[string]map[string]float64, name func(string) string) {
	now := &s.now
	for label, bytes := range now.by("exspan_path_bytes_total", "path") {
		r := rowOf(rows, label, name)
		r.Bytes += bytes
		if bytes > 0 {
			r.ToServer += s.rate("exspan_path_bytes_total", "path", label, "direction", "to_server")
			r.ToClient += s.rate("exspan_path_bytes_total", "path", label, "direction", "to_client")
			r.Packets += s.rate("exspan_path_packets_total", "path", label)
			r.Setup = max(r.Setup, now.sum("exspan_path_setup_seconds", "path", label))
		}
		if seen := now.sum("exspan_path_last_seen_timestamp_seconds", "path", label); seen > 0 {
			if t := time.UnixMilli(int64(seen * 1e3)); t.After(r.LastSeen) {
				r.LastSeen = t
			}
		}
	}
	for label, n := range now.by("exspan_path_active_flows", "path") {
		rowOf(rows, label, name).Active += n
	}
	for _, v := range now.series["exspan_path_flows_total"] {
		r := rowOf(rows, v.labels["path"], name)
		r.Flows += v.value
		if v.labels["status"] == string(record.Deviating) {
			r.Deviating += v.value
		}
	}
	for label, n := range now.by("exspan_pending_deviating_flows", "path") {
		rowOf(rows, label, name).Deviating += n
	}
	for _, metric := range []string{"exspan_path_attempts_total", "exspan_pending_blocked_flows"} {
		for _, v := range now.series[metric] {
			if record.Outcome(v.labels["outcome"]).Blocked() {
				rowOf(rows, v.labels["path"], name).Blocked += v.value
			}
		}
	}
	for _, v := range now.series["exspan_path_findings_total"] {
		label := v.labels["path"]
		if findings[label] == nil {
			findings[label] = map[string]float64{}
		}
		findings[label][v.labels["finding"]] += v.value
	}
}
