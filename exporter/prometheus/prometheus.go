// Package prometheus exports traffic and flows by data path as Prometheus metrics.
//
// Every label value comes from a set that is fixed when the rules are loaded. No
// label holds an address, a port or a host name. Series for bytes, packets and
// expected flows of every path exist from the start, all others from their first
// sample.
package prometheus

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/exspan/exspan/classify/calls"
	"github.com/exspan/exspan/classify/judge"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// other stands for a label value outside its set.
const other = "other"

// The closed sets of observed values.
var (
	authValues = []string{"none", "anonymous", "basic", "login", "plain", "user-pass", "simple", "digest", "forms", "ntlm", "kerberos",
		"negotiate", "netlogon", "certificate", "bearer"}
	encryptionValues = []string{"none", "tls", "rpc-privacy", "rpc-integrity", "sasl-sealed", "sasl-signed", "smb3", "srtp", "net.tcp",
		"nns-protected", "opaque"}
	mediaServices = []string{"rtp", "rtcp", "srtp", "srtcp", "t38", "sip", "newmail"}
)

// setupBuckets are bounds in seconds. Servers on one switch answer within 0.1 ms. They
// are few because each is a series for every path; the native histogram is finer.
var setupBuckets = []float64{.00005, .0002, .001, .005, .02, .1, .5, 2}

// Interface holds the counters of a capture interface since it was opened.
type Interface struct {
	Name string
	// Packets is the number of packets delivered. Dropped is the number of packets
	// lost, by reason ("kernel", "interface").
	Packets uint64
	Dropped map[string]uint64
}

// An Exporter is a record.Sink and a prometheus.Collector. It counts flows by their
// records, and reads traffic from the engine at each scrape.
type Exporter struct {
	// Snapshot returns the counters of the engine. It must be set before the first
	// scrape, and must be safe to call at any time.
	Snapshot func() *record.Snapshot
	// Interfaces returns the counters of capture interfaces. nil means none.
	Interfaces func() []Interface

	flows      *prometheus.CounterVec
	attempts   *prometheus.CounterVec
	setup      *prometheus.HistogramVec
	auth       *prometheus.CounterVec
	encryption *prometheus.CounterVec
	findings   *prometheus.CounterVec
	told       map[uint64]uint64 // findings counted of flows that are still open, by the number of the flow
	unexpected *prometheus.CounterVec
	rtpPackets *prometheus.CounterVec
	rtpJitter  prometheus.Histogram
	rtpMOS     prometheus.Histogram

	mu       sync.Mutex
	services map[string]bool
	paths    []string // ids of documented paths
	seen     map[string]bool
	blocked  map[string]bool
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("exspan_"+name, help, labels, nil)
}

