package classify

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/capture/capturetest/readfile"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/inventory"
)

// attack feeds an engine packet by packet.
type attack struct {
	t     *testing.T
	e     *Engine
	now   int64
	count uint64
	batch []capture.Packet
	began time.Time
	next  map[[2]capture.Endpoint]uint32
}

func newAttack(t *testing.T, cfg Config) *attack {
	return &attack{t: t, e: newEngine(t, cfg), now: 1.7e18, began: time.Now(), next: map[[2]capture.Endpoint]uint32{}}
}

func (a *attack) send(proto uint8, src, dst netip.AddrPort, flags uint8, payload []byte) {
	a.count++
	a.now += 1e5
	p := capture.Packet{Number: a.count, Time: a.now, Frames: 1, Proto: proto, Src: capture.EndpointFrom(src), Dst: capture.EndpointFrom(dst),
		Flags: flags, Length: uint32(40 + len(payload)), Payload: payload, PayloadLength: uint32(len(payload))}
	p.Hash = capture.Hash(p.Src, p.Dst, proto)
	if proto == capture.TCP && flags != capture.SYN|capture.RST {
		k := [2]capture.Endpoint{p.Src, p.Dst}
		p.Seq, p.Ack = a.next[k], a.next[[2]capture.Endpoint{p.Dst, p.Src}]
		a.next[k] += uint32(len(payload))
		if flags&capture.SYN != 0 {
			a.next[k]++
		}
	}
	a.batch = append(a.batch, p)
	if len(a.batch) == 256 {
		a.flush()
	}
}

func (a *attack) flush() {
	if err := a.e.Batch(&capture.Batch{Packets: a.batch}); err != nil {
		a.t.Fatal(err)
	}
	a.batch = a.batch[:0]
}

func (a *attack) udp(src, dst string, payload []byte) {
	a.send(capture.UDP, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst), 0, payload)
}

// open shakes hands; say sends bytes in segments of the size given.
func (a *attack) open(client, server netip.AddrPort) {
	a.send(capture.TCP, client, server, capture.SYN, nil)
	a.send(capture.TCP, server, client, capture.SYN|capture.ACK, nil)
	a.send(capture.TCP, client, server, capture.ACK, nil)
}

func (a *attack) say(src, dst netip.AddrPort, data []byte, size int) {
	for part := range slices.Chunk(data, size) {
		a.send(capture.TCP, src, dst, capture.ACK|capture.PSH, part)
	}
}

// within wants the engine to hold at most so many MB, after at most so much
// time: far more than is needed, and far less than quadratic work takes. On a busy
// machine it may take ten times as long.
func (a *attack) within(mb int, limit time.Duration) {
	a.t.Helper()
	a.flush()
	took := time.Since(a.began)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	if used := int(m.HeapAlloc >> 20); used > mb {
		a.t.Errorf("%d MB are in use, at most %d may be", used, mb)
	}
	if took > 10*limit {
		a.t.Errorf("%d packets took %v", a.count, took)
	}
	a.t.Logf("%d packets, %v, %d MB", a.count, took, m.HeapAlloc>>20)
	if err := a.e.Close(nil); err != nil {
		a.t.Fatal(err)
	}
	if a.e.reader.Buffered() != 0 || a.e.flows.table.Used() != 0 {
		a.t.Errorf("left behind: %d bytes, %d flows", a.e.reader.Buffered(), a.e.flows.table.Used())
	}
}

func (a *attack) limit(id string) uint64 {
	for _, l := range a.e.limits() {
		if l.ID == id {
			return l.Count
		}
	}
	return 0
}

func TestFloodOfSYNs(t *testing.T) {
	a := newAttack(t, Config{Traffic: true, Hold: 5 * time.Minute, Limits: Limits{MaxFlows: 50_000, MaxHeld: 20_000}})
	random := rand.New(rand.NewPCG(1, 2))
	server := netip.MustParseAddrPort("10.0.1.1:443")
	for range 500_000 {
		var src [4]byte
		binary.BigEndian.PutUint32(src[:], random.Uint32())
		a.now -= 99_000 // a million a second
		a.send(capture.TCP, netip.AddrPortFrom(netip.AddrFrom4(src), uint16(random.Uint32())), server, capture.SYN, nil)
		clear(a.next)
	}
	a.flush()
	if a.limit("flows") == 0 || a.limit("held_flows") == 0 {
		t.Errorf("limits: %v", a.e.limits())
	}
	a.within(120, time.Minute)
}

