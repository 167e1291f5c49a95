package capture

import "fmt"

// UnreadKind says what the number in an Unread is.
type UnreadKind uint8

// The kinds, a closed list.
const (
	UnreadNone      UnreadKind = iota
	UnreadEtherType            // an EtherType
	UnreadProtocol             // an IP protocol
	UnreadSNAP                 // the protocol in a SNAP header of another organisation
	UnreadLLC                  // a destination service access point of IEEE 802.2
	UnreadPPP                  // a PPP protocol
	UnreadWLAN                 // the first byte of an IEEE 802.11 frame: type and subtype
	UnreadLink                 // a link type
	UnreadFamily               // an address family of the system that captured
	UnreadVersion              // an IP version
	UnreadOther                // all that found no room in the list; the number means nothing
)

// unread is what the frame skipped last would have been.
type unread struct {
	kind   UnreadKind
	number uint16
}

// skip notes of what kind the frame is, and returns the reason why it is skipped.
func (d *Decoder) skip(s Skip, kind UnreadKind, number uint16) Skip {
	d.unread = unread{kind, number}
	return s
}

// Unread is a number of frames of one kind that became no packet.
type Unread struct {
	Kind   UnreadKind
	Number uint16
	Frames uint64
}

// maxUnread is how many kinds of skipped frames are counted apart.
const maxUnread = 24

// Unreads counts skipped frames by kind, in the order in which the kinds were first
// seen. Places that are not in use have no kind; kinds beyond the last place are
// counted together there, as UnreadOther.
type Unreads [maxUnread]Unread

// add counts n frames.
func (u *Unreads) add(kind UnreadKind, number uint16, n uint64) {
	if kind == UnreadOther {
		number = 0
	}
	for i := range u {
		k := &u[i]
		if k.Kind == UnreadNone {
			k.Kind, k.Number = kind, number
			if i == maxUnread-1 {
				k.Kind, k.Number = UnreadOther, 0
			}
		} else if (k.Kind != kind || k.Number != number) && i < maxUnread-1 {
			continue
		}
		k.Frames += n
		return
	}
}

// Add adds the counts of v.
func (u *Unreads) Add(v *Unreads) {
	for i := range v {
		if v[i].Kind != UnreadNone {
			u.add(v[i].Kind, v[i].Number, v[i].Frames)
		}
	}
}

// String returns the kind as text: its name, if it has one, and its number, as in
// "ARP (EtherType 0x0806)".
func (u Unread) String() string {
	var number string
	switch u.Kind {
	case UnreadEtherType:
		number = fmt.Sprintf("EtherType %#04x", u.Number)
	case UnreadProtocol:
		number = fmt.Sprintf("IP protocol %d", u.Number)
	case UnreadSNAP:
		number = fmt.Sprintf("SNAP protocol %#04x", u.Number)
	case UnreadLLC:
		number = fmt.Sprintf("LLC service %#02x", u.Number)
	case UnreadPPP:
		number = fmt.Sprintf("PPP protocol %#04x", u.Number)
	case UnreadWLAN:
		number = fmt.Sprintf("802.11 type %#02x", u.Number)
	case UnreadLink:
		number = fmt.Sprintf("link type %d", u.Number)
	case UnreadFamily:
		number = fmt.Sprintf("address family %d", u.Number)
	case UnreadVersion:
		number = fmt.Sprintf("IP version %d", u.Number)
	default:
		return "others"
	}
	if name, _ := u.known(); name != "" {
		return name + " (" + number + ")"
	}
	return number
}

// Control reports whether frames of this kind keep the network itself going, as
// ARP and OSPF do, and carry nothing from one host's program to another's: it is
// no loss that they are not read.
func (u Unread) Control() bool {
	_, control := u.known()
	return control
}

