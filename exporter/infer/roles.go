package infer

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// found is what the file says of the roles of a host.
type found struct {
	roles []rules.Role
	// oneOf are the alternatives that traffic leaves open.
	oneOf []rules.Role
	// proofs are comments: what proves a role, or why it is guessed.
	proofs []string
	// open reports whether traffic leaves more open than oneOf can say.
	open bool
}

// decide returns the roles of a host: those that are proven without alternatives, and
// a guess where weak evidence tells the alternatives apart. member reports whether
// the host logs on to the domain, and acts are the parts that it plays.
func decide(h *record.HostSummary, member bool, acts []act) (f found) {
	for _, p := range h.Roles {
		role := rules.Role(p.Role)
		if strings.Contains(p.Role, "|") || role == rules.AnyExchange {
			continue
		}
		if !slices.Contains(f.roles, role) {
			f.roles = append(f.roles, role)
		}
		f.proofs = append(f.proofs, proofText(p))
	}
	for _, p := range h.Roles {
		left := alternatives(p.Role)
		if slices.ContainsFunc(left, func(r rules.Role) bool { return slices.Contains(f.roles, r) }) {
			continue // a role that is proven explains it
		}
		if slices.Contains(left, rules.AnyExchange) {
			f.open = true
			continue
		}
		if f.oneOf != nil {
			left = slices.DeleteFunc(left, func(r rules.Role) bool { return !slices.Contains(f.oneOf, r) })
		}
		if len(left) == 0 {
			f.open = true // one role does not explain both
			continue
		}
		f.oneOf = left
		f.proofs = append(f.proofs, proofText(p))
	}
	f.guess(h, member)
	f.guessActs(acts)
	return f
}

// guess takes from the alternatives the one for which something speaks that is no
// proof.
func (f *found) guess(h *record.HostSummary, member bool) {
	if member && len(f.oneOf) > 1 {
		// No data path leads from Edge Transport to a domain controller.
		left := slices.DeleteFunc(slices.Clone(f.oneOf), func(r rules.Role) bool { return r == rules.Edge })
		if len(left) == 1 {
			f.proofs = append(f.proofs, "? "+string(left[0])+": it logs on to the domain, which Edge Transport does not")
		}
		f.oneOf = left
	}
	for _, p := range h.Hints {
		left := alternatives(p.Role)
		left = slices.DeleteFunc(left, func(r rules.Role) bool { return !slices.Contains(f.oneOf, r) })
		if len(f.oneOf) > 1 && len(left) == 1 {
			f.oneOf = left
			f.proofs = append(f.proofs, proofText(record.RoleProof{Role: string(left[0]), Evidence: p.Evidence, Weak: true}))
		}
	}
	f.settle()
}

// settle makes the last alternative that is left a role.
func (f *found) settle() {
	if len(f.oneOf) == 1 {
		f.roles, f.oneOf = append(f.roles, f.oneOf[0]), nil
	}
}

// guessActs takes from the alternatives the one that documents name for a part that the
// host plays, unless they name another for another part.
func (f *found) guessActs(acts []act) {
	var role rules.Role
	text := ""
	for _, a := range acts {
		left := slices.DeleteFunc(slices.Clone(f.oneOf), func(r rules.Role) bool { return !slices.Contains(a.roles, r) })
		switch {
		case len(left) != 1:
		case role == "":
			role, text = left[0], a.text
		case role != left[0]:
			return
		}
	}
	if role != "" {
		f.oneOf = []rules.Role{role}
		f.proofs = append(f.proofs, "? "+string(role)+": documents name no other of its possible roles for "+text)
		f.settle()
	}
}

// follows notes the parts that documents name for both ends of a flow. The content must
// show the service, and the version be known: other versions have other roles.
func (s *Sink) follows(r *record.Record) {
	v := r.Verdict
	if v.Status != record.Expected || v.Confidence == record.ByPort || v.VersionSource == record.ByDefault || v.Path == nil || v.Platform() {
		return
	}
	var from, to []rules.Role
	for _, p := range append([]*rules.DataPath{v.Path}, v.Also...) {
		from, to = append(from, p.From...), append(to, p.To...)
		if slices.ContainsFunc(p.Legs, func(l rules.Leg) bool { return l.Reverse }) {
			from, to = append(from, p.To...), append(to, p.From...)
		}
	}
	s.plays(r.Client.Addr, from, v.Path, r.Server.Port)
	s.plays(r.Server.Addr, to, v.Path, r.Server.Port)
}

func (s *Sink) plays(host netip.Addr, roles []rules.Role, path *rules.DataPath, port uint16) {
	list := s.acts[host]
	if slices.Contains(roles, rules.Any) || slices.Contains(roles, rules.AnyExchange) || len(list) >= maxActs || len(list) == 0 && len(s.acts) >= maxMembers {
		return
	}
	slices.Sort(roles)
	roles = slices.Compact(roles)
	if !slices.ContainsFunc(list, func(a act) bool { return slices.Equal(a.roles, roles) }) {
		s.acts[host] = append(list, act{roles, path.ID + " on port " + strconv.Itoa(int(port))})
	}
}

// guessEdges takes those for Edge Transport servers that trust a hub, and it them, by
// the certificates that they made for themselves: between hubs that is not documented.
func (s *Sink) guessEdges(hosts map[netip.Addr]*found) {
	for _, pair := range s.trusts {
		for i, a := range pair {
			hub, other := hosts[a], hosts[pair[1-i]]
			if hub == nil || other == nil || !slices.Contains(hub.roles, rules.Hub) || !slices.Contains(other.oneOf, rules.Edge) {
				continue
			}
			other.roles, other.oneOf = append(other.roles, rules.Edge), nil
			other.proofs = append(other.proofs, "? edge: it and the hub "+a.String()+" trust each other by their own certificates")
		}
	}
}

// has reports whether a fact was read on a flow.
func has(r *record.Record, name, value string) bool {
	return r.Facts != nil && r.Facts.Has(name, value)
}

func alternatives(role string) (list []rules.Role) {
	for r := range strings.SplitSeq(role, "|") {
		list = append(list, rules.Role(r))
	}
	return list
}

// proofText words what proves a role, or only speaks for it.
func proofText(p record.RoleProof) string {
	s := strings.ReplaceAll(p.Role, "|", " or ")
	if p.Evidence != "" {
		s += ": " + p.Evidence
	}
	if p.Weak {
		s = "? " + s + ", which other hosts show, too"
	}
	return s
}
