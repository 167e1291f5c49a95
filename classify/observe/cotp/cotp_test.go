package cotp

import (
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

const (
	// From [MS-RDPBCGR] sections 4.1.1 and 4.1.2, with a shorter cookie.
	rdpRequest = "\x03\x00\x00\x27\x22\xe0\x00\x00\x00\x00\x00Cookie: mstshash=el\r\n\x01\x00\x08\x00\x00\x00\x00"
	rdpConfirm = "\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00\x02\x00\x08\x00\x01\x00\x00\x00"
	rdpPlain   = "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"
	// With transport selectors and the TPDU size (RFC 1006 section 5, ISO 8073 section
	// 13.3.4).
	isoRequest = "\x03\x00\x00\x16\x11\xe0\x00\x00\x00\x01\x00\xc0\x01\x0a\xc1\x02\x01\x00\xc2\x02\x01\x02"
	isoConfirm = "\x03\x00\x00\x0e\x09\xd0\x00\x01\x00\x05\x00\xc0\x01\x0a"
	bare       = "\x03\x00\x00\x0b\x06\xe0\x00\x00\x00\x01\x00"
	// An H.323 SETUP uses the same framing.
	h323 = "\x03\x00\x00\x0b\x08\x02\x00\x01\x05\x00\x00"
)

func TestDetect(t *testing.T) {
	const no, more, yes = observe.No, observe.More, observe.Yes
	for _, test := range []struct {
		in          string
		server      bool
		on, off     observe.Match // on the protocol's port, and on other ports
		rdp, rdpOff observe.Match
	}{
		{in: "", on: more, off: no, rdp: more, rdpOff: more},
		{in: rdpPlain, on: yes, off: no, rdp: yes, rdpOff: yes},
		{in: rdpConfirm, server: true, on: yes, off: no, rdp: yes, rdpOff: yes},
		{in: isoRequest, on: yes, off: no, rdp: yes, rdpOff: no},
		{in: isoConfirm, server: true, on: yes, off: no, rdp: yes, rdpOff: no},
		{in: bare, on: yes, off: no, rdp: yes, rdpOff: no},
		{in: isoRequest[:9], on: more, off: no, rdp: more, rdpOff: more},
		{in: isoRequest, server: true, on: no, off: no, rdp: no, rdpOff: no},
		{in: h323, on: no, off: no, rdp: no, rdpOff: no},
		{in: "\x03\x01", on: no, off: no, rdp: no, rdpOff: no},
	} {
		f := observe.First{ToServer: []byte(test.in)}
		if test.server {
			f = observe.First{ToClient: []byte(test.in)}
		}
		ask := func(p observe.Protocol, on bool) observe.Match {
			f.OnPort = on
			return p.Detect(&f)
		}
		got := [...]observe.Match{ask(X400(), true), ask(X400(), false), ask(T120(), true), ask(RDP(), true), ask(RDP(), false)}
		x400 := test.on
		if x400 == yes {
			x400 = more // the session decides
		}
		if want := [...]observe.Match{x400, test.off, test.on, test.rdp, test.rdpOff}; got != want {
			t.Errorf("%q: %v, want %v", test.in, got, want)
		}
	}
	if got := RDP().Detect(&observe.First{ToServer: []byte(rdpRequest)}); got != yes {
		t.Errorf("request with a cookie: %v", got)
	}
}

// TestSession covers the data after the transport connection on port 102.
func TestSession(t *testing.T) {
	unit := func(b string) string {
		return string([]byte{3, 0, byte((7 + len(b)) >> 8), byte(7 + len(b))}) + "\x02\xf0\x80" + b
	}
	const (
		connect = "\x0d\x20\x05\x06\x13\x01\x00\x16\x01\x02\x14\x02\x00\x02\xc1\x12"
		acse    = "\x31\x10\x06\x04\x52\x01\x00\x01"
	)
	for _, c := range []struct {
		name, data string
		want       observe.Match
	}{
		{"X.400 of 1984", unit(connect + "\xa0\x08\x80\x01\x00\x81\x03abc"), observe.Yes},
		{"X.400 of 1988", unit(connect + acse + "\x06\x04\x56\x00\x01\x06"), observe.Yes},
		{"MMS", unit(connect + acse + "\x06\x05\x28\xca\x22\x02\x01"), observe.No},
		{"S7", unit("\x32\x01\x00\x00\x04\x00\x00\x08\x00\x00\xf0\x00\x00\x01\x00\x01\x01\xe0"), observe.No},
		{"half of it", unit(connect + acse)[:20], observe.More},
		{"nothing", "", observe.More},
	} {
		for n := 0; n <= len(c.data); n++ {
			f := observe.First{ToServer: []byte(bare + c.data[:n]), ToClient: []byte(isoConfirm), OnPort: true}
			if got := X400().Detect(&f); got != c.want && (n == len(c.data) || got != observe.More) {
				t.Errorf("%s: %v for %d bytes, want %v", c.name, got, n, c.want)
			}
		}
	}
}

func FuzzObserve(f *testing.F) {
	c, s := observetest.ToServer, observetest.ToClient
	p := RDP()
	p.TCP = []uint16{3389, 40000}
	observetest.Fuzz(f, p, []observetest.Segment{c(rdpRequest), s(rdpConfirm)}, []observetest.Segment{c(isoRequest), s(isoConfirm)},
		[]observetest.Segment{c(bare)})
}