// dnsAnswer asks for the address of a host of its own, and answers.
func dnsAnswer(i uint32) (question, answer []byte) {
	head := func(flags uint16, n int) []byte {
		b := binary.BigEndian.AppendUint16(nil, uint16(i))
		b = binary.BigEndian.AppendUint16(b, flags)
		b = append(b, 0, 1, 0, byte(n), 0, 0, 0, 0)
		return append(fmt.Appendf(b, "\x09h%08x\x07example\x00", i), 0, 1, 0, 1)
	}
	answer = append(head(0x8180, 1), 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
	return head(0x0100, 0), binary.BigEndian.AppendUint32(answer, 0x0b000000+i)
}

func TestFloodOfNames(t *testing.T) {
	const hosts = 10_000
	a := newAttack(t, Config{Limits: Limits{MaxHosts: hosts}})
	for i := range uint32(200_000) {
		q, ans := dnsAnswer(i)
		a.udp("10.0.0.1:40053", "10.0.1.2:53", q)
		a.udp("10.0.1.2:53", "10.0.0.1:40053", ans)
	}
	a.flush()
	// Hosts that are proven to be something, as the name server is, count apart.
	if n, _ := a.e.inventory.Len(); n != hosts+1 || a.limit("hosts") == 0 {
		t.Errorf("%d hosts remembered, limits %v", n, a.e.limits())
	}
	a.within(120, time.Minute)
}

func TestFloodOfDialogs(t *testing.T) {
	for _, ports := range []int{1, 50_000} {
		a := newAttack(t, Config{Calls: true})
		for i := range 100_000 {
			src := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(10_000+i%ports))
			sdp := fmt.Sprintf("v=0\r\nc=IN IP4 10.0.%d.%d\r\nm=audio %d RTP/AVP 0\r\n", 2+i>>16, i>>8&255, 1024+i&0x7fff)
			a.send(capture.UDP, src, netip.MustParseAddrPort("10.0.1.3:5060"), 0, fmt.Appendf(nil,
				"INVITE sip:x@10.0.1.3 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK%d\r\nFrom: <sip:a@b>;tag=%d\r\nTo: <sip:x@10.0.1.3>\r\n"+
					"Call-ID: %d\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", i, i, i, len(sdp), sdp))
		}
		a.flush()
		if a.limit("calls") == 0 {
			t.Errorf("limits: %v", a.e.limits())
		}
		a.within(400, time.Minute)
	}
}

