package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify"
)

// failWords are the words that --fail-on knows: statuses, then findings, then
// reasons.
var failWords = []string{
	string(classify.Deviating), string(classify.Unexpected), string(classify.Undetermined), string(classify.Unrelated), string(classify.Expected),
	"cleartext", "auth-unsupported", "weak-auth", "weak-encryption", "protocol-mismatch", "prohibited", "external-source",
	"wrong-direction", "retired-protocol",
	"auth-not-default", "port-undocumented", "endpoint-unannounced", "static-port-recommended", "refused", "unanswered",
	string(classify.NoPath), string(classify.WrongRole), string(classify.WrongVersion), string(classify.LocalOnly),
	string(classify.NoPayload), string(classify.NotBegun),
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

func (f *failOn) Write(r *classify.Record) error {
	if r.State == "active" {
		return nil
	}
	v := &r.Verdict
	for i, w := range f.words {
		hit := string(v.Status) == w || string(v.Reason) == w
		for j := range v.Findings {
			hit = hit || v.Findings[j].ID == w
		}
		if hit {
			f.flows[i]++
		}
	}
	return nil
}

func (f *failOn) Close(*classify.Summary) error { return nil }

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
