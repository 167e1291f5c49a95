package dcerpc

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	. "github.com/exspan/exspan/classify/observe/observetest"
)

// wire builds PDUs in one byte order, as [C706] section 12.6.4 lays them out.
type wire struct{ big bool }

var le, be = wire{}, wire{big: true}

func (w wire) u16(v uint16) string {
	if w.big {
		return string(binary.BigEndian.AppendUint16(nil, v))
	}
	return string(binary.LittleEndian.AppendUint16(nil, v))
}

func (w wire) u32(v uint32) string {
	if w.big {
		return string(binary.BigEndian.AppendUint32(nil, v))
	}
	return string(binary.LittleEndian.AppendUint32(nil, v))
}

func u64(v uint64) string { return string(binary.LittleEndian.AppendUint64(nil, v)) }

func (w wire) uuid(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil {
		panic(err)
	}
	if w.big {
		return string(b)
	}
	return string([]byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]}) + string(b[8:])
}

// syntax writes "UUID vMAJOR.MINOR" as a p_syntax_id_t.
func (w wire) syntax(s string) string {
	u, major, minor := split(s)
	return w.uuid(u) + w.u32(uint32(major)|uint32(minor)<<16)
}

func split(s string) (uuid string, major, minor uint16) {
	if n, err := fmt.Sscanf(s, "%36s v%d.%d", &uuid, &major, &minor); n != 3 {
		panic(err)
	}
	return
}

// sec is a sec_trailer with its token.
type sec struct {
	typ, level byte
	id         uint32
	token      string
}

func (w wire) pdu(ptype, flags byte, call uint32, body string, auth ...sec) string {
	tail, n := "", 0
	for _, a := range auth {
		pad := (4 - len(body)%4) % 4
		body += strings.Repeat("\xbb", pad)
		tail, n = string([]byte{a.typ, a.level, byte(pad), 0})+w.u32(a.id)+a.token, len(a.token)
	}
	drep := "\x10\x00\x00\x00"
	if w.big {
		drep = "\x00\x00\x00\x00"
	}
	return string([]byte{5, 0, ptype, flags}) + drep + w.u16(uint16(16+len(body)+len(tail))) + w.u16(uint16(n)) + w.u32(call) + body + tail
}

// ctx is a presentation context of a bind.
type ctx struct {
	id       uint16
	iface    string
	transfer string
}

const (
	ndr32s   = "8a885d04-1ceb-11c9-9fe8-08002b104860 v2.0"
	ndr64s   = "71710533-beba-4937-8319-b5dbef9ccc36 v1.0"
	features = "6cb71c2c-9812-4540-0300-000000000000 v1.0"
	epms     = "e1af8308-5d1f-11c9-91a4-08002b14a0fa v3.0"
	emsmdbs  = "a4f1db00-ca47-1067-b31f-00dd010662da v0.81"
	nspis    = "f5cc5a18-4264-101a-8c59-08002b2f8426 v56.0"
	rfrs     = "1544f5e0-613c-11d1-93df-00c04fd7bd09 v1.0"
	mgmts    = "afa8bd80-7d8a-11c9-bef4-08002b102989 v1.0"
)

func (w wire) bindLike(ptype byte, call uint32, ctxs []ctx, auth ...sec) string {
	b := w.u16(5840) + w.u16(5840) + w.u32(0) + string([]byte{byte(len(ctxs)), 0, 0, 0})
	for _, c := range ctxs {
		b += w.u16(c.id) + "\x01\x00" + w.syntax(c.iface) + w.syntax(c.transfer)
	}
	return w.pdu(ptype, 3, call, b, auth...)
}

func (w wire) bind(call uint32, ctxs []ctx, auth ...sec) string {
	return w.bindLike(bind, call, ctxs, auth...)
}

// result is one result of a bind_ack.
type result struct {
	result, reason uint16
	transfer       string
}

func (w wire) ackLike(ptype byte, call uint32, addr string, results []result, auth ...sec) string {
	b := w.u16(5840) + w.u16(5840) + w.u32(0x1234)
	if addr != "" {
		addr += "\x00"
	}
	b += w.u16(uint16(len(addr))) + addr
	b += strings.Repeat("\x00", (4-(16+len(b))%4)%4)
	b += string([]byte{byte(len(results)), 0, 0, 0})
	for _, r := range results {
		t := strings.Repeat("\x00", 20)
		if r.transfer != "" {
			t = w.syntax(r.transfer)
		}
		b += w.u16(r.result) + w.u16(r.reason) + t
	}
	return w.pdu(ptype, 3, call, b, auth...)
}

func (w wire) ack(call uint32, addr string, results []result, auth ...sec) string {
	return w.ackLike(bindAck, call, addr, results, auth...)
}

func (w wire) request(flags byte, call uint32, ctx, opnum uint16, stub string, auth ...sec) string {
	return w.pdu(request, flags, call, w.u32(uint32(len(stub)))+w.u16(ctx)+w.u16(opnum)+stub, auth...)
}

func (w wire) response(flags byte, call uint32, ctx uint16, stub string, auth ...sec) string {
	return w.pdu(response, flags, call, w.u32(uint32(len(stub)))+w.u16(ctx)+"\x00\x00"+stub, auth...)
}

// floor returns one floor of a tower.
func floor(lhs, rhs string) string {
	return le.u16(uint16(len(lhs))) + lhs + le.u16(uint16(len(rhs))) + rhs
}

// tower builds a tower of the usual first floors and the given ones.
func tower(iface string, floors ...string) string {
	f := func(s string) string {
		u, major, minor := split(s)
		return floor("\x0d"+le.uuid(u)+le.u16(major), le.u16(minor))
	}
	return le.u16(uint16(2+len(floors))) + f(iface) + f(ndr32s) + strings.Join(floors, "")
}

func port(p uint16) string { return string([]byte{byte(p >> 8), byte(p)}) }

func tcpTower(iface string, p uint16, ip string) string {
	return tower(iface, floor("\x0b", "\x00\x00"), floor("\x07", port(p)), floor("\x09", ip))
}

