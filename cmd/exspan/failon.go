package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/record"
)

// failWords returns the words that --fail-on knows: statuses, then findings,
// then reasons.
func failWords() []string {
	var words []string
	for _, s := range record.Statuses() {
		words = append(words, string(s))
	}
	for _, f := range record.Findings() {
		words = append(words, string(f))
	}
	for _, r := range record.Reasons() {
		words = append(words, string(r))
	}
	return words
}

// checkWords returns an error that names every word of given that is not known.
func checkWords(flag string, given, known []string) error {
	var unknown []string
	for _, w := range given {
		if !slices.Contains(known, w) {
			unknown = append(unknown, fmt.Sprintf("%q", w))
		}
	}
	if unknown == nil {
		return nil
	}
	return fmt.Errorf("--%s: unknown %s; known are %s", flag, strings.Join(unknown, ", "), strings.Join(known, ", "))
}

// failOn is a sink that counts flows by the words they were asked about.
type failOn struct {
	words []string
	flows []uint64
}

func newFailOn(words []string) *failOn { return &failOn{words, make([]uint64, len(words))} }

func (f *failOn) Write(r *record.Record) error {
	if r.State == "active" {
		return nil
	}
	v := &r.Verdict
	for i, w := range f.words {
		hit := string(v.Status) == w || string(v.Reason) == w
		for j := range v.Findings {
			hit = hit || string(v.Findings[j].ID) == w
		}
		if hit {
			f.flows[i]++
		}
	}
	return nil
}

func (f *failOn) Close(*record.Summary) error { return nil }

// report tells what was found, and returns errFound if anything was.
func (f *failOn) report(w io.Writer) error {
	var found []string
	for i, n := range f.flows {
		if n > 0 {
			plural := "s"
			if n == 1 {
				plural = ""
			}
			found = append(found, fmt.Sprintf("%s in %d flow%s", f.words[i], n, plural))
		}
	}
	if found == nil {
		return nil
	}
	fmt.Fprintf(w, "exspan: found %s\n", strings.Join(found, ", "))
	return errFound
}