// Metrics that are read from the engine.
var (
	pathBytes      = desc("path_bytes_total", "IP bytes of flows by data path.", "path", "direction")
	pathPackets    = desc("path_packets_total", "Packets of flows by data path.", "path", "direction")
	pathActive     = desc("path_active_flows", "Live flows by data path.", "path")
	pathLastSeen   = desc("path_last_seen_timestamp_seconds", "Time of the last packet by data path, in seconds since the Unix epoch.", "path")
	pathState      = desc("documented_paths", "Documented data paths by what was seen of them: seen, blocked (attempts only) or unseen.", "state")
	relabelled     = desc("relabelled_flows_total", "Flows whose record names this path after their traffic was counted under another.", "path")
	pendingBytes   = desc("pending_bytes", "IP bytes of live flows that are not counted under a path yet.")
	pendingPackets = desc("pending_packets", "Packets of live flows that are not counted under a path yet.")
	ipBytes        = desc("ip_bytes_total", "IP bytes of all packets.")
	ipPackets      = desc("ip_packets_total", "All packets.")
	endpoints      = desc("learned_endpoints", "Learned endpoints that are valid now, by service and source.", "service", "source")
	flowTable      = desc("flow_table_flows", "Flows in the table by state: live, held (ended, verdict not final) or reading (content is being read).", "state")
	evictions      = desc("flow_table_evictions_total", "Flows ended early because the table was full.")
	limits         = desc("limit_reached_total", "Items refused or dropped because of a limit.", "limit")
	violations     = desc("observer_errors_total", "Flows whose observer found that they are not of its protocol.")
	frames         = desc("capture_frames_total", "Frames read, including skipped ones.")
	frameBytes     = desc("capture_bytes_total", "Captured bytes of frames read.")
	truncated      = desc("capture_truncated_packets_total", "Packets whose payload was cut by the snap length.")
	fragmented     = desc("capture_fragmented_datagrams_total", "Fragmented IP datagrams, by result.", "result")
	skipped        = desc("capture_skipped_frames_total", "Frames that became no packet, by reason.", "reason")
	capPackets     = desc("capture_packets_total", "Packets delivered by a capture interface.", "interface")
	copies         = desc("capture_duplicate_packets_total", "Packets left out because they are copies that a mirror port made.")
	missingBytes   = desc("tcp_missing_bytes_total", "TCP payload bytes that were not there when later ones came: the sensor missed them, or they came late.")
	lateBytes      = desc("tcp_late_bytes_total", "TCP payload bytes that were missing and came late.")
	clockSteps     = desc("capture_clock_steps_total", "Times that the clock of the capture went back.")
	clockOutliers  = desc("capture_clock_outliers_total", "Packets whose time was too far from that of others to be believed.")
	capDropped     = desc("capture_dropped_packets_total", "Packets lost before they were read.", "interface", "reason")
)

// New returns an Exporter for a set of rules.
func New(packs *rules.Packs) *Exporter {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "exspan_" + name, Help: help}, labels)
	}
	e := &Exporter{
		flows:    counter("path_flows_total", "Flows by data path and status, counted when final.", "path", "status"),
		attempts: counter("path_attempts_total", "Flows by data path and outcome of their set-up.", "path", "outcome"),
		setup: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "exspan_path_setup_seconds",
			Help: "Time from SYN to SYN-ACK by data path.", Buckets: setupBuckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}, []string{"path"}),
		auth: counter("path_authentication_flows_total", "Flows by data path and observed authentication, and whether the reference supports it.",
			"path", "mechanism", "documented"),
		encryption: counter("path_encryption_flows_total", "Flows by data path and observed encryption, and whether the reference supports it.",
			"path", "encryption", "documented"),
		findings: counter("path_findings_total", "Findings by data path, counted once for each flow: when the flow ends, or earlier if it has lasted. "+
			"The level is violation, remark, or accepted by the site file.", "path", "finding", "level"),
		told:       map[uint64]uint64{},
		unexpected: counter("unexpected_flows_total", "Flows of Exchange servers that no data path explains, by reason.", "reason"),
		rtpPackets: counter("rtp_packets_total", "RTP packets of streams that ended, by what became of them: expected, lost, duplicate or reordered.", "kind"),
		rtpJitter: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "exspan_rtp_jitter_seconds",
			Help: "Mean interarrival jitter of RTP streams that ended (RFC 3550).", Buckets: []float64{.001, .005, .01, .02, .05, .1}}),
		rtpMOS: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "exspan_rtp_mos",
			Help: "Mean opinion score of RTP streams that ended, estimated by the E-model without its delay term.", Buckets: []float64{1.5, 2, 2.5, 3, 3.5, 4, 4.3}}),
		services: map[string]bool{},
		seen:     map[string]bool{},
		blocked:  map[string]bool{},
	}
	for _, r := range []record.Reason{record.NoPath, record.WrongRole, record.WrongVersion, record.LocalOnly} {
		e.unexpected.WithLabelValues(string(r))
	}
	e.Reload(packs)
	return e
}

