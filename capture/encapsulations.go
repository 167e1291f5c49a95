package capture

// Encapsulation is something between the link and the packet that counts, which a
// Decoder walks through.
type Encapsulation struct {
	Name  string
	Where string // what announces it
	Note  string // which forms are read; empty means all
}

// Encapsulations lists what a Decoder walks through: link types, tags, and tunnels,
// in that order.
func Encapsulations() []Encapsulation {
	return []Encapsulation{
		{"Ethernet", "link type 1", ""},
		{"raw IP", "link types 12, 14, 101, 228, 229", ""},
		{"BSD loopback", "link types 0, 108", ""},
		{"PPP", "link types 9, 50, 166, 204; EtherType 0x880b", "protocol field of one or two bytes"},
		{"Cisco HDLC", "link type 104", ""},
		{"Linux cooked", "link types 113, 276", ""},
		{"Netfilter log", "link type 239", ""},
		{"IEEE 802.11", "link types 105, 119, 127, 163", "data frames that are neither encrypted nor aggregated, with or without the frame check sequence"},
		{"LLC and SNAP", "IEEE 802.3 length", "SNAP of RFC 1042, and IP on service access point 6"},
		{"VLAN tags", "EtherTypes 0x8100, 0x88a8, 0x9100, 0x9200, 0x9300", "at most 16"},
		{"VN-Tag", "EtherType 0x8926", ""},
		{"E-Tag", "EtherType 0x893f", ""},
		{"Cisco MetaData", "EtherType 0x8909", ""},
		{"MACsec", "EtherType 0x88e5", "without encryption"},
		{"provider backbone bridges", "EtherType 0x88e7", ""},
		{"MPLS", "EtherTypes 0x8847, 0x8848; IP protocol 137", "IP, or a pseudowire with a control word"},
		{"PPPoE", "EtherType 0x8864; link type 51", ""},
		{"NSH", "EtherType 0x894f; within VXLAN-GPE", ""},
		{"IP in IP", "IP protocols 4, 41", ""},
		{"AH", "IP protocol 51", ""},
		{"ESP", "IP protocol 50; UDP port 4500", "without encryption, if padding, lengths and checksums prove it; else a flow of its own"},
		{"GRE", "IP protocol 47", "version 0 without source routing"},
		{"PPTP", "IP protocol 47, GRE version 1", "PPP that is neither compressed nor encrypted"},
		{"ERSPAN", "GRE protocols 0x88be, 0x22eb", "types I, II and III"},
		{"EtherIP", "IP protocol 97", ""},
		{"L2TPv2", "UDP port 1701", "PPP that is neither compressed nor encrypted"},
		{"GTP-U", "UDP port 2152", "version 1"},
		{"Teredo", "UDP port 3544", ""},
		{"VXLAN", "UDP ports 4789, 8472, and those of --vxlan-port", "reserved bits are ignored"},
		{"VXLAN-GPE", "UDP port 4790", ""},
		{"Geneve", "UDP port 6081", ""},
		{"TZSP", "UDP port 37008", "Ethernet and IEEE 802.11"},
	}
}
