// Package coverage reports which documented data paths a capture shows: seen, seen
// deviating, seen blocked, not seen, or not observable from where it was taken.
package coverage

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// States returns every state that a path can have, the one that needs attention most
// first.
func States() []model.State {
	return []model.State{model.Blocked, model.Deviating, model.NotSeen, model.Seen, model.NotObservable}
}

// Row is what a capture shows of one data path.
type Row struct {
	ID       string      `json:"id"`
	Exchange string      `json:"exchange"`
	Table    string      `json:"table,omitempty"`
	Name     string      `json:"name"`
	State    model.State `json:"state"`
	Why      string      `json:"why,omitempty"`
	Flows    uint64      `json:"flows,omitempty"`
	Tied     bool        `json:"tied,omitempty"` // packets cannot tell it from other paths
	First    time.Time   `json:"first,omitzero"`
	Last     time.Time   `json:"last,omitzero"`
}

// Options say which paths are told, and how.
type Options struct {
	Packs *rules.Packs
	// Version is the version whose paths are written if no path of any was seen.
	Version string
	// Platform adds the paths of Windows itself.
	Platform bool
	JSON     bool
	Width    int // 0 means 100
	Color    bool
}

// Sink collects records and writes the coverage on Close.
type Sink struct {
	w    io.Writer
	o    Options
	m    *model.Builder
	rows []Row
}

// New returns a sink that writes to w when it is closed.
func New(w io.Writer, o Options) *Sink {
	if o.Width <= 0 {
		o.Width = 100
	}
	return &Sink{w: w, o: o, m: model.New(model.Options{Packs: o.Packs, Version: o.Version, Platform: o.Platform, PathsOnly: true})}
}

// Write counts r.
func (s *Sink) Write(r *record.Record) error { return s.m.Write(r) }

// Rows returns the rows, after Close.
func (s *Sink) Rows() []Row { return s.rows }

// Close writes the coverage.
func (s *Sink) Close(sum *record.Summary) error {
	if err := s.m.Close(sum); err != nil {
		return err
	}
	paths := s.m.Model().Paths
	for i := range paths {
		p := &paths[i]
		s.rows = append(s.rows, Row{ID: p.ID, Exchange: p.Version, Table: p.Table, Name: p.Name, State: p.State, Why: p.Why, Flows: p.Flows, Tied: p.Tied,
			First: p.First, Last: p.Last})
	}
	if s.o.JSON {
		return exporter.JSON(s.w, s.rows)
	}
	_, err := io.WriteString(s.w, s.text())
	return err
}

// text returns the rows for people, grouped by table.
func (s *Sink) text() string {
	var b strings.Builder
	var version string
	for start := 0; start < len(s.rows); {
		end := start
		for end < len(s.rows) && s.rows[end].Exchange == s.rows[start].Exchange {
			end++
		}
		rows := s.rows[start:end]
		if version != "" {
			b.WriteByte('\n')
		}
		version = rows[0].Exchange
		s.writeVersion(&b, version, rows)
		start = end
	}
	return b.String()
}

func (s *Sink) writeVersion(b *strings.Builder, version string, rows []Row) {
	n := map[model.State]int{}
	for i := range rows {
		n[rows[i].State]++
	}
	title := "Exchange " + version
	if version == rules.Platform {
		title = "Windows itself"
	}
	line := fmt.Sprintf("%s: %d of %d documented paths seen", title, n[model.Seen]+n[model.Deviating]+n[model.Blocked], len(rows))
	if n[model.Deviating] > 0 {
		line += fmt.Sprintf(", %d of them deviating", n[model.Deviating])
	}
	if n[model.Blocked] > 0 {
		line += fmt.Sprintf(", %d blocked", n[model.Blocked])
	}
	line += fmt.Sprintf("; %d not seen", n[model.NotSeen])
	if n[model.NotObservable] > 0 {
		line += fmt.Sprintf(", %d not observable from here", n[model.NotObservable])
	}
	b.WriteString(line + ".\n")
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Table, b.Table) })
	name := 0
	for i := range rows {
		name = max(name, len([]rune(rows[i].Name)))
	}
	// STATE, NAME, FLOWS, FIRST, LAST
	name = min(name, s.o.Width-14-2-7-2-8-2-8-2)
	table := "\x00"
	for i := range rows {
		r := &rows[i]
		if r.Table != table {
			table = r.Table
			heading := strings.ToUpper(strings.ReplaceAll(cmp.Or(table, "other"), "-", " "))
			fmt.Fprintf(b, "\n%-*s%7s  %-8s  %s\n", 14+name+4, heading, "FLOWS", "FIRST", "LAST")
		}
		s.writeRow(b, r, name)
	}
}

// writeRow writes one row, with why on the next line.
func (s *Sink) writeRow(b *strings.Builder, r *Row, name int) {
	state, style := strings.ReplaceAll(string(r.State), "-", " "), ""
	if r.State == model.Blocked || r.State == model.Deviating {
		state, style = strings.ToUpper(state), "31"
	}
	line := fmt.Sprintf("%-14s  %-*s", state, name, text.Printable(r.Name))
	if r.Flows > 0 {
		if len([]rune(line)) > 14+2+name {
			line += "\n" + strings.Repeat(" ", 14+2+name)
		}
		flows := text.Thousands(r.Flows)
		if r.Tied {
			flows = "~" + flows
		}
		line += fmt.Sprintf("  %7s  %s  %s", flows, r.First.UTC().Format("15:04:05"), r.Last.UTC().Format("15:04:05"))
	}
	line = strings.TrimRight(line, " ")
	if s.o.Color && style != "" {
		line = "\x1b[" + style + "m" + line + "\x1b[0m"
	}
	b.WriteString(line + "\n")
	if r.Why != "" {
		b.WriteString(strings.Repeat(" ", 16) + text.Printable(r.Why) + "\n")
	}
}

// Found returns the states of words that occur, with the number of their paths.
func (s *Sink) Found(words []string) []string {
	var found []string
	for _, w := range words {
		n := uint64(0)
		for i := range s.rows {
			if string(s.rows[i].State) == w {
				n++
			}
		}
		if n > 0 {
			found = append(found, fmt.Sprintf("%s for %s", w, text.Count(n, "path")))
		}
	}
	return found
}
