package table

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/rules"
)

var (
	mapi = &rules.DataPath{ID: "2010.mailbox.mapi", Name: "MAPI access", Group: "2010.mailbox.mapi", Confidence: "high"}
	owa  = &rules.DataPath{ID: "2010.cas.owa", Name: "Outlook Web App", Group: "2010.https", Confidence: "low"}
	ews  = &rules.DataPath{ID: "2010.cas.availability", Group: "2010.https", Confidence: "high"}
	ad   = &rules.DataPath{ID: "2010.hub.ad", Name: "Active Directory access", Group: "2010.hub.ad"}
)

func flowRecord(client, server string, v record.Verdict) *record.Record {
	c, s := netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)
	return &record.Record{Proto: capture.TCP, State: "ended", Outcome: record.Answered, Protocol: "dcerpc",
		Client:  record.Host{Addr: c.Addr(), Port: c.Port()},
		Server:  record.Host{Addr: s.Addr(), Port: s.Port()},
		Packets: record.Count{6, 4}, Bytes: record.Count{1000, 500}, Verdict: v}
}

func render(t *testing.T, o Options, sum *record.Summary, records ...*record.Record) string {
	t.Helper()
	var b bytes.Buffer
	s := New(&b, o)
	for _, r := range records {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(sum); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func everything() (*record.Summary, []*record.Record) {
	facts := &observe.Facts{}
	facts.Add(observe.Auth, "ntlm")
	facts.Add(observe.Encryption, "none")
	good := flowRecord("10.0.0.9:1073", "10.0.0.5:1032", record.Verdict{Status: record.Expected, Path: mapi, Confidence: record.Learned,
		Findings: []record.Finding{{ID: "auth-not-default", Level: record.Remark}}})
	bad := flowRecord("10.0.0.9:1074", "10.0.0.5:1032", record.Verdict{Status: record.Deviating, Path: mapi, Confidence: record.Observed,
		Why: "rpc.interface=emsmdb, endpoint learned from 10.0.0.5:135 at 09:14:03", Findings: []record.Finding{
			{ID: "cleartext", Level: record.Violation, Detail: "encryption none, the reference says rpc by default"}}})
	bad.Facts = facts
	tie := flowRecord("10.0.0.9:1075", "10.0.0.6:443", record.Verdict{Status: record.Expected, Path: owa, Also: []*rules.DataPath{ews}, Group: "2010.https",
		Confidence: record.ByPort})
	refused := flowRecord("10.0.0.6:1076", "10.0.0.1:389", record.Verdict{Status: record.Expected, Path: ad, Confidence: record.ByPort,
		Findings: []record.Finding{{ID: "refused", Level: record.Remark}}})
	refused.Outcome = record.Refused
	odd := flowRecord("10.0.0.77:5000", "10.0.0.5:3389", record.Verdict{Status: record.Unexpected, Reason: record.NoPath, Why: "no rule\x1b[2J"})
	odd.Protocol, odd.Outcome = "", record.Midstream
	dns := flowRecord("10.0.0.9:1077", "10.0.0.1:53", record.Verdict{Status: record.Unrelated})
	dns.Protocol = "dns"
	unknown := flowRecord("10.0.0.9:1078", "10.0.0.8:9999", record.Verdict{Status: record.Unrelated})
	unknown.Protocol = ""
	empty := flowRecord("10.0.0.9:1079", "10.0.0.5:1033", record.Verdict{Status: record.Undetermined, Reason: record.NoPayload})
	interim := flowRecord("10.0.0.9:1073", "10.0.0.5:1032", record.Verdict{Status: record.Expected, Path: mapi, Confidence: record.Learned})
	interim.State = "active"
	start := time.Date(2010, 3, 4, 9, 14, 3, 0, time.UTC)
	return &record.Summary{
		First: start, Last: start.Add(90 * time.Minute), Frames: 90, Packets: 80, IPBytes: 1_234_567,
		Hosts: []record.HostSummary{{Addr: netip.MustParseAddr("10.0.0.5"), Name: "mb1", Version: "2010", Roles: []record.RoleProof{
			{Role: "mailbox|cas", Evidence: "emsmdb answered on 10.0.0.5:1032"}}},
			{Addr: netip.MustParseAddr("10.0.0.1"), Roles: []record.RoleProof{{Role: "dc", Evidence: "site file"},
				{Role: "dns", Evidence: "dns on port 53"}, {Role: "gc", Evidence: "site file"}}}},
		Endpoints: []record.EndpointSummary{{Server: netip.MustParseAddrPort("10.0.0.5:1032"), Flows: 2, Ended: true,
			LearnedEndpoint: record.LearnedEndpoint{Service: "emsmdb", Source: observe.FromMap, Learned: start, Annotation: "Store",
				From: netip.MustParseAddrPort("10.0.0.5:135"), Announced: netip.MustParseAddr("192.168.1.1")}}},
		Skipped:     []record.NamedCount{{Name: "not_ip", Count: 9}, {Name: "panic"}},
		Limits:      []record.NamedCount{{Name: "flows judged early because too many were held", Count: 1234}},
		AckedUnseen: 0.034,
		Errors:      []error{errors.New("a.pcap: truncated at offset 4711")},
	}, []*record.Record{good, bad, bad, bad, tie, refused, odd, dns, unknown, empty, interim}
}

const want = `10 flows, 80 packets, 1.2 MB, 2010-03-04 09:14:03 to 10:44:03 UTC (1 h 30 min). Exchange 2010 (from
traffic).
3 expected, 3 deviating, 1 unexpected, 1 undetermined, 2 unrelated.

5 of 10 flows need attention: 3 not encrypted, 1 blocked, 1 unexpected.

HIGH      Not encrypted, though documented so                         3 flows  cleartext
  MAPI access                                                                    3 flows
      encryption none, the reference says rpc by default
      10.0.0.9 > mb1:1032/tcp                                                    3 flows
  To do: no document is known that says; exspan glossary cleartext explains the finding.

BLOCKED                                                                           1 flow
  10.0.0.6 > 10.0.0.1:389/tcp  Active Directory access                   refused  1 flow

UNEXPECTED                                                                        1 flow
  No data path has this port and protocol                                1 flow  no-path
      10.0.0.77 > mb1:3389/tcp  not recognised, midstream                 1 flow  1.5 kB
        no rule?[2J
  The roles of mb1 and 10.0.0.77 are not known. Add them to the site file, or capture a connection
    that proves it.

PATHS SEEN               FLOWS   BYTES  EXPECTED  DEVIATING
2010.https *                 1  1.5 kB         1          -
    one of 2 paths that packets cannot tell apart; port
Active Directory access      1  1.5 kB         1          -
    2010.hub.ad; port
MAPI access                  4  6.0 kB         1          3
    2010.mailbox.mapi; auth ntlm 3; encryption none 3; learned to observed
* the reference itself is uncertain about this path

REMARKS
  Supported authentication, but not the default one             1 flow  auth-not-default
      MAPI access 1

HOSTS
  mb1  10.0.0.5  Exchange 2010  mailbox or cas (emsmdb answered on 10.0.0.5:1032)
  -    10.0.0.1
      dc, gc (site file)
      dns (dns on port 53)

LEARNED ENDPOINTS
  mb1:1032/tcp  emsmdb  2 flows  ept_map from mb1:135 at 09:14:03, announced as 192.168.1.1, ended,
      "Store"

UNDETERMINED                                                                      1 flow
  A connection without content                                        1 flow  no-payload
      10.0.0.9 > mb1:1033/tcp  dcerpc                                     1 flow  1.5 kB

Unrelated: 2 flows, 3.0 kB: not recognised 1, dns 1

Frames that are no packet of a flow: not_ip 9
Capture loss: 3.4 % of the acknowledged bytes were never captured, so nothing is called unanswered
Limits reached: 1,234 flows judged early because too many were held
Error: a.pcap: truncated at offset 4711
`

func TestTable(t *testing.T) {
	sum, records := everything()
	got := render(t, Options{}, sum, records...)
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	for _, line := range strings.Split(got, "\n") {
		if n := utf8.RuneCountInString(line); n > DefaultWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.ContainsRune(got, '\x1b') {
		t.Error("an escape sequence without Color")
	}
	colored := render(t, Options{Color: true}, sum, records...)
	if !strings.Contains(colored, "\x1b[31mMAPI access ") || strings.Contains(colored, "\x1b[2J") {
		t.Errorf("colours are wrong:\n%q", colored)
	}
}

func TestEmptyAndClean(t *testing.T) {
	if got, want := render(t, Options{}, &record.Summary{}), "0 flows, 0 packets, 0 B.\n\nThere is no flow.\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	_, records := everything()
	sum := &record.Summary{Hosts: []record.HostSummary{{Addr: netip.MustParseAddr("10.0.0.5"), Roles: []record.RoleProof{{Role: "mailbox"}}}}}
	got := render(t, Options{}, sum, records[0])
	if !strings.Contains(got, "\nNothing needs attention: no deviating, unexpected or blocked flow.\n") {
		t.Error(got)
	}
}

// TestBounded gives more different servers than are kept: nothing is lost
// from the counts, and what is shown is the same each time.
func TestBounded(t *testing.T) {
	var all []*record.Record
	for i := range tally.MaxKept + 500 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 99)
		all = append(all, flowRecord("10.0.0.9:1", addr.String(), record.Verdict{Status: record.Unexpected, Reason: record.NoPath}))
	}
	first := render(t, Options{}, &record.Summary{}, all...)
	for _, want := range []string{"4,596 flows\n", "and 4,086 more flows at 4,086 more server ports: --all, or --format flows --reason no-path", "and 500 more flows: "} {
		if !strings.Contains(first, want) {
			t.Errorf("no %q in\n%s", want, first)
		}
	}
	for range 5 {
		if again := render(t, Options{}, &record.Summary{}, all...); again != first {
			t.Fatal("not the same twice")
		}
	}
}

func TestWidths(t *testing.T) {
	sum, records := everything()
	for _, width := range []int{50, 60, 80, 100, 200} {
		for _, line := range strings.Split(render(t, Options{Width: width}, sum, records...), "\n") {
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("width %d: %d columns: %s", width, n, line)
			}
		}
	}
}

func TestAllocs(t *testing.T) {
	_, records := everything()
	s := New(&bytes.Buffer{}, Options{})
	for _, r := range records {
		_ = s.Write(r)
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, r := range records {
			if r.Verdict.Status == record.Unrelated || r.Verdict.Status == record.Expected {
				_ = s.Write(r)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUnrelated(b *testing.B) {
	s := New(&bytes.Buffer{}, Options{})
	r := flowRecord("10.0.0.9:1077", "10.0.0.1:53", record.Verdict{Status: record.Unrelated})
	for b.Loop() {
		_ = s.Write(r)
	}
}
