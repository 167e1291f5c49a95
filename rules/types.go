// Package rules says what Exchange is, as data: the documented data paths of
// each version, what proves that a host has a role, the names of RPC
// interfaces, and the operator's own site file. It imports nothing of ours and
// matches nothing; matching is classify's.
package rules

import "net/netip"

// Role is what a host does in or around an Exchange organisation.
type Role string

// The roles, a closed list.
const (
	Hub            Role = "hub"
	Edge           Role = "edge"
	Mailbox        Role = "mailbox"
	MailboxLegacy  Role = "mailbox-legacy"
	CAS            Role = "cas"
	UM             Role = "um"
	DC             Role = "dc"
	GC             Role = "gc"
	ADRMS          Role = "adrms"
	Client         Role = "client"
	Admin          Role = "admin"
	Backup         Role = "backup"
	PBX            Role = "pbx"
	OCS            Role = "ocs"
	LB             Role = "lb"
	Relay          Role = "relay"
	Internet       Role = "internet"
	DNS            Role = "dns"
	Witness        Role = "witness"
	ExchangeOnline Role = "exchange-online"
	// Any stands in a data path for every role.
	Any Role = "any"
)

// Exchange says whether a host in the role is an Exchange server.
func (r Role) Exchange() bool {
	switch r {
	case Hub, Edge, Mailbox, MailboxLegacy, CAS, UM:
		return true
	}
	return false
}

// Port is where a leg's server listens. Exactly one of Dynamic or From is set.
type Port struct {
	// From and To are the first and last port number, both included, 1 to 65535.
	From, To uint16
	TCP, UDP bool
	// Dynamic means any port that was announced (endpoint mapper, SDP) or whose
	// content says so itself; From and To are then the documented range, or 0.
	Dynamic bool
}

// Match is what a flow must look like. Every field that is set must fit.
type Match struct {
	Port Port
	// Protocol is the name of the protocol that should be read there ("smtp",
	// "dcerpc", "tls" ...). A flow whose content could not be read matches by
	// port alone, with that confidence.
	Protocol string
	// Facts lists, per attribute, the values of which the flow or its learned
	// endpoint must have at least one. Letters match in either case. A "*" at the
	// begin or the end of a value stands for any text ("/owa*", "*UnifiedMessaging*"),
	// alone for any value; Fits compares. For rpc.interface the word "unnamed"
	// stands for an interface without a name in any pack (Unnamed).
	Facts map[string][]string
}

// NotApplicable in a leg's Auth or Encryption says that the path's columns do
// not hold for this leg (locator legs: 53, 88, 135, 593, CLDAP).
const NotApplicable = "n/a"

// Unnamed is the value of rpc.interface in a Match that stands for every
// interface without a name in any pack.
const Unnamed = "unnamed"

// Leg is one connection of a data path.
type Leg struct {
	Match
	// Group is the id of the set of rows that tie on this leg: the leg's own where
	// the pack gives one (locator legs), else the path's. Load always sets it.
	Group string
	// SitePort names the setting of the site file that replaces Port where it is
	// set ("log_shipping_port"), or is empty. Site.Port applies it.
	SitePort string
	// Reverse: the connection is opened by the path's To towards its From.
	Reverse bool
	// Auth and Encryption override the path's columns for this leg:
	// NotApplicable, or nil for the path's own.
	Auth, Encryption string
	// MaxConfidence caps what a match of this leg can say: "port", "pattern", or
	// empty for no cap. An announced endpoint lifts the cap.
	MaxConfidence string
}

// DataPath is one row of a port reference.
type DataPath struct {
	ID, Version, Name, Table string
	// Group is the id of the set of rows that no packet can tell apart; its own
	// ID where there is no such set. Most group ids name no path
	// ("2010.https.client"). It stands for a verdict that names several rows; one
	// that content ties to a single row goes by the row's own ID.
	Group string
	// From and To are the roles of the client and of the server side.
	From, To []Role
	// OneEnd, if set, is a role that one end of the flow must have, besides From
	// and To fitting.
	OneEnd Role
	// External says that the client side may be on the internet.
	External bool
	Legs     []Leg
	// DefaultAuth, SupportedAuth and Encryption are the reference's words; empty
	// where it has none.
	DefaultAuth, SupportedAuth, Encryption []string
	// ByDefault is "yes", "no" or empty: whether the reference says that the path
	// is encrypted by default.
	ByDefault string
	// Ports is the reference's own text for the ports.
	Ports string
	Note  string
	// Source names the document, Confidence grades it: high, medium or low.
	Source, Confidence string
	// FirewallRules holds the names of the Windows Firewall rules of Exchange setup
	// that admit the path.
	FirewallRules []string
}

// Interface names one version of an RPC interface.
type Interface struct {
	// UUID is in lower case; Version is "major.minor", or "?" for any.
	UUID, Version string
	// Name is the short name used in facts ("emsmdb").
	Name string
	// Title and Service say what it is and who serves it.
	Title, Service     string
	Source, Confidence string
}

// RoleEvidence says what proves that a host has a role.
type RoleEvidence struct {
	// Roles holds one role, or the alternatives that the evidence leaves open.
	Roles []Role
	// End is the end of the flow that is proven: "server" or "client".
	End string
	// Any holds the matches of which one suffices. They need content or an
	// announced endpoint: a port number proves nothing, and a flow that the server
	// did not answer proves nothing about its server end.
	Any []Match
	// Weak evidence counts only for a host of which nothing else is known.
	Weak bool
	// Version is the Exchange version that is proven along with it, or empty.
	Version string
	// Note says what the proof is, Source where that is documented.
	Note, Source string
}

// Server is a host of the site file.
type Server struct {
	Name      string
	Addresses []netip.Addr
	Roles     []Role
	Version   string
	// StaticPorts maps an RPC service's short name to its TCP port.
	StaticPorts map[string]uint16
}

// Network is a network of the site file.
type Network struct {
	Prefix netip.Prefix
	Role   Role
}

// Allow is a flow that the operator declares as wanted.
type Allow struct {
	From, To Role
	Port     Port
	Note     string
}

// Site is what the operator knows about the network.
type Site struct {
	// Version is the Exchange version of all servers that name none.
	Version         string
	Servers         []Server
	Networks        []Network
	LogShippingPort uint16
	Allow           []Allow
}

// Pack is one file of rules.
type Pack struct {
	// Name is the file's name without its extension ("exchange2010").
	Name string
	// Version is the Exchange version of the pack's paths ("2010"), or empty for a
	// pack that only names interfaces and evidence.
	Version    string
	Paths      []DataPath
	Interfaces []Interface
	Evidence   []RoleEvidence
	LocalOnly  []LocalPort
	// Policy is the policy that the pack holds, or nil.
	Policy *Policy
}

// LocalPort is a port of an Exchange server that is documented for the host
// itself alone: a flow to it over the network is unexpected.
type LocalPort struct {
	Port         Port
	Note, Source string
}
