package rules

import (
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Build maps a build number, or all build numbers with a common beginning, to a version.
type Build struct {
	// Number is the build number in its short form ("15.1.2507.6"). "15.1.*" means all
	// other numbers that begin with "15.1".
	Number string
	// Version is an Exchange version, or "4.0", "5.0" or Online.
	Version string
	// Name is the product with its update ("Exchange Server 2016 CU23").
	Name string
	// Date is the day or month of the release, as documented. Long is the zero-padded
	// form if the documents give it.
	Date, Long               string
	Note, Source, Confidence string
}

// Online is the version of Exchange Online. There are no rules for it, because its
// servers do not belong to the organisation.
const Online = "online"

// Identity is the information about a server that its build number gives.
type Identity struct {
	// Build is the build number in its short form ("15.2.1544.36").
	Build string
	// Version is the Exchange version, "4.0", "5.0" or Online. It is empty if the number
	// is ambiguous: "15.2" alone is 2019 or SE.
	Version string
	// Name is the common name of the update ("2016 CU23"), or "" if the number is not
	// that of a known update.
	Name string
}

// String returns the build number and the name of its update: "15.1.2507.6 (2016 CU23)".
func (i Identity) String() string {
	if i.Name == "" {
		return i.Build
	}
	return i.Build + " (" + i.Name + ")"
}

// Identify returns the identity for a build number in its short or zero-padded form
// ("15.02.2562.037"). It returns the zero Identity if build is not a build number.
func (p *Packs) Identify(build string) Identity {
	number, parts, ok := shortBuild(build)
	if !ok {
		return Identity{}
	}
	id := Identity{Build: number}
	if len(parts) == 2 && parts[0] == 15 && parts[1] == 2 {
		return id // 2019 and SE share it; the third part distinguishes them
	}
	best := -1
	for _, k := range p.packs {
		for i := range k.Builds {
			b := &k.Builds[i]
			head, open := strings.CutSuffix(b.Number, ".*")
			// The most specific entry wins.
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
	// Later updates of Subscription Edition have a higher third part than its first
	// release. No build of 2019 is that high.
	if id.Version == "2019" && len(parts) > 2 && parts[2] >= firstSE {
		id.Version, id.Name = "SE", ""
	}
	return id
}

// firstSE is the third part of the build number of Exchange Server SE RTM, 15.2.2562
// (version map, microsoft/CSS-Exchange).
const firstSE = 2562

// updateName shortens the name of a product with its update.
func updateName(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "Exchange Server "), "Exchange ")
	return strings.Replace(name, "2000 Server", "2000", 1)
}

// shortBuild returns a build number in its short form and its parts. A build number has
// two to four numbers, separated by dots.
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

// packVersion returns the version under which the rules of an Exchange version are
// listed. Those of 2000 are listed under 2003.
func packVersion(version string) string {
	if version == "2000" {
		return "2003"
	}
	return version
}

// HasRules reports whether there are built-in data paths for an Exchange version.
func HasRules(version string) bool { return slices.Contains(ruledVersions, version) }

// build reads an entry of the version map.
func (r *packReader) build(n ast.Node) {
	b := Build{Confidence: r.confidence, Source: strings.Join(r.source, "; ")}
	r.fields(n, "a build", []string{"build", "version", "name"}, func(key string, _ pos, v ast.Node) bool {
		switch key {
		case "build":
			b.Number = r.text(v, key)
			if short, _, ok := shortBuild(strings.TrimSuffix(b.Number, ".*")); b.Number != "" && (!ok || short != strings.TrimSuffix(b.Number, ".*")) {
				r.fail(nodePos(v), "%q is not a build number: two to four numbers, joined by dots", b.Number)
			}
		case "version":
			b.Version = r.oneWord(v, key, buildVersions)
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
			b.Confidence = r.oneWord(v, key, confidenceWords)
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
