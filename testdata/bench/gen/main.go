// Command gen writes synthetic benchmark captures: classic pcap with microseconds,
// Ethernet, 10 % IPv6, 25 % in a VLAN. The same arguments give the same bytes.
//
//	gen mix N FLOWS OUT    an Exchange-like mix with plausible payload
//	gen small N FLOWS OUT  64 random bytes a packet, a random flow each time
//	gen big N FLOWS OUT    frames of 1,400 bytes in few flows
//
// One mode takes real traffic: N packets of the captures named, or in the folders
// named, repeated with other addresses each time.
//
//	gen real N FLOWS OUT FILE...
package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
)

var (
	w             *bufio.Writer // errors stick, and are told by Flush
	random                      = rand.New(rand.NewPCG(1, 2))
	tsUS          uint64        = 1700000000 * 1000000
	stepUS        uint64        = 20
	npkts, nbytes int
)

type side struct {
	mac  [6]byte
	ip   [16]byte
	port uint16
}
type flow struct {
	c, s       side
	v6, tcp    bool
	vlan       uint16
	kind       int
	st         int // packets emitted
	cseq, sseq uint32
	ipid       uint16
	total      int
	ssrc       uint32
	rseq       uint16
	rts        uint32
}

var buf [2048]byte
var filler [65536]byte

const (
	kSMTP = iota
	kHTTP
	kTLS
	kEPM
	kRPC
	kLDAP
	kKRB
	kDNS
	kSIP
	kRTP
	kSmallTCP
	kSmallUDP
	kBig
)

var ports = map[int]uint16{kSMTP: 25, kHTTP: 80, kTLS: 443, kEPM: 135, kLDAP: 389, kKRB: 88, kDNS: 53, kSIP: 5060}

func rnd(n int) int { return random.IntN(n) }

func newFlow(i, kind int) *flow {
	f := &flow{kind: kind, cseq: random.Uint32(), sseq: random.Uint32(), ipid: uint16(rnd(65536)), ssrc: random.Uint32(), rts: random.Uint32()}
	f.tcp = kind != kDNS && kind != kRTP && kind != kSIP && kind != kSmallUDP
	if kind == kKRB && i%2 == 0 {
		f.tcp = true
	}
	ci, si := rnd(4000), rnd(12)
	if kind == kSmallTCP || kind == kSmallUDP {
		ci, si = i%60000, rnd(40)
	}
	mac := func(n int, x byte) [6]byte { return [6]byte{2, x, 0, byte(n >> 16), byte(n >> 8), byte(n)} }
	f.c.mac, f.s.mac = mac(ci, 1), mac(si, 2)
	if i%10 == 3 {
		f.v6 = true
		copy(f.c.ip[:], []byte{0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(ci >> 16), byte(ci >> 8), byte(ci)})
		copy(f.s.ip[:], []byte{0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(si)})
	} else {
		copy(f.c.ip[:], []byte{10, byte(1 + ci>>16), byte(ci >> 8), byte(ci)})
		copy(f.s.ip[:], []byte{10, 250, 0, byte(10 + si)})
	}
	if i%4 == 1 {
		f.vlan = 100
	}
	f.c.port = uint16(32768 + (i*7919)%28000)
	f.s.port = ports[kind]
	switch kind {
	case kRPC:
		f.s.port = uint16(49152 + rnd(200))
	case kRTP:
		f.s.port = uint16(16384 + 2*rnd(4000))
		f.c.port = uint16(16384 + 2*rnd(4000))
	case kSIP:
		f.c.port = uint16(5060 + rnd(200))
	case kSmallTCP:
		f.s.port = []uint16{80, 443, 25, 135, 389, 49153}[i%6]
	case kSmallUDP:
		f.s.port = []uint16{53, 5060, 88, 16400}[i%4]
	case kBig:
		f.s.port = []uint16{443, 80, 25, 49155}[i%4]
	}
	return f
}

// random payload of n bytes from the filler
func fill(n int) []byte { o := rnd(len(filler) - 1500); return filler[o : o+n] }

