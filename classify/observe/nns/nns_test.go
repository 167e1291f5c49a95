package nns

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// message returns a handshake message ([MS-NNS] section 2.2.1).
func message(id byte, token string) string {
	return string([]byte{id, 1, 0, byte(len(token) >> 8), byte(len(token))}) + token
}

// data returns a data message ([MS-NNS] section 2.2.2).
func data(payload string) string {
	return string(binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))) + payload
}

var (
	ntlmNegotiate    = "NTLMSSP\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 20)
	ntlmChallenge    = "NTLMSSP\x00\x02\x00\x00\x00" + strings.Repeat("\x00", 36)
	ntlmAuthenticate = "NTLMSSP\x00\x03\x00\x00\x00" + strings.Repeat("\x00", 52)
	ntlmSigned       = "\x01\x00\x00\x00" + strings.Repeat("\x8f", 12) + strings.Repeat("\xab", 60)
	// A NegTokenInit of SPNEGO that offers Kerberos and holds the beginning of an AP-REQ
	// (RFC 4178 section 4.2.1), and the response that accepts it.
	kerberosOffer = "\x60\x2a\x06\x06\x2b\x06\x01\x05\x05\x02\xa0\x20\x30\x1e\xa0\x0d\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02" +
		"\xa2\x0d\x04\x0b\x60\x09\x06\x07\x2a\x86\x48\x86\xf7\x12\x01"
	kerberosTaken  = "\xa1\x14\x30\x12\xa0\x03\x0a\x01\x00\xa1\x0b\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"
	kerberosSealed = "\x05\x04\x06\xff\x00\x00\x00\x1c" + strings.Repeat("\x77", 60)
)

func TestConversations(t *testing.T) {
	c, s := observetest.ToServer, observetest.ToClient
	ntlm := []observetest.Segment{c(message(0x16, ntlmNegotiate)), s(message(0x16, ntlmChallenge))}
	kerberos := []observetest.Segment{c(message(0x16, kerberosOffer)), s(message(0x14, kerberosTaken))}
	then := func(first []observetest.Segment, more ...observetest.Segment) []observetest.Segment {
		return append(slices.Clip(first), more...)
	}
	for _, test := range []struct {
		name string
		conv []observetest.Segment
		want []string
		err  error
	}{
		{"NTLM, protected", then(ntlm, c(message(0x14, ntlmAuthenticate)), s(message(0x14, "")), c(data(ntlmSigned))),
			[]string{"auth=ntlm", "encryption=nns-protected"}, observe.ErrDone},
		{"NTLM, sent unframed", then(ntlm, c(message(0x14, ntlmAuthenticate)), s(message(0x14, "")), c("Hello, log copier")),
			[]string{"auth=ntlm", "encryption=none"}, observe.ErrDone},
		{"NTLM, sent unframed, with lengths of its own", then(ntlm, c(message(0x14, ntlmAuthenticate)), s(message(0x14, "")),
			c(data(strings.Repeat("log ", 20)))),
			[]string{"auth=ntlm", "encryption=none"}, observe.ErrDone},
		{"handshake only", then(ntlm, c(message(0x14, ntlmAuthenticate)), s(message(0x14, ""))), []string{"auth=ntlm"}, nil},
		{"data before the server's answer", then(ntlm, c(message(0x14, ntlmAuthenticate)), c("Hello, log copier")), nil, nil},
		{"Kerberos, protected", then(kerberos, c(data(kerberosSealed))), []string{"auth=kerberos", "encryption=nns-protected"}, observe.ErrDone},
		{"protected answer first", then(kerberos, s(data(kerberosSealed))), []string{"auth=kerberos", "encryption=nns-protected"},
			observe.ErrDone},
		{"data of 276 bytes look like a message", then(kerberos, c(data(kerberosSealed+strings.Repeat("\x77", 276-len(kerberosSealed))))),
			[]string{"auth=kerberos", "encryption=nns-protected"}, observe.ErrDone},
		{"refused", then(ntlm, c(message(0x16, ntlmAuthenticate)), s(message(0x15, "\x00\x00\x00\x00\x80\x09\x03\x0c"))),
			[]string{"nns.error=0x8009030c"}, nil},
		// The answer that scanners get from a NegotiateStream server:
		// SEC_E_INVALID_TOKEN.
		{"error at once", then(nil, s("\x15\x01\x00\x00\x08\x00\x00\x00\x00\x80\x09\x03\x08")), []string{"nns.error=0x80090308"}, nil},
		{"bytes lost", then(ntlm, observetest.Lost(observe.ToServer, 10), c("Hello, log copier")), nil, observe.ErrDone},
		{"TLS", then(nil, c("\x16\x03\x01\x00\x10")), nil, observe.ErrViolation},
		{"reversed", then(nil, s(message(0x16, ntlmNegotiate))), nil, observe.ErrReversed},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), test.conv, observetest.Options{})
			observetest.Expect(t, r, test.want...)
			if r.Err != test.err {
				t.Errorf("ends with %v, want %v", r.Err, test.err)
			}
		})
	}
}

