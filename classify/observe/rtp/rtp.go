// Package rtp observes media on UDP: RTP and RTCP (RFC 3550), STUN (RFC 8489) and the
// DTLS handshake for SRTP (RFC 5764) on the same ports, and T.38 over UDPTL. It measures
// the RTP streams.
//
// On an endpoint that SDP announced, one packet is enough to identify its kind. Elsewhere
// an RTP header proves little: a flow is RTP only after five packets of one SSRC with
// increasing sequence numbers and a media time that keeps pace with the clock, or after an
// RTCP packet whose length and content agree.
package rtp

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/sdp"
)

// Facts of this protocol.
const (
	Content = "rtp.content" // kind of packets read: rtp, rtcp, stun, dtls, t38
	Codec   = "rtp.codec"   // of RTP packets: PCMU ..., "dynamic-96" for types that only SDP names
	Limit   = "rtp.limit"   // a limit that was reached: streams
)

// Limits of one flow.
const (
	maxStreams  = 32 // SSRCs of both directions
	maxPayloads = 8  // payload types of one stream
	// Streams after the first maxMajor ones measure at most maxMinorPayloads payload
	// types.
	maxMajor, maxMinorPayloads = 4, 2
	maxJunk                    = 32 // unknown datagrams before the first known one
	maxBreaks                  = 3  // breaks of the sequence before RTP is proven
	maxUnproven                = 64 // datagrams within which a flow without SDP must be proven
	proof                      = 5  // packets of one SSRC in sequence that prove RTP
)

// Protocol returns the description of RTP.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name:     "rtp",
		Detect:   detect,
		Datagram: true,
		DatagramPatterns: []observe.Pattern{
			// RTP version 2 with a payload type that is assigned, and RTCP.
			{Mask: 0xc060 << 48, Value: 0x8000 << 48},        // 0 to 31
			{Mask: 0xc07c << 48, Value: 0x8020 << 48},        // 32 to 35
			{Mask: 0xc060 << 48, Value: 0x8060 << 48},        // 96 to 127
			{Mask: 0xc0f8 << 48, Value: 0x80c8 << 48},        // RTCP, 200 to 207
			{Mask: 0xfc<<56 | 0xffffffff, Value: 0x2112a442}, // STUN with its cookie
		},
		UserPorts: true,
		Tentative: true,
		New:       func() observe.Observer { return &observer{} },
	}
}

// service is the content that a learned endpoint announced.
type service uint8

const (
	unannounced service = iota
	plainMedia
	secureMedia
	faxMedia // T.38
	foreign  // something else
)

func serviceOf(announced string) service {
	switch announced {
	case "":
		return unannounced
	case "rtp", "rtcp":
		return plainMedia
	case "srtp", "srtcp":
		return secureMedia
	case "t38":
		return faxMedia
	}
	return foreign
}

// media reports whether media were announced.
func (s service) media() bool { return s == plainMedia || s == secureMedia || s == faxMedia }

func detect(f *observe.First) observe.Match {
	promised := serviceOf(f.Announced)
	media := promised.media()
	// Media never use system ports (RFC 3551 section 8).
	if !media && (f.ClientPort < observe.MinUserPort || f.ServerPort < observe.MinUserPort) {
		return observe.No
	}
	got := observe.More
	for _, b := range [...][]byte{f.ToServer, f.ToClient} {
		if len(b) == 0 {
			continue
		}
		switch kind, _ := classify(b); {
		case kind == kindRTP && (media || assigned(b[1]&0x7f)), kind == kindRTCP, kind == kindSTUN:
			return observe.Yes
		case media && (kind == kindDTLS || isUDPTL(b, promised == faxMedia)):
			return observe.Yes
		case !media:
			got = observe.No
		}
	}
	return got
}

const cookie = "\x21\x12\xa4\x42" // of STUN (RFC 8489 section 5)

type kind uint8

const (
	kindNone kind = iota
	kindRTP
	kindRTCP
	kindSTUN
	kindDTLS
)

// classify distinguishes the packets that share a media port by their first bytes (RFC
// 7983, RFC 5761 section 4). It returns the payload length of RTP packets.
func classify(b []byte) (kind, int) {
	switch {
	case len(b) < 8:
		return kindNone, 0
	case b[0] < 4:
		if len(b) >= 20 && string(b[4:8]) == cookie && int(binary.BigEndian.Uint16(b[2:]))&^3 == len(b)-20 {
			return kindSTUN, 0
		}
	case b[0] >= 20 && b[0] < 64:
		if len(b) >= 13 && b[1] == 0xfe && (b[2] == 0xff || b[2] == 0xfd) && 13+int(binary.BigEndian.Uint16(b[11:])) <= len(b) {
			return kindDTLS, 0
		}
	case b[0]>>6 == 2:
		if b[1] >= 192 && b[1] <= 223 {
			// The first length of a compound packet is the number of 32-bit words minus
			// one.
			if b[1] >= senderReport && b[1] <= lastRTCP && 4*(int(binary.BigEndian.Uint16(b[2:]))+1) <= len(b) {
				return kindRTCP, 0
			}
			return kindNone, 0
		}
		if n, ok := payload(b); ok {
			return kindRTP, n
		}
	}
	return kindNone, 0
}

