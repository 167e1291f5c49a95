// Package match holds what was seen against what rules ask for: facts against a
// compiled rules.Match, ports, the roles of a host, and announced services.
// Nothing in it changes once made, so that it can be shared and compared by
// pointer.
package match

import (
	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

// Facts is what a rules.Match asks of facts.
type Facts []test

// test is what a Match asks of one attribute.
type test struct {
	name   string
	values []string
}

// Compile compiles the facts of a Match.
func Compile(facts []rules.Fact) Facts {
	tests := make(Facts, len(facts))
	for i, f := range facts {
		tests[i] = test{f.Name, f.Values}
	}
	return tests
}

// Names returns the names of the attributes that f asks for.
func (f Facts) Names() []string {
	names := make([]string, len(f))
	for i := range f {
		names[i] = f[i].name
	}
	return names
}

// Result tells how observed facts compare with those of a Match.
type Result struct {
	Complete     bool // every attribute has a value that fits
	Contradicted bool // an attribute has values and none fits
	Specific     int  // attributes that fit by name and not by a word for a set
}

// Match compares observed facts with f.
func (f Facts) Match(have []observe.Fact) Result {
	r := Result{Complete: true}
	for i := range f {
		t := &f[i]
		best, seen := noMatch, false
		for j := range have {
			if have[j].Name == t.name {
				seen = true
				best = max(best, t.match(have[j].Value))
			}
		}
		switch {
		case best == byName:
			r.Specific++
		case best == bySet:
		case seen:
			r.Contradicted, r.Complete = true, false
		default:
			r.Complete = false
		}
	}
	return r
}

// First returns the first observed fact that f asks for.
func (f Facts) First(have []observe.Fact) (observe.Fact, bool) {
	for _, x := range have {
		for i := range f {
			if f[i].name == x.Name && f[i].match(x.Value) != noMatch {
				return x, true
			}
		}
	}
	return observe.Fact{}, false
}

// Announces reports whether an announced service meets f. A Match that asks for
// more than a service and its annotation is never met.
func (f Facts) Announces(s *Service) bool {
	for i := range f {
		switch f[i].name {
		case observe.RPCInterface:
			if f[i].match(s.Name) == noMatch {
				return false
			}
		case observe.RPCAnnotation:
			if s.Annotation == "" || f[i].match(s.Annotation) == noMatch {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// NamesInterface reports whether f asks for an RPC interface alone and names the given
// one.
func (f Facts) NamesInterface(name string) bool {
	return len(f) == 1 && f[0].name == observe.RPCInterface && f[0].match(name) == byName
}

const (
	noMatch = iota
	bySet   // through a word that stands for a set
	byName
)

// match compares one observed value with the values wanted.
func (t *test) match(have string) int {
	best := noMatch
	for _, w := range t.values {
		switch {
		case t.name == observe.RPCInterface && w == rules.Unnamed:
			if unnamed(have) {
				best = bySet
			}
		case rules.Fits(w, have):
			if w != "*" {
				return byName
			}
			best = bySet
		}
	}
	return best
}

// unnamed reports whether an interface is written as its UUID, because no pack
// names it.
func unnamed(service string) bool {
	return len(service) > 36 && service[8] == '-' && service[36] == ' '
}

// Transport reports whether a port of a rule is one of a transport protocol,
// capture.TCP or capture.UDP.
func Transport(p rules.Port, proto uint8) bool {
	return p.TCP && proto == capture.TCP || p.UDP && proto == capture.UDP
}

// Port reports whether a port number meets the port of a rule. A rule without a
// transport accepts every port.
func Port(p rules.Port, port uint16, proto uint8) bool {
	return !p.TCP && !p.UDP || Transport(p, proto) && p.Contains(port)
}