// TestEndlessStreams sends what never ends, in large and in small segments, on
// the port of every protocol: endless lines, endless headers, endless lengths.
func TestEndlessStreams(t *testing.T) {
	for _, c := range []struct {
		name          string
		port          uint16
		banner, start string // of server and client
		more          string // again and again
	}{
		{"smtp line", 25, "220 mb1 ESMTP\r\n", "EHLO ", "a"},
		{"smtp keywords", 25, "220 mb1 ESMTP\r\n", "EHLO x\r\n", "X-SOMETHING y\r\n"},
		{"smtp answers", 25, "220-mb1 ESMTP\r\n220-and so on\r\n", "", "220-and so on\r\n"},
		{"smtp blob", 25, "220 mb1 ESMTP\r\n", "EHLO x\r\nBDAT 99999999999999999999\r\n", "a"},
		{"imap line", 143, "* OK ready\r\n", "a1 LOGIN ", "a"},
		{"imap literals", 143, "* OK ready\r\n", "a1 LOGIN ", "{2147483647}\r\n"},
		{"imap commands", 143, "* OK ready\r\n", "", "a1 CAPABILITY\r\n"},
		{"pop3 commands", 110, "+OK ready\r\n", "", "CAPA\r\n"},
		{"pop3 line", 110, "+OK ready\r\n", "AUTH ", "PLAIN"},
		{"nntp commands", 119, "200 ready\r\n", "", "CAPABILITIES\r\n"},
		{"http headers", 80, "", "GET / HTTP/1.1\r\n", "X-A: b\r\n"},
		{"http header line", 80, "", "GET / HTTP/1.1\r\nX-A: ", "b"},
		{"http request line", 80, "", "GET /", "b"},
		{"http requests", 80, "", "", "GET / HTTP/1.1\r\n\r\n"},
		{"http chunks", 80, "", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n"},
		{"http length", 80, "", "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"},
		{"sip headers", 5060, "", "INVITE sip:x@10.0.1.3 SIP/2.0\r\n", "Via: SIP/2.0/TCP 10.0.0.1\r\n"},
		{"sip folds", 5060, "", "INVITE sip:x@10.0.1.3 SIP/2.0\r\nVia: a\r\n", " b\r\n"},
		{"sip messages", 5060, "", "", "OPTIONS sip:x@10.0.1.3 SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.1\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"},
		{"sip length", 5060, "", "INVITE sip:x@10.0.1.3 SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 4294967295\r\n\r\n", "v=0\r\n"},
		{"irc lines", 6667, "", "NICK a\r\nUSER a a a a\r\n", "PING a\r\n"},
		{"ldap length", 389, "", "\x30\x84\x7f\xff\xff\xff\x02\x01\x01\x63\x84\x7f\xff\xff\xf0", "\x04\x82\xff\xff"},
		{"ldap messages", 389, "", "", "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"},
		{"ldap nesting", 389, "", "\x30\x84\x00\x01\x00\x00\x02\x01\x01\x63\x84\x00\x00\xff\xf0\x04\x00", "\x30\x80"},
		{"tls records", 443, "", "\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03", "a"},
		{"tls hello", 443, "", "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03", "a"},
		{"tls empty records", 443, "", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", "\x16\x03\x01\x00\x01\x01"},
		{"kerberos length", 88, "", "\x7f\xff\xff\xff\x6a\x84\x7f\xff\xff\xf0", "\x30\x84\x7f\xff\xff\xf0"},
		{"dns length", 53, "", "", "\xff\xff\x00\x01\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xc0\x0c"},
		{"dcerpc fragments", 135, "", "", "\x05\x00\x00\x00\x10\x00\x00\x00\x20\x00\x00\x00\x01\x00\x00\x00\xff\xff\xff\xff\x00\x00\x03\x00aaaaaaaa"},
		{"dcerpc bind", 135, "", "\x05\x00\x0b\x03\x10\x00\x00\x00\xff\xff\x00\x00\x01\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00\xff\x00\x00\x00", "a"},
		{"smb length", 445, "", "\x00\xff\xff\xff\xfeSMB\x40\x00", "\x00\x00"},
		{"smb messages", 445, "", "", "\x00\x00\x00\x44\xfeSMB\x40\x00\x00\x00\x00\x00\x00\x00\x09\x00" + strings.Repeat("\x00", 48) + "\x31\x00\x00\x00"},
		{"nmf records", 808, "", "\x00\x01\x00\x01\x02\x02\xff\xff\xff\xff\x07", "a"},
		{"nns records", 64327, "", "\x16\x01\x00\xff\xff", "a"},
		{"cotp", 102, "", "\x03\x00\xff\xff\xff\xe0", "a"},
	} {
		for _, size := range []int{1, 7, 1460} {
			t.Run(fmt.Sprint(c.name, " ", size), func(t *testing.T) {
				a := newAttack(t, Config{Traffic: true})
				client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.AddrPortFrom(netip.MustParseAddr("10.0.1.1"), c.port)
				a.open(client, server)
				a.say(server, client, []byte(c.banner), size)
				data := []byte(c.start)
				for n := min(30_000*size, 4<<20); len(data) < n; {
					data = append(data, c.more...)
				}
				if c.name == "smtp answers" {
					client, server = server, client
				}
				a.say(client, server, data, size)
				a.flush()
				if a.e.reader.Buffered() > 256<<10 {
					t.Errorf("%d bytes are held", a.e.reader.Buffered())
				}
				a.within(100, 10*time.Second)
			})
		}
	}
}

// TestTimeOfNoClock sends packets from 1970 and 2106, and from both again.
func TestTimeOfNoClock(t *testing.T) {
	a := newAttack(t, Config{Traffic: true, Hold: time.Minute, Interim: time.Minute})
	server := netip.MustParseAddrPort("10.0.1.1:25")
	times := []int64{0, 1, 1 << 32 * 1e9, 5, 1.7e18, 1<<63 - 1e6, 0, 1 << 32 * 1e9, -1 << 62}
	for i := range 9000 {
		a.now = times[i%len(times)] + int64(i)
		client := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(1024+i%50))
		a.send(capture.TCP, client, server, []uint8{capture.SYN, capture.ACK, capture.RST, capture.ACK | capture.PSH}[i%4], []byte("EHLO x\r\n")[:i%8])
	}
	a.within(100, 20*time.Second)
}

// TestUpgradeToNothing breaks what a stream was upgraded to, in a way that looks
// like it again: no protocol is tried twice.
func TestUpgradeToNothing(t *testing.T) {
	a := newAttack(t, Config{})
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.1.1:25")
	a.open(client, server)
	a.say(server, client, []byte("220 mb1 ESMTP\r\n"), 1460)
	a.say(client, server, []byte("EHLO a\r\n"), 1460)
	a.say(server, client, []byte("250-mb1\r\n250 STARTTLS\r\n"), 1460)
	a.say(client, server, []byte("STARTTLS\r\n"), 1460)
	a.say(server, client, []byte("220 go ahead\r\n"), 1460)
	// Records without a hello: no TLS begins so, but TLS is found in them.
	a.say(client, server, slices.Repeat([]byte("\x17\x03\x01\x00\x20................................"), 3), 1460)
	a.flush()
	if a.e.reader.Violations == 0 {
		t.Error("nothing was violated")
	}
	a.within(100, 10*time.Second)
}

// tellText puts packets written down as capturetest does through an engine.
func tellText(t *testing.T, a *attack, text string) {
	t.Helper()
	data, err := capturetest.Compile("attack.txt", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "attack.pcap")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	packets := readfile.Packets(t, file)
	a.began = time.Now()
	for batch := range slices.Chunk(packets, 256) {
		if err := a.e.Batch(&capture.Batch{Packets: batch}); err != nil {
			t.Fatal(err)
		}
	}
	a.count = uint64(len(packets))
}

func TestFloodOfEndpoints(t *testing.T) {
	var text strings.Builder
	text.WriteString("handshake 10.0.0.1:40000 > 10.0.1.1:135\n" +
		"tcp 10.0.0.1:40000 > 10.0.1.1:135 rpc-bind(epmapper)\ntcp 10.0.1.1:135 > 10.0.0.1:40000 rpc-bind-ack(135)\n")
	for i := range 30_000 {
		fmt.Fprintf(&text, "tcp 10.0.0.1:40000 > 10.0.1.1:135 epm-lookup(call %d)\n", i+2)
		fmt.Fprintf(&text, "tcp 10.0.1.1:135 > 10.0.0.1:40000 epm-found(%08x-1111-2222-3333-444444444444/1.0 %d \"any\" call %d)\n", i, 1024+i%60_000, i+2)
	}
	a := newAttack(t, Config{Limits: Limits{MaxEndpoints: 200_000}})
	tellText(t, a, text.String())
	if _, n := a.e.inventory.Len(); n > inventory.MaxServerEndpoints || n < inventory.MaxServerEndpoints*9/10 || a.limit("server_endpoints") == 0 {
		t.Errorf("%d endpoints of one server, limits %v", n, a.e.limits())
	}
	a.within(150, time.Minute)
}

func TestFloodInPipe(t *testing.T) {
	const there, back = "tcp 10.0.0.1:40000 > 10.0.1.1:445 ", "tcp 10.0.1.1:445 > 10.0.0.1:40000 "
	var text strings.Builder
	text.WriteString("handshake 10.0.0.1:40000 > 10.0.1.1:445\n" + there + "smb-negotiate()\n" + back + "smb-negotiated()\n" +
		there + "smb-setup(v2)\n" + back + "smb-setup-answer(done)\n" + there + "smb-connect(\\\\mb1\\IPC$)\n" + back + "smb-connected(pipe)\n")
	// Pipes that are opened and never closed, binds that nobody answers.
	for range 3000 {
		text.WriteString(there + "smb-open(winreg)\n" + back + "smb-opened()\n")
		text.WriteString(strings.Repeat(there+"smb-pipe-bind(winreg)\n", 4))
	}
	a := newAttack(t, Config{})
	tellText(t, a, text.String())
	if _, _, facts := a.e.reader.Content(&a.e.flows.stateOf(1).State); a.e.reader.Reading() != 1 || !facts.Has("smb.pipe", "winreg") || !facts.Has("rpc.interface", "winreg") {
		t.Error("the pipe was not read")
	}
	a.within(100, time.Minute)
}

// TestFloodOfLoneSegments sends segments from the middle of connections of which
// nothing else is seen, until as many flows are read as may be: conversations that
// begin then are read all the same, and one under way is read on.
func TestFloodOfLoneSegments(t *testing.T) {
	const flows = 500
	a := newAttack(t, Config{Limits: Limits{MaxConns: flows}})
	mail, client := netip.MustParseAddrPort("10.0.1.1:25"), netip.MustParseAddrPort("10.0.0.1:40000")
	a.open(client, mail)
	a.say(mail, client, []byte("220 mb1 Microsoft ESMTP MAIL Service ready\r\n"), 1460)
	a.say(client, mail, []byte("EHLO a\r\n"), 1460)
	record := append([]byte("\x17\x03\x03\x00\x40"), make([]byte, 64)...)
	lone := func(i int) {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 50000)
		a.send(capture.TCP, src, netip.MustParseAddrPort("10.0.1.1:443"), capture.ACK|capture.PSH, record)
	}
	for i := range 4 * flows {
		lone(i)
	}
	mapper := netip.MustParseAddrPort("10.0.1.1:110")
	a.open(client, mapper)
	a.say(mapper, client, []byte("+OK Microsoft Exchange POP3 server ready\r\n"), 1460)
	for i := range 4 * flows {
		lone(4*flows + i)
	}
	a.say(client, mapper, []byte("CAPA\r\n"), 1460)
	a.say(mapper, client, []byte("+OK\r\nTOP\r\nSTLS\r\n.\r\n"), 1460)
	a.say(mail, client, []byte("250-mb1 Hello\r\n250-XRDST\r\n250 CHUNKING\r\n"), 1460)
	a.flush()
	if n := a.e.reader.Reading(); n > flows || a.limit("conns") == 0 {
		t.Errorf("%d flows are read, limits %v", n, a.e.limits())
	}
	found := map[uint16]string{}
	for id := 1; id <= a.e.flows.table.Used(); id++ {
		s := a.e.flows.at(flow.ID(id))
		if i, _, facts := a.e.reader.Content(&s.State); i != 0 && s.Sides[0] == capture.EndpointFrom(client) {
			found[s.Sides[1].Port] = fmt.Sprint(a.e.protocols[i-1].Name, facts.All())
		}
	}
	if !strings.Contains(found[25], "XRDST") || !strings.Contains(found[110], "STLS") {
		t.Errorf("conversations are not read: %v", found)
	}
	a.within(100, time.Minute)
}

