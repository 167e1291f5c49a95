// Package rules holds the knowledge of Exchange as data: the documented data paths of
// each version, the evidence for the roles of hosts, the names of RPC interfaces, the
// policy on weak mechanisms, and the operator's site file. It loads and checks this data.
// The packages below classify match flows with it.
package rules

import (
	"net/netip"
	"strings"
	"time"
)

// Role is the function of a host in or around an Exchange organisation.
type Role string

// The closed list of roles.
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
	// AnyExchange in a data path means every role of an Exchange server. For a host it
	// means an Exchange server with an unknown role.
	AnyExchange Role = "any-exchange"
	// Any in a data path means every role.
	Any Role = "any"
)

// Platform is the version of the data paths of Windows itself. They apply in addition to
// those of every Exchange version.
const Platform = "windows"

// Platform reports whether p is a data path of Windows itself.
func (p *DataPath) Platform() bool { return p.Version == Platform }

// Exchange reports whether a host with the role is an Exchange server.
func (r Role) Exchange() bool {
	switch r {
	case Hub, Edge, Mailbox, MailboxLegacy, CAS, UM, AnyExchange:
		return true
	}
	return false
}

// Port is the port on which the server of a leg listens. Exactly one of Dynamic, From and
// IP is set, except that a dynamic port may have a range.
type Port struct {
	// From and To are the first and the last port number, inclusive, 1 to 65535.
	From, To uint16
	TCP, UDP bool
	// Dynamic means any port that was announced (endpoint mapper, SDP) or whose content
	// identifies the service. From and To are then the documented range, or 0.
	Dynamic bool
	// IP is the protocol of a leg without ports: "esp", "ah", "icmp" or "icmp6".
	IP string
}

// Fact is an attribute of a flow that must have one of several values.
type Fact struct {
	// Name is the attribute ("rpc.interface").
	Name string
	// Values are compared as by Fits: ignoring case, with "*" for any text at the
	// beginning or the end of a value.
	Values []string
}

// Match is a condition on a flow. All fields that are set must fit.
type Match struct {
	Port Port
	// Protocol is the name of the expected protocol ("smtp", "dcerpc", "tls" ...). A flow
	// whose content was not readable matches by its port alone, with the confidence of a
	// port match.
	Protocol string
	// Inside is the protocol inside TLS ("http"), if the documents state it. It is rarely
	// readable.
	Inside string
	// Facts lists attributes, sorted by name. The flow or its learned endpoint must have
	// a fitting value of each of them. For rpc.interface, the value "unnamed" means an
	// interface without a name in any pack (Unnamed).
	Facts []Fact
	// Either lists attributes of which at least one must have a fitting value, for a
	// pattern that can mean a host or a path. It is empty or has at least two elements.
	Either []Fact
	// Without lists attributes of which no value may fit. Because a value can have been
	// missed, such a Match also requires a fact that proves that everything was read.
	Without []Fact
	// ContentOnly reports that the content must have been read. The port, or only the
	// layer around the content (TLS), does not match.
	ContentOnly bool
}

// NotApplicable in the Auth or Encryption of a leg means that the path's columns do not
// apply to the leg (locator legs: 53, 88, 135, 593, CLDAP).
const NotApplicable = "n/a"

// Unnamed as the value of rpc.interface in a Match means every interface without a name
// in any pack.
const Unnamed = "unnamed"

// Leg is one connection of a data path.
type Leg struct {
	Match
	// Text is the leg in the form of the reference tables: "135/tcp
	// dcerpc[epmapper] n/a".
	Text string
	// Group is the id of the set of rows that tie on this leg. It is the leg's own group
	// if the pack gives one (locator legs), and otherwise the path's group. Load always
	// sets it.
	Group string
	// SitePort names the setting of the site file that replaces Port
	// ("log_shipping_port"), or is "". Site.Port applies it.
	SitePort string
	// Reverse means that the To end of the path opens the connection to its From end.
	Reverse bool
	// Static means that an administrator pinned the service to a port in the range.
	// Configurable means that the number is a default that an administrator may change.
	// Multicast means that the packets are sent to a group address.
	Static, Configurable, Multicast bool
	// Auth and Encryption override the path's columns for this leg. They are
	// NotApplicable, or empty for the path's own values.
	Auth, Encryption string
	// MaxConfidence is the maximum confidence of a match of this leg: "port", "pattern",
	// or "" for no limit. It does not limit announced endpoints.
	MaxConfidence string
}