func udpTower(iface string, p uint16) string {
	return tower(iface, floor("\x0a", "\x00\x00"), floor("\x08", port(p)), floor("\x09", "\x00\x00\x00\x00"))
}

func httpTower(iface string, p uint16) string {
	return tower(iface, floor("\x0b", "\x00\x00"), floor("\x1f", port(p)), floor("\x09", "\x00\x00\x00\x00"))
}

func pipeTower(iface, pipe string) string {
	return tower(iface, floor("\x0b", "\x00\x00"), floor("\x0f", pipe+"\x00"), floor("\x11", "\\\\MB1\x00"))
}

func localTower(iface string) string {
	return tower(iface, floor("\x0c", "\x00\x00"), floor("\x10", "LRPC-1234\x00"))
}

func pad(s string, n int) string { return s + strings.Repeat("\x00", (n-len(s)%n)%n) }

// mapStub builds the stub of an ept_map response.
func (w wire) mapStub(wide bool, towers ...string) string {
	n := uint32(len(towers))
	b := strings.Repeat("\x00", 20) + w.u32(n)
	if wide {
		b = pad(b, 8) + u64(500) + u64(0) + u64(uint64(n))
		for i := range towers {
			b += u64(uint64(i + 1))
		}
		for _, t := range towers {
			b = pad(b, 8) + u64(uint64(len(t))) + w.u32(uint32(len(t))) + t
		}
		return pad(b, 8) + w.u32(0)
	}
	b += w.u32(500) + w.u32(0) + w.u32(n)
	for i := range towers {
		b += w.u32(uint32(i + 3))
	}
	for _, t := range towers {
		b = pad(b, 4) + w.u32(uint32(len(t))) + w.u32(uint32(len(t))) + t
	}
	return pad(b, 4) + w.u32(0)
}

// note is an entry of an ept_lookup response.
type note struct{ tower, annotation string }

// lookupStub builds the stub of an ept_lookup response. An entry without a tower has a
// null pointer.
func (w wire) lookupStub(wide bool, entries ...note) string {
	n := uint32(len(entries))
	b := strings.Repeat("\x00", 20) + w.u32(n)
	size := func(v int) string { return w.u32(uint32(v)) }
	align := 4
	if wide {
		size, align = func(v int) string { return u64(uint64(v)) }, 8
	}
	b = pad(b, align) + size(500) + size(0) + size(int(n))
	for i, e := range entries {
		ref := i + 3
		if e.tower == "" {
			ref = 0
		}
		a := e.annotation + "\x00"
		b = pad(b, align) + strings.Repeat("\x00", 16) + size(ref) + size(0) + size(len(a)) + a
	}
	for _, e := range entries {
		if e.tower != "" {
			b = pad(b, align) + size(len(e.tower)) + w.u32(uint32(len(e.tower))) + e.tower
		}
	}
	return pad(b, 4) + w.u32(0)
}

var (
	onMapper  = Options{Server: netip.MustParseAddrPort("192.0.2.1:135")}
	onDynamic = Options{Server: netip.MustParseAddrPort("192.0.2.1:59532")}
)

func learned(server, service, source, more string) string {
	from := "192.0.2.1:135"
	if source == "bind" {
		from, _, _ = strings.Cut(server, "/")
	}
	return "endpoint " + server + " " + service + " source=" + source + " from=" + from + more
}

var open = []string{"auth=none", "rpc.auth_level=none", "encryption=none"}

func with(l []string, more ...string) []string { return append(append([]string(nil), l...), more...) }

// TestMapper reads the endpoint mapper's answers in both byte orders and both transfer
// syntaxes.
func TestMapper(t *testing.T) {
	towers := []string{
		pipeTower(emsmdbs, `\PIPE\exchange`), localTower(emsmdbs), "garbage",
		tcpTower(emsmdbs, 59532, "\x00\x00\x00\x00"), udpTower(rfrs, 6005), httpTower(emsmdbs, 6001), tcpTower(nspis, 59533,
			"\x0a\x00\x00\x09"),
		tcpTower(mgmts, 59532, "\x00\x00\x00\x00"), tcpTower(rfrs, 0, "\x00\x00\x00\x00"),
	}
	want := with(open, "rpc.uuid="+epms, "rpc.sec_addr=135",
		learned("192.0.2.1:59532/tcp", emsmdbs, "ept_map", ""), learned("192.0.2.1:6005/udp", rfrs, "ept_map", ""),
		learned("192.0.2.1:6001/tcp", emsmdbs, "ept_map", ""), learned("192.0.2.1:59533/tcp", nspis, "ept_map", " announced=10.0.0.9"))
	for _, c := range []struct {
		name string
		w    wire
		wide bool
	}{{"NDR", le, false}, {"NDR, big-endian", be, false}, {"NDR64", le, true}} {
		t.Run(c.name, func(t *testing.T) {
			w := c.w
			bound := []Segment{
				ToServer(w.bind(1, []ctx{{0, epms, ndr32s}, {1, epms, ndr64s}, {2, epms, features}})),
				ToClient(w.ack(1, "135", []result{{0, 0, ndr32s}, {2, 2, ""}, {3, 3, ""}})),
			}
			id := uint16(0)
			if c.wide {
				bound[1] = ToClient(w.ack(1, "135", []result{{2, 2, ""}, {0, 0, ndr64s}, {3, 3, ""}}))
				id = 1
			}
			stub := w.mapStub(c.wide, towers...)
			r := Check(t, Protocol(), append(bound, ToServer(w.request(3, 2, id, eptMap, "request")), ToClient(w.response(3, 2, id, stub))),
				onMapper)
			Expect(t, r, want...)

			// Three fragments, the second of which is cut inside a tower.
			r = Check(t, Protocol(), append(bound, ToServer(w.request(3, 2, id, eptMap, "request")),
				ToClient(w.response(1, 2, id, stub[:24]), w.response(0, 2, id, stub[24:200]), w.response(2, 2, id, stub[200:]))), onMapper)
			Expect(t, r, want...)

			stub = w.lookupStub(c.wide, note{tcpTower(emsmdbs, 59532, "\x00\x00\x00\x00"), "Exchange RPC"}, note{"", "nothing"},
				note{pipeTower(nspis, `\PIPE\x`), ""}, note{tcpTower(nspis, 59533, "\x00\x00\x00\x00"), "MS NT Directory NSP Interface"})
			r = Check(t, Protocol(), append(bound, ToServer(w.request(3, 3, id, eptLookup, "request")), ToClient(w.response(3, 3, id,
				stub))), onMapper)
			Expect(t, r, with(open, "rpc.uuid="+epms, "rpc.sec_addr=135",
				learned("192.0.2.1:59532/tcp", emsmdbs, "ept_lookup", ` annotation="Exchange RPC"`),
				learned("192.0.2.1:59533/tcp", nspis, "ept_lookup", ` annotation="MS NT Directory NSP Interface"`))...)
		})
	}
}

