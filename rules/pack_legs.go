package rules

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// legs reads a list of legs. An item is a leg in text form, a leg as a mapping, or the
// name of a leg set.
func (r *packReader) legs(n ast.Node, what string) []Leg {
	var list []Leg
	r.items(n, what, func(v ast.Node) {
		if s, ok := plain(v); ok {
			if strings.Contains(s, "/") {
				list = append(list, r.legText(s, nodePos(v)))
				return
			}
			set, ok := r.legSets[s]
			if !ok {
				r.fail(nodePos(v), "unknown leg set %q", s)
			}
			r.setUse[s] = true
			list = append(list, set...)
			return
		}
		list = append(list, r.leg(v))
	})
	return list
}

// legText reads a leg in text form.
func (r *packReader) legText(s string, at pos) Leg {
	l, err := parseLeg(s)
	if err != nil {
		r.fail(at, "%v", err)
	}
	for _, f := range l.Facts {
		if f.Name == rpcInterface {
			for _, name := range f.Values {
				r.used = append(r.used, word{name, at})
			}
		}
	}
	l.Group = r.legGroups[s]
	if l.Port.Dynamic && l.Protocol == "" {
		r.bare = append(r.bare, at)
	}
	return l
}

// bareLegs clears the list of legs that specify only a dynamic port. If mistake is set,
// it reports them.
func (r *packReader) bareLegs(mistake bool) {
	for _, at := range r.bare {
		if mistake {
			r.fail(at, "a dynamic port matches every flow: the leg needs a protocol or facts")
		}
	}
	r.bare = r.bare[:0]
}

// leg reads a leg that is a mapping.
func (r *packReader) leg(n ast.Node) Leg {
	var l Leg
	port, text := false, false
	before := len(r.mistakes)
	r.each(n, "a leg", func(key string, at pos, v ast.Node) bool {
		switch key {
		case "leg":
			text = true
			if s := r.text(v, key); s != "" {
				l = r.legText(s, nodePos(v))
			}
		case "reverse":
			l.Reverse = r.flag(v, key)
		case "content_only":
			l.ContentOnly = r.flag(v, key)
		case "auth":
			l.Auth = r.oneWord(v, "auth of a leg", []string{NotApplicable})
		case "encryption":
			l.Encryption = r.oneWord(v, "encryption of a leg", []string{NotApplicable})
		case "max_confidence":
			l.MaxConfidence = r.oneWord(v, key, capWords)
		case "group":
			if l.Group = r.text(v, key); l.Group != "" {
				r.groups = append(r.groups, word{l.Group, nodePos(v)})
			}
		case "site_port":
			l.SitePort = r.oneWord(v, key, sitePortWords)
		case "port":
			port = true
			return r.match(&l.Match, key, v)
		default:
			return r.match(&l.Match, key, v)
		}
		return true
	})
	if !text {
		l.Text = l.Port.String()
		if l.Protocol != "" {
			l.Text += " " + l.Protocol
		}
	}
	switch {
	case len(r.mistakes) > before:
	case !port && !text:
		r.fail(nodePos(n), "the leg matches nothing: it has no port")
	case !text && l.Port.Dynamic && l.Protocol == "" && len(l.Facts) == 0:
		r.fail(nodePos(n), "a dynamic port matches every flow: the leg needs a protocol or facts")
	}
	return l
}

// match reads one key of a Match. It reports whether key is such a key.
func (r *packReader) match(m *Match, key string, v ast.Node) bool {
	switch key {
	case "port":
		if s := r.text(v, key); s != "" {
			port, err := ParsePort(s)
			if err != nil {
				r.fail(nodePos(v), "%v", err)
			}
			m.Port = port
		}
	case "protocol":
		m.Protocol = r.text(v, key)
		if m.Protocol != strings.ToLower(m.Protocol) {
			r.fail(nodePos(v), "protocol %q must be in lower case", m.Protocol)
		}
	case "inside":
		m.Inside = r.text(v, key)
	case "facts":
		m.Facts = append(m.Facts, r.facts(v, key)...)
		sortFacts(m.Facts)
	case "either":
		m.Either = r.facts(v, key)
	case "without":
		m.Without = r.facts(v, key)
	default:
		return false
	}
	return true
}

// facts reads attributes and their values: a mapping, or a list of mappings if a flow
// must have several values of one attribute.
func (r *packReader) facts(n ast.Node, what string) []Fact {
	if n == nil {
		return nil
	}
	var list []Fact
	if n.Type() == ast.SequenceType { // several values of an attribute are required
		r.items(n, what, func(v ast.Node) { list = append(list, r.facts(v, what)...) })
		if len(list) == 0 && len(n.(*ast.SequenceNode).Values) == 0 {
			r.fail(nodePos(n), "%s is empty", what)
		}
		return list
	}
	empty := true
	r.each(n, what, func(name string, at pos, v ast.Node) bool {
		empty = false
		words := r.texts(v, name)
		if name == rpcInterface {
			r.used = append(r.used, words...)
		}
		list = append(list, Fact{name, plainTexts(words)})
		return true
	})
	if empty && n.Type() == ast.MappingType {
		r.fail(nodePos(n), "%s is empty", what)
	}
	sortFacts(list)
	return list
}

func sortFacts(list []Fact) {
	slices.SortStableFunc(list, func(a, b Fact) int { return strings.Compare(a.Name, b.Name) })
}
