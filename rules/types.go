// Package rules holds what Exchange is, as data: the documented data paths of
// each version, what proves that a host has a role, the names of RPC interfaces,
// what is weak, and the operator's site file. The package loads and checks this
// data; packages below classify match flows against it.
package rules

import (
	"net/netip"
	"strings"
	"time"
)

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
	// AnyExchange stands in a data path for every role of an Exchange server. Of a
	// host it means an Exchange server whose role is not known.
	AnyExchange Role = "any-exchange"
	// Any stands in a data path for every role.
	Any Role = "any"
)

// Platform is the version of the data paths that belong to Windows itself. They
// hold beside those of every Exchange version.
const Platform = "windows"

// Platform reports whether p is a data path of Windows itself.
func (p *DataPath) Platform() bool { return p.Version == Platform }

// Exchange reports whether a host in the role is an Exchange server.
func (r Role) Exchange() bool {
	switch r {
	case Hub, Edge, Mailbox, MailboxLegacy, CAS, UM, AnyExchange:
		return true
	}
	return false
}

// Port is where a leg's server listens. Exactly one of Dynamic, From and IP is
// set, but a dynamic port may have a range.
type Port struct {
	// From and To are the first and last port number, both included, 1 to 65535.
	From, To uint16
	TCP, UDP bool
	// Dynamic means any port that was announced (endpoint mapper, SDP) or whose
	// content says so itself; From and To are then the documented range, or 0.
	Dynamic bool
	// IP is the protocol of a leg without ports: "esp", "ah", "icmp" or "icmp6".
	IP string
}

// Fact is one attribute of a flow with the values of which one must be there.
type Fact struct {
	// Name is the attribute ("rpc.interface").
	Name string
	// Values are compared as Fits does: without regard to case, and "*" at the
	// beginning or the end of a value stands for any text.
	Values []string
}

// Match is what a flow must look like. Every field that is set must fit.
type Match struct {
	Port Port
	// Protocol is the name of the protocol that should be read there ("smtp",
	// "dcerpc", "tls" ...). A flow whose content could not be read matches by
	// port alone, with that confidence.
	Protocol string
	// Inside is what TLS carries ("http"), where the documents say so. It can
	// rarely be read.
	Inside string
	// Facts lists attributes, in the order of their names, of each of which the
	// flow or its learned endpoint must have a value that fits. For rpc.interface
	// the word "unnamed" stands for an interface without a name in any pack
	// (Unnamed).
	Facts []Fact
	// Either lists attributes of which at least one must have a value that fits:
	// a pattern that may stand for a host or for a path. It is empty or holds two
	// or more.
	Either []Fact
	// Without lists attributes of which no value may fit. What is not there can have
	// been missed, so such a Match asks for a fact that says that all was read.
	Without []Fact
	// ContentOnly reports that the content must have been read: neither the port
	// nor what only surrounds the content (TLS) makes a match.
	ContentOnly bool
}

// NotApplicable in a leg's Auth or Encryption means that the path's columns do
// not hold for this leg (locator legs: 53, 88, 135, 593, CLDAP).
const NotApplicable = "n/a"

// Unnamed is the value of rpc.interface in a Match that stands for every
// interface without a name in any pack.
const Unnamed = "unnamed"

