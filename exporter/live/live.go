// Package live serves what a running monitor has found: a page that updates itself, the list
// of the last flows, a report as of now, and a stream of records.
//
// Its pages hold addresses and names; who may see them is for the caller to decide. A
// Server counts records as they come, and makes a page only when somebody asks for one, at
// most once in a while for all. It never waits for a client: one that does not read what
// it asked for is cut off, and counted.
package live

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/filter"
	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/recent"
	"github.com/exspan/exspan/exporter/report"
	"github.com/exspan/exspan/rules"
)

// The limits of a Server.
const (
	maxClients   = 64  // of streams, at once
	maxWaiting   = 512 // records that wait for one client
	writeTimeout = 10 * time.Second
	heartbeat    = 15 * time.Second // in which a stream says something at least
	// interval is the age at which a page is made anew, and idle how many times as long as
	// the making the time without it is at least.
	interval = 2 * time.Second
	idle     = 10
)

// The addresses of what a Server serves.
const (
	PagePath    = "/live"
	FlowsPath   = "/live/flows"
	ReportPath  = "/report"
	RecordsPath = "/records"
	SensorsPath = "/sensors"
	eventsPath  = "/live/events"
	flowEvents  = "/live/flows/events"
)

// Paths returns all of them.
func Paths() []string {
	return []string{PagePath, FlowsPath, ReportPath, RecordsPath, SensorsPath, eventsPath, flowEvents}
}

// Options say what a Server knows of the monitor.
type Options struct {
	// Report says how pages are written; its Title names the monitor.
	Report report.Options
	// Summary returns what the engine has learned so far, and Now says in lines what goes on.
	// They may be called by any goroutine.
	Summary func() *record.Summary
	Now     func() []string
	// Pending returns the records that match of flows that may need attention and are not
	// final, the one that began last first. It may be nil.
	Pending func(match func(*record.Record) bool) []record.Record
	// Fleet returns what is known of the sensors that share; nil where none do.
	Fleet func() *health.View
	// Clock returns the time.
	Clock func() time.Time
	// Criteria returns what a query chooses flows by, and Fields the form for it.
	Criteria func(url.Values) (*filter.Criteria, error)
	Fields   func(url.Values) []report.Field
}

// Server is a record.Sink and an http.Handler. Its methods may be called by any
// goroutine, but Write by one at a time.
type Server struct {
	o   Options
	mux *http.ServeMux

	mu      sync.Mutex // held for short: Write waits for it
	report  *report.Sink
	packs   *rules.Packs
	ring    recent.Ring
	streams map[*stream]bool

	clients atomic.Int64
	dropped atomic.Uint64
	ended   chan struct{}
	end     sync.Once

	making sync.Mutex // held while a page is made
	made   made
}

// made is the page that was made last.
type made struct {
	*report.Page
	err  error
	at   time.Time
	took time.Duration
}

// New returns a Server.
func New(o Options) *Server {
	o.Report.KeepLast = true
	s := &Server{o: o, mux: http.NewServeMux(), report: report.New(nil, o.Report), packs: o.Report.Packs, streams: map[*stream]bool{}, ended: make(chan struct{})}
	for path, serve := range map[string]http.HandlerFunc{PagePath: s.servePage, FlowsPath: s.serveFlows, ReportPath: s.serveReport, RecordsPath: s.serveRecords,
		eventsPath: s.serveEvents, flowEvents: s.serveFlowEvents} {
		s.mux.HandleFunc("GET "+path, serve)
	}
	if o.Fleet != nil {
		s.mux.HandleFunc("GET "+SensorsPath, s.serveSensors)
	}
	return s
}

// Write counts r.
func (s *Server) Write(r *record.Record) error {
	if r.State == "active" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring.Write(r)
	s.tell(r)
	return s.report.Write(r)
}

// Close ends all streams. The pages stay.
func (s *Server) Close(*record.Summary) error {
	s.end.Do(func() { close(s.ended) })
	return nil
}

// Reload replaces what pages take from rules and site file: see report.Options.
func (s *Server) Reload(packs *rules.Packs, diagram report.Drawer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.packs = packs
	s.report.Reload(packs, diagram)
}