// TestNotRegistered covers a mapper that does not know the service.
func TestNotRegistered(t *testing.T) {
	stub := strings.Repeat("\x00", 20) + le.u32(0) + le.u32(4) + le.u32(0) + le.u32(0) + le.u32(notRegistered)
	Expect(t, Check(t, Protocol(), []Segment{ToServer(le.bind(1, []ctx{{0, epms, ndr32s}})), ToClient(le.ack(1, "", []result{{0, 0, ndr32s}})),
		ToServer(le.request(3, 2, 0, eptMap, "request")), ToClient(le.response(3, 2, 0, stub))}, onMapper),
		with(open, "rpc.uuid="+epms, "epm.status=not-registered")...)
}

// TestTrustedAnswers verifies that endpoints are learned only from the server's end of a
// flow to the mapper, in answer to a request on that flow.
func TestTrustedAnswers(t *testing.T) {
	stub := le.mapStub(false, tcpTower(emsmdbs, 59532, "\x00\x00\x00\x00"))
	ask, answer := ToServer(le.request(3, 7, 0, eptMap, "request")), ToClient(le.response(3, 7, 0, stub))
	bound := []Segment{ToServer(le.bind(1, []ctx{{0, epms, ndr32s}})), ToClient(le.ack(1, "135", []result{{0, 0, ndr32s}}))}
	dcom := []Segment{ToServer(le.bind(1, []ctx{{0, rfrs, ndr32s}})), ToClient(le.ack(1, "135", []result{{0, 0, ndr32s}}))}
	entry := learned("192.0.2.1:59532/tcp", emsmdbs, "ept_map", "")
	mid := func(o Options) Options { o.Midstream = true; return o }
	noAck := func(o Options) Options { o.Unacknowledged = true; return o }
	on := func(s string) Options { return Options{Server: netip.MustParseAddrPort(s)} }
	private := le.response(3, 7, 0, stub, sec{authNTLM, levelPrivacy, 0, strings.Repeat("s", 16)})
	for _, c := range []struct {
		name string
		conv []Segment
		o    Options
		want string
	}{
		{"asked and answered", append(bound, ask, answer), onMapper, entry},
		{"over HTTP", append(bound, ask, answer), on("192.0.2.1:593"), strings.Replace(entry, ":135", ":593", 1)},
		{"on another port", append(bound, ask, answer), on("192.0.2.1:1135"), learned("192.0.2.1:1135/tcp", epms, "bind", "")},
		{"another interface", append(dcom, ask, answer), onMapper, ""},
		{"another call", append(bound, ask, ToClient(le.response(3, 8, 0, stub))), onMapper, ""},
		{"answered twice", append(bound, ask, answer, answer), onMapper, entry},
		{"not asked", append(bound, answer), onMapper, ""},
		{"another operation", append(bound, ToServer(le.request(3, 7, 0, 4, "request")), answer), onMapper, ""},
		{"encrypted", append(bound, ask, ToClient(private)), onMapper, ""},
		{"no handshake", append(bound, ask, answer), mid(onMapper), entry},
		{"no handshake, no acknowledgement", append(bound, ask, answer), noAck(mid(onMapper)), ""},
		{"handshake, no acknowledgement", append(bound, ask, answer), noAck(onMapper), entry},
		{"bind not seen", []Segment{ask, answer}, mid(onMapper), entry},
		{"request not seen", []Segment{answer}, mid(onMapper), entry + " weak"},
		{"request lost", append(bound, Lost(observe.ToServer, 100), answer), onMapper, entry + " weak"},
		{"answer cut short", []Segment{ToClient(le.response(3, 7, 0, stub[:len(stub)-9]))}, mid(onMapper), ""},
		{"answer of another form", []Segment{ToClient(le.response(3, 7, 0, stub+"more"))}, mid(onMapper), ""},
		{"answer by the client", []Segment{{Dir: observe.ToServer, Data: answer.Data}}, mid(onMapper), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Check(t, Protocol(), c.conv, c.o)
			var got []string
			for _, l := range r.Lines() {
				if strings.HasPrefix(l, "endpoint") {
					got = append(got, l)
				}
			}
			if strings.Join(got, "; ") != c.want {
				t.Errorf("learned %q, want %q", got, c.want)
			}
		})
	}
}

// TestPipe verifies that endpoints are learned from the mapper's pipe and from no other
// pipe.
func TestPipe(t *testing.T) {
	stub := le.mapStub(false, tcpTower(emsmdbs, 59532, "\x00\x00\x00\x00"))
	conv := []Segment{ToServer(le.bind(1, []ctx{{0, epms, ndr32s}})), ToClient(le.ack(1, `\PIPE\epmapper`, []result{{0, 0, ndr32s}})),
		ToServer(le.request(3, 7, 0, eptMap, strings.Repeat("x", 4000))), ToClient(le.response(3, 7, 0, stub))}
	want := with(open, "rpc.uuid="+epms, `rpc.sec_addr=\PIPE\epmapper`)
	for _, c := range []struct {
		pipe string
		want []string
	}{
		{`\PIPE\epmapper`, with(want, "endpoint 192.0.2.1:59532/tcp "+emsmdbs+" source=ept_map from=192.0.2.1:445")},
		{"EPMAPPER", with(want, "endpoint 192.0.2.1:59532/tcp "+emsmdbs+" source=ept_map from=192.0.2.1:445")},
		{"lsass", want},
		{"", want},
	} {
		// The observer leaves the buffering to the pipe, so that the property covers the
		// pipe's own buffers.
		p := Protocol()
		p.New, p.Renew = func() observe.Observer { return pipeObserver{NewPipe(c.pipe)} }, nil
		r := Check(t, p, conv, Options{Server: netip.MustParseAddrPort("192.0.2.1:445")})
		Expect(t, r, c.want...)
	}
}