// payload returns the payload length of an RTP packet, without header, contributing
// sources, extension and padding (RFC 3550 section 5.1).
func payload(b []byte) (int, bool) {
	head := 12 + 4*int(b[0]&15)
	if b[0]&0x10 != 0 {
		if len(b) < head+4 {
			return 0, false
		}
		head += 4 + 4*int(binary.BigEndian.Uint16(b[head+2:]))
	}
	n := len(b) - head
	if n < 0 {
		return 0, false
	}
	if b[0]&0x20 != 0 {
		// SRTP encrypts the padding with the payload, so an impossible padding count does
		// not disprove RTP.
		if pad := int(b[len(b)-1]); n > 0 && pad > 0 && pad <= n {
			n -= pad
		}
	}
	return n, true
}

// assigned reports whether a payload type may be in use. Those are the static types of
// RFC 3551 section 6 and the dynamic types.
func assigned(pt uint8) bool {
	name, _ := sdp.StaticPayload(pt)
	return name != "" || pt >= 96 && pt <= 127
}

// isUDPTL reports whether b is a UDPTL packet (ITU-T T.38 section 9.1): a sequence
// number, a primary packet, and error recovery by earlier packets or by parity. The loose
// check, for endpoints that were announced for T.38, ends with the primary packet.
func isUDPTL(b []byte, loose bool) bool {
	rest, ok := octets(b[min(2, len(b)):])
	if !ok || len(b) < 4 || b[2] == 0 {
		return false
	}
	if loose {
		return true
	}
	if len(rest) < 2 {
		return false
	}
	if rest[0]&0x80 == 0 {
		n := int(rest[1])
		for rest = rest[2:]; n > 0; n-- {
			if rest, ok = octets(rest); !ok {
				return false
			}
		}
		return len(rest) == 0
	}
	// Parity: the number of packets covered, followed by the parity packets.
	if rest[1] != 1 || len(rest) < 4 {
		return false
	}
	n := int(rest[3])
	for rest = rest[4:]; n > 0; n-- {
		if rest, ok = octets(rest); !ok {
			return false
		}
	}
	return len(rest) == 0
}

// octets skips an open type in packed encoding: a length of one or two bytes and that
// many octets (ITU-T X.691 section 11.9). It returns the bytes after it.
func octets(b []byte) (rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, false
	}
	n, head := int(b[0]), 1
	if n&0x80 != 0 {
		if len(b) < 2 || n&0x40 != 0 {
			return nil, false
		}
		n, head = n&0x3f<<8|int(b[1]), 2
	}
	if len(b) < head+n {
		return nil, false
	}
	return b[head+n:], true
}

// observer reads one flow. It contains the first stream of each direction, so that a
// usual packet loads only the cache lines of that stream. They are aligned, because the
// runtime puts eight bytes before an object of this size.
type observer struct {
	last           [2]*stream // the stream of the last packet, by direction
	service        service    // the last announcement seen
	begun          bool       // the first datagram was read
	media          bool       // media were announced
	secure         bool       // encrypted media were announced
	proven         bool       // the flow carries media
	dtls           bool       // a DTLS handshake was seen
	t38            bool
	clear          bool    // encryption "none" was reported
	covered        bool    // encryption "srtp" was reported
	seen           [5]bool // kinds reported
	junk, unproven int32
	codecs         [2]uint64 // payload types reported, one bit each
	own            [2]stream
	streams        []*stream
	few            [2]*stream // initial backing array of streams
	reports        []report
	client, server netip.AddrPort
}

// report holds what RTCP reports of one SSRC.
type report struct {
	ssrc    uint32
	dir     observe.Direction // of the RTP packets
	blocks  uint64
	lost    int32
	share   uint8
	jitter  uint32
	packets uint32
}

func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	first, announced := &o.own[in.Dir&1], serviceOf(in.Announced)
	if first.usually(announced, in.Time, in.Data) {
		return len(in.Data), nil
	}
	if s := o.last[in.Dir&1]; s != nil && s != first && s.usually(announced, in.Time, in.Data) {
		return len(in.Data), nil
	}
	return o.read(in, r)
}

