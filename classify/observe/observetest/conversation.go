package observetest

import (
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
)

// Conversation is a test case of an observer: segments, and what must be
// reported of them.
type Conversation struct {
	Name    string
	Conv    []Segment
	Options Options
	// Want holds lines as Result.Lines returns them, in any order.
	Want []string
	// Err is what ends the observation early, or nil.
	Err error
}

// CheckAll runs Check over conversations and compares what it returns. Nothing
// reported may contain one of the private texts, unless the conversation asks
// for identities.
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

// Seeds returns the segments of conversations, for Fuzz.
func Seeds(list []Conversation) [][]Segment {
	var seeds [][]Segment
	for _, c := range list {
		seeds = append(seeds, c.Conv)
	}
	return seeds
}

// SameEvidence fails t unless a conversation gives the same values of the named
// facts with and without identities: what proves a role must not depend on
// what may be printed.
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