// DataPath is one row of a port reference.
type DataPath struct {
	ID, Version, Name, Table string
	// Group is the id of the set of rows that no packet can distinguish. It is the path's
	// own ID if there is no such set. Most group ids are not the id of a path
	// ("2010.https.client"). A verdict that names several rows uses the group id. A
	// verdict that content ties to a single row uses the row's ID. Packs.GroupName
	// returns the display name.
	Group string
	// From and To are the roles of the client and of the server.
	From, To []Role
	// OneEnd, if set, lists roles of which one end of the flow must have one, in addition
	// to From and To.
	OneEnd []Role
	// External means that the client may be on the internet.
	External bool
	// Local means that the path is documented only within a host. The same flow between
	// hosts is unexpected.
	Local bool
	// NotUsed means that the reference lists the path and states that Exchange does not
	// use it. Such a flow is unexpected.
	NotUsed    bool
	Conditions Conditions
	Legs       []Leg
	// DefaultAuth, SupportedAuth and Encryption are the words in the reference. They are
	// empty if it has none.
	DefaultAuth, SupportedAuth, Encryption []string
	// ByDefault reports whether the path is encrypted by default according to the
	// reference. It is "yes", "no" or "".
	ByDefault string
	// Ports lists the legs in the form of the reference tables, separated by ";".
	Ports string
	Note  string
	// Source names the documents, separated by "; ". Documents lists them individually.
	// Confidence rates ports and ends as high, medium or low. A row of low confidence
	// does not explain a flow that a better row can explain.
	Source     string
	Documents  []string
	Confidence string
	// FirewallRules lists the names of the Windows Firewall rules of Exchange setup that
	// admit the path.
	FirewallRules []string
}

// LastResort reports whether the path explains only flows that no other path explains.
// Its document is then unreliable on ports or ends, or is a firewall rule, which names no
// caller.
func (p *DataPath) LastResort() bool { return p.Confidence == "low" || p.Table == "firewall" }

// Conditions restrict a data path if roles, ports and content are not sufficient.
type Conditions struct {
	// NotFrom and NotTo are roles that the role any in From or To excludes.
	NotFrom, NotTo []Role
	// NoPipe means that the SMB leg is for files. RPC over a named pipe does not fit it.
	NoPipe bool
	// NamesDecide means that a flow fits only if it shows one of the host names, server
	// names or paths of its leg.
	NamesDecide bool
	// Methods lists HTTP methods. A request must have one of them.
	Methods []string
	// UnannouncedUndetermined means that a flow at a high port without an announcement is
	// undetermined at most.
	UnannouncedUndetermined bool
}

// Words returns the conditions in the form of the reference tables.
func (c *Conditions) Words() []string {
	var list []string
	for _, r := range c.NotFrom {
		list = append(list, "not-from:"+string(r))
	}
	for _, r := range c.NotTo {
		list = append(list, "not-to:"+string(r))
	}
	if c.NoPipe {
		list = append(list, "no-pipe")
	}
	if c.NamesDecide {
		list = append(list, "names-decide")
	}
	if len(c.Methods) > 0 {
		list = append(list, "http-methods:"+strings.Join(c.Methods, "|"))
	}
	if c.UnannouncedUndetermined {
		list = append(list, "unannounced:undetermined")
	}
	return list
}

// Interface is a named version of an RPC interface.
type Interface struct {
	// UUID is in lower case. Version is "major.minor", or "?" for any version.
	UUID, Version string
	// Name is the short name used in facts ("emsmdb").
	Name string
	// Title describes the interface, and Service is the service that implements it. Use
	// describes the purpose of its calls ("administration (WMI)", "DC to DC"), or names
	// the paths to which it belongs.
	Title, Service, Use string
	Source, Confidence  string
}

// RoleEvidence is evidence that a host has a role.
type RoleEvidence struct {
	// ID is a stable name ("smtp.banner.ready").
	ID string
	// Roles holds one role, or the alternatives that the evidence leaves open. It is
	// empty if the evidence proves only the version, or nothing.
	Roles []Role
	// ByVersion narrows Roles for a host of a known version. The first element that fits
	// applies.
	ByVersion []RolesOf
	// End is the end of the flow that the evidence concerns: "server", "client" or
	// "both"; or "named" for a host that the server names for a service, whose only fact
	// is "dns.service". Then Peer is asked of the server.
	End string
	// Any lists matches. One of them is sufficient. They need content or an announced
	// endpoint: a port number proves nothing, and a flow without an answer from the
	// server proves nothing about its server.
	Any []Match
	// Weak means that the evidence counts only for a host of which nothing else is known.
	Weak bool
	// Peer lists roles, or is empty. The other end of the flow must be proven to have
	// roles among these and no others. With any-exchange, any role of Exchange servers is
	// sufficient.
	Peer []Role
	// Version is the Exchange version that the evidence also proves, or "".
	Version string
	// Versions lists the versions that can show the evidence. It does not apply to a host
	// of another version.
	Versions []string
	// BuildFact is the name of the fact that holds the server's build number, from which
	// Packs.Identify determines its version. It is "" if there is none.
	BuildFact string
	// ProvesVersion means that a host that shows the evidence has one of Versions.
	ProvesVersion bool
	// Pending is the reason that the evidence cannot be proven yet. Any is then empty.
	Pending string
	// Vetoes means that the host is not an Exchange server, whatever else it shows.
	Vetoes bool
	// What describes the evidence. FooledBy describes what else shows the same.
	What, FooledBy string
	// Note is a comment. Source names the documents.
	Note, Source, Confidence string
}

