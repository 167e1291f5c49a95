package dcerpc

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	. "github.com/exspan/exspan/classify/observe/observetest"
)

// connectArguments returns the arguments of EcDoConnectEx up to the client's version.
func connectArguments(w wire, dn string, version ...uint16) string {
	dn += "\x00"
	n := uint32(len(dn))
	b := w.u32(n) + w.u32(0) + w.u32(n) + dn
	b += strings.Repeat("\x00", (4-len(b)%4)%4)
	for range 7 {
		b += w.u32(0x4e4)
	}
	b += w.u16(1)
	for _, v := range version {
		b += w.u16(v)
	}
	return b + w.u32(0)
}

// connectAnswer returns the results of EcDoConnectEx up to the server's version.
func connectAnswer(w wire, version ...uint16) string {
	b := strings.Repeat("h", 20) + w.u32(60000) + w.u32(6) + w.u32(10000) + w.u16(245) + "\xaa\xaa"
	for _, s := range []string{"/o=x/cn=Recipients/cn=\x00", ""} {
		if s == "" {
			b += w.u32(0) // no display name
			continue
		}
		b += w.u32(0x20000) + w.u32(uint32(len(s))) + w.u32(0) + w.u32(uint32(len(s))) + s
		b += strings.Repeat("\x00", (4-len(b)%4)%4)
	}
	for _, v := range version {
		b += w.u16(v)
	}
	return b + strings.Repeat("\x00", 40)
}

// TestConnect verifies the versions in the call that begins a session ([MS-OXCRPC]
// section 3.1.4.1.3).
func TestConnect(t *testing.T) {
	bound := func(w wire, auth ...sec) []Segment {
		return []Segment{ToServer(w.bind(1, []ctx{{0, emsmdbs, ndr32s}}, auth...)), ToClient(w.ack(1, "59532", []result{{0, 0, ndr32s}}, auth...))}
	}
	secret := sec{authNTLM, levelPrivacy, 1, strings.Repeat("\x01", 16)}
	for _, c := range []struct {
		name string
		conv []Segment
		want []string
	}{
		{"Outlook 2010 and Exchange 2010", append(bound(le), ToServer(le.request(3, 2, 0, 10, connectArguments(le, "/o=x/cn=alice", 0x0e00, 0x8000|6025, 1000))),
			ToClient(le.response(3, 2, 0, connectAnswer(le, 0x0e03, 0x8000|123, 3)))), []string{"mapi.client_version=14.0.6025.1000", "exchange.version=14.3.123.3"}},
		{"big-endian", append(bound(be), ToServer(be.request(3, 2, 0, 10, connectArguments(be, "/o=x", 0x0c00, 0x8000|4518, 1014))),
			ToClient(be.response(3, 2, 0, connectAnswer(be, 0x0801, 0x8000|240, 6)))), []string{"mapi.client_version=12.0.4518.1014", "exchange.version=8.1.240.6"}},
		{"EcDoConnect of 2003", append(bound(le), ToServer(le.request(3, 2, 0, 0, connectArguments(le, "/o=x", 11, 5614, 0))),
			ToClient(le.response(3, 2, 0, connectAnswer(le, 6, 7638, 1)))), []string{"mapi.client_version=11.0.5614.0", "exchange.version=6.5.7638.1"}},
		{"Exchange 2000", append(bound(le), ToServer(le.request(3, 2, 0, 0, connectArguments(le, "/o=x", 5, 3144, 0))),
			ToClient(le.response(3, 2, 0, connectAnswer(le, 6, 6249, 0)))), []string{"mapi.client_version=5.0.3144.0", "exchange.version=6.0.6249.0"}},
		{"answer to another call", append(bound(le), ToServer(le.request(3, 2, 0, 10, connectArguments(le, "/o=x", 0x0e00, 0x8000|6025, 1000))),
			ToClient(le.response(3, 9, 0, connectAnswer(le, 0x0e03, 0x8000|123, 3)))), []string{"mapi.client_version=14.0.6025.1000"}},
		{"refused", append(bound(le), ToServer(le.request(3, 2, 0, 10, connectArguments(le, "/o=x", 0x0e00, 0x8000|6025, 1000))),
			ToClient(le.response(3, 2, 0, strings.Repeat("\x00", 100)))), []string{"mapi.client_version=14.0.6025.1000"}},
		{"cut short", append(bound(le), ToServer(le.request(3, 2, 0, 10, connectArguments(le, "/o=x", 0x0e00, 0x8000|6025, 1000)[:40])),
			ToClient(le.response(3, 2, 0, connectAnswer(le, 0x0e03, 0x8000|123, 3)))), nil},
		{"encrypted", append(bound(le, secret), ToServer(le.request(3, 2, 0, 10, connectArguments(le, "/o=x", 0x0e00, 0x8000|6025, 1000), secret)),
			ToClient(le.response(3, 2, 0, connectAnswer(le, 0x0e03, 0x8000|123, 3), secret))), nil},
		{"another operation", append(bound(le), ToServer(le.request(3, 2, 0, 11, connectArguments(le, "/o=x", 0x0e00, 0x8000|6025, 1000))),
			ToClient(le.response(3, 2, 0, connectAnswer(le, 0x0e03, 0x8000|123, 3)))), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Check(t, Protocol(), c.conv, onDynamic)
			var got []string
			for _, name := range []string{observe.ClientVersion, observe.ExchangeVersion} {
				for _, v := range r.Facts.Values(name) {
					got = append(got, name+"="+v)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			for _, l := range r.Lines() {
				if strings.Contains(l, "alice") {
					t.Errorf("%s was kept", l)
				}
			}
		})
	}
}

// TestCorpusConnect reads an Outlook and an Exchange 5.5 captured in 2003. Their
// greetings on other ports name the same build.
func TestCorpusConnect(t *testing.T) {
	versions := map[string]bool{}
	for _, f := range Flows(t, Corpus(t, "mapi/mapi.pcap"), "tcp") {
		r := Run(Protocol(), f.Segments, f.Options())
		for _, name := range []string{observe.ClientVersion, observe.ExchangeVersion} {
			for _, v := range r.Facts.Values(name) {
				versions[name+"="+v] = true
			}
		}
	}
	if len(versions) != 2 || !versions["exchange.version=5.5.2653.23"] || !versions["mapi.client_version=5.0.3144.0"] {
		t.Errorf("%v", versions)
	}
}

// TestHeld reads a mapper's answer of many fragments that never ends.
func TestHeld(t *testing.T) {
	o := New().(*observer)
	var r observe.Report
	feed := func(s Segment) {
		in := observe.Input{Dir: s.Dir, Data: s.Data, Handshake: true, Flow: Between(onDynamic.Client, mapper)}
		if _, err := o.Observe(&in, &r); err != nil {
			t.Fatal(err)
		}
	}
	feed(ToServer(le.bind(1, []ctx{{0, epms, ndr32s}})))
	feed(ToClient(le.ack(1, "135", []result{{0, 0, ndr32s}})))
	feed(ToServer(le.request(3, 2, 0, eptLookup, strings.Repeat("x", 60))))
	for i := range 200 {
		flags := byte(0)
		if i == 0 {
			flags = 1
		}
		feed(ToClient(le.response(flags, 2, 0, strings.Repeat("y", 5000))))
	}
	if n := o.Held(); n < maxStub || n > observe.MaxHeld {
		t.Errorf("held %d bytes", n)
	}
}

var mapper = netip.MustParseAddrPort("192.0.2.1:135")
