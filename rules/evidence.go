package rules

import (
	"github.com/goccy/go-yaml/ast"
	"slices"
)

var endWords = []string{"server", "client", "both", "named"}

// evidence reads an entry of the list of evidence for roles, or of the list of apparent
// evidence that proves nothing if proves is false. It returns false if n is not a
// mapping.
func (r *packReader) evidence(n ast.Node, proves bool) (RoleEvidence, bool) {
	e := RoleEvidence{Confidence: r.confidence}
	at := nodePos(n)
	before, seen := len(r.mistakes), map[string]bool{}
	r.each(n, "evidence", func(key string, kat pos, v ast.Node) bool {
		seen[key] = true
		switch key {
		case "id":
			e.ID = r.text(v, key)
		case "roles":
			e.Roles = r.roles(v, key, ofServer)
		case "by_version":
			r.items(v, key, func(v ast.Node) { e.ByVersion = append(e.ByVersion, r.rolesOf(v)) })
		case "end":
			e.End = r.oneWord(v, key, endWords)
		case "any":
			r.items(v, key, func(v ast.Node) { e.Any = append(e.Any, r.proof(v)) })
		case "weak":
			e.Weak = r.flag(v, key)
		case "peer":
			e.Peer = r.roles(v, key, ofServer)
		case "vetoes":
			e.Vetoes = r.flag(v, key)
		case "version":
			e.Version = r.oneWord(v, key, versions)
		case "versions":
			e.Versions = r.someWords(v, "Exchange version", versions)
		case "build":
			e.BuildFact = r.text(v, key)
		case "proves_version":
			e.ProvesVersion = r.flag(v, key)
		case "pending":
			e.Pending = r.text(v, key)
		case "what":
			e.What = r.text(v, key)
		case "fooled_by":
			e.FooledBy = r.text(v, key)
		case "note":
			e.Note = r.text(v, key)
		case "source":
			e.Source = r.text(v, key)
		case "confidence":
			e.Confidence = r.oneWord(v, key, confidenceWords)
		default:
			return false
		}
		return true
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return e, false
	}
	required := []string{"end", "source"}
	if proves {
		if !seen["pending"] {
			required = append(required, "any")
		}
		if !seen["build"] && !seen["proves_version"] {
			required = append(required, "roles")
		}
	}
	if e.End == "named" && !seen["pending"] {
		required = append(required, "peer")
	}
	for _, key := range required {
		if !seen[key] {
			r.fail(at, "the evidence has no %q", key)
		}
	}
	if !seen["note"] && !seen["what"] {
		r.fail(at, "the evidence has no %q", "note")
	}
	if proves && e.Vetoes {
		r.fail(at, "evidence that vetoes belongs in no_evidence")
	}
	if len(e.Peer) > 0 && e.Vetoes {
		r.fail(at, "evidence that vetoes asks for no peer")
	}
	if seen["any"] && len(e.Any) == 0 && len(r.mistakes) == before {
		r.fail(at, "the evidence has no %q", "any")
	}
	return e, true
}

// rolesOf reads what evidence proves for some versions.
func (r *packReader) rolesOf(n ast.Node) RolesOf {
	var o RolesOf
	r.fields(n, "roles of a version", []string{"roles"}, func(key string, _ pos, v ast.Node) bool {
		switch key {
		case "versions":
			o.Versions = r.someWords(v, "Exchange version", versions)
		case "ports":
			r.items(v, key, func(v ast.Node) { o.Ports = append(o.Ports, r.number(v, "port")) })
		case "roles":
			o.Roles = r.roles(v, key, ofServer)
		default:
			return false
		}
		return true
	})
	return o
}

// proof reads one match of evidence.
func (r *packReader) proof(n ast.Node) Match {
	var m Match
	ok := true
	r.each(n, "a match", func(key string, at pos, v ast.Node) bool {
		ok = r.match(&m, key, v)
		return ok
	})
	if ok && m.Protocol == "" && len(m.Facts) == 0 && len(m.Either) == 0 {
		r.fail(nodePos(n), "a port number alone proves no role: the match needs a protocol or facts")
	}
	return m
}

// RolesFor returns the roles that the evidence proves for a host of the given version at
// the given server port. If version is "", it returns all roles that are possible in any
// version.
func (e *RoleEvidence) RolesFor(version string, port uint16) []Role {
	if version == "" {
		return e.Roles
	}
	if !contains(e.Versions, packVersion(version)) {
		return nil
	}
	for i := range e.ByVersion {
		if o := &e.ByVersion[i]; contains(o.Versions, packVersion(version)) && contains(o.Ports, port) {
			return o.Roles
		}
	}
	return e.Roles
}

// contains reports whether list is empty or contains x.
func contains[T comparable](list []T, x T) bool {
	for _, y := range list {
		if x == y {
			return true
		}
	}
	return len(list) == 0
}

// Ported reports whether the roles that the evidence proves depend on the server's port.
func (e *RoleEvidence) Ported() bool {
	return slices.ContainsFunc(e.ByVersion, func(r RolesOf) bool { return len(r.Ports) > 0 })
}