// TestHoardersPay lets flows make their observers hold much, on which the budget
// of all is spent: a conversation that holds little is read on.
func TestHoardersPay(t *testing.T) {
	a := newAttack(t, Config{Limits: Limits{MaxBuffered: 4 << 20}})
	mail, client := netip.MustParseAddrPort("10.0.1.1:25"), netip.MustParseAddrPort("10.0.0.1:40000")
	a.open(client, mail)
	a.say(mail, client, []byte("220 mb1 Microsoft ESMTP MAIL Service ready\r\n"), 1460)
	for i := range 300 {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 50000)
		dst := netip.MustParseAddrPort("10.0.1.1:80")
		a.open(src, dst)
		a.say(src, dst, []byte("GET / HTTP/1.1\r\n"), 1460)
		a.say(src, dst, []byte(strings.Repeat("X-A: "+strings.Repeat("b", 90)+"\r\n", 500)), 1460)
	}
	a.say(client, mail, []byte("EHLO a"), 1460)
	a.say(client, mail, []byte("\r\n"), 1460)
	a.say(mail, client, []byte("250-mb1 Hello\r\n250-XRDST\r\n250 CHUNKING\r\n"), 1460)
	a.flush()
	if n := a.e.reader.Buffered(); n > 5<<20 {
		t.Errorf("%d bytes are held", n)
	}
	if _, _, facts := a.e.reader.Content(&a.e.flows.stateOf(1).State); !facts.Has("smtp.keywords", "XRDST") {
		t.Errorf("the conversation is not read on: %v", facts.All())
	}
	a.within(100, time.Minute)
}
