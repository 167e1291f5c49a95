package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// said is what one side sent at a time.
type said struct {
	dir  observe.Direction
	data []byte
}

// talk is a flow as an observer sees it.
type talk struct {
	protocol, announced string
	port                uint16
	datagram            bool
	segments            []said
}

// talks returns a plausible flow of each common protocol: how it begins, then
// a number of segments of content.
func talks() []talk {
	r := rand.New(rand.NewPCG(1, 2))
	noise := func(head []byte, n int) []byte {
		b := slices.Clone(head)
		for len(b) < n {
			b = append(b, byte(r.Uint32()))
		}
		return b
	}
	both := func(n int, to, from func(i int) []byte) (s []said) {
		for i := range n {
			if i%2 == 0 {
				s = append(s, said{observe.ToServer, to(i)})
			} else {
				s = append(s, said{observe.ToClient, from(i)})
			}
		}
		return s
	}
	text := func(dir observe.Direction, s string) said { return said{dir, []byte(s)} }
	const c, s = observe.ToServer, observe.ToClient

	mail := []said{text(s, "220 mail.example.com Microsoft ESMTP MAIL Service ready at Mon, 2 Jan 2023 10:00:00 +0000\r\n"),
		text(c, "EHLO ex02.example.com\r\n"),
		text(s, "250-mail.example.com Hello [10.1.2.3]\r\n250-SIZE 37748736\r\n250-PIPELINING\r\n250-DSN\r\n250-X-ANONYMOUSTLS\r\n"+
			"250-AUTH NTLM\r\n250-8BITMIME\r\n250 CHUNKING\r\n"),
		text(c, "MAIL FROM:<a@example.com> SIZE=2048\r\n"), text(s, "250 2.1.0 Sender OK\r\n"), text(c, "RCPT TO:<b@example.net>\r\n"),
		text(s, "250 2.1.5 Recipient OK\r\n"), text(c, "DATA\r\n"), text(s, "354 Start mail input; end with <CRLF>.<CRLF>\r\n")}
	for range 40 {
		mail = append(mail, said{c, noise(nil, 1400)})
	}

	hello := func() []byte {
		const sni = "mail.example.com"
		ext := []byte{0, 0, 0, byte(len(sni) + 5), 0, byte(len(sni) + 3), 0, 0, byte(len(sni))}
		ext = append(ext, sni...)
		ext = append(ext, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 6, 0, 4, 4, 1, 4, 3, 0, 43, 0, 3, 2, 3, 3)
		body := append(noise([]byte{3, 3}, 34), 0, 0, 6, 0xc0, 0x2f, 0xc0, 0x30, 0, 0x9c, 1, 0, byte(len(ext)>>8), byte(len(ext)))
		body = append(body, ext...)
		msg := append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
		return append([]byte{22, 3, 1, byte(len(msg) >> 8), byte(len(msg))}, msg...)
	}
	answer := append(noise([]byte{22, 3, 3, 0, 74, 2, 0, 0, 70, 3, 3}, 43), 32)
	answer = append(noise(answer, len(answer)+32), 0xc0, 0x30, 0)
	secure := []said{{c, hello()}, {s, answer}, {c, []byte{20, 3, 3, 0, 1, 1}}, {s, []byte{20, 3, 3, 0, 1, 1}}}
	secure = append(secure, both(8, func(int) []byte { return noise([]byte{23, 3, 3, 5, 0x73}, 1400) },
		func(int) []byte { return noise([]byte{23, 3, 3, 5, 0x73}, 1400) })...)

	pdu := func(kind byte, n int) []byte {
		return []byte{5, 0, kind, 3, 0x10, 0, 0, 0, byte(n), byte(n >> 8), 0, 0, 1, 0, 0, 0}
	}
	bind := append(pdu(11, 72), 0xd0, 0x16, 0xd0, 0x16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0,
		0x00, 0xdb, 0xf1, 0xa4, 0x47, 0xca, 0x67, 0x10, 0xb3, 0x1f, 0x00, 0xdd, 0x01, 0x06, 0x62, 0xda, 3, 0, 0, 0,
		0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60, 2, 0, 0, 0)
	ack := append(pdu(12, 60), 0xd0, 0x16, 0xd0, 0x16, 1, 2, 3, 4, 4, 0, '1', '3', '5', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
		0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60, 2, 0, 0, 0)
	calls := append([]said{{c, bind}, {s, ack}}, both(40, func(int) []byte { return noise(pdu(0, 1200), 1200) },
		func(int) []byte { return noise(pdu(2, 1200), 1200) })...)

	sdp := "v=0\r\no=- 1 1 IN IP4 10.250.0.10\r\ns=session\r\nc=IN IP4 10.250.0.10\r\nt=0 0\r\nm=audio 16384 RTP/AVP 0 8 101\r\n" +
		"a=rtpmap:0 PCMU/8000\r\n"
	const from = "From: <sip:200@example.com>;tag=1\r\nTo: <sip:100@um.example.com>\r\n"
	call := []said{
		text(c, fmt.Sprintf("INVITE sip:100@um.example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.2.3:5060;branch=z9hG4bK1\r\n"+from+
			"Call-ID: 1@10.1.2.3\r\nCSeq: 1 INVITE\r\nContact: <sip:200@10.1.2.3>\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s",
			len(sdp), sdp)),
		text(s, "SIP/2.0 100 Trying\r\n"+from+"Call-ID: 1@10.1.2.3\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"),
		text(s, fmt.Sprintf("SIP/2.0 200 OK\r\n"+from+"Call-ID: 1@10.1.2.3\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n"+
			"Content-Length: %d\r\n\r\n%s", len(sdp), sdp)),
		text(c, "ACK sip:100@um.example.com SIP/2.0\r\n"+from+"Call-ID: 1@10.1.2.3\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"),
		text(c, "BYE sip:100@um.example.com SIP/2.0\r\n"+from+"Call-ID: 1@10.1.2.3\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"),
		text(s, "SIP/2.0 200 OK\r\n"+from+"Call-ID: 1@10.1.2.3\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"),
	}
	question := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0cautodiscover\x07example\x03com\x00\x00\x01\x00\x01")
	reply := append(slices.Clone(question), 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 250, 0, 10)
	reply[2], reply[3], reply[7] = 0x81, 0x80, 1
	media := func(i int) []byte {
		h := []byte{0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, byte(4 + i%2)}
		binary.BigEndian.PutUint16(h[2:], uint16(i/2))
		binary.BigEndian.PutUint32(h[4:], uint32(i/2)*160)
		return noise(h, 172)
	}
	post := "POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: mail.example.com\r\nUser-Agent: Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0)\r\n" +
		"Authorization: Negotiate TlRMTVNTUAAB\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n<?xml version=\"1.0\"?>"
	return []talk{
		{"smtp", "", 25, false, mail},
		{"http", "", 80, false, both(20, func(int) []byte { return noise([]byte(post), len(post)-21+1000) }, func(int) []byte {
			const head = "HTTP/1.1 200 OK\r\nServer: Microsoft-IIS/10.0\r\nContent-Type: text/xml; charset=utf-8\r\nX-FEServer: EX01\r\nContent-Length: 1200\r\n\r\n"
			return noise([]byte(head), len(head)+1200)
		})},
		{"tls", "", 443, false, secure},
		{"dcerpc", "", 49200, false, calls},
		{"ldap", "", 389, false, both(40, func(int) []byte {
			return noise([]byte{0x30, 0x84, 0, 0, 0, 0x80, 2, 1, 3, 0x63, 0x84, 0, 0, 0, 0x77, 4, 0}, 134)
		}, func(int) []byte {
			return noise([]byte{0x30, 0x84, 0, 0, 3, 0x80, 2, 1, 3, 0x64, 0x84, 0, 0, 3, 0x77, 4, 0}, 902)
		})},
		{"kerberos", "", 88, false, both(8, func(int) []byte {
			return noise([]byte{0, 0, 0, 0xe4, 0x6a, 0x81, 0xe1, 0x30, 0x81, 0xde, 0xa1, 3, 2, 1, 5, 0xa2, 3, 2, 1, 10, 0x30, 0x81, 209}, 232)
		}, func(int) []byte {
			return noise([]byte{0, 0, 5, 0x60, 0x6b, 0x82, 5, 0x5c, 0x30, 0x82, 5, 0x58, 0xa0, 3, 2, 1, 5, 0xa1, 3, 2, 1, 11, 0x30, 0x82, 5, 74}, 1380)
		})},
		{"dns", "", 53, true, []said{{c, question}, {s, reply}}},
		{"sip", "", 5060, true, call},
		{"rtp", "rtp", 16384, true, both(200, media, media)},
	}
}

