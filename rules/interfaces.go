package rules

import (
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// iface reads the name of an RPC interface.
func (r *packReader) iface(n ast.Node) {
	f := Interface{Source: strings.Join(r.source, "; "), Confidence: r.confidence}
	at := nodePos(n)
	before, seen := len(r.mistakes), map[string]bool{}
	r.each(n, "an interface", func(key string, kat pos, v ast.Node) bool {
		seen[key] = true
		switch key {
		case "name":
			f.Name = r.text(v, key)
			if v != nil {
				at = nodePos(v)
			}
			if f.Name != strings.ToLower(f.Name) || strings.ContainsAny(f.Name, " *|,") || f.Name == Unnamed {
				r.fail(at, "%q is not an interface name: one word in lower case", f.Name)
			}
		case "uuid":
			f.UUID = r.text(v, key)
			if f.UUID != "" && !validUUID(f.UUID) {
				r.fail(nodePos(v), "%q is not a UUID in lower case", f.UUID)
			}
		case "version":
			f.Version = r.text(v, key)
			for _, w := range r.words(v, key) {
				if w.text != "?" && !validVersion(w.text) {
					r.fail(w.at, "%q is not an interface version: major.minor, or ? for any", w.text)
				}
			}
		case "title":
			f.Title = r.text(v, key)
		case "service":
			f.Service = r.text(v, key)
		case "use":
			f.Use = r.text(v, key)
		case "source":
			f.Source = r.text(v, key)
		case "confidence":
			f.Confidence = r.oneWord(v, key, confidenceWords)
		default:
			return false
		}
		return true
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return
	}
	for _, key := range []string{"name", "uuid", "version", "title"} {
		if !seen[key] {
			r.fail(at, "the interface has no %q", key)
		}
	}
	for _, k := range []struct{ name, value string }{{"source", f.Source}, {"confidence", f.Confidence}} {
		if k.value == "" && !seen[k.name] {
			r.fail(at, "the interface has no %q", k.name)
		}
	}
	r.pack.Interfaces = append(r.pack.Interfaces, f)
	r.ifacePos = append(r.ifacePos, at)
}

func validUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
		default:
			return false
		}
	}
	return true
}

func validVersion(s string) bool {
	major, minor, ok := strings.Cut(s, ".")
	if !ok {
		return false
	}
	for _, n := range []string{major, minor} {
		if v, err := strconv.ParseUint(n, 10, 16); err != nil || strconv.FormatUint(v, 10) != n {
			return false
		}
	}
	return true
}
