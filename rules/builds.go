package rules

import (
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Build maps a build number, or all that begin with it, to a version.
type Build struct {
	// Number is the build number in its short form ("15.1.2507.6"), or the
	// beginning of one with ".*" for all others that begin so ("15.1.*").
	Number string
	// Version is an Exchange version, or "4.0", "5.0" or Online.
	Version string
	// Name is the product with its update ("Exchange Server 2016 CU23").
	Name string
	// Date is the day or month of the release, as far as it is documented, and Long
	// the zero-padded form where the documents print it.
	Date, Long               string
	Note, Source, Confidence string
}

// Online is the version of Exchange Online. There are no rules for it: its
// servers are not the organisation's.
const Online = "online"

// Identity is what a build number tells of a server.
type Identity struct {
	// Build is the number in its short form ("15.2.1544.36").
	Build string
	// Version is the Exchange version, "4.0", "5.0", Online, or empty where the
	// number leaves it open: "15.2" alone is 2019 or SE.
	Version string
	// Name is the update as people call it ("2016 CU23"), or empty where the number
	// is not that of a known update.
	Name string
}

// String returns the build number with the update it belongs to:
// "15.1.2507.6 (2016 CU23)".
func (i Identity) String() string {
	if i.Name == "" {
		return i.Build
	}
	return i.Build + " (" + i.Name + ")"
}

// Identify returns what a build number tells, in its short form or zero-padded
// ("15.02.2562.037"). A number that is none gives the zero Identity.
func (p *Packs) Identify(build string) Identity {
	number, parts, ok := shortBuild(build)
	if !ok {
		return Identity{}
	}
	id := Identity{Build: number}
	if len(parts) == 2 && parts[0] == 15 && parts[1] == 2 {
		return id // 2019 and SE share it; the third part tells them apart
	}
	best := -1
	for _, k := range p.packs {
		for i := range k.Builds {
			b := &k.Builds[i]
			head, open := strings.CutSuffix(b.Number, ".*")
			// The most specific entry counts.
			fits := number == b.Number || open && (number == head || strings.HasPrefix(number, head+"."))
			if fits && len(head) > best {
				best = len(head)
				id.Version = b.Version
				if id.Name = ""; !open {
					id.Name = updateName(b.Name)
				}
			}
		}
	}
	// A later update of Subscription Edition has a higher third part than its first
	// release: from there on nothing is 2019.
	if id.Version == "2019" && len(parts) > 2 && parts[2] >= firstSE {
		id.Version, id.Name = "SE", ""
	}
	return id
}

// firstSE is the third part of the build numbers of Exchange Server SE RTM,
// 15.2.2562 (version map, microsoft/CSS-Exchange).
const firstSE = 2562

// updateName shortens the name of a product with its update.
func updateName(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "Exchange Server "), "Exchange ")
	return strings.Replace(name, "2000 Server", "2000", 1)
}

// shortBuild returns a build number in its short form with its parts: two to
// four numbers, joined by dots.
func shortBuild(s string) (string, []int, bool) {
	if len(s) > 32 {
		return "", nil, false
	}
	words := strings.Split(s, ".")
	if len(words) < 2 || len(words) > 4 {
		return "", nil, false
	}
	parts := make([]int, len(words))
	for i, w := range words {
		n, err := strconv.ParseUint(w, 10, 16)
		if err != nil || w[0] == '+' {
			return "", nil, false
		}
		parts[i] = int(n)
		words[i] = strconv.FormatUint(n, 10)
	}
	return strings.Join(words, "."), parts, true
}

// packVersion returns the version under which the rules of an Exchange version
// are listed: those of 2000 stand with 2003.
func packVersion(version string) string {
	if version == "2000" {
		return "2003"
	}
	return version
}

// HasRules reports whether there are built-in data paths of an Exchange version.
func HasRules(version string) bool { return slices.Contains(ruledVersions, version) }

// build reads an entry of the version map.
func (r *packReader) build(n ast.Node) {
	b := Build{Confidence: r.confidence, Source: strings.Join(r.source, "; ")}
	r.fields(n, "a build", []string{"build", "version", "name"}, func(key string, _ pos, v ast.Node) bool {
		switch key {
		case "build":
			b.Number = r.text(v, key)
			if short, _, ok := shortBuild(strings.TrimSuffix(b.Number, ".*")); b.Number != "" && (!ok || short != strings.TrimSuffix(b.Number, ".*")) {
				r.fail(nodePos(v), "%q is no build number: two to four numbers, joined by dots", b.Number)
			}
		case "version":
			b.Version = r.one(v, key, buildVersions)
		case "name":
			b.Name = r.text(v, key)
		case "date":
			b.Date = r.text(v, key)
		case "long":
			b.Long = r.text(v, key)
		case "note":
			b.Note = r.text(v, key)
		case "source":
			b.Source = strings.Join(r.sources(v, key), "; ")
		case "confidence":
			b.Confidence = r.one(v, key, confidenceWords)
		default:
			return false
		}
		return true
	})
	if b.Source == "" {
		r.fail(nodePos(n), "a build has no %q", "source")
	}
	r.pack.Builds = append(r.pack.Builds, b)
}
