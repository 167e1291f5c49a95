package inventory

import (
	"slices"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/rules"
)

// maxAwaiting bounds the proofs that wait for the role of the other end of their
// flow.
const maxAwaiting = 4096

// awaiting is a proof that counts once the other end of its flow is proven to have
// a role.
type awaiting struct {
	host     capture.Addr
	rule     *evidenceRule
	evidence string
	from     source
	change   Change
}

// await proves a role of a host if the other end of the flow has what the rule asks
// of it, else remembers it until that end has.
func (v *Inventory) await(hosts *hosts, w *awaiting) {
	if len(w.rule.Peer) == 0 || hosts.surely(&w.from.peer, w.rule.Peer) {
		v.prove(hosts, w.host, w.rule, w.evidence, w.from, w.change)
		return
	}
	list := hosts.awaiting[w.from.peer]
	if slices.ContainsFunc(list, func(x awaiting) bool { return x.host == w.host && x.rule.RoleEvidence == w.rule.RoleEvidence }) {
		return
	}
	if v.awaited >= maxAwaiting {
		hosts.surplus++
		return
	}
	v.awaited++
	hosts.awaiting[w.from.peer] = append(list, *w)
}

// proved is called when a host has shown something new: what waited for that is
// proven.
func (v *Inventory) proved(hosts *hosts, a capture.Addr) {
	list := hosts.awaiting[a]
	for i := 0; i < len(list); i++ {
		w := list[i]
		if !hosts.surely(&a, w.rule.Peer) {
			continue
		}
		list = slices.Delete(list, i, i+1)
		i--
		v.awaited--
		hosts.awaiting[a] = list
		v.prove(hosts, w.host, w.rule, w.evidence, w.from, w.change)
		list = hosts.awaiting[a]
	}
	if len(list) == 0 {
		delete(hosts.awaiting, a)
	}
}

// surely reports whether a host is proven to have a role of a list.
func (h *hosts) surely(a *capture.Addr, roles []rules.Role) bool {
	set, _ := h.find(a)
	return set.Known >= match.Proven && set.Surely(roles)
}