// known returns the name of a kind, or "", and whether it is control traffic.
//
// The numbers are those of the registries of IEEE (EtherType) and IANA (IEEE 802
// Numbers, Protocol Numbers, PPP Numbers).
func (u Unread) known() (name string, control bool) {
	switch u.Kind {
	case UnreadEtherType:
		k := unreadEtherTypes[u.Number]
		return k.name, k.control
	case UnreadProtocol:
		if u.Number < uint16(len(unreadProtocols)) {
			k := unreadProtocols[u.Number]
			return k.name, k.control
		}
	case UnreadLLC:
		switch u.Number {
		case 0x42:
			return "STP", true
		case 0xfe:
			return "IS-IS", true
		case 0xe0:
			return "IPX", false
		case 0xf0:
			return "NetBIOS frames", false
		}
	case UnreadSNAP:
		switch u.Number {
		case 0x010b:
			return "PVST", true
		case 0x2000:
			return "CDP", true
		case 0x2003:
			return "VTP", true
		case 0x2004:
			return "DTP", true
		case 0x0111:
			return "UDLD", true
		}
	case UnreadPPP:
		switch {
		case u.Number == 0x00fd || u.Number == 0x00fb:
			return "compressed or encrypted PPP", false
		case u.Number == 0x0053 || u.Number == 0x0055:
			return "encrypted PPP", false
		case u.Number >= 0x8000:
			return "", true // network and link control protocols
		}
	case UnreadWLAN:
		return "", u.Number>>2&3 != 2 || u.Number&0x40 != 0 // management, control, or without data
	}
	return "", false
}

type unreadName struct {
	name    string
	control bool
}

var unreadEtherTypes = map[uint16]unreadName{
	etherARP:    {"ARP", true},
	0x0842:      {"Wake-on-LAN", true},
	0x22f3:      {"TRILL", false},
	0x2000:      {"CDP", true},
	0x6003:      {"DECnet", false},
	0x8035:      {"RARP", true},
	0x809b:      {"AppleTalk", false},
	0x8137:      {"IPX", false},
	0x8808:      {"Ethernet flow control", true},
	0x8809:      {"LACP and other slow protocols", true},
	0x8863:      {"PPPoE discovery", true},
	0x886d:      {"Intel teaming", true},
	0x886f:      {"Microsoft network load balancing", true},
	0x888e:      {"EAPOL", true},
	0x8892:      {"PROFINET", false},
	0x889a:      {"HyperSCSI", false},
	0x88a2:      {"ATA over Ethernet", false},
	0x88cc:      {"LLDP", true},
	etherMACsec: {"encrypted MACsec", false},
	0x88f5:      {"MVRP", true},
	0x88f7:      {"PTP", true},
	0x8902:      {"CFM", true},
	0x8906:      {"FCoE", false},
	etherCMD:    {"Cisco MetaData", false},
	0x8914:      {"FCoE initialisation", true},
	0x8915:      {"RoCE", false},
	etherNSH:    {"NSH", false},
	0x8999:      {"Ubiquiti discovery", true},
	0x9000:      {"Ethernet loopback", true},
}

var unreadProtocols = [...]unreadName{
	1:   {"ICMP", true},
	2:   {"IGMP", true},
	47:  {"GRE", false},
	50:  {"ESP", false},
	51:  {"AH", false},
	58:  {"ICMPv6", true},
	59:  {"no next header", true},
	88:  {"EIGRP", true},
	89:  {"OSPF", true},
	103: {"PIM", true},
	108: {"IPComp", false},
	112: {"VRRP or CARP", true},
	115: {"L2TPv3", false},
	124: {"IS-IS over IP", true},
	132: {"SCTP", false},
	136: {"UDP-Lite", false},
	137: {"MPLS in IP", false},
}

// Missed returns how many of the frames that were read may hold what somebody
// would want to know of and became no packet: the skipped ones, but for control
// traffic, fragments that wait for others, copies and what a filter left out.
func (s *Stats) Missed() uint64 {
	n := uint64(0)
	for reason := Skip(1); reason < NumSkips; reason++ {
		switch reason {
		case SkipFragment, SkipFiltered, SkipDuplicate:
		default:
			n += s.Skipped[reason]
		}
	}
	for _, u := range s.Unread {
		if u.Kind != UnreadNone && u.Control() {
			n -= min(n, u.Frames)
		}
	}
	return n
}