func TestDetect(t *testing.T) {
	for in, want := range map[string]observe.Match{
		"": observe.More, "\x16": observe.More, "\x16\x03\x01": observe.No, "\x16\x01\x00\x00\x28": observe.More, message(0x16,
			ntlmNegotiate): observe.Yes,
		message(0x16, kerberosOffer): observe.Yes, message(0x16, "hello"): observe.No, message(0x14, ""): observe.Yes, message(0x16,
			""): observe.No,
		message(0x15, "\x00\x00\x00\x00\x80\x09\x03\x08"): observe.Yes, message(0x15, "\x00"): observe.No, "GET / HTTP/1.1": observe.No,
	} {
		if got := Detect(&observe.First{ToServer: []byte(in)}); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

// TestRecorded compares the facts of the recorded log shipping (see testdata/README.md)
// with its script.
func TestRecorded(t *testing.T) {
	const capture = "../../../testdata/directory.pcapng"
	if _, err := os.Stat(capture); err != nil {
		t.Skip(err)
	}
	observetest.NeedTshark(t)
	want := [][]string{{"auth=ntlm", "encryption=nns-protected"}, {"auth=ntlm", "encryption=none"}, {"nns.error=0x8009030c"}}
	flows := observetest.Flows(t, capture, "tcp.port == 64327")
	if len(flows) != len(want) {
		t.Fatalf("%d flows, want %d", len(flows), len(want))
	}
	for i, f := range flows {
		r := observetest.Check(t, Protocol(), f.Segments, f.Options())
		var got []string
		for _, l := range r.Lines() {
			if !strings.HasPrefix(l, "ntlm.") {
				got = append(got, l)
			}
		}
		if !slices.Equal(got, want[i]) {
			t.Errorf("flow %d: %q, want %q", i, got, want[i])
		}
		if r.Facts.Values("ntlm.server")[0] != "mb1.corp.example" {
			t.Errorf("flow %d: server %q", i, r.Facts.Values("ntlm.server"))
		}
	}
}

func FuzzObserve(f *testing.F) {
	c, s := observetest.ToServer, observetest.ToClient
	observetest.Fuzz(f, Protocol(),
		[]observetest.Segment{c(message(0x16, ntlmNegotiate)), s(message(0x16, ntlmChallenge)), c(message(0x14, ntlmAuthenticate)),
			s(message(0x14, "")), c(data(ntlmSigned))},
		[]observetest.Segment{c(message(0x16, kerberosOffer)), s(message(0x14, kerberosTaken)), c(data(kerberosSealed))},
		[]observetest.Segment{s(message(0x15, "\x00\x00\x00\x00\x80\x09\x03\x08"))})
}
