package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/queue"
	"github.com/exspan/exspan/rules"
)

type noSink struct{}

func (noSink) Write(*record.Record) error  { return nil }
func (noSink) Close(*record.Summary) error { return nil }

// TestReportsLosses loses records for two minutes. Once a minute the log must report the
// losses since the previous report.
func TestReportsLosses(t *testing.T) {
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	w := &watch{m: &monitor{}, log: slog.New(slog.NewTextHandler(&log, nil))}
	if w.eng, err = classify.New(classify.Config{Packs: packs, Traffic: true}, noSink{}); err != nil {
		t.Fatal(err)
	}
	q := queue.New(writerFunc(func([]byte) (int, error) { return 0, errors.New("disk full") }), 1<<20, nil)
	defer q.Close(context.Background())
	w.outputs = []*sinkFile{{Queue: q, name: "flows.ndjson"}}
	now := time.Unix(1_600_000_000, 0)
	r := newReporter(w, now)
	lose := func() {
		t.Helper()
		before := q.Lost()
		_, _ = q.Write([]byte("x"))
		for end := time.Now().Add(5 * time.Second); q.Lost() == before && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
	}
	r.report(now)
	if log.Len() > 0 {
		t.Errorf("all is well, and the log is %s", log.String())
	}
	for range 12 { // two minutes, a loss every ten seconds
		lose()
		r.report(now)
		now = now.Add(reportEvery)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "output=flows.ndjson lost=1") || !strings.Contains(lines[1], "output=flows.ndjson lost=6") {
		t.Errorf("the log is\n%s", log.String())
	}
}

// TestReportsMirror simulates a SPAN port that fails and recovers.
func TestReportsMirror(t *testing.T) {
	var log bytes.Buffer
	w := &watch{m: &monitor{}, log: slog.New(slog.NewTextHandler(&log, nil))}
	r := newReporter(w, time.Unix(0, 0))
	for i, tt := range []struct {
		packets, copies uint64 // totals
		oneWay          float64
		want            string // all others have no message
	}{
		{1000, 5, 0, ""},
		{2000, 1005, 0, "Packets arrive twice"},
		{3000, 2005, 0, ""}, // already reported
		{4000, 2005, math.NaN(), "no longer arrive twice"},
		{5000, 2005, .9, "one direction only"},
		{6000, 2005, math.NaN(), ""},
		{7000, 2005, .9, ""},
		{8000, 2005, .1, "both directions again"},
	} {
		log.Reset()
		w.oneWay.store(tt.oneWay)
		r.mirror(&record.Snapshot{Packets: tt.packets, Copies: tt.copies})
		if got := log.String(); tt.want == "" && got != "" || !strings.Contains(got, tt.want) || strings.Count(got, "\n") > 1 {
			t.Errorf("minute %d: the log is %q, want %q", i, got, tt.want)
		}
	}
}
