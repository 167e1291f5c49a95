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

// Content is what a rules.Match asks of the content of a flow.
type Content struct {
	all     []rules.Fact // each must have a value that fits
	either  []rules.Fact // one of these suffices; empty for none
	without []rules.Fact // none may have a value that fits
}

// Compile compiles what a Match asks of the content.
func Compile(m *rules.Match) Content { return Content{m.Facts, m.Either, m.Without} }

// Empty reports whether nothing is asked of the content.
func (c *Content) Empty() bool { return len(c.all)+len(c.either) == 0 }

// Len returns the number of attributes that must fit.
func (c *Content) Len() int { return len(c.all) }

// Names returns the names of the attributes that c asks for.
func (c *Content) Names() []string {
	var names []string
	for _, list := range [...][]rules.Fact{c.all, c.either, c.without} {
		for i := range list {
			names = append(names, list[i].Name)
		}
	}
	return names
}

// Required returns the names of the attributes without which c is never met.
func (c *Content) Required() []string {
	var names []string
	for i := range c.all {
		names = append(names, c.all[i].Name)
	}
	return names
}

// Only reports whether c asks for one attribute alone.
func (c *Content) Only(name string) bool {
	return len(c.all) == 1 && len(c.either) == 0 && c.all[0].Name == name
}

// Result tells how observed facts compare with those of a Match.
type Result struct {
	Complete     bool // every attribute has a value that fits
	Contradicted bool // an attribute has values and none fits
	Specific     int  // attributes that fit by name and not by a word for a set
}

// Match compares observed facts with c.
func (c *Content) Match(have []observe.Fact) Result {
	r := Result{Complete: true}
	for i := range c.without {
		if best, _ := compare(&c.without[i], have); best != noMatch {
			return Result{Contradicted: true}
		}
	}
	for i := range c.all {
		best, seen := compare(&c.all[i], have)
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
	if len(c.either) == 0 {
		return r
	}
	seen := true // whether every attribute has values
	for i := range c.either {
		best, some := compare(&c.either[i], have)
		if best != noMatch {
			if best == byName {
				r.Specific++
			}
			return r
		}
		seen = seen && some
	}
	r.Complete, r.Contradicted = false, r.Contradicted || seen
	return r
}

// First returns the first observed fact that c asks for.
func (c *Content) First(have []observe.Fact) (observe.Fact, bool) {
	for _, x := range have {
		for _, list := range [...][]rules.Fact{c.all, c.either} {
			for i := range list {
				if list[i].Name == x.Name && fits(&list[i], x.Value) != noMatch {
					return x, true
				}
			}
		}
	}
	return observe.Fact{}, false
}

// Announces reports whether an announced service meets c. A Match that asks for
// more than a service and its annotation is never met.
func (c *Content) Announces(s *Service) bool {
	for i := range c.all {
		switch f := &c.all[i]; f.Name {
		case observe.RPCInterface:
			if fits(f, s.Name) == noMatch {
				return false
			}
		case observe.RPCAnnotation:
			if s.Annotation == "" || fits(f, s.Annotation) == noMatch {
				return false
			}
		default:
			return false
		}
	}
	return len(c.either) == 0
}

// NamesInterface reports whether c asks for an RPC interface alone and names the
// given one.
func (c *Content) NamesInterface(name string) bool {
	return len(c.all) == 1 && len(c.either) == 0 && c.all[0].Name == observe.RPCInterface && fits(&c.all[0], name) == byName
}

const (
	noMatch = iota
	bySet   // through a word that stands for a set
	byName
)

// compare compares observed facts with one attribute. It returns the best match,
// and whether the attribute has any value.
func compare(f *rules.Fact, have []observe.Fact) (best int, seen bool) {
	for i := range have {
		if have[i].Name == f.Name {
			seen = true
			best = max(best, fits(f, have[i].Value))
		}
	}
	return best, seen
}

// fits compares one observed value with the values wanted.
func fits(f *rules.Fact, have string) int {
	best, service := noMatch, f.Name == observe.RPCInterface
	for _, w := range f.Values {
		switch {
		case service && w == rules.Unnamed:
			if Unnamed(have) {
				best = bySet
			}
		case !mayFit(w, have):
		case rules.Fits(w, have):
			if w != "*" {
				return byName
			}
			best = bySet
		}
	}
	return best
}

// mayFit reports whether a value and a pattern begin alike, which most do not: rules.Fits
// is then not needed.
func mayFit(pattern, have string) bool {
	if pattern == "" || have == "" || pattern[0] == '*' {
		return true
	}
	p, h := pattern[0], have[0]
	return p|0x20 == h|0x20 || p >= 0x80 || h >= 0x80
}

// Unnamed reports whether an interface is written as its UUID, because no pack
// names it.
func Unnamed(service string) bool {
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
