package rules

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Level grades a finding.
type Level string

// The levels of a finding.
const (
	// Violation means that the traffic breaks a document of its version.
	Violation Level = "violation"
	// Remark means that the traffic is worth knowing of and breaks no document.
	Remark Level = "remark"
)

// Policy holds what is true of traffic whatever its data path. There is one
// policy; Packs.Policy returns it.
type Policy struct {
	// Weak lists the weak mechanisms.
	Weak []Weakness
	// ExchangeRoles are the roles that only an Exchange server has.
	ExchangeRoles []Role
	// Alone are the roles that a server has instead of any other role of Exchange
	// servers.
	Alone []Role
	// Answering are the protocols whose server answers every request, so that a
	// request over UDP without an answer means that it was lost or refused.
	Answering []string
	// Violations and Remarks are the ids of all findings.
	Violations, Remarks []string
	// Announced maps the way in which an endpoint was announced to the protocol
	// that it then speaks.
	Announced []Announced
}

// Weakness is a mechanism that protects too little, and how grave that is.
type Weakness struct {
	// ID is a stable short name ("tls-old").
	ID string
	// Finding is the id of the finding ("weak-encryption").
	Finding string
	// Fact is the attribute that shows the mechanism, and Values are the patterns,
	// as in a Match, of which one must fit.
	Fact   string
	Values []string
	// Text words the finding. "{value}" stands for the observed value.
	Text string
	// Encryption, if set, limits the weakness to flows whose rows document that
	// word of encryption: a row with another word, or a leg to which the column
	// does not apply, makes no finding.
	Encryption string
	// Grades holds one element for each set of versions. A version without one
	// makes no finding.
	Grades []Grade
}

// Grade says how grave a weakness is for some versions, and by which document.
type Grade struct {
	// Versions are the Exchange versions that the grade holds for. An empty list
	// stands for all versions that no other grade of the weakness names.
	Versions []string
	Level    Level
	// Rule is the id of the row that forbids the mechanism ("not.old-tls"), or
	// empty.
	Rule string
	// Note explains the grade, Source names its document.
	Note, Source string
}

// Announced says which protocol endpoints speak that were announced in one of
// some ways.
type Announced struct {
	// By lists the ways: "ept_map", "ept_lookup", "bind", "site", "sdp".
	By       []string
	Protocol string
}

// Exchange reports whether the role is that of an Exchange server.
func (p *Policy) Exchange(r Role) bool { return slices.Contains(p.ExchangeRoles, r) }

// Answers reports whether servers of the protocol answer every request.
func (p *Policy) Answers(protocol string) bool { return slices.Contains(p.Answering, protocol) }

// ProtocolOf returns the protocol of an endpoint that was announced in the
// given way, or "" where the way does not tell.
func (p *Policy) ProtocolOf(by string) string {
	for i := range p.Announced {
		if slices.Contains(p.Announced[i].By, by) {
			return p.Announced[i].Protocol
		}
	}
	return ""
}

// Fits reports whether an observed value shows the weakness.
func (w *Weakness) Fits(fact, value string) bool {
	return w.Fact == fact && slices.ContainsFunc(w.Values, func(pattern string) bool { return Fits(pattern, value) })
}

// Grade returns how grave the weakness is for an Exchange version, or nil where
// it is no finding there.
func (w *Weakness) Grade(version string) *Grade {
	var other *Grade
	for i := range w.Grades {
		g := &w.Grades[i]
		switch {
		case len(g.Versions) == 0:
			other = g
		case slices.Contains(g.Versions, packVersion(version)):
			return g
		}
	}
	return other
}

// Message returns the words of the finding for an observed value.
func (w *Weakness) Message(value string) string { return strings.ReplaceAll(w.Text, "{value}", value) }

// noPolicy is the policy of packs that hold none.
var noPolicy Policy

// Policy returns the policy of the packs. It is never nil.
func (p *Packs) Policy() *Policy {
	for _, k := range p.packs {
		if k.Policy != nil {
			return k.Policy
		}
	}
	return &noPolicy
}

var levelWords = []string{string(Violation), string(Remark)}

func (r *packReader) policy(n ast.Node) {
	p := &Policy{}
	r.each(n, "policy", func(key string, _ pos, v ast.Node) bool {
		switch key {
		case "exchange_roles":
			p.ExchangeRoles = r.roles(v, key, ofServer)
		case "alone":
			p.Alone = r.roles(v, key, ofServer)
		case "answering":
			p.Answering = plainTexts(r.texts(v, key))
		case "announced":
			r.items(v, key, func(v ast.Node) {
				var a Announced
				r.fields(v, "an announcement", []string{"by", "protocol"}, func(key string, _ pos, v ast.Node) bool {
					switch key {
					case "by":
						a.By = plainTexts(r.texts(v, key))
					case "protocol":
						a.Protocol = r.text(v, key)
					default:
						return false
					}
					return true
				})
				p.Announced = append(p.Announced, a)
			})
		case "violations":
			p.Violations = plainTexts(r.texts(v, key))
		case "remarks":
			p.Remarks = plainTexts(r.texts(v, key))
		case "weak":
			r.items(v, key, func(v ast.Node) { p.Weak = append(p.Weak, r.weakness(v)) })
		default:
			return false
		}
		return true
	})
	r.pack.Policy = p
}

func (r *packReader) weakness(n ast.Node) Weakness {
	var w Weakness
	r.fields(n, "a weakness", []string{"id", "finding", "fact", "values", "text", "grades"}, func(key string, at pos, v ast.Node) bool {
		switch key {
		case "id":
			w.ID = r.text(v, key)
		case "finding":
			w.Finding = r.text(v, key)
		case "fact":
			w.Fact = r.text(v, key)
		case "values":
			w.Values = plainTexts(r.texts(v, key))
		case "text":
			w.Text = r.text(v, key)
		case "encryption":
			w.Encryption = r.one(v, key, encryptionWords)
		case "grades":
			r.items(v, key, func(v ast.Node) { w.Grades = append(w.Grades, r.grade(v)) })
		default:
			return false
		}
		return true
	})
	return w
}

func (r *packReader) grade(n ast.Node) Grade {
	var g Grade
	r.fields(n, "a grade", []string{"level", "source"}, func(key string, _ pos, v ast.Node) bool {
		switch key {
		case "versions":
			g.Versions = r.some(v, "Exchange version", versions)
		case "level":
			g.Level = Level(r.one(v, key, levelWords))
		case "rule":
			g.Rule = r.text(v, key)
		case "note":
			g.Note = r.text(v, key)
		case "source":
			g.Source = r.text(v, key)
		default:
			return false
		}
		return true
	})
	return g
}

// fields calls f for every key of the mapping n, as each does, and reports the
// required keys that it lacks.
func (r *reader) fields(n ast.Node, what string, required []string, f func(key string, at pos, v ast.Node) bool) {
	seen, before := map[string]bool{}, len(r.mistakes)
	r.each(n, what, func(key string, at pos, v ast.Node) bool {
		seen[key] = true
		return f(key, at, v)
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return // no mapping at all
	}
	for _, key := range required {
		if !seen[key] {
			r.fail(nodePos(n), "%s has no %q", what, key)
		}
	}
}

func plainTexts(words []word) []string {
	var list []string
	for _, w := range words {
		list = append(list, w.text)
	}
	return list
}
