package report

import (
	"html/template"
	"strconv"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/exporter/text"
)

// page is what a report holds, in the order of reading. All text in it is plain text that is
// printable; a form of the page escapes it.
type page struct {
	Kind                   string // of page
	Title, Facts, Sentence string
	Calm                   bool // nothing needs attention
	Counts                 []count
	Advice                 []string
	Problems               []problem
	Diagram                template.HTML // made by us; see setDiagram
	Tables                 []*table
	NotShown               []note

	Live     *live     // nil for a report
	Sections []Section // made of the above
}

// The kinds of pages.
const (
	kindReport = "Exchange traffic report"
	kindLive   = "Exchange traffic, live"
)

// count is a number of flows.
type count struct {
	Number string
	State  state
	Any    bool
}

// problem is something that needs attention, with what to do about it.
type problem struct {
	State   state
	Title   string
	Flows   string
	Word    string // of the glossary
	Meaning string
	Where   []string
	Todo    []string
	Sources []string
	Link    string // the id of the table with the details
}

// note is something that the capture could not show.
type note struct {
	Title string
	Lines []string
}

// state is a state or a severity: a class for its colour, a mark and a word, so that no colour
// stands alone.
type state struct{ Class, Mark, Word string }

// badge returns how a state is shown.
func badge(s model.State) state {
	switch s {
	case model.Unexpected:
		return state{"bad", "✕", "unexpected"}
	case model.Blocked:
		return state{"bad", "⊘", "blocked"}
	case model.Deviating:
		return state{"warn", "!", "deviating"}
	case model.Undetermined:
		return state{"open", "?", "undetermined"}
	case model.Seen:
		return state{"good", "✓", "as documented"}
	case model.NotSeen:
		return state{"none", "–", "not seen"}
	case model.NotObservable:
		return state{"none", "·", "not observable"}
	case "expected":
		return state{"good", "✓", "expected"}
	}
	return state{"none", "·", string(s)}
}

// badgeOf returns how a status of a flow is shown.
func badgeOf(s record.Status) state {
	switch s {
	case record.Expected:
		return badge("expected")
	case record.Unrelated:
		return badge("unrelated")
	}
	return badge(model.State(s))
}

// table is a table of the page.
type table struct {
	ID, Title, Intro string
	Cols             []col
	Rows             []row
	// Left says how many rows were left out and which command lists them; "" if none.
	Left string
	// Empty is what is said where there are no rows; "" leaves out the table.
	Empty string
	Bars  []bar
	Fold  bool // the rows are shown on demand
	Links []link
	Form  *Form
}

// link leads to another page of the server that a live page comes from.
type link struct{ Href, Text string }

// Long reports whether the rows go onto paper only if the reader has opened them.
func (t *table) Long() bool { return len(t.Rows) > maxPaper }

// col is a column.
type col struct {
	Name string
	Num  bool // numbers, which are right-aligned
}

// row is a row. Its first cell names it.
type row []cell

// cell is what stands in a table.
type cell struct {
	Text  string
	Lines []string // below Text, smaller
	State state
	Sort  string // what rows are sorted by instead of Text
	ID    string // the place that a link leads to
	SVG   template.HTML
	// Filter is what the table Link is filtered by when the cell is followed.
	Link, Filter string
	Links        []link // below Lines
}

// bar is a row of a chart of parts.
type bar struct {
	Name, Words string
	SVG         template.HTML
}

func words(s string, lines ...string) cell {
	c := cell{Text: text.Printable(s)}
	for _, l := range lines {
		if l != "" {
			c.Lines = append(c.Lines, text.Printable(l))
		}
	}
	return c
}

func number(n uint64) cell { return cell{Text: text.Thousands(n), Sort: strconv.FormatUint(n, 10)} }

func size(n uint64) cell { return cell{Text: text.Size(n), Sort: strconv.FormatUint(n, 10)} }

func stateCell(s state, rank int, lines ...string) cell {
	c := words("", lines...)
	c.State, c.Sort = s, strconv.Itoa(rank)
	return c
}

// modelState shows a state of a path, of an edge or of a flow.
func modelState(s model.State, lines ...string) cell { return stateCell(badge(s), s.Rank(), lines...) }

// timeCell shows t without its date if that is the date of start.
func timeCell(start, t time.Time) cell {
	if t.IsZero() {
		return cell{}
	}
	return cell{Text: text.After(start, t), Sort: strconv.FormatInt(t.UnixMilli(), 10)}
}

// cut leaves at most limit rows, and says how to see the others.
func (t *table) cut(limit int, what, command string) {
	if n := len(t.Rows) - limit; n > 0 {
		t.Rows = t.Rows[:limit]
		t.leave(uint64(n), what, command)
	}
}

// leave says that n rows were left out.
func (t *table) leave(n uint64, what, command string) {
	if n == 0 {
		return
	}
	if t.Left != "" {
		t.Left += " "
	}
	t.Left += text.Count(n, "more "+what) + " left out"
	if command != "" {
		t.Left += "; to list all: " + command
	}
	t.Left += "."
}
