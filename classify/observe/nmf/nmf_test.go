package nmf

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

const via = "net.tcp://mb1.example.com:808/Microsoft.Exchange.MailboxReplicationService"

// counted returns a text after its length ([MC-NMF] section 2.2.2.1).
func counted(s string) string {
	n, out := len(s), ""
	for ; n > 0x7f; n >>= 7 {
		out += string([]byte{byte(n)&0x7f | 0x80})
	}
	return out + string([]byte{byte(n)}) + s
}

// begin returns a client's preamble up to its encoding.
func begin(via string) string { return "\x00\x01\x00\x01\x02\x02" + counted(via) + "\x03\x08" }

func message(id byte, token string) string {
	return string([]byte{id, 1, 0, byte(len(token) >> 8), byte(len(token))}) + token
}

func data(payload string) string {
	return string(binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))) + payload
}

var (
	base             = []string{"nmf.uri=" + via, "nmf.mode=duplex", "nmf.encoding=binary-dictionary"}
	ntlmNegotiate    = "NTLMSSP\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 20)
	ntlmChallenge    = "NTLMSSP\x00\x02\x00\x00\x00" + strings.Repeat("\x00", 36)
	ntlmAuthenticate = "NTLMSSP\x00\x03\x00\x00\x00" + strings.Repeat("\x00", 52)
	ntlmSigned       = "\x01\x00\x00\x00" + strings.Repeat("\x8f", 12) + strings.Repeat("\xab", 60)
)

// TestURI covers the services of Exchange and of Active Directory.
func TestURI(t *testing.T) {
	for in, want := range map[string]string{
		"net.tcp://mb1.example.com/Microsoft.Exchange.MailboxReplicationService":             "net.tcp://mb1.example.com/Microsoft.Exchange.MailboxReplicationService",
		"net.tcp://localhost:890/Microsoft.Exchange.Directory.TopologyService?x=alice":       "net.tcp://localhost:890/Microsoft.Exchange.Directory.TopologyService",
		"net.tcp://alice:secret@dc1:9389/ActiveDirectoryWebServices/Windows/Enumeration#bob": "net.tcp://dc1:9389/ActiveDirectoryWebServices/Windows/Enumeration",
	} {
		conv := []observetest.Segment{observetest.ToServer(begin(in), "\x0c")}
		r := observetest.Check(t, Protocol(), conv, observetest.Options{})
		if got := r.Facts.Values(URI); len(got) != 1 || got[0] != want || r.Facts.Any(Via) {
			t.Errorf("%s gives %q", in, r.Lines())
		}
		observetest.SameEvidence(t, Protocol(), conv, observetest.Options{}, URI)
		if r := observetest.Run(Protocol(), conv, observetest.Options{Identities: true}); !r.Facts.Has(Via, in) {
			t.Errorf("%s gives %q with identities", in, r.Lines())
		}
	}
}

