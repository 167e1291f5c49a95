package rules

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Level is the severity of a finding.
type Level string

// The levels of a finding.
const (
	// Violation means that the traffic contradicts a document of its version.
	Violation Level = "violation"
	// Remark means that the traffic is noteworthy but contradicts no document.
	Remark Level = "remark"
)

// Policy holds the rules that apply to traffic on any data path. There is one policy;
// Packs.Policy returns it.
type Policy struct {
	// Weak lists the weak mechanisms.
	Weak []Weakness
	// ExchangeRoles lists the roles that only Exchange servers have.
	ExchangeRoles []Role
	// Alone lists the roles that exclude all other roles of Exchange servers on the same
	// host.
	Alone []Role
	// Answering lists the protocols whose servers answer every request. A UDP request
	// without an answer was then lost or refused.
	Answering []string
	// Beginnings lists the protocols that their first bytes show. A flow that begins
	// otherwise carries another protocol.
	Beginnings []string
	// Movable lists the protocols that their content shows at a port which an
	// administrator chose instead of the documented one.
	Movable []string
	// Unannounced lists the protocols at ports that nothing announces and no observer
	// reads. A flow at a high port may carry one of them.
	Unannounced []string
	// Unfiltered lists the traffic that Microsoft does not support to be filtered.
	Unfiltered []Unfiltered
	// Violations and Remarks list the ids of all findings.
	Violations, Remarks []string
	// Announced maps the way in which an endpoint was announced to the endpoint's
	// protocol.
	Announced []Announced
}

// Unfiltered is traffic that Microsoft does not support to be filtered: between Servers,
// and between Servers and Peers.
type Unfiltered struct {
	Versions       []string
	Servers, Peers []Role
	// Text is the statement in words. Source names its document.
	Text, Source string
}

// UnfilteredIn returns the statement for an Exchange version, or nil if there is none.
func (p *Policy) UnfilteredIn(version string) *Unfiltered {
	for i := range p.Unfiltered {
		if slices.Contains(p.Unfiltered[i].Versions, packVersion(version)) {
			return &p.Unfiltered[i]
		}
	}
	return nil
}

// Weakness is a mechanism that does not protect enough, and its severity.
type Weakness struct {
	// ID is a stable short name ("tls-old").
	ID string
	// Finding is the id of the finding ("weak-encryption").
	Finding string
	// Fact is the attribute that shows the mechanism. One of the patterns in Values must
	// fit, as in a Match.
	Fact   string
	Values []string
	// Text is the message of the finding. "{value}" is replaced by the observed value.
	Text string
	// Encryption, if set, limits the weakness to flows whose rows document that word of
	// encryption. A row with another word, or a leg to which the column does not apply,
	// causes no finding.
	Encryption string
	// Grades holds one element for each set of versions. There is no finding for versions
	// without an element.
	Grades []Grade
}

// Grade is the severity of a weakness in some versions, with its document.
type Grade struct {
	// Versions lists the Exchange versions to which the grade applies. An empty list
	// means all versions that no other grade of the weakness lists.
	Versions []string
	Level    Level
	// Rule is the id of the row that forbids the mechanism ("not.old-tls"), or "".
	Rule string
	// Note explains the grade. Source names its document.
	Note, Source string
}

// Announced is the protocol of endpoints that were announced in one of several ways.
type Announced struct {
	// By lists the ways: "ept_map", "ept_lookup", "bind", "site", "sdp".
	By       []string
	Protocol string
}

// Exchange reports whether r is a role of an Exchange server.
func (p *Policy) Exchange(r Role) bool { return slices.Contains(p.ExchangeRoles, r) }

// Answers reports whether servers of the protocol answer every request.
func (p *Policy) Answers(protocol string) bool { return slices.Contains(p.Answering, protocol) }

// ProtocolOf returns the protocol of an endpoint that was announced in the given way, or
// "" if the way does not determine it.
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

// Grade returns the severity of the weakness in an Exchange version, or nil if there is
// no finding in that version.
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

// Message returns the message of the finding for an observed value.
func (w *Weakness) Message(value string) string { return strings.ReplaceAll(w.Text, "{value}", value) }

// noPolicy is the policy of packs without a policy.
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
		case "beginnings":
			p.Beginnings = plainTexts(r.texts(v, key))
		case "movable":
			p.Movable = plainTexts(r.texts(v, key))
		case "unannounced":
			p.Unannounced = plainTexts(r.texts(v, key))
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
		case "unfiltered":
			r.items(v, key, func(v ast.Node) { p.Unfiltered = append(p.Unfiltered, r.unfiltered(v)) })
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

func (r *packReader) unfiltered(n ast.Node) Unfiltered {
	var u Unfiltered
	r.fields(n, "what is not filtered", []string{"versions", "servers", "peers", "text", "source"}, func(key string, _ pos, v ast.Node) bool {
		switch key {
		case "versions":
			u.Versions = r.someWords(v, "Exchange version", versions)
		case "servers":
			u.Servers = r.roles(v, key, ofServer)
		case "peers":
			u.Peers = r.roles(v, key, ofServer)
		case "text":
			u.Text = r.text(v, key)
		case "source":
			u.Source = r.text(v, key)
		default:
			return false
		}
		return true
	})
	return u
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
			w.Encryption = r.oneWord(v, key, encryptionWords)
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
			g.Versions = r.someWords(v, "Exchange version", versions)
		case "level":
			g.Level = Level(r.oneWord(v, key, levelWords))
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

// fields calls f for every key of the mapping n, like each, and reports the required keys
// that n lacks.
func (r *reader) fields(n ast.Node, what string, required []string, f func(key string, at pos, v ast.Node) bool) {
	seen, before := map[string]bool{}, len(r.mistakes)
	r.each(n, what, func(key string, at pos, v ast.Node) bool {
		seen[key] = true
		return f(key, at, v)
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return // not a mapping
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
