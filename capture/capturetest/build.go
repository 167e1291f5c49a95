package capturetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

const (
	linkNull     = 0
	linkEthernet = 1
	linkRaw      = 101
	linkLoop     = 108
	linkSLL      = 113
	linkSLL2     = 276
)

var links = map[string]int{"ethernet": linkEthernet, "raw": linkRaw, "sll": linkSLL, "sll2": linkSLL2, "null": linkNull, "loop": linkLoop}

const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
	ece
	cwr
)

const flagLetters = "FSRPAUEC"

func parseFlags(s string) (f uint8, ok bool) {
	for _, c := range s {
		i := strings.IndexRune(flagLetters, c)
		if i < 0 {
			return 0, false
		}
		f |= 1 << i
	}
	return f, s != ""
}

// side returns the state of one direction of a flow.
func (p *parser) side(src, dst netip.AddrPort) *side {
	key := [2]netip.AddrPort{src, dst}
	s := p.flows[key]
	if s == nil {
		isn := uint32(1000)
		if p.flows[[2]netip.AddrPort{dst, src}] != nil {
			isn = 5000
		}
		s = &side{isn: isn, next: isn + 1}
		p.flows[key] = s
	}
	return s
}

func (p *parser) three(src, dst netip.AddrPort, o *options, flags [3]uint8) error {
	if o.seq != nil || o.ack != nil {
		return errors.New("seq= and ack= are for tcp statements")
	}
	if err := p.segment(src, dst, flags[0], nil, o); err != nil {
		return err
	}
	p.tick()
	if err := p.segment(dst, src, flags[1], nil, o); err != nil {
		return err
	}
	p.tick()
	return p.segment(src, dst, flags[2], nil, o)
}

func (p *parser) tick() { p.now = p.now.Add(1e6) }

func (p *parser) tcp(src, dst netip.AddrPort, args []string, o *options) error {
	var flags uint8
	given := false
	if len(args) > 0 {
		if flags, given = parseFlags(args[0]); given {
			args = args[1:]
		}
	}
	b, err := p.payload(args)
	if err != nil {
		return err
	}
	if !given {
		flags = ack
		if len(b) > 0 {
			flags |= psh
		}
	}
	if o.mss == nil {
		return p.segment(src, dst, flags, b, o)
	}
	for part := *o; ; {
		n := min(len(b), int(*o.mss))
		f := flags
		if n < len(b) {
			f &^= fin // the last segment carries it
		}
		if err := p.segment(src, dst, f, b[:n], &part); err != nil {
			return err
		}
		if b = b[n:]; len(b) == 0 {
			return nil
		}
		if part.seq != nil {
			next := *part.seq + uint32(n)
			part.seq = &next
		}
	}
}

func (p *parser) segment(src, dst netip.AddrPort, flags uint8, b []byte, o *options) error {
	s := p.side(src, dst)
	other := p.side(dst, src)
	seq := s.next
	if flags&syn != 0 {
		seq = s.isn
	}
	if o.seq != nil {
		seq = *o.seq
		if flags&syn != 0 {
			s.isn, s.next = seq, seq
		}
	}
	acked := uint32(0)
	if flags&ack != 0 {
		acked = other.next
	}
	if o.ack != nil {
		acked = *o.ack
	}
	end := seq + uint32(len(b))
	if flags&syn != 0 {
		end++
	}
	if flags&fin != 0 {
		end++
	}
	if int32(end-s.next) > 0 || o.seq != nil && !s.begun {
		s.next = end
	}
	s.begun = true
	window := uint32(65535)
	if o.win != nil {
		window = *o.win
	}
	h := make([]byte, 20, 20+len(b))
	binary.BigEndian.PutUint16(h, src.Port())
	binary.BigEndian.PutUint16(h[2:], dst.Port())
	binary.BigEndian.PutUint32(h[4:], seq)
	binary.BigEndian.PutUint32(h[8:], acked)
	h[12], h[13] = 5<<4, flags
	binary.BigEndian.PutUint16(h[14:], uint16(window))
	h = append(h, b...)
	binary.BigEndian.PutUint16(h[16:], checksum(h, pseudo(src.Addr(), dst.Addr(), protoTCP, len(h))))
	return p.ip(src.Addr(), dst.Addr(), protoTCP, h, o)
}

