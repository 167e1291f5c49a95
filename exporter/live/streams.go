package live

import (
	"encoding/json"
	"hash/maphash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/ndjson"
	"github.com/exspan/exspan/exporter/report"
)

// stream is a client that follows records.
type stream struct {
	match func(*record.Record) bool
	lines chan []byte // closed when the client is too slow
}

// tell gives r to the clients that want it. It is called with s.mu held.
func (s *Server) tell(r *record.Record) {
	var line []byte
	for c := range s.streams {
		if !c.match(r) {
			continue
		}
		if line == nil {
			line = encode(r)
		}
		select {
		case c.lines <- line:
		default: // it does not read
			close(c.lines)
			delete(s.streams, c)
			s.dropped.Add(1)
		}
	}
}

// encode returns r as a line of NDJSON.
func encode(r *record.Record) []byte {
	var b lineBuffer
	_ = ndjson.New(&b).Write(r) // it does not fail
	return b
}

type lineBuffer []byte

func (b *lineBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// enter takes a place for a stream, and reports whether there was one. leave gives it back.
func (s *Server) enter(w http.ResponseWriter) bool {
	if s.clients.Add(1) <= maxClients {
		return true
	}
	s.clients.Add(-1)
	w.Header().Set("Retry-After", "30")
	http.Error(w, "There are "+strconv.Itoa(maxClients)+" readers of streams already; try again later.", http.StatusServiceUnavailable)
	return false
}

func (s *Server) leave() { s.clients.Add(-1) }

// writer writes a stream to a client that has some time for each piece.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	clock   func() time.Time
}

func (s *Server) writer(w http.ResponseWriter) *writer {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // that of the server is for the request
	return &writer{w, c, s.o.Clock}
}

func (w *writer) send(p []byte) error {
	_ = w.control.SetWriteDeadline(w.clock().Add(writeTimeout))
	if _, err := w.Write(p); err != nil {
		return err
	}
	return w.control.Flush()
}

// serveRecords serves the records that are kept and chosen, the oldest first, and with
// the parameter follow those that come. They are lines of JSON, or events for a client that
// wants these.
func (s *Server) serveRecords(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	follow := false
	if words, ok := query["follow"]; ok {
		follow = slices.Contains([]string{"", "1", "true"}, words[0])
		query.Del("follow")
	}
	c, err := s.o.Criteria(query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !s.enter(w) {
		return
	}
	defer s.leave()
	before, after := "", "\n"
	w.Header().Set("Content-Type", "application/x-ndjson")
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		before, after = "data: ", "\n\n"
		w.Header().Set("Content-Type", "text/event-stream")
	}
	x := &stream{match: c.Match, lines: make(chan []byte, maxWaiting)}
	s.mu.Lock()
	records := s.ring.Records(c.Match)
	if follow {
		s.streams[x] = true
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.streams, x)
		s.mu.Unlock()
	}()
	out := s.writer(w)
	piece := func(line []byte) []byte { return append(append([]byte(before), line[:len(line)-1]...), after...) }
	var first []byte
	for _, rec := range slices.Backward(records) {
		first = append(first, piece(encode(&rec))...)
		if len(first) > 1<<16 {
			if out.send(first) != nil {
				return
			}
			first = first[:0]
		}
	}
	if out.send(first) != nil || !follow {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case line, ok := <-x.lines:
			if !ok {
				panic(http.ErrAbortHandler) // so that the client does not take this for the end
			}
			err = out.send(piece(line))
		case <-beat.C:
			err = out.send([]byte("\n"))
		case <-s.ended:
			for len(x.lines) > 0 {
				if line, ok := <-x.lines; ok && out.send(piece(line)) != nil {
					return
				}
			}
			return
		case <-r.Context().Done():
			return
		}
		if err != nil {
			s.dropped.Add(1)
			return
		}
	}
}

// update is what an event tells of a page.
type update struct {
	AsOf  string            `json:"as_of"`
	Order []string          `json:"order"` // of the sections
	Parts map[string]string `json:"parts"` // those that changed, as HTML
}

// serveEvents tells of changes of the page.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	s.events(w, r, func() (*report.Page, time.Time, error) {
		m := s.page()
		return m.Page, m.at, m.err
	})
}

// serveFlowEvents tells of changes of a list of flows.
func (s *Server) serveFlowEvents(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if _, err := s.o.Criteria(query); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.events(w, r, func() (*report.Page, time.Time, error) {
		p, err := s.flowList(query)
		return p, s.o.Clock(), err
	})
}

// events sends the parts of a page whenever they change. A client that has another version
// than the last one is sent all parts at first.
func (s *Server) events(w http.ResponseWriter, r *http.Request, page func() (*report.Page, time.Time, error)) {
	if !s.enter(w) {
		return
	}
	defer s.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	out := s.writer(w)
	if out.send([]byte("retry: 5000\n\n")) != nil {
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	seed := maphash.MakeSeed()
	sent := map[string]uint64{}
	last := time.Time{}
	for {
		p, at, err := page()
		if err == nil && !at.Equal(last) {
			has := last.IsZero() && r.URL.Query().Get("of") == version(at)
			last = at
			u := update{AsOf: report.AsOf(at), Parts: map[string]string{}}
			for _, part := range p.Parts {
				if part.Main {
					u.Order = append(u.Order, part.ID)
				}
				sum := maphash.String(seed, string(part.HTML))
				if sent[part.ID] != sum && !has {
					u.Parts[part.ID] = string(part.HTML)
				}
				sent[part.ID] = sum
			}
			data, _ := json.Marshal(u) // it does not fail
			if out.send(slices.Concat([]byte("event: update\ndata: "), data, []byte("\n\n"))) != nil {
				s.dropped.Add(1)
				return
			}
		}
		select {
		case <-tick.C:
		case <-s.ended:
			_ = out.send([]byte("event: end\ndata: \n\n"))
			return
		case <-r.Context().Done():
			return
		}
	}
}