// BenchmarkObservers reads whole flows, detection and all, as the engine
// offers them.
func BenchmarkObservers(b *testing.B) {
	protocols := Protocols()
	for _, t := range talks() {
		p := &protocols[slices.IndexFunc(protocols, func(p observe.Protocol) bool { return p.Name == t.protocol })]
		b.Run(t.protocol, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := t.read(p); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(t.segments)), "ns/segment")
		})
	}
}

// read puts a talk through a new observer.
func (t *talk) read(p *observe.Protocol) error {
	var r observe.Report
	in := observe.Input{Handshake: true, Continues: true, Datagram: t.datagram, Announced: t.announced,
		Flow: observetest.Between(netip.MustParseAddrPort("10.0.0.9:50000"), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 3}), t.port))}
	o := p.New()
	var skip [2]int
	var rest [2][]byte
	for i := range t.segments {
		in.Dir, in.Number, in.Time = t.segments[i].dir, in.Number+1, in.Time+1e7
		data := t.segments[i].data
		if t.datagram {
			in.Data = data
			if _, err := o.Observe(&in, &r); err != nil {
				return err
			}
			continue
		}
		k := min(skip[in.Dir], len(data))
		skip[in.Dir] -= k
		if data = data[k:]; len(rest[in.Dir]) > 0 {
			data = append(rest[in.Dir], data...)
		}
		for len(data) > 0 {
			in.Data = data
			n, err := o.Observe(&in, &r)
			if errors.Is(err, observe.ErrDone) {
				return nil
			} else if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			skip[in.Dir] = max(0, n-len(data))
			data = data[min(n, len(data)):]
		}
		rest[in.Dir] = append(rest[in.Dir][:0], data...)
	}
	if f, ok := o.(observe.Finisher); ok {
		f.Finish(&r)
	}
	return nil
}

// BenchmarkDetect looks for a protocol in bytes that are none, as scans and
// unknown applications send them.
func BenchmarkDetect(b *testing.B) {
	reader, err := NewReader(Config{Protocols: Protocols()})
	if err != nil {
		b.Fatal(err)
	}
	d := reader.detect
	r := rand.New(rand.NewPCG(1, 2))
	payloads := make([][]byte, 1024)
	for i := range payloads {
		for range 64 {
			payloads[i] = append(payloads[i], byte(r.Uint32()))
		}
	}
	for _, datagram := range []bool{false, true} {
		name, proto, ports := "stream", uint8(capture.TCP), []uint16{80, 443, 25, 135, 389, 49153}
		if datagram {
			name, proto, ports = "datagram", capture.UDP, []uint16{53, 5060, 88, 16400}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				d.first = observe.First{Datagram: datagram, ClientPort: 40000, ServerPort: ports[i%len(ports)]}
				data, dir := payloads[i%len(payloads)], observe.Direction(i&1)
				if set := reader.candidates(proto, 40000, d.first.ServerPort, dir, data); set != 0 {
					d.detect(set, dir, data, nil)
				}
				i++
			}
		})
	}
}