type pipeObserver struct{ p *Pipe }

func (o pipeObserver) Observe(in *observe.Input, r *observe.Report) (int, error) {
	return len(in.Data), o.p.Write(in, r)
}

// TestBind verifies which interfaces are reported and which endpoints binds announce.
func TestBind(t *testing.T) {
	two := []ctx{{0, emsmdbs, ndr32s}, {1, emsmdbs, ndr64s}, {2, emsmdbs, features}}
	bound := learned("192.0.2.1:59532/tcp", emsmdbs, "bind", "")
	uuid := "rpc.uuid=" + emsmdbs
	b, ok := ToServer(le.bind(1, two)), ToClient(le.ack(1, "59532", []result{{2, 2, ""}, {0, 0, ndr64s}, {3, 3, ""}}))
	call := ToServer(le.request(3, 2, 1, 11, "stub"))
	addr := "rpc.sec_addr=59532"
	first := 28 + 44 // the header of a bind and its first context
	cutBind, cutAck := ToServer(string(b.Data[:first+3])), ToClient(le.ack(1, "59532", []result{{0, 0, ndr32s}, {2, 2, ""}})[:60])
	mid := onDynamic
	mid.Midstream = true
	for _, c := range []struct {
		name string
		conv []Segment
		o    Options
		want []string
	}{
		{"accepted", []Segment{b, ok, call}, onDynamic, with(open, uuid, addr, bound)},
		{"bind alone, one way", []Segment{b}, onDynamic, []string{uuid}},
		{"the beginning of a bind alone", []Segment{cutBind, Lost(observe.ToServer, len(b.Data)-first-3)}, onDynamic, []string{uuid}},
		{"the beginning of a bind and of its answer", []Segment{cutBind, Lost(observe.ToServer, len(b.Data)-first-3), cutAck, Lost(observe.ToClient, 24)}, onDynamic,
			[]string{uuid, addr, bound}},
		{"less than a context", []Segment{ToServer(string(b.Data[:first-1])), Lost(observe.ToServer, len(b.Data)-first+1), cutAck, Lost(observe.ToClient, 24)}, onDynamic,
			[]string{addr}},
		{"bind and call, one way", []Segment{b, call}, onDynamic, with(open, uuid, bound+" weak")},
		{"answer lost", []Segment{b, Lost(observe.ToClient, 90), call}, onDynamic, with(open, uuid, bound+" weak")},
		{"acknowledged late", []Segment{b, call, ok}, onDynamic, with(open, uuid, addr, bound, bound+" weak")},
		{"answer alone", []Segment{ok}, onDynamic, []string{addr}},
		{"not known", []Segment{b, ToClient(le.ack(1, "59532", []result{{2, 1, ""}, {2, 1, ""}, {3, 3, ""}}))}, onDynamic,
			[]string{addr, "rejected " + emsmdbs}},
		{"no common syntax", []Segment{b, ToClient(le.ack(1, "59532", []result{{2, 2, ""}, {2, 2, ""}, {3, 3, ""}}))}, onDynamic,
			[]string{addr}},
		{"refused whole", []Segment{b, ToClient(le.pdu(bindNak, 3, 1, le.u16(4)+"\x01\x05\x00\x00"))}, onDynamic, nil},
		{"answer to another call", []Segment{b, ToClient(le.ack(9, "59532", []result{{0, 0, ndr32s}}))}, onDynamic, []string{addr}},
		{"results pair by position", []Segment{ToServer(le.bind(1, []ctx{{5, nspis, ndr32s}, {3, rfrs, ndr32s}})),
			ToClient(le.ack(1, "59532", []result{{2, 1, ""}, {0, 0, ndr32s}}))}, onDynamic,
			[]string{addr, "rpc.uuid=" + rfrs, "rejected " + nspis, learned("192.0.2.1:59532/tcp", rfrs, "bind", "")}},
		{"alter_context", []Segment{b, ok, ToServer(le.bindLike(alter, 2, []ctx{{3, nspis, ndr32s}})),
			ToClient(le.ackLike(alterResp, 2, "", []result{{0, 0, ndr32s}}))}, onDynamic,
			[]string{addr, uuid, "rpc.uuid=" + nspis, bound, learned("192.0.2.1:59532/tcp", nspis, "bind", "")}},
		{"management interface", []Segment{ToServer(le.bind(1, []ctx{{0, mgmts, ndr32s}})), ToClient(le.ack(1, "59532", []result{{0, 0,
			ndr32s}}))},
			onDynamic, []string{addr, "rpc.uuid=" + mgmts}},
		{"big-endian", []Segment{ToServer(be.bind(1, two)), ToClient(be.ack(1, "59532", []result{{0, 0, ndr32s}, {2, 2, ""}, {2, 1,
			""}}))}, onDynamic,
			[]string{addr, uuid, bound}},
		{"callback of the server", []Segment{b, ok, ToClient(le.request(3, 9, 1, 0, "stub")), call}, onDynamic, with(open, uuid, addr,
			bound)},
		{"starts in the middle of a PDU", []Segment{ToClient("\x05\x00tail of something", string(ok.Data)), b, ToClient(string(ok.Data))}, mid,
			[]string{addr, uuid, bound}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Check(t, Protocol(), c.conv, c.o)
			Expect(t, r, c.want...)
			if r.Err != nil {
				t.Errorf("ended with %v", r.Err)
			}
		})
	}
}