// Reload replaces the set of rules. Series of removed paths stay.
func (e *Exporter) Reload(packs *rules.Packs) {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.services)
	e.paths = e.paths[:0]
	for _, s := range mediaServices {
		e.services[s] = true
	}
	for _, pack := range packs.All() {
		for i := range pack.Interfaces {
			e.services[pack.Interfaces[i].Name] = true
		}
		for i := range pack.Paths {
			e.paths = append(e.paths, pack.Paths[i].ID)
		}
	}
	for _, l := range record.Labels(packs) {
		e.flows.WithLabelValues(l, string(record.Expected))
	}
}

// among returns value if it is in the set, and other if not.
func among(set []string, value string) string {
	if slices.Contains(set, value) {
		return value
	}
	return other
}

// Write counts a final record, and the findings of one of a flow that is still open.
func (e *Exporter) Write(r *record.Record) error {
	if r.State != "ended" {
		if r.Last.Sub(r.First) >= settled {
			e.countFindings(r, false)
		}
		return nil
	}
	v := &r.Verdict
	path := record.NoneLabel
	if v.Group != "" {
		path = v.Group
	}
	e.flows.WithLabelValues(path, string(v.Status)).Inc()
	if v.Status == record.Unexpected {
		e.unexpected.WithLabelValues(string(v.Reason)).Inc()
	}
	for i := range r.Streams {
		e.media(&r.Streams[i])
	}
	e.countFindings(r, true)
	if path == record.NoneLabel {
		return nil
	}
	if r.Outcome != "" {
		e.attempts.WithLabelValues(path, string(r.Outcome)).Inc()
	}
	if r.SetupTime > 0 {
		e.setup.WithLabelValues(path).Observe(r.SetupTime.Seconds())
	}
	for _, f := range r.Facts.All() {
		switch f.Name {
		case observe.Auth:
			e.auth.WithLabelValues(path, among(authValues, f.Value), judge.Documented(v, f.Name, f.Value, r.Facts)).Inc()
		case observe.Encryption:
			e.encryption.WithLabelValues(path, among(encryptionValues, f.Value), judge.Documented(v, f.Name, f.Value, r.Facts)).Inc()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	into := e.seen
	if r.Outcome.Blocked() {
		into = e.blocked
	}
	into[v.Path.ID] = true
	for _, p := range v.Also {
		into[p.ID] = true
	}
	return nil
}

// settled is how long a flow has to last until its findings are counted before its
// end: by then its beginning has been read. maxTold bounds the flows whose findings
// are counted early.
const (
	settled = 10 * time.Second
	maxTold = 1 << 18
)

var findingIDs = record.Findings()

// countFindings counts the findings of a flow that have not been counted. What was
// counted stays counted, whatever path the flow turns out to be on.
func (e *Exporter) countFindings(r *record.Record, last bool) {
	path, before := r.Verdict.Group, e.told[r.Number]
	if !last && before == 0 && len(e.told) >= maxTold {
		return
	}
	now := before
	for _, f := range r.Verdict.Findings {
		if i := slices.Index(findingIDs, f.ID); path != "" && i >= 0 && now&(1<<i) == 0 {
			now |= 1 << i
			e.findings.WithLabelValues(path, string(f.ID), string(f.Level)).Inc()
		}
	}
	switch {
	case last && before != 0:
		delete(e.told, r.Number)
	case !last && now != before:
		e.told[r.Number] = now
	}
}

// media counts one RTP stream.
func (e *Exporter) media(s *observe.Stream) {
	if s.Packets == 0 {
		return // known from RTCP only
	}
	q := calls.Quality(*s)
	for kind, n := range map[string]uint64{"expected": s.Expected, "lost": s.Lost, "duplicate": s.Duplicates, "reordered": s.Reordered} {
		e.rtpPackets.WithLabelValues(kind).Add(float64(n))
	}
	if q.Rate > 0 {
		e.rtpJitter.Observe(q.Jitter.Mean.Seconds())
	}
	if q.MOS > 0 {
		e.rtpMOS.Observe(q.MOS)
	}
}

// Close does nothing: the counters stay for the last scrape.
func (e *Exporter) Close(*record.Summary) error { return nil }

// Describe implements prometheus.Collector.
func (e *Exporter) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{pathBytes, pathPackets, pathActive, pathLastSeen, pathState, relabelled, pendingBytes, pendingPackets,
		ipBytes, ipPackets, endpoints, flowTable, evictions, limits, violations, frames, frameBytes, truncated, skipped, fragmented, copies, missingBytes, lateBytes,
		clockSteps, clockOutliers, capPackets, capDropped} {
		ch <- d
	}
	for _, c := range e.vectors() {
		c.Describe(ch)
	}
}

func (e *Exporter) vectors() []prometheus.Collector {
	return []prometheus.Collector{e.flows, e.attempts, e.setup, e.auth, e.encryption, e.findings, e.unexpected,
		e.rtpPackets, e.rtpJitter, e.rtpMOS}
}

// Collect implements prometheus.Collector.
func (e *Exporter) Collect(ch chan<- prometheus.Metric) {
	for _, c := range e.vectors() {
		c.Collect(ch)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	e.mu.Lock()
	states := map[string]int{}
	for _, id := range e.paths {
		switch {
		case e.seen[id]:
			states["seen"]++
		case e.blocked[id]:
			states["blocked"]++
		default:
			states["unseen"]++
		}
	}
	e.mu.Unlock()
	for _, state := range []string{"seen", "blocked", "unseen"} {
		gauge(pathState, float64(states[state]), state)
	}
	if e.Interfaces != nil {
		for _, i := range e.Interfaces() {
			counter(capPackets, i.Packets, i.Name)
			for reason, n := range i.Dropped {
				counter(capDropped, n, i.Name, reason)
			}
		}
	}
	s := e.Snapshot()
	for i := range s.Paths {
		p := &s.Paths[i]
		for _, d := range []observe.Direction{observe.ToServer, observe.ToClient} {
			counter(pathBytes, p.Bytes[d], p.Label, d.String())
			counter(pathPackets, p.Packets[d], p.Label, d.String())
		}
		if p.LastSeen != 0 {
			gauge(pathActive, float64(p.Active), p.Label)
			gauge(pathLastSeen, math.Round(float64(p.LastSeen)/1e6)/1e3, p.Label)
		}
		if p.Relabelled != 0 {
			counter(relabelled, p.Relabelled, p.Label)
		}
	}
	gauge(pendingBytes, float64(s.PendingBytes))
	gauge(pendingPackets, float64(s.PendingPackets))
	counter(ipBytes, s.IPBytes)
	counter(ipPackets, s.Packets)
	e.collectEndpoints(gauge, s)
	gauge(flowTable, float64(s.LiveFlows), "live")
	gauge(flowTable, float64(s.HeldFlows), "held")
	gauge(flowTable, float64(s.Reading), "reading")
	counter(evictions, s.Evicted)
	counter(violations, s.Violations)
	for _, l := range s.Limits {
		counter(limits, l.Count, l.ID)
	}
	counter(frames, s.Frames)
	counter(frameBytes, s.FrameBytes)
	counter(truncated, s.Truncated)
	counter(copies, s.Copies)
	counter(missingBytes, s.MissingBytes)
	counter(lateBytes, s.LateBytes)
	counter(clockSteps, s.ClockSteps)
	counter(clockOutliers, s.ClockOutliers)
	for _, n := range s.Skipped {
		counter(skipped, n.Count, n.ID)
	}
	for _, n := range s.Fragments {
		counter(fragmented, n.Count, n.ID)
	}
}

// collectEndpoints counts learned endpoints by service. Those without a service
// name count together.
func (e *Exporter) collectEndpoints(gauge func(*prometheus.Desc, float64, ...string), s *record.Snapshot) {
	type key struct{ service, source string }
	sums := map[key]int{}
	e.mu.Lock()
	for _, c := range s.Endpoints {
		service := c.Service
		if !e.services[service] {
			service = other
		}
		sums[key{service, string(c.Source)}] += c.Count
	}
	e.mu.Unlock()
	for k, n := range sums {
		gauge(endpoints, float64(n), k.service, k.source)
	}
}