// read reads a packet of any kind.
func (o *observer) read(in *observe.Input, r *observe.Report) (int, error) {
	b := in.Data
	if !o.begun {
		o.begun = true
		o.client, o.server = in.Ends() // the ends do not change: flows of this package are never reversed
	}
	if now := serviceOf(in.Announced); now != o.service {
		o.service = now
		if now.media() {
			o.media, o.secure = true, now == secureMedia
		}
		o.clearUsual()
	}
	k, n := classify(b)
	switch {
	case o.media && (k == kindNone || o.service == faxMedia) && isUDPTL(b, o.service == faxMedia && k == kindNone):
		o.proven = true
		if !o.t38 {
			o.t38 = true
			r.Add(Content, "t38")
			r.Add(observe.Encryption, "none")
		}
		return len(b), nil
	case k == kindRTP:
		s := o.stream(in.Dir, binary.BigEndian.Uint32(b[8:]))
		if s != nil {
			s.add(in.Time, b, n)
		} else if o.proven {
			r.Add(Limit, "streams")
		}
		if !o.proven && !o.media {
			if err := o.prove(s, b[1]&0x7f); err != nil {
				return 0, err
			}
		}
		o.proven = o.proven || o.media
	case k == kindRTCP:
		if !o.secure && !o.dtls {
			o.rtcp(in.Dir, b)
		}
		o.proven = o.proven || o.media || isRTCP(b, in.Cut)
	case k == kindSTUN || k == kindDTLS:
		if k == kindDTLS && !o.dtls {
			o.dtls = true
			o.clearUsual()
		}
		o.proven = o.proven || o.media
	default:
		o.junk++
		if !o.proven && (!o.media || o.junk > maxJunk) {
			return 0, observe.ErrViolation
		}
		return len(b), nil
	}
	if o.proven {
		o.addFacts(r, k, b)
		if s := o.last[in.Dir]; k == kindRTP && s != nil && o.service != faxMedia {
			s.setUsual(b, o.service)
		}
	} else if k != kindSTUN {
		if o.unproven++; o.unproven > maxUnproven {
			return 0, observe.ErrViolation
		}
	}
	return len(b), nil
}

// clearUsual makes the observer read the next packets completely, because they may differ
// from the last ones.
func (o *observer) clearUsual() {
	for _, s := range o.streams {
		s.usual = 0
	}
}

// prove checks the conditions under which an unannounced flow is RTP: successive packets
// of one SSRC whose media time keeps pace with the clock.
func (o *observer) prove(s *stream, pt uint8) error {
	switch {
	case s == nil || !assigned(pt) || s.breaks > maxBreaks:
		return observe.ErrViolation
	case s.steady >= proof && s.paced(pt), o.answered():
		o.proven = true
	}
	return nil
}

// halfProof is the number of packets in sequence that prove RTP if each direction has as
// many, of the same payload type.
const halfProof = 3

// answered reports whether both directions carry a short row of packets in sequence, as
// at the end of a call whose beginning was not captured.
func (o *observer) answered() bool {
	a, b := &o.own[0], &o.own[1]
	return min(a.steady, b.steady) >= halfProof && a.at != nil && b.at != nil && a.at.pt == b.at.pt && a.paced(a.at.pt) && b.paced(b.at.pt)
}

// addFacts reports the facts of a packet. Only the first packet of a kind adds facts.
func (o *observer) addFacts(r *observe.Report, k kind, b []byte) {
	if !o.seen[k] {
		o.seen[k] = true
		r.Add(Content, [...]string{"", "rtp", "rtcp", "stun", "dtls"}[k])
	}
	if k != kindRTP && k != kindRTCP {
		return
	}
	switch {
	case o.dtls || o.secure:
		if !o.covered {
			o.covered = true
			r.Add(observe.Encryption, "srtp")
		}
	case o.media && o.service != unannounced && !o.clear:
		o.clear = true
		r.Add(observe.Encryption, "none")
	}
	if k != kindRTP {
		return
	}
	pt := b[1] & 0x7f
	if bit := uint64(1) << (pt & 63); o.codecs[pt>>6]&bit == 0 {
		o.codecs[pt>>6] |= bit
		if len(r.Values(Codec)) < maxPayloads {
			r.Add(Codec, codecName(pt))
		}
	}
}

func codecName(pt uint8) string {
	if name, _ := sdp.StaticPayload(pt); name != "" {
		return name
	}
	digits := [3]byte{'0' + pt/100, '0' + pt/10%10, '0' + pt%10}
	i := 0
	for i < 2 && digits[i] == '0' {
		i++
	}
	return "dynamic-" + string(digits[i:])
}

