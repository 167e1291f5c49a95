package observetest

import (
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
)

// Conversation is a test case of an observer: segments and the expected report.
type Conversation struct {
	Name    string
	Conv    []Segment
	Options Options
	// Want holds the expected lines in the form of Result.Lines, in any order.
	Want []string
	// Err is the error that ends the observation early, or nil.
	Err error
}

// CheckAll runs Check on each conversation and compares the result. The report must not
// contain any of the private texts, unless the conversation asks for identities.
func CheckAll(t *testing.T, p observe.Protocol, list []Conversation, private ...string) {
	t.Helper()
	for _, c := range list {
		t.Run(c.Name, func(t *testing.T) {
			r := Check(t, p, c.Conv, c.Options)
			Expect(t, r, c.Want...)
			if r.Err != c.Err {
				t.Errorf("ended with %v, want %v", r.Err, c.Err)
			}
			for _, l := range r.Lines() {
				for _, s := range private {
					if !c.Options.Identities && strings.Contains(l, s) {
						t.Errorf("%s was kept", l)
					}
				}
			}
		})
	}
}

// Seeds returns the segments of the conversations, for Fuzz.
func Seeds(list []Conversation) [][]Segment {
	var seeds [][]Segment
	for _, c := range list {
		seeds = append(seeds, c.Conv)
	}
	return seeds
}

// SameEvidence fails t unless a conversation yields the same values of the named facts
// with and without identities. Evidence of a role must not depend on Report.Identities.
func SameEvidence(t *testing.T, p observe.Protocol, conv []Segment, o Options, names ...string) {
	t.Helper()
	o.Identities = false
	without := Run(p, conv, o)
	o.Identities = true
	with := Run(p, conv, o)
	for _, name := range names {
		a, b := strings.Join(without.Facts.Values(name), "\n"), strings.Join(with.Facts.Values(name), "\n")
		if a != b || a == "" {
			t.Errorf("%s is %q without identities and %q with them", name, a, b)
		}
	}
}