func udp(src, dst netip.AddrPort, b []byte) []byte {
	h := make([]byte, 8, 8+len(b))
	binary.BigEndian.PutUint16(h, src.Port())
	binary.BigEndian.PutUint16(h[2:], dst.Port())
	binary.BigEndian.PutUint16(h[4:], uint16(8+len(b)))
	h = append(h, b...)
	sum := checksum(h, pseudo(src.Addr(), dst.Addr(), protoUDP, len(h)))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(h[6:], sum)
	return h
}

// icmpNames maps the names of ICMP errors to their types and codes for IPv4 and IPv6.
var icmpNames = map[string][2][2]uint8{
	"prohibited":       {{3, 13}, {1, 1}},
	"port-unreachable": {{3, 3}, {1, 4}},
	"host-unreachable": {{3, 1}, {1, 3}},
	"time-exceeded":    {{11, 0}, {3, 0}},
}

func (p *parser) icmp(args []string, o *options) error {
	if len(args) < 5 || args[1] != ">" {
		return errors.New("want icmp ADDRESS > ADDRESS TYPE/CODE, then tcp or udp and the quoted flow")
	}
	src, err := p.addr(args[0])
	if err != nil {
		return err
	}
	dst, err := p.addr(args[2])
	if err != nil {
		return err
	}
	if src.Is4() != dst.Is4() {
		return errors.New("one end is IPv4, the other IPv6")
	}
	var code [2]uint8
	if names, ok := icmpNames[args[3]]; ok {
		code = names[0]
		if src.Is6() {
			code = names[1]
		}
	} else {
		t, c, _ := strings.Cut(args[3], "/")
		n, err1 := strconv.ParseUint(t, 10, 8)
		m, err2 := strconv.ParseUint(c, 10, 8)
		if err1 != nil || err2 != nil {
			return fmt.Errorf("%q is not an ICMP type and code such as 3/13", args[3])
		}
		code = [2]uint8{uint8(n), uint8(m)}
	}
	proto := map[string]uint8{"tcp": protoTCP, "udp": protoUDP}[args[4]]
	if proto == 0 {
		return fmt.Errorf("an ICMP error quotes tcp or udp, not %q", args[4])
	}
	from, to, rest, err := p.ends(args[5:])
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%q is neither the quoted flow nor an option", rest[0])
	}
	quote := make([]byte, 8)
	binary.BigEndian.PutUint16(quote, from.Port())
	binary.BigEndian.PutUint16(quote[2:], to.Port())
	if proto == protoTCP {
		binary.BigEndian.PutUint32(quote[4:], p.side(from, to).isn)
	} else {
		binary.BigEndian.PutUint16(quote[4:], 8)
	}
	total := 20
	if proto == protoUDP {
		total = 8
	}
	b := append([]byte{code[0], code[1], 0, 0, 0, 0, 0, 0}, header(from.Addr(), to.Addr(), proto, total, 0, 0, 64)...)
	b = append(b, quote...)
	kind, sum := uint8(protoICMP), uint32(0)
	if src.Is6() {
		kind, sum = protoICMPv6, pseudo(src, dst, protoICMPv6, len(b))
	}
	binary.BigEndian.PutUint16(b[2:], checksum(b, sum))
	return p.ip(src, dst, kind, b, o)
}

// ip adds an IP header to a transport packet and writes the packet, in fragments if
// requested.
func (p *parser) ip(src, dst netip.Addr, proto uint8, b []byte, o *options) error {
	p.ipID++
	id, ttl := uint32(p.ipID), uint8(64)
	if o.id != nil {
		id = *o.id
	}
	if o.ttl != nil {
		ttl = uint8(*o.ttl)
	}
	if len(b) > 65535-40 {
		return fmt.Errorf("%d bytes do not fit into an IP packet; mss= cuts a payload into segments", len(b))
	}
	if o.frag == nil || len(b) <= int(*o.frag) {
		p.link2(src, dst, append(header(src, dst, proto, len(b), uint16(id), 0, ttl), b...), o)
		return nil
	}
	size := int(*o.frag)
	for off := 0; off < len(b); off += size {
		part := b[off:min(off+size, len(b))]
		more := off+size < len(b)
		var h []byte
		if src.Is4() {
			field := uint16(off / 8)
			if more {
				field |= 0x2000
			}
			h = header(src, dst, proto, len(part), uint16(id), field, ttl)
		} else {
			h = header(src, dst, 44, 8+len(part), 0, 0, ttl)
			f := make([]byte, 8)
			f[0] = proto
			binary.BigEndian.PutUint16(f[2:], uint16(off))
			if more {
				f[3] |= 1
			}
			binary.BigEndian.PutUint32(f[4:], id)
			h = append(h, f...)
		}
		p.link2(src, dst, append(h, part...), o)
	}
	return nil
}

