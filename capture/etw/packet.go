package etw

import "math"

// The GUIDs of providers, in the byte order of files.
var (
	ndiscap = [16]byte{0x6e, 0x00, 0xd6, 0x2e, 0x29, 0x47, 0x09, 0x46, 0xb4, 0x23, 0x3e, 0xe7, 0xbc, 0xd6, 0x78, 0xef} // Microsoft-Windows-NDIS-PacketCapture
	pktmon  = [16]byte{0xd9, 0x80, 0x4f, 0x4d, 0xbd, 0xc8, 0x73, 0x4d, 0xbb, 0x5b, 0x19, 0xc9, 0x04, 0x02, 0xc5, 0xac} // Microsoft-Windows-PktMon
	rasWAN  = [16]byte{0xf7, 0x21, 0x45, 0xd8, 0x35, 0x22, 0x37, 0x42, 0xa7, 0xc0, 0x14, 0xe3, 0xa9, 0x67, 0x62, 0x86} // Ras/NDISWAN
)

// link is the link layer of an appearance's bytes.
type link uint8

const (
	linkNone  link = iota // not a frame
	linkEther             // Ethernet
	linkIP                // raw IP
	link80211             // 802.11
	linkSniff             // 802.11 or Ethernet, to be detected
	linkKnown             // Ethernet, if its EtherType is known
	linkOther             // another pcap link type
)

// appearance is a packet as seen at one point.
type appearance struct {
	time     int64
	data     []byte // valid until the next appearance of its stream
	original int    // original length according to the provider, or 0
	link     link
	kind     uint16 // the pcap link type, with linkOther
	point    Point
	cut      bool
	whole    bool // not from an event, so it appears only once
	drop     bool
	reason   uint32
	location uint32
}

// Keyword bits of ndiscap's events. Microsoft's etl2pcapng is the only source for those
// of tunnels and wireless WAN.
const (
	keyWAN       = 0x200
	keyTunnel    = 0x8000
	keyWiFi      = 0x1_0000
	keyTruncated = 0x200_0000
	keyStart     = 0x4000_0000
	keyEnd       = 0x8000_0000
)

// packet processes an event. It reports whether the event completed a packet, which is
// then in a.
func (p *parts) packet(h, data []byte, t int64, a *appearance, r *Report) bool {
	id, version := le.Uint16(h[40:]), h[42]
	switch [16]byte(h[24:40]) {
	case pktmon:
		r.Pktmon++
		return pktmonEvent(id, version, data, t, a, r)
	case ndiscap:
		r.Ndiscap++
		switch id {
		case 1001:
			if len(data) < 12 {
				r.Short++
				return false
			}
			return p.fragment(h, data[12:], le.Uint32(data[8:]), Point{Component: le.Uint32(data[4:]), Event: id}, t, a, r)
		case 1003:
			return p.switched(h, data, t, a, r)
		case 1016:
			// Rule 0x11 is the length to which packets are truncated; one source.
			if len(data) >= 8 && data[0] == 0x11 {
				r.Snap = le.Uint32(data[4:])
			}
		}
	case rasWAN:
		// Microsoft's etl2pcapng is the only source for the layout.
		if id == 5001 || id == 5002 {
			rest, ok := afterStrings(data, 2)
			if !ok || len(rest) < 4 {
				r.Short++
				return false
			}
			r.Ndiscap++
			n := le.Uint32(rest)
			if uint64(n) > uint64(len(rest)-4) {
				r.Short++
				return false
			}
			*a = appearance{time: t, data: rest[4 : 4+n], link: linkEther, point: Point{Event: id}}
			r.Events++
			return true
		}
	default:
		r.other([16]byte(h[24:40]))
	}
	return false
}

// switched reads event 1003, a packet at a port of a virtual switch. No file with one was
// available; two sources agree on the layout.
func (p *parts) switched(h, data []byte, t int64, a *appearance, r *Report) bool {
	if len(data) < 12 {
		r.Short++
		return false
	}
	point := Point{Component: le.Uint32(data[4:]), Port: le.Uint32(data[8:]), Event: 1003}
	rest, ok := afterStrings(data[12:], 3)
	if !ok || len(rest) < 4 {
		r.Short++
		return false
	}
	n := uint64(le.Uint32(rest)) * 8 // skip the destinations
	if uint64(len(rest)-4) < n+4 {
		r.Short++
		return false
	}
	rest = rest[4+n:]
	return p.fragment(h, rest[4:], le.Uint32(rest), point, t, a, r)
}

// afterStrings returns the bytes after n UTF-16 strings that end with 0.
func afterStrings(b []byte, n int) ([]byte, bool) {
	for range n {
		for {
			if len(b) < 2 {
				return nil, false
			}
			c := le.Uint16(b)
			b = b[2:]
			if c == 0 {
				break
			}
		}
	}
	return b, true
}

