package tally

import (
	"maps"
	"slices"
)

// Clone returns a copy of t that does not change when t goes on counting. Its time and
// its memory are bounded by the caps. The copy is there to be read: it does not know the
// conversations that wait for another leg.
func (t *Tally) Clone() *Tally {
	c := &Tally{
		Options: t.Options, Bytes: t.Bytes, Attention: t.Attention,
		Paths:        t.Paths.clone((*Path).detach),
		Findings:     t.Findings.clone((*Finding).detach),
		Blocked:      t.Blocked.clone(func(b *Blocked) { b.Clients = slices.Clone(b.Clients) }),
		Unexpected:   t.Unexpected.clone(nil),
		Undetermined: t.Undetermined.clone(nil),
		Unrelated:    t.Unrelated.clone(nil),
		MailLike:     t.MailLike.clone(nil),
		Allowed:      t.Allowed.clone(nil),
		Pairs:        t.Pairs.clone(nil),
		Joined:       t.Joined.clone(nil),
		Edges:        t.Edges.clone((*Edge).detach),
		ByPath:       cloneAll(t.ByPath, func(x *Cover) { x.Findings = slices.Clone(x.Findings) }),
		Hosts:        cloneAll(t.Hosts, func(x *Seat) { x.Roles = slices.Clone(x.Roles) }),
		OneWay:       t.OneWay, Roles: maps.Clone(t.Roles), flows: t.flows, words: slices.Clone(t.words), names: maps.Clone(t.names), places: t.places,
	}
	return c
}

func (s *Security) detach() {
	s.Auth, s.Encryption = slices.Clone(s.Auth), slices.Clone(s.Encryption)
}

func (p *Path) detach() {
	p.IDs, p.also = slices.Clone(p.IDs), slices.Clone(p.also)
	p.Security.detach()
}

func (f *Finding) detach() {
	f.Details, f.Protocols, f.Examples = slices.Clone(f.Details), slices.Clone(f.Protocols), slices.Clone(f.Examples)
}

func (e *Edge) detach() {
	e.IDs, e.Violations = slices.Clone(e.IDs), slices.Clone(e.Violations)
	e.Security.detach()
}

// clone returns a copy of c. detach, which may be nil, makes a copied value share nothing
// that changes with the value that it was copied from.
func (c *Counts[K, V]) clone(detach func(*V)) Counts[K, V] {
	return Counts[K, V]{More: c.More, max: c.max, m: cloneAll(c.m, detach)}
}

// cloneAll copies a map with its values; see clone.
func cloneAll[K comparable, V any](m map[K]*V, detach func(*V)) map[K]*V {
	if m == nil {
		return nil
	}
	all := make([]V, len(m)) // one piece of memory for all
	out := make(map[K]*V, len(m))
	i := 0
	for k, v := range m {
		all[i] = *v
		if detach != nil {
			detach(&all[i])
		}
		out[k] = &all[i]
		i++
	}
	return out
}