// Leg is one connection of a data path.
type Leg struct {
	Match
	// Text is the leg in the form of the reference tables: "135/tcp
	// dcerpc[epmapper] n/a".
	Text string
	// Group is the id of the set of rows that tie on this leg: the leg's own where
	// the pack gives one (locator legs), else the path's. Load always sets it.
	Group string
	// SitePort names the setting of the site file that replaces Port where it is
	// set ("log_shipping_port"), or is empty. Site.Port applies it.
	SitePort string
	// Reverse means that the path's To opens the connection towards its From.
	Reverse bool
	// Static means that an administrator pinned the service to a port in the
	// range; Configurable, that the number is a default that an administrator may
	// change; Multicast, that the packets go to a group address.
	Static, Configurable, Multicast bool
	// Auth and Encryption override the path's columns for this leg: NotApplicable,
	// or empty for the path's own.
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
	// that content ties to a single row goes by the row's own ID. Packs.GroupName
	// gives its name for people.
	Group string
	// From and To are the roles of the client and of the server side.
	From, To []Role
	// OneEnd, if set, holds roles of which one end of the flow must have one,
	// besides From and To fitting.
	OneEnd []Role
	// External means that the client side may be on the internet.
	External bool
	// Local means that the path is documented on the host itself alone: the same
	// flow between hosts is unexpected.
	Local bool
	// NotUsed means that the reference lists the path and says itself that Exchange
	// does not use it: such a flow is unexpected.
	NotUsed    bool
	Conditions Conditions
	Legs       []Leg
	// DefaultAuth, SupportedAuth and Encryption are the reference's words; empty
	// where it has none.
	DefaultAuth, SupportedAuth, Encryption []string
	// ByDefault is "yes", "no" or empty: whether the reference says that the path
	// is encrypted by default.
	ByDefault string
	// Ports are the legs in the form of the reference tables, joined by ";".
	Ports string
	Note  string
	// Source names the documents, joined by "; "; Documents holds them one by one.
	// Confidence grades ports and ends: high, medium or low. A row of low
	// confidence explains no flow that a better row can explain.
	Source     string
	Documents  []string
	Confidence string
	// FirewallRules holds the names of the Windows Firewall rules of Exchange setup
	// that admit the path.
	FirewallRules []string
}

// LastResort reports whether the path explains only what no other path explains:
// its document is weak on ports or ends, or is a firewall rule, which names no
// caller.
func (p *DataPath) LastResort() bool { return p.Confidence == "low" || p.Table == "firewall" }

