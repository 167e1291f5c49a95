package main

import (
	"sync"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/accept"
	"github.com/exspan/exspan/rules"
)

// siteSink gives records to a sink with the findings marked that the site file accepts.
// The site file can be replaced at any time.
type siteSink struct {
	mu   sync.Mutex
	to   record.Sink // next, or the one that marks
	next record.Sink
}

func newSiteSink(site *rules.Site, next record.Sink) *siteSink {
	s := &siteSink{next: next}
	s.reload(site)
	return s
}

func (s *siteSink) reload(site *rules.Site) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = accept.New(site, s.next)
}

func (s *siteSink) Write(r *record.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Write(r)
}

func (s *siteSink) Close(sum *record.Summary) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Close(sum)
}

// finalSink gives a sink the last records of flows alone.
type finalSink struct{ record.Sink }

func (s finalSink) Write(r *record.Record) error {
	if r.State == "active" {
		return nil
	}
	return s.Sink.Write(r)
}
