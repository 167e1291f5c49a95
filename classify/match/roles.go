package match

import (
	"cmp"
	"slices"
	"strings"

	"github.com/exspan/exspan/rules"
)

// RoleSet is what is known of a host for one decision: its roles and its
// version. Hosts of which the same is known share one. It must not be changed.
type RoleSet struct {
	// Sets holds one element a role. Where the evidence leaves several roles open,
	// the element holds these alternatives.
	Sets [][]rules.Role
	// Names are the elements of Sets as output shows them: "mailbox|cas" for
	// alternatives.
	Names []string
	// Text is Names in words.
	Text string
	// Exchange reports whether the host is an Exchange server, or the load balancer
	// in front of one.
	Exchange bool
	// Unknown reports whether neither a network nor an Exchange role is known, so
	// that the host may be a client.
	Unknown bool
	// Version is the Exchange version of the host, or empty.
	Version string
	// ID differs between most role sets.
	ID     uint64
	policy *rules.Policy
}

// NewRoleSet returns the role set of a host whose roles are sets.
func NewRoleSet(policy *rules.Policy, sets [][]rules.Role) RoleSet {
	r := RoleSet{Sets: sets, policy: policy}
	for _, set := range sets {
		if n := Join(set); !slices.Contains(r.Names, n) {
			r.Names = append(r.Names, n)
		}
		r.Exchange = r.Exchange || !slices.ContainsFunc(set, func(role rules.Role) bool { return !policy.Exchange(role) })
	}
	r.Text = cmp.Or(strings.Join(r.Names, ", "), "a host without a role")
	return r
}

// Has reports whether one of the host's roles is, or may be, role.
func (r *RoleSet) Has(role rules.Role) bool {
	for _, set := range r.Sets {
		if slices.Contains(set, role) {
			return true
		}
	}
	return false
}

// Fits reports whether the host may act in one of the roles. An unknown host may
// be a client.
func (r *RoleSet) Fits(want []rules.Role) bool {
	return r.Acts(want) || r.Unknown && slices.Contains(want, rules.Client)
}

// Acts reports whether the host is known to have one of the roles, or may have
// it by the evidence. A global catalog server is a domain controller.
func (r *RoleSet) Acts(want []rules.Role) bool {
	for _, w := range want {
		if w == rules.Any {
			return true
		}
		for _, set := range r.Sets {
			for _, have := range set {
				if have == w || have == rules.GC && w == rules.DC || w == rules.AnyExchange && r.policy.Exchange(have) {
					return true
				}
			}
		}
	}
	return false
}

// Join writes alternative roles as one word: "mailbox|cas".
func Join(set []rules.Role) string {
	var b strings.Builder
	for i, r := range set {
		if i > 0 {
			b.WriteByte('|')
		}
		b.WriteString(string(r))
	}
	return b.String()
}