// Conditions narrow a data path where roles, ports and content are not enough.
type Conditions struct {
	// NotFrom and NotTo are roles that the role any of From or To leaves out.
	NotFrom, NotTo []Role
	// NoPipe means that the leg of SMB is for files: RPC over a named pipe does not
	// fit it.
	NoPipe bool
	// NamesDecide means that a flow fits only if it shows one of its leg's host
	// names, server names or paths.
	NamesDecide bool
	// Methods are the HTTP methods of which a request must have one.
	Methods []string
	// UnannouncedUndetermined means that a flow at a high port that nothing
	// announced is at most undetermined.
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

// Interface names one version of an RPC interface.
type Interface struct {
	// UUID is in lower case; Version is "major.minor", or "?" for any.
	UUID, Version string
	// Name is the short name used in facts ("emsmdb").
	Name string
	// Title and Service say what it is and who serves it; Use says what a call of it
	// means ("administration (WMI)", "DC to DC"), or names the paths it belongs to.
	Title, Service, Use string
	Source, Confidence  string
}

// RoleEvidence says what proves that a host has a role.
type RoleEvidence struct {
	// ID is a stable name ("smtp.banner.ready").
	ID string
	// Roles holds one role, or the alternatives that the evidence leaves open. It
	// is empty where only the version is proven, or nothing.
	Roles []Role
	// ByVersion narrows Roles for a host whose version is known. The first element
	// that fits counts.
	ByVersion []RolesOf
	// End is the end of the flow that is proven: "server", "client" or "both".
	End string
	// Any holds the matches of which one suffices. They need content or an
	// announced endpoint: a port number proves nothing, and a flow that the server
	// did not answer proves nothing about its server end.
	Any []Match
	// Weak evidence counts only for a host of which nothing else is known.
	Weak bool
	// Peer holds the roles that the other end of the flow must be proven to have,
	// and no others, or is empty. With any-exchange each role of Exchange servers
	// will do.
	Peer []Role
	// Version is the Exchange version that is proven along with it, or empty.
	Version string
	// Versions are the versions that can show the evidence. A host with another
	// version is not proven by it.
	Versions []string
	// BuildFact names the fact that holds the build number of the server, from
	// which Packs.Identify tells its version; empty where there is none.
	BuildFact string
	// ProvesVersion means that what shows the evidence also has its version, one of
	// Versions.
	ProvesVersion bool
	// Pending says why nothing proves the evidence yet: Any is then empty.
	Pending string
	// Vetoes means that the host is no Exchange server, whatever else it shows.
	Vetoes bool
	// What is the evidence in words, FooledBy what else shows the same.
	What, FooledBy string
	// Note comments on it, Source names the documents.
	Note, Source, Confidence string
}

// RolesOf is what evidence proves for some versions, on some ports.
type RolesOf struct {
	Versions []string
	// Ports are the server's ports, or empty for any.
	Ports []uint16
	Roles []Role
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

// End names one end of a flow in the site file. Exactly one field is set, or
// none for any end.
type End struct {
	Role   Role
	Server string // the name of a server of the site file
	Prefix netip.Prefix
}

// Accept is a deviation that the operator knows of.
type Accept struct {
	// Finding is the id of the finding.
	Finding string
	// Path is the id of a data path, with "*" at its end for all that begin so
	// ("2010.cas.*"), or empty for any.
	Path     string
	From, To End
	// Until is the last day on which it is accepted, in UTC; zero for no end.
	Until time.Time
	Note  string
	// File and Line are where it stands.
	File string
	Line int
}

// Site is what the operator knows about the network.
type Site struct {
	// Version is the Exchange version of all servers that name none.
	Version         string
	Servers         []Server
	Networks        []Network
	LogShippingPort uint16
	Allow           []Allow
	Accept          []Accept
	// Relays are the hosts that may announce media for others (session border
	// controllers, SIP proxies).
	Relays []netip.Prefix
	// Mirrors are the ends of tunnels that carry mirrored packets (ERSPAN, VXLAN,
	// TZSP).
	Mirrors []netip.Prefix
}

// Pack is one file of rules.
type Pack struct {
	// Name is the file's name without its extension ("exchange2010").
	Name string
	// Version is the Exchange version of the pack's paths ("2010"; "2003" stands
	// for 2000 too), Platform for those of Windows, or empty for a pack without
	// paths.
	Version string
	// Documents are the documents that the pack names by keys.
	Documents  []Document
	Paths      []DataPath
	Groups     []Group
	Interfaces []Interface
	// Evidence is what proves roles. NoEvidence is what looks like a proof and is
	// none; those of its elements that veto speak against Exchange.
	Evidence, NoEvidence []RoleEvidence
	LocalOnly            []LocalPort
	// Absent holds what some versions must not have.
	Absent []Absent
	Builds []Build
	Pinned []Pinned
	// Policy is the policy that the pack holds, or nil.
	Policy *Policy
}

// Document is a document with the key under which a pack names it.
type Document struct {
	Key, Text string
}

// Group names a set of rows that no packet can tell apart.
type Group struct {
	ID, Name string
}

// Absent is traffic that some versions must not have.
type Absent struct {
	// ID begins with "not.".
	ID       string
	Versions []string
	What     string
	From, To []Role
	// Legs is empty where roles or policy alone decide.
	Legs []Leg
	// Weakness is the id of the policy's weakness that grades the row, or empty.
	Weakness           string
	Methods            []string // of HTTP requests, or empty for any
	Ports              string   // the legs in the form of the reference tables
	Note               string
	Source, Confidence string
}

// Pinned is a service whose port an administrator can pin, or one of which the
// documents say that there is nothing to pin.
type Pinned struct {
	Versions []string
	Service  string
	// Interfaces are the RPC interfaces or protocols that move with the service.
	Interfaces []string
	// Default is the port without pinning, By the means of pinning (registry,
	// cmdlet ...), Where and Value the place and name of the setting, Type its type.
	Default, By, Where, Value, Type string
	// Range is what the documents recommend, Since the first version or update with
	// the setting, Restart what has to be restarted.
	Range, Since, Restart    string
	Note, Source, Confidence string
	// Site reports whether the site file's static_ports may name the interfaces.
	Site bool
}

// LocalPort is a port of an Exchange server that is documented for the host
// itself alone: a flow to it over the network is unexpected.
type LocalPort struct {
	Port         Port
	Note, Source string
}
