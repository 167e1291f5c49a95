package line

import "github.com/exspan/exspan/classify/observe"

// AddBanner reports a greeting: its wording, or all of it with identities.
func AddBanner(r *observe.Report, name string, greeting []byte) {
	if r.Identities {
		r.Add(name, string(greeting[:min(len(greeting), observe.MaxFactLength)]))
		return
	}
	r.Add(name, Banner(greeting))
}

// Replace makes value the only value of a fact; have is the one it has.
func Replace(r *observe.Report, name string, have *string, value string) {
	if value != *have {
		if *have != "" {
			r.Remove(name, *have)
		}
		r.Add(name, value)
		*have = value
	}
}
