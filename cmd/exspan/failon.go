package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/brief"
	"github.com/exspan/exspan/exporter/filter"
)

// unread is the word of --fail-on for input of which too much was not read: the
// summary then warns of it.
const unread = "unread"

// failWords returns the words that --fail-on knows: statuses, then findings with
// blocked, then reasons, then unread.
func failWords() []string {
	return slices.Concat(stringsOf(record.Statuses()), findingWords(), stringsOf(record.Reasons()), []string{unread})
}

// wrapWords returns words joined by commas in indented lines of at most so many
// columns.
func wrapWords(words []string, columns int) string {
	var b strings.Builder
	used := columns
	for i, w := range words {
		if i < len(words)-1 {
			w += ","
		}
		switch {
		case used+1+len(w) > columns && i > 0:
			b.WriteString("\n  ")
			used = 2
		case i == 0:
			b.WriteString("  ")
			used = 2
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(w)
		used += len(w)
	}
	return b.String()
}

// checkWords returns an error that names every word of given that is not known.
func checkWords(flag string, given, known []string) error {
	var unknown []string
	for _, w := range given {
		if !slices.Contains(known, w) {
			unknown = append(unknown, fmt.Sprintf("%q%s", w, didYouMean(w, known)))
		}
	}
	if unknown == nil {
		return nil
	}
	return fmt.Errorf("--%s: unknown %s; known are %s", flag, strings.Join(unknown, ", "), strings.Join(known, ", "))
}

// failOn is a sink that counts flows by the words they were asked about, and gives
// every record to the next sink.
type failOn struct {
	next  record.Sink
	words []string
	flows []uint64
	// What the summary says of the input and of limits, or empty.
	warning, snap, limits string
}

func newFailOn(words []string, next record.Sink) *failOn {
	return &failOn{next: next, words: words, flows: make([]uint64, len(words))}
}

func (f *failOn) Write(r *record.Record) error {
	if len(f.words) > 0 && r.State != "active" {
		f.count(r)
	}
	return f.next.Write(r)
}

// CountUnrelated implements record.Counter. Words may ask about unrelated flows too.
func (f *failOn) CountUnrelated() func(flows, packets, bytes uint64) {
	if c, ok := f.next.(record.Counter); ok && len(f.words) == 0 {
		return c.CountUnrelated()
	}
	return nil
}

func (f *failOn) count(r *record.Record) {
	v := &r.Verdict
	for i, w := range f.words {
		hit := string(v.Status) == w || string(v.Reason) == w || w == blockedWord && filter.Blocked(r)
		for j := range v.Findings {
			hit = hit || string(v.Findings[j].ID) == w
		}
		if hit {
			f.flows[i]++
		}
	}
}

func (f *failOn) Close(sum *record.Summary) error {
	err := f.next.Close(sum)
	f.warning, f.snap, f.limits = sum.Warning(), sum.SnapNote(), brief.LimitsReached(sum)
	return err
}

// count returns n and what, in the plural unless n is 1.
func count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// report prints what was found, and returns errFound if anything was.
func (f *failOn) report(w io.Writer) error {
	var found []string
	for i, n := range f.flows {
		if n > 0 {
			found = append(found, fmt.Sprintf("%s in %s", f.words[i], count(n, "flow")))
		}
	}
	if f.warning != "" && slices.Contains(f.words, unread) {
		found = append(found, unread+" input")
	}
	if found == nil {
		return nil
	}
	fmt.Fprintf(w, "exspan: found %s\n", strings.Join(found, ", "))
	return errFound
}
