package ntlm

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The example messages of [MS-NLMP] sections 4.2.2.3 (version 1) and 4.2.4.3
// (version 2).
const (
	challengeV1 = `4e544c4d53535000 02000000 0c000c00 38000000 338202e2 0123456789abcdef 0000000000000000 0000000000000000
		060070170000000f 530065007200760065007200`
	authV1 = `4e544c4d53535000 03000000 18001800 6c000000 18001800 84000000 0c000c00 48000000 08000800 54000000
		10001000 5c000000 10001000 9c000000 358280e2 0501280a0000000f
		44006f006d00610069006e00 5500730065007200 43004f004d0050005500540045005200
		98def7b87f88aa5dafe2df779688a172def11c7d5ccdef13
		67c43011f30298a2ad35ece64f16331c44bdbed927841f94
		518822b1b3f350c8958682ecbb3e3cb7`
	challengeV2 = `4e544c4d53535000 02000000 0c000c00 38000000 33828ae2 0123456789abcdef 0000000000000000 24002400 44000000
		060070170000000f 530065007200760065007200
		02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000`
	authV2 = `4e544c4d53535000 03000000 18001800 6c000000 54005400 84000000 0c000c00 48000000 08000800 54000000
		10001000 5c000000 10001000 d8000000 358288e2 0501280a0000000f
		44006f006d00610069006e00 5500730065007200 43004f004d0050005500540045005200
		86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa
		68cd0ab851e51c96aabc927bebef6a1c 0101000000000000 0000000000000000 aaaaaaaaaaaaaaaa 00000000
		02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000 00000000
		c5dad2544fc9799094ce1ce90bc9d03e`
)

func facts(t testing.TB, b []byte) []string {
	t.Helper()
	var r observe.Report
	Report(b, &r)
	var l []string
	for _, f := range r.All() {
		l = append(l, f.Name+"="+f.Value)
	}
	return l
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		want      []string
	}{
		{"version 1 challenge", challengeV1, []string{"ntlm.windows=6.0.6000"}},
		{"version 1 response", authV1, []string{"ntlm.version=1"}},
		{"version 2 challenge", challengeV2, []string{"ntlm.server=Server", "ntlm.domain=Domain", "ntlm.windows=6.0.6000"}},
		{"version 2 response", authV2, []string{"ntlm.server=Server", "ntlm.domain=Domain", "ntlm.version=2"}},
	} {
		if got := facts(t, unhex(t, c.hex)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// av builds one AV pair of ASCII text.
func av(id byte, s string) string {
	b := []byte{id, 0, byte(2 * len(s)), byte(2 * len(s) >> 8)}
	for i := range len(s) {
		b = append(b, s[i], 0)
	}
	return string(b)
}

// v2 builds an authenticate message whose NTLMv2 response has the given pairs.
func v2(pairs string) []byte {
	nt := strings.Repeat("\x11", 16) + "\x01\x01" + strings.Repeat("\x00", 26) + pairs
	fields := strings.Repeat("\x00", 8) + string([]byte{byte(len(nt)), byte(len(nt) >> 8), byte(len(nt)), byte(len(nt) >> 8), 64, 0, 0,
		0}) +
		strings.Repeat("\x00", 36)
	return []byte(Signature + "\x03\x00\x00\x00" + fields + nt)
}

func TestTargetName(t *testing.T) {
	names := av(avDNSComputerName, "mb1.example.com") + av(avDNSTreeName, "example.com")
	got := facts(t, v2(names+av(avTargetName, "exchangeMDB/mb1.example.com")+av(avEOL, "")))
	want := []string{"ntlm.server=mb1.example.com", "ntlm.forest=example.com", "ntlm.version=2",
		"ntlm.service=exchangeMDB/mb1.example.com"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	b := v2(names + av(avTargetName, "jdoe") + av(avEOL, ""))
	if got := facts(t, b); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "jdoe") }) {
		t.Errorf("an account's name is kept: %q", got)
	}
	r := observe.Report{Identities: true}
	Report(b, &r)
	if !r.Has(Service, "jdoe") {
		t.Errorf("with identities: %v", r.All())
	}
}

