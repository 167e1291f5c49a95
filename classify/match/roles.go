package match

import (
	"cmp"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/record"
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
	// Front reports whether the host is a load balancer in front of an Exchange
	// server by weak evidence: only what fits a data path on its way there is
	// Exchange's.
	Front bool
	// Known tells how much is known of the host.
	Known Knowledge
	// Version is the Exchange version of an Exchange server, and Source tells how it
	// is known.
	Version string
	Source  record.VersionSource
	// Among are the versions that the server can have by what it showed, where its
	// version is assumed; nil for any.
	Among []string
	// Static maps the RPC services of the host to the ports that the site file
	// names, or is nil.
	Static map[string]uint16
	// ID differs between most role sets.
	ID     uint64
	policy *rules.Policy
	// acts are the roles that Acts answers for, and anyExchange reports whether that
	// includes every role of Exchange servers.
	acts        []rules.Role
	anyExchange bool
}

// Knowledge tells how much is known of a host.
type Knowledge uint8

const (
	// Unknown is a host of which nothing is known, or only weak evidence. It may be
	// anything.
	Unknown Knowledge = iota
	// Unlisted is an unknown host outside the networks that the site file lists.
	Unlisted
	// Proven is a host whose roles traffic proves. It may have more roles of the
	// kind.
	Proven
	// Certain is a host whose roles the site file names, or an address of the
	// internet. It has no other role.
	Certain
)

// NewRoleSet returns the role set of a host whose roles are sets.
func NewRoleSet(policy *rules.Policy, known Knowledge, sets [][]rules.Role) RoleSet {
	r := RoleSet{Sets: sets, Known: known, policy: policy}
	for _, set := range sets {
		if n := Join(set); !slices.Contains(r.Names, n) {
			r.Names = append(r.Names, n)
		}
		for _, role := range set {
			r.note(role)
		}
		r.Exchange = r.Exchange || !slices.ContainsFunc(set, func(role rules.Role) bool { return !r.isExchange(role) })
	}
	r.Text = cmp.Or(strings.ReplaceAll(strings.Join(r.Names, ", "), string(rules.AnyExchange), "an Exchange server"), "a host without a role")
	return r
}

func (r *RoleSet) isExchange(role rules.Role) bool {
	return role == rules.AnyExchange || r.policy.Exchange(role)
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

// Fit reports whether a host may act in a role.
type Fit uint8

// The answers, worst first.
const (
	No     Fit = iota
	Maybe      // the host may have the role, for all that is known
	Likely     // the host acts in the role besides its own: administrators and load balancers are clients too
	Yes
)

// Fits reports whether the host may act in one of the roles. An unknown host acts
// as a client, and as a host of the internet, as neither role needs evidence.
func (r *RoleSet) Fits(want []rules.Role) Fit {
	switch {
	case r.Acts(want):
		return Yes
	case slices.Contains(want, rules.Client) && r.Has(rules.Admin):
		return Likely
	case r.Known == Unlisted:
		return Maybe
	case r.Known == Unknown:
		switch asks := slices.Contains(want, rules.Client) || slices.Contains(want, rules.Internet); {
		case asks && r.Front:
			return Likely // a row for load balancers is nearer
		case asks:
			return Yes
		}
		return Maybe
	case r.Known == Proven && slices.ContainsFunc(want, r.mayHave):
		return Maybe
	}
	return No
}

// Wavers reports whether nothing but weak evidence says that the host acts in one of
// the roles, and the same evidence may say that it is no Exchange server, whereas the
// roles are those of Exchange servers.
func (r *RoleSet) Wavers(want []rules.Role) bool {
	if r.Known != Unknown || len(r.Sets) == 0 || slices.Contains(want, rules.Any) {
		return false
	}
	for _, set := range r.Sets {
		for _, role := range set {
			if !r.isExchange(role) && slices.Contains(want, role) {
				return false
			}
		}
		if !slices.ContainsFunc(set, func(role rules.Role) bool { return !r.isExchange(role) }) {
			return false
		}
	}
	return r.Acts(want)
}

// mayHave reports whether a host with the roles that are proven can well have
// another one: Exchange servers of several roles are common, and so are domain
// controllers that serve the global catalog and DNS, and clients with a mail server of
// their own.
func (r *RoleSet) mayHave(role rules.Role) bool {
	switch role {
	case rules.DC, rules.GC, rules.DNS:
		return r.Has(rules.DC) || r.Has(rules.GC) || r.Has(rules.DNS)
	case rules.Client:
		return r.Has(rules.Relay)
	}
	return r.Exchange && r.isExchange(role)
}

// Shares reports whether one of the roles is that of an Exchange server.
func (r *RoleSet) Shares(roles []rules.Role) bool { return slices.ContainsFunc(roles, r.isExchange) }

// Only reports whether the host has no other roles than those. Of a server whose
// roles traffic proves that is known where they stand for Mailbox and Client
// Access together.
func (r *RoleSet) Only(roles []rules.Role) bool {
	return r.Within(roles) && (r.Known == Certain || slices.Contains(roles, rules.AnyExchange) ||
		slices.Contains(roles, rules.Mailbox) && slices.Contains(roles, rules.CAS))
}

// Within reports whether the host has roles, as far as is known none but those.
func (r *RoleSet) Within(roles []rules.Role) bool {
	return len(r.Sets) > 0 && !slices.ContainsFunc(r.Sets, func(set []rules.Role) bool { return !r.within(set, roles) })
}

// Surely reports whether the host has one of the roles, whichever of its alternatives
// holds.
func (r *RoleSet) Surely(roles []rules.Role) bool {
	return slices.ContainsFunc(r.Sets, func(set []rules.Role) bool { return r.within(set, roles) })
}

func (r *RoleSet) within(set, roles []rules.Role) bool {
	return !slices.ContainsFunc(set, func(have rules.Role) bool {
		return !slices.Contains(roles, have) && !(slices.Contains(roles, rules.AnyExchange) && r.isExchange(have))
	})
}

// Acts reports whether the host is known to have one of the roles, or may have
// it by the evidence. A global catalog server is a domain controller.
func (r *RoleSet) Acts(want []rules.Role) bool {
	for _, w := range want {
		if w == rules.Any || slices.Contains(r.acts, w) || r.anyExchange && r.isExchange(w) {
			return true
		}
	}
	return false
}

// note sets what Acts answers, for one of the host's roles.
func (r *RoleSet) note(role rules.Role) {
	r.acts = append(r.acts, role)
	if role == rules.GC {
		r.acts = append(r.acts, rules.DC)
	}
	if r.isExchange(role) {
		r.acts = append(r.acts, rules.AnyExchange)
	}
	r.anyExchange = r.anyExchange || role == rules.AnyExchange
}

// Join writes alternative roles as one word: "mailbox|cas".
func Join(set []rules.Role) string {
	if len(set) == 1 {
		return string(set[0])
	}
	var b strings.Builder
	for i, r := range set {
		if i > 0 {
			b.WriteByte('|')
		}
		b.WriteString(string(r))
	}
	return b.String()
}

// versions are the versions of Exchange, oldest first.
var versions = []string{"4.0", "5.0", "5.5", "2000", "2003", "2007", "2010", "2013", "2016", "2019", "SE", rules.Online}

// Newer reports whether one version of Exchange is newer than another. Any version
// is newer than none.
func Newer(version, than string) bool {
	return slices.Index(versions, version) > slices.Index(versions, than)
}

// DefaultVersion is the Exchange version that is assumed where nothing tells.
const DefaultVersion = "2010"