// text returns a UTF-16 string that ends with 0, and the bytes after it.
func text(b []byte) (string, []byte) {
	rest, ok := afterStrings(b, 1)
	if !ok {
		return "", nil
	}
	return utf16Text(b[:len(b)-len(rest)-2]), rest
}

// parts joins packets that Windows 7 to 2012 logged in several events, one for each
// memory descriptor.
type parts struct {
	cpu  uint16
	list []part
	// spare holds the last joined packet while it is in use.
	spare []byte
}

// part is the beginning of a packet.
type part struct {
	thread uint32
	port   uint32
	lower  uint32
	cpu    uint16 // the files of Network Monitor have the events of all processors
	time   int64
	data   []byte
}

const (
	maxParts  = 64        // incomplete packets per processor
	maxPacket = 256 << 10 // bytes of one packet
)

// fragment adds the first size bytes of data to their packet. It assumes that all
// fragments of a packet come from one thread on one processor. This is inferred from the
// fact that a packet is logged back to back; no file with several fragments was
// available.
func (p *parts) fragment(h, data []byte, size uint32, point Point, t int64, a *appearance, r *Report) bool {
	if uint64(size) > uint64(len(data)) {
		r.Short++
		return false
	}
	data = data[:size] // newer versions append data that is not part of it
	keyword := le.Uint64(h[48:])
	point.Direction = uint16(keyword >> 32 & 3)
	r.Events++
	start, end := keyword&keyStart != 0, keyword&keyEnd != 0
	i := p.find(le.Uint32(h[8:]), point)
	if start && i >= 0 {
		r.Unfinished++
		p.remove(i)
		i = -1
	}
	*a = appearance{time: t, link: linkEther, point: point, cut: keyword&keyTruncated != 0}
	switch {
	case keyword&(keyWAN|keyTunnel) != 0:
		a.link = linkIP
	case keyword&keyWiFi != 0:
		a.link = link80211
	}
	if start && end {
		a.data = data
		return true
	}
	if start {
		if len(p.list) == maxParts {
			r.Unfinished++
			p.remove(0)
		}
		i = len(p.list)
		p.list = append(p.list, part{thread: le.Uint32(h[8:]), port: point.Port, lower: point.Component, cpu: p.cpu, time: t, data: p.buffer()})
	}
	if i < 0 {
		r.Unfinished++ // its beginning was lost
		return false
	}
	f := &p.list[i]
	if len(f.data)+len(data) > maxPacket {
		r.Unfinished++
		p.remove(i)
		return false
	}
	f.data = append(f.data, data...)
	if !end {
		return false
	}
	a.time, a.data = f.time, f.data
	p.spare = f.data
	f.data = nil
	p.remove(i)
	return true
}

// buffer returns memory for a packet. It reuses that of the previous one, which is no
// longer in use.
func (p *parts) buffer() []byte {
	b := p.spare[:0]
	p.spare = nil
	return b
}

func (p *parts) find(thread uint32, at Point) int {
	for i := range p.list {
		if f := &p.list[i]; f.thread == thread && f.lower == at.Component && f.port == at.Port && f.cpu == p.cpu {
			return i
		}
	}
	return -1
}

func (p *parts) remove(i int) {
	p.list = append(p.list[:i], p.list[i+1:]...)
}

// pktmonEvent reads an event of pktmon.
func pktmonEvent(id uint16, version uint8, b []byte, t int64, a *appearance, r *Report) bool {
	switch id {
	case 160, 170:
	case 20:
		r.component(b)
		return false
	case 80, 90:
		r.Counters = true
		return false
	default:
		return false
	}
	if version != 0 { // in all builds from 18363 to 26200
		r.Versions++
		return false
	}
	if len(b) < 34 {
		r.Short++
		return false
	}
	original, logged := int(le.Uint16(b[30:])), int(le.Uint16(b[32:]))
	*a = appearance{
		time: t, data: b[34:min(34+logged, len(b))], original: original, cut: logged < original,
		point: Point{Component: uint32(le.Uint16(b[16:])), Port: uint32(le.Uint16(b[18:])), Direction: le.Uint16(b[12:]), Event: id},
		drop:  id == 170, reason: le.Uint32(b[22:]), location: le.Uint32(b[26:]),
	}
	if a.cut && !a.drop {
		r.cutAt(logged)
	}
	switch le.Uint16(b[14:]) { // PacketType, which is wrong at some filters
	case 0:
		a.link = linkKnown
	case 1:
		a.link = linkEther
	case 2:
		a.link = linkSniff
	case 3:
		a.link = linkIP // one source
	}
	if !a.drop {
		r.Events++
	}
	return true
}

func clampLength(n int) uint32 { return uint32(min(max(n, 0), math.MaxInt32)) }
