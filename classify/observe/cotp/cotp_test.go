package cotp

import (
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

const (
	// Of [MS-RDPBCGR] section 4.1.1 and 4.1.2, the cookie made shorter.
	rdpRequest = "\x03\x00\x00\x27\x22\xe0\x00\x00\x00\x00\x00Cookie: mstshash=el\r\n\x01\x00\x08\x00\x00\x00\x00"
	rdpConfirm = "\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00\x02\x00\x08\x00\x01\x00\x00\x00"
	rdpPlain   = "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"
	// With transport selectors and the size of units (RFC 1006 section 5, ISO 8073
	// section 13.3.4).
	isoRequest = "\x03\x00\x00\x16\x11\xe0\x00\x00\x00\x01\x00\xc0\x01\x0a\xc1\x02\x01\x00\xc2\x02\x01\x02"
	isoConfirm = "\x03\x00\x00\x0e\x09\xd0\x00\x01\x00\x05\x00\xc0\x01\x0a"
	bare       = "\x03\x00\x00\x0b\x06\xe0\x00\x00\x00\x01\x00"
	// A set-up of H.323 is in the same frames.
	h323 = "\x03\x00\x00\x0b\x08\x02\x00\x01\x05\x00\x00"
)

func TestDetect(t *testing.T) {
	const no, more, yes = observe.No, observe.More, observe.Yes
	for _, test := range []struct {
		in          string
		server      bool
		on, off     observe.Match // on the protocol's port, and elsewhere
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
		if want := [...]observe.Match{test.on, test.off, test.on, test.rdp, test.rdpOff}; got != want {
			t.Errorf("%q: %v, want %v", test.in, got, want)
		}
	}
	if got := RDP().Detect(&observe.First{ToServer: []byte(rdpRequest)}); got != yes {
		t.Errorf("request with a cookie: %v", got)
	}
}

func FuzzObserve(f *testing.F) {
	c, s := observetest.ToServer, observetest.ToClient
	p := RDP()
	p.TCP = []uint16{3389, 40000}
	observetest.Fuzz(f, p, []observetest.Segment{c(rdpRequest), s(rdpConfirm)}, []observetest.Segment{c(isoRequest), s(isoConfirm)},
		[]observetest.Segment{c(bare)})
}
