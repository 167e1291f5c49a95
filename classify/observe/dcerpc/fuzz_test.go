package dcerpc

import (
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	. "github.com/exspan/exspan/classify/observe/observetest"
)

func FuzzDCERPC(f *testing.F) {
	ntlm := sec{authNTLM, 5, 1, "NTLMSSP\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 20)}
	sig := sec{authNTLM, 5, 1, "\x01\x00\x00\x00" + strings.Repeat("s", 12)}
	stub := le.mapStub(false, tcpTower(emsmdbs, 59532, "\x0a\x00\x00\x09"), udpTower(rfrs, 6005))
	vt := string(verificationSignature) + "\x02\x40\x28\x00" + le.syntax(emsmdbs) + le.syntax(ndr32s)
	callback := strings.Repeat("h", 20) + le.u32(0) + le.u32(4) + "ctx1" + le.u16(4) + "\x00\x00" + le.u32(8) +
		le.u32(16) + "\x02\x00\x04\x2f\xc0\x00\x02\x0a" +
		strings.Repeat("\x00", 8) + le.u16(16)
	Fuzz(f, Protocol(),
		[]Segment{ToServer(le.bind(1, []ctx{{0, epms, ndr32s}, {1, epms, features}})), ToClient(le.ack(1, "135", []result{{0, 0, ndr32s},
			{3, 3, ""}})),
			ToServer(le.request(3, 2, 0, eptMap, "request")), ToClient(le.response(1, 2, 0, stub[:50]), le.response(2, 2, 0, stub[50:]))},
		[]Segment{ToServer(be.bind(1, []ctx{{0, epms, ndr32s}})), ToClient(be.ack(1, "135", []result{{0, 0, ndr32s}})),
			ToServer(be.request(3, 2, 0, eptLookup, "")),
			ToClient(be.response(3, 2, 0, be.lookupStub(false, note{tcpTower(nspis, 6004, "\x00\x00\x00\x00"), "NSPI"})))},
		[]Segment{ToClient(le.response(3, 2, 1, le.mapStub(true, tcpTower(emsmdbs, 59532, "\x0a\x00\x00\x09"))))},
		[]Segment{ToServer(le.bind(1, []ctx{{0, emsmdbs, ndr32s}}, ntlm)), ToClient(le.ack(1, "", []result{{0, 0, ndr32s}}, ntlm)),
			ToServer(le.pdu(auth3, 3, 1, "    ", ntlm)),
			ToServer(le.request(3, 2, 0, opPush, callback, sig)), ToClient(le.response(3, 2, 0, strings.Repeat("\x00", 28), sig))},
		[]Segment{ToServer(le.request(3, 5, 0, 11, "stub"+vt, sig)), Lost(observe.ToServer, 100),
			ToServer("\x05\x05" + le.request(3, 6, 0, 11, "stub"))},
		[]Segment{ToClient(banner), ToServer(le.pdu(rts, 3, 0,
			le.u16(8)+le.u16(1)+le.u32(11)+le.u32(0)+"\xc6\x33\x64\x07"+strings.Repeat("\x00", 12)))},
		[]Segment{ToServer(dg(le, request, epms, 1, 5, 3, "ask")), ToClient(dg(le, response, epms, 1, 5, 3, stub))},
	)
}

// FuzzTower verifies that the cost of a mapper's answer is bounded by its length,
// whatever its counts claim.
func FuzzTower(f *testing.F) {
	for _, t := range []string{tcpTower(emsmdbs, 59532, "\x0a\x00\x00\x09"), udpTower(rfrs, 6005), httpTower(nspis, 6004),
		pipeTower(emsmdbs, "x"), localTower(epms)} {
		f.Add([]byte(t), uint16(eptMap), false, false)
		f.Add([]byte(le.mapStub(false, t, t)), uint16(eptMap), false, false)
		f.Add([]byte(le.mapStub(true, t)), uint16(eptMap), false, true)
		f.Add([]byte(be.lookupStub(false, note{t, "note"})), uint16(eptLookup), true, false)
		f.Add([]byte(le.lookupStub(true, note{t, "note"}, note{"", "null"})), uint16(eptLookup), false, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, op uint16, big, wide bool) {
		if e, ok := parseTower(b); ok && e.iface == (Interface{}) && len(b) < 40 {
			t.Errorf("a tower of %d bytes", len(b))
		}
		entries, _, _, _ := answer(b, op, big, wide)
		if len(entries) > len(b)/40 {
			t.Errorf("%d entries in %d bytes", len(entries), len(b))
		}
		for _, e := range entries {
			if len(e.annotation) > maxAnnotation {
				t.Errorf("annotation of %d bytes", len(e.annotation))
			}
		}
	})
}
