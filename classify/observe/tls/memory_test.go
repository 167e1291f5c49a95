package tls

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"net"
	"slices"
	"testing"

	"github.com/exspan/exspan/classify/observe"
)

// TestMemory compares cached with computed results while it changes every byte of a
// hello. A cached result must be used only for the same input.
func TestMemory(t *testing.T) {
	m := newMemory()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		hello := slices.Clone(sequence(t, version)[0].Data[9:])
		n := 0
		for i := range hello {
			was := hello[i]
			for _, x := range []byte{0, 1, 0x80, 0x0a ^ was} {
				hello[i] = was ^ x
				h, ok := parseClientHello(hello)
				if !ok {
					continue
				}
				n++
				offered, _ := h.offered()
				if f := m.hello(&h); f.ja4 != h.ja4() || !slices.Equal(f.offered, offered) {
					t.Fatalf("byte %d changed from %#x to %#x: %v of %v", i, was, hello[i], f, h)
				}
			}
			hello[i] = was
		}
		if n < 2*len(hello) {
			t.Errorf("%d hellos read", n)
		}
	}
	for _, name := range []string{"MB1", "MB2"} {
		leaf := newCertificate(t, pkix.Name{CommonName: name, Country: []string{"XX"}}, []string{name}, []net.IP{net.IPv6loopback}, nil)
		for range 2 {
			for _, identities := range []bool{false, true} {
				got, want := observe.Report{Identities: identities}, observe.Report{Identities: identities}
				m.certificate(leaf.Certificate[0], &got)
				reportCertificate(leaf.Certificate[0], &want)
				if got.Len() < 3 || !slices.Equal(got.All(), want.All()) {
					t.Errorf("%v, want %v", got.All(), want.All())
				}
			}
		}
	}
}
