package ldap

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/der"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// rootDSE returns an entry of the root DSE. attributes alternates names and values.
func rootDSE(id int, attributes ...string) string {
	var l []string
	for i := 0; i < len(attributes); i += 2 {
		l = append(l, el(der.Sequence, str(attributes[i]), el(0x31, str(attributes[i+1]))))
	}
	return msg(id, el(opEntry, str(""), el(der.Sequence, l...)))
}

// TestServer verifies the facts about the server.
func TestServer(t *testing.T) {
	long := strings.Repeat("1.2.840.113556.1.4.319", 90)
	to, back := observetest.ToServer, observetest.ToClient
	for _, c := range []struct {
		name     string
		datagram bool
		conv     []observetest.Segment
		want     []string
	}{
		{"a domain controller", false, []observetest.Segment{to(search(1, "", 0)),
			back(rootDSE(1, "supportedControl", long, "supportedCapabilities", "1.2.840.113556.1.4.800", "isGlobalCatalogReady", "TRUE"), done(1, 0))},
			[]string{"ldap.capability=active-directory", "ldap.global_catalog=ready"}},
		{"AD LDS", false, []observetest.Segment{to(search(1, "", 0)),
			back(rootDSE(1, "supportedcapabilities", "1.2.840.113556.1.4.1851"), done(1, 0))}, []string{"ldap.capability=ad-lds"}},
		{"not ready, and another product", false, []observetest.Segment{to(search(1, "", 0)),
			back(rootDSE(1, "supportedCapabilities", "1.3.6.1.4.1.4203", "isGlobalCatalogReady", "FALSE"), done(1, 0))}, nil},
		{"the ping of a global catalog", true, []observetest.Segment{to(search(1, "", 0, "Netlogon")),
			back(rootDSE(1, "Netlogon", "\x17\x00\x00\x00\xfd\xf3\x03\x00rest"))},
			[]string{"ldap.cldap=netlogon", "ldap.netlogon=pdc", "ldap.netlogon=gc", "ldap.netlogon=ldap", "ldap.netlogon=ds", "ldap.netlogon=kdc"}},
		{"the ping of a domain controller without a catalog", true, []observetest.Segment{to(search(1, "", 0, "netlogon")),
			back(rootDSE(1, "netlogon", "\x19\x00\x00\x00\x38\x00\x00\x00"))},
			[]string{"ldap.cldap=netlogon", "ldap.netlogon=ldap", "ldap.netlogon=ds", "ldap.netlogon=kdc"}},
		{"a ping with the end of the results", true, []observetest.Segment{to(search(1, "", 0, "netlogon")),
			back(rootDSE(1, "netlogon", "\x17\x00\x00\x00\x08\x00\x00\x00"), done(1, 0))}, []string{"ldap.cldap=netlogon", "ldap.netlogon=ldap"}},
		{"a ping's answer alone", true, []observetest.Segment{back(rootDSE(1, "netlogon", "\x17\x00\x00\x00\x08\x00\x00\x00"), done(1, 0))},
			[]string{"ldap.netlogon=ldap"}},
		{"a ping without a useful answer", true, []observetest.Segment{to(search(1, "", 0, "netlogon")), back(rootDSE(1, "netlogon", "\x13\x00")),
			back(done(1, 0))}, []string{"ldap.cldap=netlogon"}},
		{"the configuration", false, []observetest.Segment{to(search(1, config, 2)),
			back(entry(1, "CN=EX1,CN=Servers,CN=x,"+config, 50), entry(1, "OU=Sales,DC=example,DC=com", 5000), done(1, 0))},
			[]string{"ldap.base=CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=example,DC=com",
				"ldap.entry=CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=example,DC=com", "ldap.entry=DC=example,DC=com"}},
		{"requested and not found", false, []observetest.Segment{to(search(1, config, 2)), back(done(1, 32))},
			[]string{"ldap.base=CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=example,DC=com"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := observetest.Options{Datagram: c.datagram}
			r := observetest.Check(t, Protocol(), c.conv, o)
			r.Facts.Remove(observe.Auth, "anonymous")
			r.Facts.Remove(observe.Encryption, "none")
			observetest.Expect(t, r, c.want...)
			for _, name := range []string{Base, Entry, Capability, Netlogon} {
				if r.Facts.Any(name) {
					observetest.SameEvidence(t, Protocol(), c.conv, o, name)
				}
			}
		})
	}
}

// TestCorpusServer compares the answers of real servers with tshark's reading.
func TestCorpusServer(t *testing.T) {
	compared := 0
	for _, file := range []string{"ad/missing_ldap_logs.pcapng", "ad/purplesharp_ad_playbook_I_2020-10-22042947.cap", "ad/eternalchampion.pcap",
		"epm/AD-capture-2.pcapng", "epm/chip_host_signin.pcap.gz", "epm/aug_16_par4.pcap.gz", "span/KRB5.pcap"} {
		path := observetest.Corpus(t, file)
		for transport, filter := range map[string]string{"udp": "udp.port == 389", "tcp": "tcp.port == 389"} {
			want := map[string][]string{}
			for _, row := range observetest.Tshark(t, path, filter+" and ldap.protocolOp == 4", []string{transport + ".stream", "mscldap.netlogon.flags"}) {
				if flags, err := strconv.ParseUint(row[1], 0, 32); err == nil {
					for bit, name := range map[uint64]string{1: "pdc", 4: "gc", 8: "ldap", 16: "ds", 32: "kdc"} {
						if flags&bit != 0 {
							want[row[0]] = append(want[row[0]], "ldap.netlogon="+name)
						}
					}
				}
			}
			// tshark prints the values of this attribute as bytes.
			for _, row := range observetest.Tshark(t, path, filter+` and ldap.type == "supportedCapabilities" and ldap.protocolOp == 4 and frame contains "1.2.840.113556.1.4.800"`,
				[]string{transport + ".stream"}) {
				want[row[0]] = append(want[row[0]], "ldap.capability=active-directory")
			}
			for _, f := range observetest.Flows(t, path, filter) {
				r := observetest.Check(t, Protocol(), f.Segments, f.Options())
				var got []string
				for _, l := range r.Lines() {
					if strings.HasPrefix(l, "ldap.netlogon=") || strings.HasPrefix(l, "ldap.capability=") {
						got = append(got, l)
					}
				}
				if r.Facts.Has(observe.Encryption, signed) {
					continue // tshark reads the content of signed buffers from the server; the observer does not
				}
				w := want[strconv.Itoa(f.Stream)]
				// tshark's filter does not cover reassembled messages, so the observer
				// can read more.
				for _, l := range w {
					if !slices.Contains(got, l) {
						t.Errorf("%s %s stream %d: %q, tshark reads %s", file, transport, f.Stream, got, l)
					}
				}
				compared += len(w)
			}
		}
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
	t.Logf("%d values compared", compared)
}