var pl [1500]byte

func withPrefix(p []byte, n int) []byte {
	if n < len(p) {
		n = len(p)
	}
	copy(pl[:], p)
	copy(pl[len(p):n], fill(n-len(p)))
	return pl[:n]
}

func clientHello() []byte {
	sni := "mail.contoso.example"
	ext := []byte{0, 0, 0, byte(len(sni) + 5), 0, byte(len(sni) + 3), 0, 0, byte(len(sni))}
	ext = append(ext, sni...)
	ext = append(ext, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 6, 0, 4, 4, 1, 4, 3, 0, 43, 0, 3, 2, 3, 3)
	body := []byte{3, 3}
	body = append(body, fill(32)...)
	body = append(body, 0, 0, 6, 0xc0, 0x2f, 0xc0, 0x30, 0, 0x9c, 1, 0, byte(len(ext)>>8), byte(len(ext)))
	body = append(body, ext...)
	hs := append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	return append([]byte{22, 3, 1, byte(len(hs) >> 8), byte(len(hs))}, hs...)
}
func tlsRec(n int) []byte {
	return withPrefix([]byte{23, 3, 3, byte((n - 5) >> 8), byte(n - 5)}, n)
}
func dceHdr(pt byte, n int) []byte {
	h := []byte{5, 0, pt, 3, 0x10, 0, 0, 0, byte(n), byte(n >> 8), 0, 0, 1, 0, 0, 0}
	return h
}

var uuids = [][]byte{ // EPM, NSPI, MAPI emsmdb, RFR
	{0x08, 0x83, 0xaf, 0xe1, 0x1f, 0x5d, 0xc9, 0x11, 0x91, 0xa4, 0x08, 0x00, 0x2b, 0x14, 0xa0, 0xfa},
	{0x18, 0x5a, 0xcc, 0xf5, 0x64, 0x42, 0x1a, 0x10, 0x8c, 0x59, 0x08, 0x00, 0x2b, 0x2f, 0x84, 0x26},
	{0x00, 0xdb, 0xf1, 0xa4, 0x47, 0xca, 0x67, 0x10, 0xb3, 0x1f, 0x00, 0xdd, 0x01, 0x06, 0x62, 0xda},
	{0xe0, 0xf5, 0x44, 0x15, 0x3c, 0x61, 0xd1, 0x11, 0x93, 0xdf, 0x00, 0xc0, 0x4f, 0xd7, 0xbd, 0x09},
}

// NDR 2.0
var ndr = []byte{0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60, 2, 0, 0, 0}

func dceBind(u []byte) []byte {
	b := dceHdr(11, 72)
	b = append(b, 0xd0, 0x16, 0xd0, 0x16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0)
	b = append(b, u...)
	version := []byte{3, 0, 0, 0}
	switch u[0] {
	case 0x18: // NSPI 56.0
		version[0] = 56
	case 0x00: // EMSMDB 0.81
		version[0], version[2] = 0, 81
	case 0xe0: // RFR 1.0
		version[0] = 1
	}
	return append(append(b, version...), ndr...)
}

// full-size-leaning IMIX for data segments; at most 1,439 bytes with what is
// added, so that a frame fits an MTU of 1,500 with IPv6 too
func dataSize() int {
	switch r := rnd(100); {
	case r < 52:
		return 1380 + rnd(40)
	case r < 72:
		return 300 + rnd(700)
	default:
		return 20 + rnd(200)
	}
}