// stream returns the stream of an SSRC. It creates one if necessary and returns nil at
// the limit.
func (o *observer) stream(dir observe.Direction, ssrc uint32) *stream {
	if s := o.last[dir]; s != nil && s.ssrc == ssrc {
		return s
	}
	for _, s := range o.streams {
		if s.ssrc == ssrc && s.dir == dir {
			o.last[dir] = s
			return s
		}
	}
	if len(o.streams) >= maxStreams {
		return nil
	}
	if o.streams == nil {
		o.streams = o.few[:0]
	}
	s := &o.own[dir&1]
	if s.begun {
		s = new(stream)
	}
	s.ssrc, s.dir, s.minor = ssrc, dir, len(o.streams) >= maxMajor
	o.streams = append(o.streams, s)
	o.last[dir] = s
	return s
}

// Held implements observe.Holder.
func (o *observer) Held() int {
	n := cap(o.reports) * int(unsafe.Sizeof(report{}))
	for i, s := range o.streams {
		if i >= len(o.few) || s != &o.own[s.dir&1] {
			n += int(unsafe.Sizeof(*s))
		}
		if s.done != nil {
			n += int(unsafe.Sizeof(run{}))
		}
		for _, p := range s.payloads {
			if p != &s.own {
				n += int(unsafe.Sizeof(*p))
			}
			if p.others != nil {
				n += int(unsafe.Sizeof(*p.others))
			}
		}
	}
	return n
}

// rtcp reads the sender and receiver reports of a compound packet (RFC 3550 section
// 6.4).
func (o *observer) rtcp(dir observe.Direction, b []byte) {
	for len(b) >= 8 && b[0]>>6 == 2 {
		n := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
		if n < 8 || n > len(b) {
			return
		}
		p := b[:n]
		b = b[n:]
		blocks := p[8:]
		switch p[1] {
		case senderReport:
			if len(p) < 28 {
				return
			}
			if rep := o.report(dir, binary.BigEndian.Uint32(p[4:])); rep != nil {
				rep.packets = binary.BigEndian.Uint32(p[20:])
			}
			blocks = p[28:]
		case receiverReport:
		default:
			continue
		}
		for i := byte(0); i < p[0]&31 && len(blocks) >= 24; i++ {
			// The report describes packets of the other direction.
			if rep := o.report(dir.Reverse(), binary.BigEndian.Uint32(blocks)); rep != nil {
				rep.blocks++
				rep.share = blocks[4]
				rep.lost = int32(binary.BigEndian.Uint32(blocks[4:])<<8) >> 8
				rep.jitter = binary.BigEndian.Uint32(blocks[12:])
			}
			blocks = blocks[24:]
		}
	}
}

func (o *observer) report(dir observe.Direction, ssrc uint32) *report {
	for i := range o.reports {
		if o.reports[i].ssrc == ssrc && o.reports[i].dir == dir {
			return &o.reports[i]
		}
	}
	if len(o.reports) >= maxStreams {
		return nil
	}
	o.reports = append(o.reports, report{ssrc: ssrc, dir: dir})
	return &o.reports[len(o.reports)-1]
}

// Finish reports the streams of the flow. A flow that contains only RTCP has streams
// without packets.
func (o *observer) Finish(r *observe.Report) {
	r.Streams = r.Streams[:0]
	if !o.proven {
		return
	}
	if r.Streams == nil {
		r.Streams = make([]observe.Stream, 0, len(o.streams))
	}
	ends := func(d observe.Direction) (src, dst netip.AddrPort) {
		if d == observe.ToServer {
			return o.client, o.server
		}
		return o.server, o.client
	}
	var used [maxStreams]bool
	for _, s := range o.streams {
		// A single packet of an SSRC that occurs nowhere else is a stray.
		if !o.media && s.steady < halfProof {
			continue
		}
		out := s.result()
		out.Src, out.Dst = ends(s.dir)
		out.Announced = o.media
		for i := range o.reports {
			if rep := &o.reports[i]; rep.ssrc == s.ssrc && rep.dir == s.dir {
				used[i] = true
				rep.fill(&out)
			}
		}
		r.Streams = append(r.Streams, out)
	}
	for i := range o.reports {
		if rep := &o.reports[i]; !used[i] {
			out := observe.Stream{SSRC: rep.ssrc, Announced: o.media}
			out.Src, out.Dst = ends(rep.dir)
			rep.fill(&out)
			r.Streams = append(r.Streams, out)
		}
	}
}

func (rep *report) fill(s *observe.Stream) {
	s.Reports, s.ReportedLost, s.ReportedShare = rep.blocks, rep.lost, rep.share
	s.ReportedJitter, s.SenderPackets = rep.jitter, rep.packets
}

func duration(ns float64) time.Duration { return time.Duration(ns + 0.5) }