func TestConversations(t *testing.T) {
	c, s := observetest.ToServer, observetest.ToClient
	upgrade := func(more ...observetest.Segment) []observetest.Segment {
		return append([]observetest.Segment{c(begin(via), "\x09", counted(negotiate)), s("\x0a"), c(message(0x16, ntlmNegotiate)),
			s(message(0x16, ntlmChallenge)),
			c(message(0x14, ntlmAuthenticate)), s(message(0x14, ""))}, more...)
	}
	for _, test := range []struct {
		name string
		conv []observetest.Segment
		want []string
		o    observetest.Options
		err  error
		next string
	}{
		{name: "in clear", conv: []observetest.Segment{c(begin(via), "\x0c"), s("\x0b"), c("\x06", counted(strings.Repeat("x", 300)))},
			want: append([]string{"encryption=none"}, base...), err: observe.ErrDone},
		{name: "preamble only", conv: []observetest.Segment{c(begin(via), "\x0c"), s("\x0b")}, want: base},
		{name: "NegotiateStream, protected", conv: upgrade(c(data(ntlmSigned))),
			want: append([]string{"nmf.upgrade=application/negotiate", "auth=ntlm", "encryption=net.tcp"}, base...), err: observe.ErrDone},
		{name: "NegotiateStream, not protected", conv: upgrade(c("\x0c"), s("\x0b"), c("\x06", counted(strings.Repeat("x", 300)))),
			want: append([]string{"nmf.upgrade=application/negotiate", "auth=ntlm", "encryption=none"}, base...), err: observe.ErrDone},
		{name: "NegotiateStream under way", conv: upgrade(c(data(ntlmSigned)))[2:], o: observetest.Options{Midstream: true},
			want: []string{"auth=ntlm", "encryption=net.tcp"}, err: observe.ErrDone},
		{name: "NegotiateStream on its own", conv: upgrade()[2:], err: observe.ErrViolation},
		{name: "TLS", conv: []observetest.Segment{c(begin(via), "\x09", counted(tls)), s("\x0a"), c("\x16\x03\x01\x00\x05hello")},
			want: append([]string{"nmf.upgrade=application/ssl-tls"}, base...), err: observe.ErrUpgrade, next: "tls"},
		{name: "upgrade not answered", conv: []observetest.Segment{c(begin(via), "\x09", counted(tls)), c("\x16\x03\x01\x00\x05hello")},
			want: append([]string{"nmf.upgrade=application/ssl-tls"}, base...)},
		{name: "fault", conv: []observetest.Segment{c(begin(via), "\x0c"), s("\x08",
			counted("http://schemas.microsoft.com/ws/2006/05/framing/faults/EndpointNotFound"))},
			want: append([]string{"nmf.fault=EndpointNotFound"}, base...)},
		{name: "no query, no user", conv: []observetest.Segment{c(begin("net.tcp://alice:secret@mb1:890/Service?token=secret#me"), "\x0c")},
			want: []string{"nmf.uri=net.tcp://mb1:890/Service", "nmf.mode=duplex", "nmf.encoding=binary-dictionary"}},
		{name: "bytes lost", conv: []observetest.Segment{c(begin(via)), observetest.Lost(observe.ToServer, 5), c("\x06\x05hello")}, want: base,
			err: observe.ErrDone},
		{name: "too long", conv: []observetest.Segment{c("\x00\x01\x00\x01\x02\x02\xff\xff\x7f")}, want: []string{"nmf.mode=duplex"},
			err: observe.ErrDone},
		{name: "something else", conv: []observetest.Segment{c("\x00\x01\x02\x03\x04\x05")}, err: observe.ErrViolation},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), test.conv, test.o)
			observetest.Expect(t, r, test.want...)
			if r.Err != test.err || r.Next != test.next {
				t.Errorf("ends with %v, next %q; want %v, %q", r.Err, r.Next, test.err, test.next)
			}
		})
	}
}

// TestRecorded compares the facts of the recorded net.tcp (see testdata/README.md) with
// its script and with tshark.
func TestRecorded(t *testing.T) {
	const capture = "../../../testdata/directory.pcapng"
	if _, err := os.Stat(capture); err != nil {
		t.Skip(err)
	}
	observetest.NeedTshark(t)
	flows := observetest.Flows(t, capture, "tcp.port == 808")
	want := [][]string{
		{"auth=ntlm", "encryption=net.tcp", "nmf.encoding=binary-dictionary", "nmf.mode=duplex", "nmf.upgrade=application/negotiate"},
		{"encryption=none", "nmf.encoding=binary-dictionary", "nmf.mode=duplex"},
	}
	if len(flows) != len(want) {
		t.Fatalf("%d flows, want %d", len(flows), len(want))
	}
	uris := observetest.Tshark(t, capture, "mc-nmf.via", []string{"mc-nmf.via"}, "-d", "tcp.port==808,mc-nmf")
	for i, f := range flows {
		r := observetest.Check(t, Protocol(), f.Segments, f.Options())
		var got []string
		for _, l := range r.Lines() {
			if !strings.HasPrefix(l, "ntlm.") && !strings.HasPrefix(l, "nmf.uri") {
				got = append(got, l)
			}
		}
		if !slices.Equal(got, want[i]) {
			t.Errorf("flow %d: %q, want %q", i, got, want[i])
		}
		if got := r.Facts.Values(URI); len(uris) != len(flows) || !slices.Equal(got, uris[i]) {
			t.Errorf("flow %d: URI %q, tshark reads %q", i, got, uris)
		}
	}
}

func FuzzObserve(f *testing.F) {
	c, s := observetest.ToServer, observetest.ToClient
	observetest.Fuzz(f, Protocol(),
		[]observetest.Segment{c(begin(via), "\x09", counted(negotiate)), s("\x0a"), c(message(0x16, ntlmNegotiate)), s(message(0x16,
			ntlmChallenge)),
			c(message(0x14, ntlmAuthenticate)), s(message(0x14, "")), c(data(ntlmSigned))},
		[]observetest.Segment{c(begin(via), "\x0c"), s("\x0b"), c("\x06", counted(strings.Repeat("x", 300)))},
		[]observetest.Segment{c(begin(via), "\x09", counted(tls)), s("\x0a"), c("\x16\x03\x01\x00\x05hello")},
		[]observetest.Segment{c(begin(via), "\x0c"), s("\x08", counted("http://example.com/EndpointNotFound"))})
}