// next emits the next packet of a flow and reports whether there are more. It
// is long because it has one case for each kind of flow.
func (f *flow) next() bool {
	n := f.st
	f.st++
	if f.tcp {
		switch n {
		case 0:
			f.emit(true, SYN, nil)
			return true
		case 1:
			f.emit(false, SYN|ACK, nil)
			return true
		case 2:
			f.emit(true, ACK, nil)
			return true
		}
		if f.total > 0 {
			switch n {
			case f.total - 3:
				f.emit(true, FIN|ACK, nil)
				return true
			case f.total - 2:
				f.emit(false, FIN|ACK, nil)
				return true
			case f.total - 1:
				f.emit(true, ACK, nil)
				return true
			case f.total:
				return false
			}
		}
	} else if f.total > 0 && n >= f.total {
		return false
	}
	k := n - 3
	switch f.kind {
	case kSMTP:
		s := []string{"220 mail.contoso.example Microsoft ESMTP MAIL Service ready at Mon, 2 Jan 2023 10:00:00 +0000\r\n", "EHLO ex02.contoso.example\r\n",
			"250-mail.contoso.example Hello [10.1.2.3]\r\n250-SIZE 37748736\r\n250-PIPELINING\r\n250-DSN\r\n250-X-ANONYMOUSTLS\r\n250-AUTH NTLM\r\n250-8BITMIME\r\n250 CHUNKING\r\n",
			"MAIL FROM:<a@contoso.example> SIZE=2048\r\n", "250 2.1.0 Sender OK\r\n", "RCPT TO:<b@fabrikam.example>\r\n", "250 2.1.5 Recipient OK\r\n", "DATA\r\n", "354 Start mail input; end with <CRLF>.<CRLF>\r\n"}
		if k < len(s) {
			f.emit(k%2 == 1, PSH|ACK, []byte(s[k]))
		} else if k%3 == 2 {
			f.emit(false, ACK, nil)
		} else {
			f.emit(true, ACK, fill(dataSize()))
		}
	case kHTTP:
		if k%6 == 0 {
			f.emit(true, PSH|ACK, []byte("POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: mail.contoso.example\r\nUser-Agent: Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0)\r\nAuthorization: Negotiate TlRMTVNTUAAB\r\nContent-Type: text/xml\r\nContent-Length: 400\r\n\r\n<?xml version=\"1.0\"?><soap:Envelope>"))
		} else if k%6 == 1 {
			f.emit(false, PSH|ACK, withPrefix([]byte("HTTP/1.1 200 OK\r\nServer: Microsoft-IIS/10.0\r\nContent-Type: text/xml; charset=utf-8\r\nX-FEServer: EX01\r\nTransfer-Encoding: chunked\r\n\r\n"), 800+rnd(600)))
		} else if k%6 == 5 {
			f.emit(true, ACK, nil)
		} else {
			f.emit(false, ACK, fill(dataSize()))
		}
	case kTLS:
		switch {
		case k == 0:
			f.emit(true, PSH|ACK, clientHello())
		case k == 1:
			f.emit(false, PSH|ACK, withPrefix(append([]byte{22, 3, 3, 0, 78, 2, 0, 0, 74, 3, 3}, append(append([]byte{}, fill(32)...), append([]byte{32}, append(append([]byte{}, fill(32)...), 0xc0, 0x30, 0, 0, 2, 0, 0)...)...)...), 1380))
		case k == 2:
			f.emit(true, PSH|ACK, []byte{20, 3, 3, 0, 1, 1})
		case k%4 == 3:
			f.emit(true, ACK, nil)
		default:
			f.emit(k%8 == 4, PSH|ACK, tlsRec(dataSize()))
		}
	case kEPM, kRPC:
		u := uuids[0]
		if f.kind == kRPC {
			u = uuids[1+int(f.ssrc%3)]
		}
		switch {
		case k == 0:
			f.emit(true, PSH|ACK, dceBind(u))
		case k == 1:
			b := append(dceHdr(12, 60), 0xd0, 0x16, 0xd0, 0x16, 1, 2, 3, 4, 4, 0, '1', '3', '5', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)
			b = append(b, ndr...)
			f.emit(false, PSH|ACK, b)
		case k%5 == 4:
			f.emit(true, ACK, nil)
		default:
			n := dataSize()
			pt := byte(0)
			if k%2 == 1 {
				pt = 2
			}
			f.emit(pt == 0, PSH|ACK, withPrefix(dceHdr(pt, n), n))
		}
	case kLDAP:
		if k%2 == 0 {
			f.emit(true, PSH|ACK, withPrefix([]byte{0x30, 0x84, 0, 0, 0, 0x80, 2, 1, 3, 0x63, 0x84, 0, 0, 0, 0x70, 4, 0}, 140))
		} else {
			f.emit(false, PSH|ACK, withPrefix([]byte{0x30, 0x84, 0, 0, 3, 0x80, 2, 1, 3, 0x64, 0x84, 0, 0, 3, 0x70, 4, 0}, dataSize()+20))
		}
	case kKRB:
		if k%2 == 0 {
			f.emit(true, PSH|ACK, withPrefix([]byte{0, 0, 0, 0xe4, 0x6a, 0x81, 0xe1, 0x30, 0x81, 0xde, 0xa1, 3, 2, 1, 5, 0xa2, 3, 2, 1, 10}, 232))
		} else {
			f.emit(false, PSH|ACK, withPrefix([]byte{0, 0, 5, 0x60, 0x6b, 0x82, 5, 0x5c, 0x30, 0x82, 5, 0x58, 0xa0, 3, 2, 1, 5, 0xa1, 3, 2, 1, 11}, 1380))
		}
	case kDNS:
		q := []byte{byte(f.ssrc), byte(f.ssrc >> 8), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 12}
		q = append(q, "autodiscover"...)
		q = append(q, 7)
		q = append(q, "contoso"...)
		q = append(q, 7)
		q = append(q, "example"...)
		q = append(q, 0, 0, 1, 0, 1)
		if n%2 == 0 {
			f.emit(true, 0, q)
		} else {
			q[2], q[3], q[7] = 0x81, 0x80, 1
			q = append(q, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 250, 0, 10)
			f.emit(false, 0, q)
		}
	case kSIP:
		sdp := fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 10.250.0.10\r\ns=session\r\nc=IN IP4 10.250.0.10\r\nt=0 0\r\nm=audio %d RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\n", 16384+2*int(f.ssrc%4000))
		switch n % 6 {
		case 0:
			f.emit(true, 0, []byte(fmt.Sprintf("INVITE sip:100@um.contoso.example SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.2.3:5060;branch=z9hG4bK%x\r\nFrom: <sip:200@contoso.example>;tag=%x\r\nTo: <sip:100@um.contoso.example>\r\nCall-ID: %x@10.1.2.3\r\nCSeq: 1 INVITE\r\nContact: <sip:200@10.1.2.3>\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", f.ssrc, f.ssrc, f.ssrc, len(sdp), sdp)))
		case 1:
			f.emit(false, 0, []byte(fmt.Sprintf("SIP/2.0 100 Trying\r\nVia: SIP/2.0/UDP 10.1.2.3:5060;branch=z9hG4bK%x\r\nCall-ID: %x@10.1.2.3\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n", f.ssrc, f.ssrc)))
		case 2:
			f.emit(false, 0, []byte(fmt.Sprintf("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.1.2.3:5060;branch=z9hG4bK%x\r\nCall-ID: %x@10.1.2.3\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", f.ssrc, f.ssrc, len(sdp), sdp)))
		case 3:
			f.emit(true, 0, []byte(fmt.Sprintf("ACK sip:100@um.contoso.example SIP/2.0\r\nCall-ID: %x@10.1.2.3\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n", f.ssrc)))
		case 4:
			f.emit(true, 0, []byte(fmt.Sprintf("BYE sip:100@um.contoso.example SIP/2.0\r\nCall-ID: %x@10.1.2.3\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n", f.ssrc)))
		default:
			f.emit(false, 0, []byte(fmt.Sprintf("SIP/2.0 200 OK\r\nCall-ID: %x@10.1.2.3\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n", f.ssrc)))
		}
	case kRTP:
		f.rseq++
		f.rts += 160
		h := []byte{0x80, 0, byte(f.rseq >> 8), byte(f.rseq), byte(f.rts >> 24), byte(f.rts >> 16), byte(f.rts >> 8), byte(f.rts), byte(f.ssrc >> 24), byte(f.ssrc >> 16), byte(f.ssrc >> 8), byte(f.ssrc)}
		f.emit(n%2 == 0, 0, withPrefix(h, 172))
	case kSmallTCP:
		f.emit(n%2 == 1, PSH|ACK, fill(64))
	case kSmallUDP:
		f.emit(n%2 == 0, 0, fill(64))
	case kBig:
		l := 1400 - 54
		if f.v6 {
			l -= 20
		}
		if f.vlan != 0 {
			l -= 4
		}
		if k == 0 && f.s.port == 443 {
			f.emit(true, PSH|ACK, clientHello())
		} else if f.s.port == 443 {
			f.emit(false, ACK, tlsRec(l))
		} else {
			f.emit(k%16 == 0, ACK, fill(l))
		}
	}
	return true
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run generates one capture. It is a script from top to bottom: arguments, flows,
// packets.
func run(args []string) error {
	if len(args) < 4 || (args[0] == "real") != (len(args) > 4) {
		return errors.New("usage: gen mix|small|big PACKETS FLOWS OUT, or gen real PACKETS FLOWS OUT FILE...")
	}
	N, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	F, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	out, err := os.Create(args[3])
	if err != nil {
		return err
	}
	w = bufio.NewWriterSize(out, 1<<20)
	for i := range filler {
		filler[i] = byte(random.Uint32())
	}
	ghdr()
	switch args[0] {
	case "mix":
		// kind shares of flows
		share := []struct{ k, pct int }{{kSMTP, 12}, {kHTTP, 10}, {kTLS, 24}, {kEPM, 5}, {kRPC, 12}, {kLDAP, 8}, {kKRB, 5}, {kDNS, 18}, {kSIP, 3}, {kRTP, 3}}
		var kinds []int
		for _, s := range share {
			for i := 0; i < s.pct; i++ {
				kinds = append(kinds, s.k)
			}
		}
		const active = 2000
		var act []*flow
		made := 0
		mk := func() *flow {
			k := kinds[rnd(len(kinds))]
			f := newFlow(made, k)
			made++
			switch k {
			case kDNS:
				f.total = 2
			case kSIP:
				f.total = 6
			case kEPM, kKRB:
				f.total = 10 + rnd(4)
			case kRTP:
				f.total = 100 + rnd(300)
			default:
				f.total = 10 + int(random.ExpFloat64()*float64(N)/float64(F)*1.1)
			}
			return f
		}
		for i := 0; i < active; i++ {
			act = append(act, mk())
		}
		for npkts < N {
			i := rnd(len(act))
			// short trains keep some temporal locality, as real traffic has
			for t := 1 + rnd(4); t > 0 && npkts < N; t-- {
				if !act[i].next() {
					act[i] = mk()
				}
			}
		}
		fmt.Println("flows made", made)
	case "small":
		stepUS = 5
		fl := make([]*flow, F)
		for i := range fl {
			k := kSmallTCP
			if i%3 == 2 {
				k = kSmallUDP
			}
			fl[i] = newFlow(i, k)
		}
		for npkts < N {
			// worst case for the flow table: a uniformly random flow per packet
			if npkts < F {
				fl[npkts].next()
			} else {
				fl[rnd(F)].next()
			}
		}
	case "big":
		fl := make([]*flow, F)
		for i := range fl {
			fl[i] = newFlow(i, kBig)
		}
		for npkts < N {
			f := fl[rnd(F)]
			for t := 1 + rnd(8); t > 0 && npkts < N; t-- {
				f.next()
			}
		}
	case "real":
		if err := realTraffic(N, F, args[4:]); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown %q", args[0])
	}
	fmt.Printf("%s: %d packets, avg %d B, %d MB\n", args[3], npkts, nbytes/npkts, (nbytes+16*npkts)>>20)
	return errors.Join(w.Flush(), out.Close())
}