// Dropped returns the number of clients that were cut off because they did not read.
func (s *Server) Dropped() uint64 { return s.dropped.Load() }

// ServeHTTP serves the addresses of Paths.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	Secure(w.Header())
	s.mux.ServeHTTP(w, r)
}

// Secure sets the headers that keep what a response holds where it belongs.
func Secure(h http.Header) {
	h.Set("Content-Security-Policy", report.LivePolicy())
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// live returns what a page shows of the last flows that a query chooses.
func (s *Server) live(query url.Values, c *filter.Criteria, events string) *report.Live {
	s.mu.Lock()
	records, of := s.ring.Records(c.Match), s.ring.Len()
	s.mu.Unlock()
	if s.o.Pending != nil {
		pending := s.o.Pending(c.Match)
		records, of = append(pending, records...), of+len(pending)
	}
	return &report.Live{AsOf: s.o.Clock(), Now: s.o.Now(), Events: events, Flows: FlowsPath, Report: ReportPath, Metrics: "/metrics", Records: records, Of: of,
		Query: query, Form: report.Form{Action: FlowsPath, Fields: s.o.Fields(query)}}
}

// page returns the page, which is made anew if it is too old.
func (s *Server) page() made {
	s.making.Lock()
	defer s.making.Unlock()
	now := s.o.Clock()
	if s.made.Page != nil && now.Sub(s.made.at)-s.made.took < max(interval, idle*s.made.took) {
		return s.made
	}
	l := s.live(nil, &filter.Criteria{}, eventsPath+"?of="+version(now))
	if s.o.Fleet != nil {
		l.Fleet, l.FleetJSON = s.o.Fleet(), SensorsPath
	}
	page, err := s.clone(nil).Live(s.o.Summary(), l)
	s.made = made{page, err, now, s.o.Clock().Sub(now)}
	return s.made
}

// version names the page that was made at a time, so that a client who has it is not sent
// it again.
func version(at time.Time) string { return strconv.FormatInt(at.UnixNano(), 36) }

func (s *Server) servePage(w http.ResponseWriter, _ *http.Request) {
	m := s.page()
	send(w, m.Page, m.err)
}

func send(w http.ResponseWriter, p *report.Page, err error) {
	if err != nil {
		http.Error(w, "The page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(p.HTML)
}

// flowList returns the page of the flows that a query chooses.
func (s *Server) flowList(query url.Values) (*report.Page, error) {
	c, err := s.o.Criteria(query)
	if err != nil {
		return nil, err
	}
	events := flowEvents
	if len(query) > 0 {
		events += "?" + query.Encode()
	}
	s.mu.Lock()
	packs := s.packs
	s.mu.Unlock()
	l := s.live(query, c, events)
	l.Overview = PagePath
	return report.FlowList(packs, s.o.Report.Title, l)
}

func (s *Server) serveFlows(w http.ResponseWriter, r *http.Request) {
	if _, err := s.o.Criteria(r.URL.Query()); err != nil {
		badQuery(w, err)
		return
	}
	p, err := s.flowList(r.URL.Query())
	send(w, p, err)
}

// serveSensors serves what is known of the sensors that share, as JSON.
func (s *Server) serveSensors(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.o.Fleet()) // it fails for a client that has gone
}

// badQuery says what is wrong with the choice of flows.
func badQuery(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write(report.Notice("exspan monitor", "This does not choose flows.", err.Error(), "The names and words are those of the flags of exspan analyze."))
}

// writeReport writes the report as of now.
func (s *Server) writeReport(w io.Writer) error {
	s.making.Lock() // one at a time
	defer s.making.Unlock()
	return s.clone(w).Close(s.o.Summary())
}

// clone returns a copy of what was counted so far.
func (s *Server) clone(w io.Writer) *report.Sink {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report.Clone(w)
}

// serveReport serves the report as of now.
func (s *Server) serveReport(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	err := s.writeReport(&b)
	w.Header().Set("Content-Security-Policy", report.Policy())
	send(w, &report.Page{HTML: b.Bytes()}, err)
}
