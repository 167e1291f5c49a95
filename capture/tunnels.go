package capture

import (
	"bytes"
	"sync"
)

// Carrier is a kind of encapsulation with outer IP addresses: a tunnel.
type Carrier uint8

// The carriers, a closed list.
const (
	CarrierNone Carrier = iota
	CarrierIP           // IP in IP
	CarrierGRE
	CarrierERSPAN
	CarrierEtherIP
	CarrierVXLAN // VXLAN-GPE too
	CarrierGeneve
	CarrierGTP
	CarrierL2TP
	CarrierTeredo
	CarrierTZSP
	CarrierESP // ESP without encryption
	numCarriers
)

var carrierNames = [numCarriers]string{"", "ip", "gre", "erspan", "etherip", "vxlan", "geneve", "gtp", "l2tp", "teredo", "tzsp", "esp-null"}

func (c Carrier) String() string { return carrierNames[c] }

// TunnelID names the tunnel that carried a packet, within a Tunnels. The zero
// value is the wire itself: no encapsulation, or only ones without IP addresses,
// such as VLAN tags, MPLS and PPPoE.
type TunnelID uint16

// TunnelOther stands for all tunnels that a Tunnels has no room for. Two packets
// with this ID were not necessarily carried by the same tunnel.
const TunnelOther TunnelID = 1<<16 - 1

// Tunnel says what carried a packet.
type Tunnel struct {
	Carrier Carrier
	// Inner is the tunnel that this one carries, and which carries the packet; 0
	// if there is none. So what a mirror brought in ERSPAN or TZSP has, as Inner,
	// the ID it would have had on the wire.
	Inner TunnelID
	// Ends are the outer addresses, the lower one first: both directions are the
	// same tunnel.
	Ends [2]Addr
}

// maxTunnels bounds the tunnels that a Tunnels describes. At some 100 bytes each
// that is about 1.6 MB.
const maxTunnels = 1 << 14

// Tunnels describes the tunnels that packets came in. It may be used by several
// goroutines, and be shared by sources whose packets are taken in together. The
// zero value is ready.
type Tunnels struct {
	mu      sync.Mutex
	ids     map[Tunnel]TunnelID
	list    []Tunnel // of ID 1 and up
	refused uint64
}

// At returns what an ID stands for: the zero Tunnel for the wire, and for
// TunnelOther.
func (t *Tunnels) At(id TunnelID) Tunnel {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id == 0 || int(id) > len(t.list) {
		return Tunnel{}
	}
	return t.list[id-1]
}

// Refused returns the number of tunnels that found no room.
func (t *Tunnels) Refused() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused
}

// id returns the ID of a tunnel.
func (t *Tunnels) id(tunnel Tunnel) TunnelID {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, ok := t.ids[tunnel]
	switch {
	case ok:
	case len(t.list) == maxTunnels:
		t.refused++
		return TunnelOther
	default:
		if t.ids == nil {
			t.ids = make(map[Tunnel]TunnelID)
		}
		t.list = append(t.list, tunnel)
		id = TunnelID(len(t.list))
		t.ids[tunnel] = id
	}
	return id
}

// within notes that p, which was read with the result s, came in a tunnel
// between two addresses, and returns s.
func (d *Decoder) within(c Carrier, a, b Addr, p *Packet, s Skip) Skip {
	if s != SkipNone {
		return s
	}
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	t := Tunnel{Carrier: c, Inner: p.Tunnel, Ends: [2]Addr{a, b}}
	if t != d.last {
		if d.Tunnels == nil {
			d.Tunnels = new(Tunnels)
		}
		d.last, d.lastID = t, d.Tunnels.id(t)
	}
	p.Tunnel = d.lastID
	return s
}
