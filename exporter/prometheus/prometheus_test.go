package prometheus

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

const site = `
exchange: "2010"
servers:
  - {name: hub1, addresses: [10.0.0.1], roles: [hub]}
  - {name: hub2, addresses: [10.0.0.2], roles: [hub]}
`

// setUp returns an engine with its exporter in a registry.
func setUp(t *testing.T) (*classify.Engine, *Exporter, *prometheus.Registry) {
	t.Helper()
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	s, err := rules.LoadSite("site.yaml", []byte(site))
	if err != nil {
		t.Fatal(err)
	}
	x := New(packs)
	e, err := classify.New(classify.Config{Packs: packs, Site: s, Traffic: true}, x)
	if err != nil {
		t.Fatal(err)
	}
	x.Snapshot = e.Snapshot
	x.Interfaces = func() []Interface {
		return []Interface{{Name: "eth0", Packets: 7, Dropped: map[string]uint64{"kernel": 2}}}
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(x)
	return e, x, reg
}

var (
	hub1 = capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.1:50000"))
	hub2 = capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.2:25"))
	ssh  = capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.2:22"))
)

func packet(n int, src, dst capture.Endpoint, flags uint8, seq uint32, payload string) capture.Packet {
	return capture.Packet{Number: uint64(n), Time: 1_600_000_000e9 + int64(n)*1e6, Length: 40 + uint32(len(payload)), Frames: 1, Proto: capture.TCP,
		Flags: flags, Src: src, Dst: dst, Seq: seq, Payload: []byte(payload), PayloadLength: uint32(len(payload)),
		Hash: capture.Hash(src, dst, capture.TCP)}
}

// value returns the value of the first series of a metric that has the labels.
func value(t *testing.T, reg *prometheus.Registry, name string, labels map[string]string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	metrics:
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if want, ok := labels[l.GetName()]; ok && want != l.GetValue() {
					continue metrics
				}
			}
			switch {
			case m.GetCounter() != nil:
				return m.GetCounter().GetValue()
			case m.GetHistogram() != nil:
				return m.GetHistogram().GetSampleSum()
			}
			return m.GetGauge().GetValue()
		}
	}
	return -1
}