// TestProtection verifies the reported authentication and protection of calls.
func TestProtection(t *testing.T) {
	ntlm1 := "NTLMSSP\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 20)
	sig := func(typ, level byte) sec { return sec{typ, level, 1, "\x01\x00\x00\x00" + strings.Repeat("s", 12)} }
	krb := func(level byte) sec {
		return sec{authNegotiate, level, 1, "\x05\x04\x07\xff" + strings.Repeat("k", 72)}
	}
	ctxs := []ctx{{0, emsmdbs, ndr32s}}
	ack := ToClient(le.ack(1, "", []result{{0, 0, ndr32s}}))
	bare := ToServer(le.bind(1, ctxs))
	req := func(a ...sec) Segment { return ToServer(le.request(3, 2, 0, 2, "stub", a...)) }
	resp := func(a ...sec) Segment { return ToClient(le.response(3, 2, 0, "stub", a...)) }
	mid := onDynamic
	mid.Midstream = true
	for _, c := range []struct {
		name string
		conv []Segment
		o    Options
		want string // auth/level/encryption
	}{
		{"none", []Segment{bare, ack, req()}, onDynamic, "none/none/none"},
		{"anonymous bind without a call", []Segment{bare, ack}, onDynamic, "//"},
		{"bind at privacy without a call", []Segment{ToServer(le.bind(1, ctxs, sec{authNTLM, 6, 1, ntlm1})), ack}, onDynamic,
			"ntlm/privacy/rpc-privacy"},
		{"bind at connect without a call", []Segment{ToServer(le.bind(1, ctxs, sec{authNTLM, 2, 1, ntlm1})), ack}, onDynamic,
			"ntlm/connect/"},
		{"refused bind", []Segment{ToServer(le.bind(1, ctxs, sec{authNTLM, 6, 1, ntlm1})), ToClient(le.pdu(bindNak, 3, 1,
			le.u16(8)+"\x01\x05\x00\x00"))},
			onDynamic, "//"},
		{"levels of calls, not of binds", []Segment{ToServer(le.bind(1, ctxs, sec{authNTLM, 6, 1, ntlm1})), ack, req()}, onDynamic,
			"none/none/none"},
		{"NTLM in SPNEGO", []Segment{ToServer(le.bind(1, ctxs, sec{authNegotiate, 5, 1, ntlm1})), ack, req(sig(authNegotiate, 5))}, onDynamic,
			"ntlm/integrity/rpc-integrity"},
		{"level default is connect", []Segment{bare, ack, req(sig(authNTLM, 0))}, onDynamic, "ntlm/connect/none"},
		{"connect without trailers", []Segment{ToServer(le.bind(1, ctxs, sec{authKerberos, 2, 1, "token"})), ack, req()}, onDynamic,
			"kerberos/connect/none"},
		{"call", []Segment{bare, ack, req(sig(authNTLM, 3))}, onDynamic, "ntlm/call/none"},
		{"packet", []Segment{bare, ack, req(sig(authNTLM, 4))}, onDynamic, "ntlm/packet/none"},
		{"Netlogon", []Segment{bare, ack, req(sec{authNetlogon, 6, 1, strings.Repeat("n", 32)})}, onDynamic, "netlogon/privacy/rpc-privacy"},
		{"TLS", []Segment{bare, ack, req(sec{authTLS, 6, 1, strings.Repeat("n", 32)})}, onDynamic, "tls/privacy/rpc-privacy"},
		{"unknown type", []Segment{bare, ack, req(sec{99, 6, 1, strings.Repeat("n", 32)})}, onDynamic, "/privacy/rpc-privacy"},
		{"unknown level", []Segment{bare, ack, req(sec{authNTLM, 9, 1, strings.Repeat("n", 32)})}, onDynamic, "//"},
		{"first open, then private", []Segment{bare, ack, req(), req(sig(authNTLM, 6))}, onDynamic,
			"none,ntlm/none,privacy/none,rpc-privacy"},
		{"an open fault to a private call", []Segment{bare, ack, req(sig(authNTLM, 6)), ToClient(le.pdu(fault, 3, 2,
			strings.Repeat("\x00", 16))), resp()},
			onDynamic, "ntlm/privacy/rpc-privacy"},
		{"midstream, signed by NTLM", []Segment{resp(sig(authNegotiate, 5))}, mid, "ntlm/integrity/rpc-integrity"},
		{"midstream, sealed by Kerberos", []Segment{req(krb(6))}, mid, "kerberos/privacy/rpc-privacy"},
		{"midstream, some mechanism", []Segment{req(sec{authNegotiate, 6, 1, strings.Repeat("n", 32)})}, mid,
			"negotiate/privacy/rpc-privacy"},
		{"midstream, no trailer", []Segment{req()}, mid, "//none"},
		{"midstream, but from the bind on", []Segment{bare, ack, req()}, mid, "none/none/none"},
		{"bytes lost before the call", []Segment{bare, ack, Lost(observe.ToServer, 100), req()}, onDynamic, "//none"},
		{"one way, answers only", []Segment{ack, resp()}, onDynamic, "none/none/none"},
		{"fragments", []Segment{bare, ack, ToServer(le.request(1, 2, 0, 2, strings.Repeat("x", 3000), sig(authNTLM, 6)), le.request(2, 2,
			0, 2, "end", sig(authNTLM, 6)))},
			onDynamic, "ntlm/privacy/rpc-privacy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Check(t, Protocol(), c.conv, c.o)
			got := strings.Join(r.Facts.Values(observe.Auth), ",") + "/" + strings.Join(r.Facts.Values(AuthLevel), ",") + "/" +
				strings.Join(r.Facts.Values(observe.Encryption), ",")
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestVerificationTrailer reads the interface of a flow without a bind from the
// verification trailer ([MS-RPCE] section 2.2.2.13).
func TestVerificationTrailer(t *testing.T) {
	vt := string(verificationSignature) + "\x01\x00\x04\x00\x01\x00\x00\x00" + "\x02\x40\x28\x00" + le.syntax(emsmdbs) + le.syntax(ndr32s)
	broken := strings.Replace(vt, "\x02\x40\x28", "\x02\x40\x29", 1)
	sig := sec{authNTLM, 5, 1, strings.Repeat("s", 16)}
	private := sec{authNTLM, 6, 1, strings.Repeat("s", 16)}
	mid := onDynamic
	mid.Midstream = true
	want := []string{"rpc.uuid=" + emsmdbs, learned("192.0.2.1:59532/tcp", emsmdbs, "bind", " weak")}
	for _, c := range []struct {
		name string
		pdu  string
		want []string
	}{
		{"plain", le.request(3, 5, 0, 11, "stub"+strings.Repeat("x", 3000)+vt), with(want, "encryption=none")},
		{"signed", le.request(3, 5, 0, 11, "stub"+vt, sig), with(want, "auth=ntlm", "rpc.auth_level=integrity", "encryption=rpc-integrity")},
		{"encrypted", le.request(3, 5, 0, 11, "stub"+vt, private), []string{"auth=ntlm", "rpc.auth_level=privacy", "encryption=rpc-privacy"}},
		{"broken", le.request(3, 5, 0, 11, "stub"+broken), []string{"encryption=none"}},
		{"not last fragment", le.request(1, 5, 0, 11, "stub"+vt), []string{"encryption=none"}},
		{"none", le.request(3, 5, 0, 11, "stub"), []string{"encryption=none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			Expect(t, Check(t, Protocol(), []Segment{ToServer(c.pdu)}, mid), c.want...)
		})
	}
}

// rtsPDU builds an RTS PDU. The tests use the channels of RPC over HTTP version 2 behind
// the proxy: [MS-RPCH] sections 2.2.4.3 (CONN/A2) and 2.2.4.6 (CONN/B2).
func rtsPDU(flags uint16, cmds ...string) string {
	return le.pdu(rts, 3, 0, le.u16(flags)+le.u16(uint16(len(cmds)))+strings.Join(cmds, ""))
}

func cookie(c byte) string { return le.u32(3) + strings.Repeat(string([]byte{c}), 16) }

var (
	rtsVersion = le.u32(6) + le.u32(1)
	window     = le.u32(0) + le.u32(65536)
	timeout    = le.u32(2) + le.u32(120000)
	connA2     = rtsPDU(0x10, rtsVersion, cookie(1), cookie(2), le.u32(4)+le.u32(0x40000000), window)
	connB2     = rtsPDU(0x08, rtsVersion, cookie(1), cookie(3), window, timeout, le.u32(12)+strings.Repeat("\x09", 16),
		le.u32(11)+le.u32(0)+"\xc6\x33\x64\x07"+strings.Repeat("\x00", 12))
	connC1 = rtsPDU(0, rtsVersion, window, timeout)
)

func TestRTS(t *testing.T) {
	on := Options{Server: netip.MustParseAddrPort("192.0.2.1:6001")}
	cookie1 := "rpc.cookie=01010101-0101-0101-0101-010101010101"
	Expect(t, Check(t, Protocol(), []Segment{ToClient(banner), ToServer(connA2), ToClient(connC1),
		ToClient(le.ack(1, "6001", []result{{0, 0, ndr32s}}), le.response(3, 2, 0, strings.Repeat("x", 9000)))}, on),
		with(open, "rpc.banner=ncacn_http/1.0", "rpc.rts=out", cookie1, "rpc.sec_addr=6001")...)
	Expect(t, Check(t, Protocol(), []Segment{ToClient(banner),
		ToServer(connB2, le.bind(1, []ctx{{0, emsmdbs, ndr32s}}), le.request(3, 2, 0, 10, "stub"))}, on),
		with(open, "rpc.banner=ncacn_http/1.0", "rpc.rts=in", cookie1, "rpc.client_address=198.51.100.7", "rpc.uuid="+emsmdbs,
			"endpoint 192.0.2.1:6001/tcp "+emsmdbs+" source=bind from=192.0.2.1:6001 weak")...)
	rows := Tshark(t, TextToPcap(t, []Segment{ToServer(connA2), ToServer(connB2)}, 6001), "dcerpc", []string{"_ws.col.Info"}, "-d", "tcp.port==6001,dcerpc")
	if got := fmt.Sprint(rows); !strings.Contains(got, "CONN/A2") || !strings.Contains(got, "CONN/B2") {
		t.Errorf("tshark reads %s", got)
	}
}

// dg builds a connectionless PDU ([C706] section 12.5.1).
func dg(w wire, ptype byte, iface string, activity byte, seq uint32, opnum uint16, body string) string {
	u, major, minor := split(iface)
	drep := "\x10\x00\x00"
	if w.big {
		drep = "\x00\x00\x00"
	}
	return string([]byte{4, ptype, 0x20, 0}) + drep + "\x00" + strings.Repeat("\x00",
		16) + w.uuid(u) + strings.Repeat(string([]byte{activity}), 16) +
		w.u32(0) + w.u32(uint32(major)|uint32(minor)<<16) + w.u32(seq) + w.u16(opnum) + "\xff\xff\xff\xff" +
		w.u16(uint16(len(body))) + "\x00\x00\x00\x00" + body
}

func TestDatagrams(t *testing.T) {
	stub := func(w wire) string {
		return w.mapStub(false, udpTower(rfrs, 6005), tcpTower(emsmdbs, 59532, "\x00\x00\x00\x00"))
	}
	const clus = "b97db8b2-4c63-11cf-bff6-08002be23f2f v2.0"
	mapper := Options{Datagram: true, Server: netip.MustParseAddrPort("192.0.2.1:135")}
	high := Options{Datagram: true, Server: netip.MustParseAddrPort("192.0.2.1:6005")}
	udp, tcp := learned("192.0.2.1:6005/udp", rfrs, "ept_map", ""), learned("192.0.2.1:59532/tcp", emsmdbs, "ept_map", "")
	for _, c := range []struct {
		name string
		conv []Segment
		o    Options
		want []string
	}{
		{"mapper", []Segment{ToServer(dg(le, request, epms, 1, 5, 3, "ask")), ToClient(dg(le, response, epms, 1, 5, 3, stub(le)))}, mapper,
			with(open, "rpc.uuid="+epms, udp, tcp)},
		{"mapper, big-endian", []Segment{ToServer(dg(be, request, epms, 1, 5, 3, "ask")), ToClient(dg(be, response, epms, 1, 5, 3,
			stub(be)))}, mapper,
			with(open, "rpc.uuid="+epms, udp, tcp)},
		{"another activity", []Segment{ToServer(dg(le, request, epms, 1, 5, 3, "ask")), ToClient(dg(le, response, epms, 2, 5, 3,
			stub(le)))}, mapper, open},
		{"another sequence", []Segment{ToServer(dg(le, request, epms, 1, 5, 3, "ask")), ToClient(dg(le, response, epms, 1, 6, 3,
			stub(le)))}, mapper, open},
		{"request not seen", []Segment{ToClient(dg(le, response, epms, 1, 5, 3, stub(le)))}, mapper, []string{"rpc.uuid=" + epms,
			udp + " weak", tcp + " weak"}},
		{"mapper of another port", []Segment{ToServer(dg(le, request, epms, 1, 5, 3, "ask")), ToClient(dg(le, response, epms, 1, 5, 3,
			stub(le)))}, high,
			with(open, "rpc.uuid="+epms, learned("192.0.2.1:6005/udp", epms, "bind", ""))},
		{"answered", []Segment{ToServer(dg(le, request, clus, 1, 0, 2, "ask")), ToClient(dg(le, response, clus, 1, 0, 2, "answer"))}, high,
			with(open, "rpc.uuid="+clus, learned("192.0.2.1:6005/udp", clus, "bind", ""))},
		{"one way", []Segment{ToServer(dg(le, request, clus, 1, 0, 2, "ask"))}, high, with(open, "rpc.uuid="+clus)},
		{"not known", []Segment{ToServer(dg(le, request, clus, 1, 0, 2, "ask")), ToClient(dg(le, dgReject, clus, 1, 0, 2,
			le.u32(unknownIf)))}, high,
			with(open, "rejected "+clus)},
	} {
		t.Run(c.name, func(t *testing.T) {
			Expect(t, Check(t, Protocol(), c.conv, c.o), c.want...)
		})
	}
}

// TestVectorsInTshark verifies that tshark reads the same towers in the vectors that no
// capture contains: those in NDR64 and in big-endian byte order.
func TestVectorsInTshark(t *testing.T) {
	for _, c := range []struct {
		name string
		w    wire
		wide bool
	}{{"NDR", le, false}, {"big-endian", be, false}, {"NDR64", le, true}} {
		transfer := ndr32s
		if c.wide {
			transfer = ndr64s
		}
		towers := []string{pipeTower(emsmdbs, `\PIPE\x`), tcpTower(emsmdbs, 59532, "\x0a\x00\x00\x09"), udpTower(rfrs, 6005),
			httpTower(nspis, 6004)}
		conv := []Segment{
			ToServer(c.w.bind(1, []ctx{{0, epms, transfer}})), ToClient(c.w.ack(1, "135", []result{{0, 0, transfer}})),
			ToServer(c.w.request(3, 2, 0, eptMap, strings.Repeat("\x00", 64))), ToClient(c.w.response(3, 2, 0, c.w.mapStub(c.wide, towers...))),
			ToServer(c.w.request(3, 3, 0, eptLookup, strings.Repeat("\x00", 64))), ToClient(c.w.response(3, 3, 0,
				c.w.lookupStub(c.wide, note{towers[1], "Exchange RPC"}, note{"", "null"}, note{towers[3], "HTTP"}))),
		}
		rows := Tshark(t, TextToPcap(t, conv, 135), "epm.tower.num_floors || epm.num_towers || epm.num_ents",
			[]string{"epm.proto.tcp_port", "epm.proto.udp_port", "epm.proto.http_port", "epm.annotation", "epm.rc"})
		got := fmt.Sprint(rows)
		want := "[[59532 6005 6004  0x00000000] [59532  6004 Exchange RPC,null,HTTP 0x00000000]]"
		if c.wide {
			// tshark reads the offset and length of the annotation as 32 bits in NDR64
			// too. In [MS-RPCE] section 2.2.5.3.2 they have 64 bits.
			got, want = fmt.Sprint(rows[:1]), "[[59532 6005 6004  0x00000000]]"
		}
		if got != want {
			t.Errorf("%s: tshark reads %s, want %s", c.name, got, want)
		}
	}
}

func TestReversed(t *testing.T) {
	for _, c := range []struct {
		name string
		s    Segment
		o    Options
	}{
		{"bind", ToClient(le.bind(1, []ctx{{0, epms, ndr32s}})), onDynamic},
		{"request", ToClient(le.request(3, 1, 0, 2, "")), onDynamic},
		{"response", ToServer(le.response(3, 1, 0, "")), onDynamic},
		{"datagram", ToServer(dg(le, response, epms, 1, 1, 3, "")), Options{Datagram: true}},
	} {
		if r := Check(t, Protocol(), []Segment{c.s}, c.o); !errors.Is(r.Err, observe.ErrReversed) {
			t.Errorf("%s: %v", c.name, r.Err)
		}
	}
}

// TestDetectInBody verifies that PDUs on a port of RPC proxies belong to an HTTP body if
// its header was not seen.
func TestDetectInBody(t *testing.T) {
	bind := []byte(le.bind(1, []ctx{{0, epms, ndr32s}}))
	for _, c := range []struct {
		port uint16
		late bool
		want observe.Match
	}{{80, true, observe.No}, {80, false, observe.Yes}, {6001, true, observe.Yes}} {
		f := observe.First{ToServer: bind, ClientPort: 50000, ServerPort: c.port, Late: c.late, OnPort: c.port == 6001}
		if got := detect(&f); got != c.want {
			t.Errorf("port %d, late %t: %d, want %d", c.port, c.late, got, c.want)
		}
	}
}

func TestDetect(t *testing.T) {
	good := le.bind(1, []ctx{{0, epms, ndr32s}})
	change := func(at int, c byte) string { return good[:at] + string([]byte{c}) + good[at+1:] }
	for _, c := range []struct {
		name             string
		toServer, client string
		on, off          observe.Match
	}{
		{"nothing", "", "", observe.More, observe.More},
		{"bind", good, "", observe.Yes, observe.Yes},
		{"big-endian bind", be.bind(1, []ctx{{0, epms, ndr32s}}), "", observe.Yes, observe.Yes},
		{"header", good[:16], "", observe.Yes, observe.More},
		{"first byte", good[:1], "", observe.More, observe.More},
		{"midstream response", "", le.response(3, 1, 0, "stub"), observe.Yes, observe.Yes},
		{"banner", "", banner, observe.Yes, observe.Yes},
		{"part of the banner", "", banner[:5], observe.More, observe.More},
		{"IMAP's number", "", "nope", observe.No, observe.No},
		{"middle of a PDU, then a PDU", "xyz", le.response(3, 1, 0, "stub"), observe.Yes, observe.Yes},
		{"both in the middle of a PDU", "xyz", "abc", observe.No, observe.No},
		{"SOCKS 5", "\x05\x02\x00\x01", "", observe.No, observe.No},
		{"TLS", "\x16\x03\x01", "", observe.No, observe.No},
		{"version 4", change(0, 4), "", observe.No, observe.No},
		{"minor version 2", change(1, 2), "", observe.No, observe.No},
		{"type 1", change(2, 1), "", observe.No, observe.No},
		{"type 21", change(2, 21), "", observe.No, observe.No},
		{"data representation", change(4, 0x20), "", observe.No, observe.No},
		{"reserved byte", change(7, 1), "", observe.No, observe.No},
		{"fragment shorter than its header", change(8, 15)[:9] + "\x00" + good[10:], "", observe.No, observe.No},
		{"token longer than its fragment", change(11, 1), "", observe.No, observe.No},
		{"bind without contexts", change(24, 0), "", observe.Yes, observe.No},
		{"request of context 4096", le.request(3, 1, 4096, 0, ""), "", observe.Yes, observe.No},
	} {
		for _, port := range []bool{true, false} {
			want := c.off
			if port {
				want = c.on
			}
			if got := detect(&observe.First{ToServer: []byte(c.toServer), ToClient: []byte(c.client), OnPort: port}); got != want {
				t.Errorf("%s, on its port %v: %d, want %d", c.name, port, got, want)
			}
		}
	}
	for _, c := range []struct {
		name string
		b    string
		want observe.Match
	}{
		{"request", dg(le, request, epms, 1, 1, 3, "x"), observe.Yes},
		{"empty", "", observe.No},
		{"short", dg(le, request, epms, 1, 1, 3, "")[:79], observe.No},
		{"opnum", dg(le, request, epms, 1, 1, 3000, ""), observe.No},
		{"DNS", "\x12\x34\x01\x00\x00\x01" + strings.Repeat("\x00", 90), observe.No},
	} {
		if got := detect(&observe.First{ToServer: []byte(c.b), Datagram: true}); got != c.want {
			t.Errorf("datagram %s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestGarbage verifies that the next PDU is found after lost bytes, and that a flow that
// turns into something else keeps its facts.
func TestGarbage(t *testing.T) {
	b, ok := ToServer(le.bind(1, []ctx{{0, emsmdbs, ndr32s}})), ToClient(le.ack(1, "", []result{{0, 0, ndr32s}}))
	facts := []string{"rpc.uuid=" + emsmdbs, learned("192.0.2.1:59532/tcp", emsmdbs, "bind", "")}
	junk := strings.Repeat("\x05\x00\x00\x03\x10\x00", 50)
	r := Check(t, Protocol(), []Segment{b, ok, Lost(observe.ToServer, 5000), ToServer(junk, le.bindLike(alter, 4, []ctx{{1, nspis,
		ndr32s}})),
		ToClient(le.ackLike(alterResp, 4, "", []result{{0, 0, ndr32s}}))}, onDynamic)
	Expect(t, r, with(facts, "rpc.uuid="+nspis, learned("192.0.2.1:59532/tcp", nspis, "bind", ""))...)
	r = Check(t, Protocol(), []Segment{b, ok, ToServer("GET / HTTP/1.1\r\n\r\n")}, onDynamic)
	Expect(t, r, facts...)
	if !errors.Is(r.Err, observe.ErrDone) {
		t.Errorf("ended with %v", r.Err)
	}
	for _, s := range []string{"GET / HTTP/1.1\r\n\r\n", "\x05\x00\x0b\x03\x10\x00\x00\x01"} {
		if r := Check(t, Protocol(), []Segment{ToServer(s)}, onDynamic); !errors.Is(r.Err, observe.ErrViolation) {
			t.Errorf("%q ended with %v", s, r.Err)
		}
	}
}

// TestAllocs verifies that bulk data does not allocate.
func TestAllocs(t *testing.T) {
	sig := sec{authNTLM, 6, 1, strings.Repeat("s", 16)}
	obs := New()
	var r observe.Report
	in := observe.Input{Handshake: true, Continues: true, Flow: Between(netip.MustParseAddrPort("192.0.2.10:50000"), onDynamic.Server)}
	offer := func(dir observe.Direction, b []byte) {
		for len(b) > 0 {
			in.Dir, in.Data = dir, b
			n, err := obs.Observe(&in, &r)
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			b = b[min(n, len(b)):]
		}
	}
	offer(observe.ToServer, []byte(le.bind(1, []ctx{{0, emsmdbs, ndr32s}})))
	offer(observe.ToClient, []byte(le.ack(1, "59532", []result{{0, 0, ndr32s}})))
	req, resp := []byte(le.request(3, 2, 0, 11, strings.Repeat("x", 4000), sig)), []byte(le.response(3, 2, 0, strings.Repeat("x",
		4000), sig))
	offer(observe.ToServer, req)
	if n := testing.AllocsPerRun(100, func() { offer(observe.ToServer, req); offer(observe.ToClient, resp) }); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}

// TestText verifies that annotations contain no terminal control characters.
func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"Information Store\x00rest": "Information Store",
		"\x1b[2Jstore\n\xfc":        "?[2Jstore??",
		"":                          "",
	} {
		if got := text([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