// RolesOf lists the roles that evidence proves for some versions, on some ports.
type RolesOf struct {
	Versions []string
	// Ports lists the server's ports. It is empty for all ports.
	Ports []uint16
	Roles []Role
}

// Server is a server in the site file.
type Server struct {
	Name      string
	Addresses []netip.Addr
	Roles     []Role
	// OneOf holds alternatives: the server has one of these roles, and may have more.
	// It is empty where all roles are known.
	OneOf []Role
	// Partial means that the server may have more roles than those.
	Partial bool
	Version string
	// StaticPorts maps the short name of an RPC service to its TCP port.
	StaticPorts map[string]uint16
}

// Network is a network in the site file.
type Network struct {
	Prefix netip.Prefix
	Role   Role
}

// Allow is a flow that the operator declares as expected.
type Allow struct {
	From, To Role
	Port     Port
	Note     string
}

// End describes one end of a flow in the site file. Exactly one field is set, or none for
// any end.
type End struct {
	Role   Role
	Server string // the name of a server in the site file
	Prefix netip.Prefix
}

// Accept is a deviation that the operator accepts.
type Accept struct {
	// Finding is the id of the finding.
	Finding string
	// Path is the id of a data path, a prefix of ids followed by "*" ("2010.cas.*"), or
	// "" for any path.
	Path     string
	From, To End
	// Until is the last day, in UTC, of the acceptance. It is zero if the acceptance does
	// not expire.
	Until time.Time
	Note  string
	// File and Line are its position in the site file.
	File string
	Line int
}

// Site is the operator's knowledge of the network.
type Site struct {
	// Version is the Exchange version of all servers without a version of their own.
	Version         string
	Servers         []Server
	Networks        []Network
	LogShippingPort uint16
	Allow           []Allow
	Accept          []Accept
	// Relays lists the hosts that may announce media for others (session border
	// controllers, SIP proxies).
	Relays []netip.Prefix
	// Mirrors lists the ends of tunnels that carry mirrored packets (ERSPAN, VXLAN,
	// TZSP).
	Mirrors []netip.Prefix
	// Sensors lists the sensors whose knowledge is believed. It is empty for all.
	Sensors []string
}

// Pack is one file of rules.
type Pack struct {
	// Name is the file's name without its extension ("exchange2010").
	Name string
	// Version is the Exchange version of the pack's paths ("2010"; "2003" also means
	// 2000), Platform for those of Windows, or "" for a pack without paths.
	Version string
	// Documents lists the documents to which the pack refers by keys.
	Documents  []Document
	Paths      []DataPath
	Groups     []Group
	Interfaces []Interface
	// Evidence lists the evidence for roles. NoEvidence lists apparent evidence that
	// proves nothing. Elements of NoEvidence with Vetoes set are evidence against
	// Exchange.
	Evidence, NoEvidence []RoleEvidence
	LocalOnly            []LocalPort
	// Absent lists the traffic that some versions must not have.
	Absent []Absent
	Builds []Build
	Pinned []Pinned
	// Policy is the policy in the pack, or nil.
	Policy *Policy
}

// Document is a document and the key by which a pack refers to it.
type Document struct {
	Key, Text string
}

// Group is a named set of rows that no packet can distinguish.
type Group struct {
	ID, Name string
}

// Absent is traffic that some versions must not have.
type Absent struct {
	// ID begins with "not.".
	ID       string
	Versions []string
	// Only is the version for which alone the row holds, of those that share a pack; ""
	// for all of them.
	Only     string
	What     string
	From, To []Role
	// Legs is empty if roles or policy alone decide.
	Legs []Leg
	// Weakness is the id of the weakness in the policy that grades the row, or "".
	Weakness           string
	Methods            []string // of HTTP requests; empty for all methods
	Ports              string   // the legs in the form of the reference tables
	Note               string
	Source, Confidence string
}

// Pinned is a service whose port an administrator can pin, or a service for which the
// documents state that its port cannot be pinned.
type Pinned struct {
	Versions []string
	Service  string
	// Interfaces lists the RPC interfaces or protocols that use the service's port.
	Interfaces []string
	// Default is the port if it is not pinned. By is the means of pinning (registry,
	// cmdlet ...). Where and Value are the place and name of the setting, and Type is its
	// type.
	Default, By, Where, Value, Type string
	// Range is the recommended range. Since is the first version or update with the
	// setting. Restart names what must be restarted.
	Range, Since, Restart    string
	Note, Source, Confidence string
	// Site reports whether static_ports in the site file may name the interfaces.
	Site bool
}

// LocalPort is a port of an Exchange server that is documented only for traffic within
// the host. A flow to it over the network is unexpected.
type LocalPort struct {
	Port         Port
	Note, Source string
}