// TestCounts holds a scrape against traffic counted by hand.
func TestCounts(t *testing.T) {
	e, _, reg := setUp(t)
	batch := &capture.Batch{Packets: []capture.Packet{
		packet(1, hub1, hub2, capture.SYN, 0, ""),                                                // 40 bytes
		packet(2, hub2, hub1, capture.SYN|capture.ACK, 0, ""),                                    // 40
		packet(3, hub1, hub2, capture.ACK, 1, ""),                                                // 40
		packet(4, hub2, hub1, capture.ACK, 1, "220 hub2 Microsoft ESMTP MAIL Service ready\r\n"), // 40 + 45
		packet(5, hub1, ssh, capture.SYN, 0, ""),                                                 // 40, another flow
	}}
	if err := e.Batch(batch); err != nil {
		t.Fatal(err)
	}
	// The greeting shows SMTP: the mail flow has settled, the other one is pending.
	want := `
# HELP exspan_pending_bytes IP bytes of live flows that are not counted under a path yet.
# TYPE exspan_pending_bytes gauge
exspan_pending_bytes 40
# HELP exspan_ip_bytes_total IP bytes of all packets.
# TYPE exspan_ip_bytes_total counter
exspan_ip_bytes_total 245
# HELP exspan_capture_dropped_packets_total Packets lost before they were read.
# TYPE exspan_capture_dropped_packets_total counter
exspan_capture_dropped_packets_total{interface="eth0",reason="kernel"} 2
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "exspan_pending_bytes", "exspan_ip_bytes_total", "exspan_capture_dropped_packets_total"); err != nil {
		t.Error(err)
	}
	hub := map[string]string{"path": "2010.transport.hub-hub", "direction": "to_server", "status": "expected"}
	if v := value(t, reg, "exspan_path_bytes_total", hub); v != 80 {
		t.Errorf("%v bytes to the server, want 80", v)
	}
	hub["direction"] = "to_client"
	if v := value(t, reg, "exspan_path_bytes_total", hub); v != 125 {
		t.Errorf("%v bytes to the client, want 125", v)
	}
	if v := value(t, reg, "exspan_path_active_flows", hub); v != 1 {
		t.Errorf("%v active flows, want 1", v)
	}
	if err := e.Close(nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"exspan_path_flows_total": 1, "exspan_path_active_flows": 0, "exspan_path_setup_seconds": .001} {
		if v := value(t, reg, name, hub); v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if v := value(t, reg, "exspan_path_bytes_total", map[string]string{"path": "none", "direction": "to_server"}); v != 40 {
		t.Errorf("%v bytes without a path, want 40", v)
	}
	if v := value(t, reg, "exspan_pending_bytes", nil); v != 0 {
		t.Errorf("%v bytes are pending at the end", v)
	}
	if v := value(t, reg, "exspan_documented_paths", map[string]string{"state": "seen"}); v != 1 {
		t.Errorf("%v paths were seen, want 1", v)
	}
}

// TestSeries writes a record for every path with every value there is: names
// follow the conventions, and the number of series keeps to its bound.
func TestSeries(t *testing.T) {
	e, x, reg := setUp(t)
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Batch(&capture.Batch{Packets: []capture.Packet{packet(1, hub1, hub2, capture.SYN, 0, "")}}); err != nil {
		t.Fatal(err)
	}
	before, err := testutil.GatherAndCount(reg)
	if err != nil {
		t.Fatal(err)
	}
	var strange observe.Facts
	strange.Add(observe.Auth, "made-up")
	strange.Add(observe.Encryption, "10.0.0.1")
	for _, path := range packs.Paths("2010") {
		for _, outcome := range []record.Outcome{record.Answered, record.Refused, record.Unanswered, record.Midstream} {
			for _, status := range []record.Status{record.Expected, record.Deviating} {
				r := record.Record{State: "ended", Outcome: outcome, SetupTime: time.Second, Facts: &strange,
					Verdict: record.Verdict{Status: status, Path: path, Group: path.ID, Findings: []record.Finding{{ID: "cleartext"}}}}
				if err := x.Write(&r); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	after := 0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			after++
			if h := m.GetHistogram(); h != nil {
				after += len(h.GetBucket()) + 2 // +Inf, sum and count
			}
		}
		if strings.Contains(f.String(), "10.0.0") || strings.Contains(f.String(), "made-up") {
			t.Errorf("%s has a label value from traffic", f.GetName())
		}
	}
	t.Logf("%d metrics before any flow, %d series with every path in use", before, after)
	if after > 3000 {
		t.Errorf("%d series with one version, want at most 3000", after)
	}
	if v := value(t, reg, "exspan_path_authentication_flows_total", map[string]string{"mechanism": "other"}); v <= 0 {
		t.Error("a mechanism outside the set must be counted as other")
	}
}

// TestFindingsOfOpenFlows counts each finding of a flow once, as soon as it has
// lasted.
func TestFindingsOfOpenFlows(t *testing.T) {
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	e := New(packs)
	count := func(path string, id record.FindingID, level record.Level) float64 {
		return testutil.ToFloat64(e.findings.WithLabelValues(path, string(id), string(level)))
	}
	begin := time.Unix(1_600_000_000, 0)
	at := func(state string, after time.Duration, path string, ids ...record.FindingID) {
		r := &record.Record{Number: 7, Facts: new(observe.Facts), First: begin, Last: begin.Add(after), State: state}
		if r.Verdict.Group = path; path != "" {
			r.Verdict.Path = &rules.DataPath{ID: path}
		}
		for _, id := range ids {
			r.Verdict.Findings = append(r.Verdict.Findings, record.Finding{ID: id, Level: record.Violation})
		}
		if err := e.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, clear, weak, other float64) {
		t.Helper()
		for _, c := range []struct {
			path string
			id   record.FindingID
			want float64
		}{{"a", record.FindingCleartext, clear}, {"a", record.FindingWeakAuth, weak}, {"b", record.FindingCleartext, other}} {
			if got := count(c.path, c.id, record.Violation); got != c.want {
				t.Errorf("%s: %v findings %s on %s, want %v", when, got, c.id, c.path, c.want)
			}
		}
	}
	at("active", 9*time.Second, "a", record.FindingCleartext)
	check("the verdict has not settled", 0, 0, 0)
	at("active", 60*time.Second, "a", record.FindingCleartext)
	at("active", 120*time.Second, "a", record.FindingCleartext)
	check("it has", 1, 0, 0)
	at("active", 180*time.Second, "a", record.FindingCleartext, record.FindingWeakAuth)
	check("a second finding", 1, 1, 0)
	at("ended", 240*time.Second, "b", record.FindingCleartext, record.FindingWeakAuth)
	check("the flow has ended, on another path", 1, 1, 0)
	if len(e.told) != 0 {
		t.Errorf("%d flows are remembered after their end", len(e.told))
	}
	at("ended", 1*time.Second, "b", record.FindingCleartext)
	check("a short flow", 1, 1, 1)
	if got := testutil.ToFloat64(e.flows.WithLabelValues("b", "")); got != 2 {
		t.Errorf("%v flows, want 2", got)
	}
	for n := range uint64(maxTold + 10) {
		r := &record.Record{Number: n + 100, First: begin, Last: begin.Add(time.Minute), State: "active"}
		r.Verdict = record.Verdict{Group: "c", Findings: []record.Finding{{ID: record.FindingCleartext, Level: record.Violation}}}
		if err := e.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if len(e.told) != maxTold || count("c", record.FindingCleartext, record.Violation) != maxTold {
		t.Errorf("%d flows are remembered, at most %d may be", len(e.told), maxTold)
	}
}

// TestSetupTime wants a set-up of 0.3 ms in a bucket of its own, and a native
// histogram beside the buckets.
func TestSetupTime(t *testing.T) {
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	e := New(packs)
	r := &record.Record{Facts: new(observe.Facts), State: "ended", SetupTime: 300 * time.Microsecond}
	r.Verdict = record.Verdict{Group: "a", Path: &rules.DataPath{ID: "a"}}
	if err := e.Write(r); err != nil {
		t.Fatal(err)
	}
	var m dto.Metric
	if err := e.setup.WithLabelValues("a").(prometheus.Histogram).Write(&m); err != nil {
		t.Fatal(err)
	}
	h := m.GetHistogram()
	for _, b := range h.GetBucket() {
		if want := b.GetUpperBound() >= .0003; (b.GetCumulativeCount() == 1) != want {
			t.Errorf("%d in the bucket up to %v s", b.GetCumulativeCount(), b.GetUpperBound())
		}
	}
	if h.GetBucket()[0].GetUpperBound() != .00005 || h.Schema == nil || len(h.GetPositiveSpan()) == 0 {
		t.Errorf("the histogram is %v", h)
	}
}