func TestRefused(t *testing.T) {
	auth := unhex(t, authV2)
	with := func(at int, v ...byte) []byte {
		b := slices.Clone(auth)
		copy(b[at:], v)
		return b
	}
	for _, c := range []struct {
		name    string
		b       []byte
		ok      bool
		version int
	}{
		{"empty", nil, false, 0},
		{"no type", []byte(Signature), false, 0},
		{"unknown type", []byte(Signature + "\x04\x00\x00\x00"), false, 0},
		{"other signature", []byte("NTLMSSP\x01\x01\x00\x00\x00"), false, 0},
		{"response beyond the end", with(24, 0xff, 0xff, 0xff, 0xff), true, 0},
		{"response over the header", with(24, 4, 0, 0, 0), true, 0},
		{"response of unknown length", with(20, 30, 0), true, 0},
		{"blob of another version", with(0x84+16, 2), true, 0},
		{"cut in the response", auth[:0x90], true, 0},
	} {
		if m, ok := Parse(c.b); ok != c.ok || m.Version != c.version {
			t.Errorf("%s: %+v, %v", c.name, m, ok)
		}
	}
}

// TestTshark compares a real capture with tshark's reading.
func TestTshark(t *testing.T) {
	for _, name := range []string{"mapi/mapi.pcap", "epm/ntlm_rpc.pcapng", "epm/dcerpc_privacy_ntlm.pcapng.gz", "ad/ntlm_ldap.pcapng"} {
		t.Run(name, func(t *testing.T) {
			file := observetest.Corpus(t, name)
			seen := map[string]bool{}
			for _, f := range observetest.Flows(t, file, "") {
				for _, s := range f.Segments {
					if i := bytes.Index(s.Data, []byte(Signature)); i >= 0 {
						b := s.Data[i:]
						if m, ok := Parse(b); ok {
							seen[m.DNSComputer], seen[m.Windows] = true, true
							seen["v"+strconv.Itoa(m.Version)] = true
						}
					}
				}
			}
			rows := observetest.Tshark(t, file, "ntlmssp.messagetype >= 2", []string{"ntlmssp.messagetype",
				"ntlmssp.challenge.target_info.dns_computer_name",
				"ntlmssp.version.major", "ntlmssp.version.minor", "ntlmssp.version.build_number", "ntlmssp.auth.ntresponse"})
			for _, r := range rows {
				if strings.Contains(r[0], "2") && !strings.Contains(r[0], ",") {
					if r[1] != "" && !seen[r[1]] {
						t.Errorf("tshark reads computer %q, observer reads %v", r[1], seen)
					}
					if w := r[2] + "." + r[3] + "." + r[4]; r[2] != "" && r[2] != "0" && !seen[w] {
						t.Errorf("tshark reads version %q, observer reads %v", w, seen)
					}
				}
				want := ""
				switch n := len(strings.ReplaceAll(r[5], ":", "")) / 2; {
				case n == 24:
					want = "v1"
				case n > 24:
					want = "v2"
				}
				if want != "" && !seen[want] {
					t.Errorf("tshark reads a response of %s, observer reads %v", want, seen)
				}
			}
			if len(rows) == 0 {
				t.Error("tshark reads no message")
			}
		})
	}
}

func FuzzNTLM(f *testing.F) {
	for _, s := range []string{challengeV1, authV1, challengeV2, authV2} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r observe.Report
		m, ok := Report(b, &r)
		if ok != (Is(b) && len(b) >= headerLength && m.Type >= Negotiate && m.Type <= Authenticate) {
			t.Errorf("%v for %x", ok, b)
		}
		for _, s := range []string{m.ComputerName, m.DNSComputer, m.Service} {
			if !utf8.ValidString(s) || len(s) > 3*255 {
				t.Errorf("name %q", s)
			}
		}
	})
}
