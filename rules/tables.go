package rules

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// local reads a port that is documented only for traffic within a host.
func (r *packReader) local(n ast.Node) {
	var l LocalPort
	at := nodePos(n)
	seen := map[string]bool{}
	r.each(n, "a local port", func(key string, _ pos, v ast.Node) bool {
		seen[key] = true
		switch key {
		case "port":
			var m Match
			r.match(&m, key, v)
			if l.Port = m.Port; l.Port.Dynamic {
				r.fail(nodePos(v), "a local port needs a number")
			}
		case "note":
			l.Note = r.text(v, key)
		case "source":
			l.Source = r.text(v, key)
		default:
			return false
		}
		return true
	})
	for _, key := range []string{"port", "note", "source"} {
		if !seen[key] {
			r.fail(at, "the local port has no %q", key)
		}
	}
	r.pack.LocalOnly = append(r.pack.LocalOnly, l)
}

// absent reads traffic that some versions must not have.
func (r *packReader) absent(n ast.Node) {
	a := Absent{Confidence: r.confidence, Source: strings.Join(r.source, "; ")}
	required := []string{"id", "versions", "what", "from"}
	r.fields(n, "what is absent", required, func(key string, _ pos, v ast.Node) bool {
		switch key {
		case "id":
			if a.ID = r.text(v, key); a.ID != "" && !strings.HasPrefix(a.ID, "not.") {
				r.fail(nodePos(v), "the id %q must begin with %q", a.ID, "not.")
			}
		case "versions":
			a.Versions = r.someWords(v, "Exchange version", versions)
		case "only":
			a.Only = r.oneWord(v, key, []string{"2000"})
		case "what":
			a.What = r.text(v, key)
		case "from":
			a.From = r.roles(v, key, ofServer)
		case "to":
			a.To = r.roles(v, key, ofServer)
		case "legs":
			a.Legs = r.legs(v, key)
		case "weakness":
			a.Weakness = r.text(v, key)
		case "http_methods":
			a.Methods = plainTexts(r.words(v, key))
		case "note":
			a.Note = r.text(v, key)
		case "source":
			a.Source = strings.Join(r.sources(v, key), "; ")
		case "confidence":
			a.Confidence = r.oneWord(v, key, confidenceWords)
		default:
			return false
		}
		return true
	})
	a.Ports = legTexts(a.Legs)
	for i := range a.Legs {
		a.Legs[i].Group = a.ID
	}
	if a.Source == "" && a.ID != "" {
		r.fail(nodePos(n), "what is absent has no %q", "source")
	}
	r.pack.Absent = append(r.pack.Absent, a)
}

// pinned reads a service whose port can be pinned.
func (r *packReader) pinned(n ast.Node) {
	p := Pinned{Confidence: r.confidence, Source: strings.Join(r.source, "; ")}
	r.fields(n, "a service", []string{"versions", "service"}, func(key string, _ pos, v ast.Node) bool {
		switch key {
		case "versions":
			p.Versions = r.someWords(v, "version", buildVersions)
		case "service":
			p.Service = r.text(v, key)
		case "interfaces":
			p.Interfaces = plainTexts(r.words(v, key))
		case "default":
			p.Default = r.text(v, key)
		case "by":
			p.By = r.text(v, key)
		case "where":
			p.Where = r.text(v, key)
		case "value":
			p.Value = r.text(v, key)
		case "type":
			p.Type = r.text(v, key)
		case "range":
			p.Range = r.text(v, key)
		case "since":
			p.Since = r.text(v, key)
		case "restart":
			p.Restart = r.text(v, key)
		case "site":
			p.Site = r.flag(v, key)
		case "note":
			p.Note = r.text(v, key)
		case "source":
			p.Source = strings.Join(r.sources(v, key), "; ")
		case "confidence":
			p.Confidence = r.oneWord(v, key, confidenceWords)
		default:
			return false
		}
		return true
	})
	if p.Source == "" {
		r.fail(nodePos(n), "a service has no %q", "source")
	}
	r.pack.Pinned = append(r.pack.Pinned, p)
}

// Absent returns the traffic that an Exchange version must not have, in pack order.
func (p *Packs) Absent(version string) []*Absent {
	version = packVersion(version)
	var list []*Absent
	for _, k := range p.packs {
		for i := range k.Absent {
			if a := &k.Absent[i]; contains(a.Versions, version) {
				list = append(list, a)
			}
		}
	}
	return list
}

// Pinned returns the services of an Exchange version, or of Platform, whose ports can be
// pinned or for which the documents state that they cannot.
func (p *Packs) Pinned(version string) []*Pinned {
	version = packVersion(version)
	var list []*Pinned
	for _, k := range p.packs {
		for i := range k.Pinned {
			if s := &k.Pinned[i]; contains(s.Versions, version) {
				list = append(list, s)
			}
		}
	}
	return list
}

// PinnedWith returns the interfaces whose port is pinned together with that of the named
// interface, including the named interface. For example, in 2010 a static port for emsmdb
// also applies to asyncemsmdb. PinnedWith returns nil if the interface cannot be pinned.
func (p *Packs) PinnedWith(version, name string) []string {
	for _, s := range p.Pinned(version) {
		for _, i := range s.Interfaces {
			if s.Site && i == name {
				return s.Interfaces
			}
		}
	}
	return nil
}