// header returns an IPv4 or IPv6 header for n bytes.
func header(src, dst netip.Addr, proto uint8, n int, id, field uint16, ttl uint8) []byte {
	if src.Is6() {
		h := make([]byte, 40)
		h[0] = 6 << 4
		binary.BigEndian.PutUint16(h[4:], uint16(n))
		h[6], h[7] = proto, ttl
		copy(h[8:], src.AsSlice())
		copy(h[24:], dst.AsSlice())
		return h
	}
	h := make([]byte, 20)
	h[0] = 4<<4 | 5
	binary.BigEndian.PutUint16(h[2:], uint16(20+n))
	binary.BigEndian.PutUint16(h[4:], id)
	binary.BigEndian.PutUint16(h[6:], field)
	h[8], h[9] = ttl, proto
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(h, 0))
	return h
}

// link2 adds the link header to an IP packet and writes the frame.
func (p *parser) link2(src, dst netip.Addr, b []byte, o *options) {
	kind := uint16(0x0800)
	if src.Is6() {
		kind = 0x86dd
	}
	var h []byte
	switch p.link {
	case linkEthernet:
		h = append(mac(dst), mac(src)...)
	case linkSLL:
		h = append([]byte{0, 0, 0, 1, 0, 6}, mac(src)...)
		h = append(h, 0, 0)
	case linkSLL2:
		h = append([]byte{0, 0, 0, 0, 0, 1, 0, 1, 0, 6}, mac(src)...)
		h = append(h, 0, 0)
	case linkNull, linkLoop:
		family := []byte{2, 0, 0, 0}
		if src.Is6() {
			family[0] = 24
		}
		if p.link == linkLoop {
			family[0], family[3] = 0, family[0]
		}
		p.write(append(family, b...), o)
		return
	default:
		p.write(b, o)
		return
	}
	var t []byte
	for i, id := range o.vlan {
		tag := uint16(0x8100)
		if i == 0 && len(o.vlan) > 1 {
			tag = 0x88a8
		}
		t = binary.BigEndian.AppendUint16(t, tag)
		t = binary.BigEndian.AppendUint16(t, id)
	}
	t = binary.BigEndian.AppendUint16(t, kind)
	if p.link == linkSLL2 { // the type comes first, and tags stay with the packet
		h = append(append([]byte{t[0], t[1]}, h...), t[2:]...)
	} else {
		h = append(h, t...)
	}
	f := append(h, b...)
	for p.link == linkEthernet && len(f) < 60 {
		f = append(f, 0) // padded as on the wire
	}
	p.write(f, o)
}

// mac derives a MAC address from an IP address.
func mac(a netip.Addr) []byte {
	b := a.AsSlice()
	return append([]byte{2, 0}, b[len(b)-4:]...)
}

func (p *parser) write(b []byte, o *options) {
	if o.lost {
		return
	}
	snap := p.snap
	if o.snap != nil {
		snap = int(*o.snap)
	}
	f := Frame{Time: p.now, Data: b, Wire: len(b)}
	if snap > 0 && len(b) > snap {
		f.Data = b[:snap]
	}
	p.frames = append(p.frames, f)
}

func pseudo(src, dst netip.Addr, proto uint8, n int) (sum uint32) {
	for _, a := range [2][]byte{src.AsSlice(), dst.AsSlice()} {
		for i := 0; i < len(a); i += 2 {
			sum += uint32(a[i])<<8 | uint32(a[i+1])
		}
	}
	return sum + uint32(proto) + uint32(n)
}

func checksum(b []byte, sum uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// WritePcap writes a little-endian pcap file with nanosecond time stamps
// (draft-ietf-opsawg-pcap).
func WritePcap(w io.Writer, c *Capture) error {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 262144)
	b = binary.LittleEndian.AppendUint32(b, uint32(c.LinkType))
	for _, f := range c.Frames {
		b = binary.LittleEndian.AppendUint32(b, uint32(f.Time.Unix()))
		b = binary.LittleEndian.AppendUint32(b, uint32(f.Time.Nanosecond()))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f.Data)))
		b = binary.LittleEndian.AppendUint32(b, uint32(f.Wire))
		b = append(b, f.Data...)
	}
	_, err := w.Write(b)
	return err
}
