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
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

var (
	mapi = &rules.DataPath{ID: "2010.mailbox.mapi", Name: "MAPI access", Group: "2010.mailbox.mapi", Confidence: "high"}
	owa  = &rules.DataPath{ID: "2010.cas.owa", Name: "Outlook Web App", Group: "2010.https", Confidence: "low"}
	ews  = &rules.DataPath{ID: "2010.cas.availability", Group: "2010.https", Confidence: "high"}
	ad   = &rules.DataPath{ID: "2010.hub.ad", Name: "Active Directory access", Group: "2010.hub.ad"}
)

func record(client, server string, v classify.Verdict) *classify.Record {
	c, s := netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)
	return &classify.Record{Proto: capture.TCP, State: "ended", Outcome: classify.Answered, Protocol: "dcerpc",
		Client:  classify.Host{Addr: c.Addr(), Port: c.Port()},
		Server:  classify.Host{Addr: s.Addr(), Port: s.Port()},
		Packets: classify.Count{6, 4}, Bytes: classify.Count{1000, 500}, Verdict: v}
}

func render(t *testing.T, o Options, sum *classify.Summary, records ...*classify.Record) string {
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

func everything() (*classify.Summary, []*classify.Record) {
	facts := &observe.Facts{}
	facts.Add(observe.Auth, "ntlm")
	facts.Add(observe.Encryption, "none")
	good := record("10.0.0.9:1073", "10.0.0.5:1032", classify.Verdict{Status: classify.Expected, Path: mapi, Confidence: classify.Learned,
		Findings: []classify.Finding{{ID: "auth-not-default", Level: classify.Remark}}})
	bad := record("10.0.0.9:1074", "10.0.0.5:1032", classify.Verdict{Status: classify.Deviating, Path: mapi, Confidence: classify.Observed,
		Why: "rpc.interface=emsmdb, endpoint learned from 10.0.0.5:135 at 09:14:03", Findings: []classify.Finding{
			{ID: "cleartext", Level: classify.Violation, Detail: "encryption none, the reference says rpc by default"}}})
	bad.Facts = facts
	tie := record("10.0.0.9:1075", "10.0.0.6:443", classify.Verdict{Status: classify.Expected, Path: owa, Also: []*rules.DataPath{ews}, Group: "2010.https",
		Confidence: classify.ByPort})
	refused := record("10.0.0.6:1076", "10.0.0.1:389", classify.Verdict{Status: classify.Expected, Path: ad, Confidence: classify.ByPort,
		Findings: []classify.Finding{{ID: "refused", Level: classify.Remark}}})
	refused.Outcome = classify.Refused
	odd := record("10.0.0.77:5000", "10.0.0.5:3389", classify.Verdict{Status: classify.Unexpected, Reason: classify.NoPath, Why: "no rule\x1b[2J"})
	odd.Protocol, odd.Outcome = "", classify.Midstream
	dns := record("10.0.0.9:1077", "10.0.0.1:53", classify.Verdict{Status: classify.Unrelated})
	dns.Protocol = "dns"
	unknown := record("10.0.0.9:1078", "10.0.0.8:9999", classify.Verdict{Status: classify.Unrelated})
	unknown.Protocol = ""
	empty := record("10.0.0.9:1079", "10.0.0.5:1033", classify.Verdict{Status: classify.Undetermined, Reason: classify.NoPayload})
	interim := record("10.0.0.9:1073", "10.0.0.5:1032", classify.Verdict{Status: classify.Expected, Path: mapi, Confidence: classify.Learned})
	interim.State = "active"
	start := time.Date(2010, 3, 4, 9, 14, 3, 0, time.UTC)
	return &classify.Summary{
		First: start, Last: start.Add(90 * time.Minute), Frames: 90, Packets: 80, IPBytes: 1_234_567,
		Hosts: []classify.HostSummary{{Addr: netip.MustParseAddr("10.0.0.5"), Name: "mb1", Version: "2010", Roles: []classify.RoleProof{
			{Role: "mailbox|cas", Evidence: "emsmdb answered on 10.0.0.5:1032"}}},
			{Addr: netip.MustParseAddr("10.0.0.1"), Roles: []classify.RoleProof{{Role: "dc", Evidence: "site file"},
				{Role: "dns", Evidence: "dns on port 53"}, {Role: "gc", Evidence: "site file"}}}},
		Endpoints: []classify.EndpointSummary{{Server: netip.MustParseAddrPort("10.0.0.5:1032"), Flows: 2, Ended: true,
			LearnedEndpoint: classify.LearnedEndpoint{Service: "emsmdb", Source: observe.FromMap, Learned: start, Annotation: "Store",
				From: netip.MustParseAddrPort("10.0.0.5:135"), Announced: netip.MustParseAddr("192.168.1.1")}}},
		Skipped:     []classify.NamedCount{{Name: "not_ip", Count: 9}, {Name: "panic"}},
		Limits:      []classify.NamedCount{{Name: "flows judged early because too many were held", Count: 1234}},
		AckedUnseen: 0.034,
		Errors:      []error{errors.New("a.pcap: truncated at offset 4711")},
	}, []*classify.Record{good, bad, bad, bad, tie, refused, odd, dns, unknown, empty, interim}
}

const want = `80 packets, 1.2 MB in 10 flows, 2010-03-04 09:14:03 to 10:44:03 UTC (1 h 30 min)
3 expected, 3 deviating, 1 unexpected, 1 undetermined, 2 unrelated

PATH               FLOWS   BYTES  PACKETS  EXPECTED  DEVIATING  CONFIDENCE
2010.https*            1  1.5 kB       10         1          -  port
    Outlook Web App
    one of 2010.cas.owa, 2010.cas.availability
2010.hub.ad            1  1.5 kB       10         1          -  port
    Active Directory access
2010.mailbox.mapi      4  6.0 kB       40         1          3  learned to observed
    MAPI access; auth ntlm 3; encryption none 3
* the reference itself is uncertain about this path

Deviating: 3 flows
  cleartext  2010.mailbox.mapi  3 flows
      10.0.0.9:1074 > 10.0.0.5:1032: encryption none, the reference says rpc by default; rpc.interface=emsmdb, endpoint
        learned from 10.0.0.5:135 at 09:14:03

Unexpected: 1 flow
  no-path  1 flow
      10.0.0.5:3389/tcp not recognised: 1 flow, 1.5 kB, first from 10.0.0.77:5000 (midstream): no rule?[2J

Blocked
  refused  2010.hub.ad  10.0.0.1:389/tcp  1 attempt, first from 10.0.0.6

Remarks
  auth-not-default: 2010.mailbox.mapi 1

Hosts
  10.0.0.5  mb1  Exchange 2010  mailbox|cas (emsmdb answered on 10.0.0.5:1032)
  10.0.0.1
      dc, gc (site file)
      dns (dns on port 53)

Learned endpoints
  10.0.0.5:1032/tcp  emsmdb  2 flows  ept_map from 10.0.0.5:135 at 09:14:03, announced as 192.168.1.1, ended, "Store"

Undetermined: 1 flow: no-payload 1
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
		if n := utf8.RuneCountInString(line); n > 120 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.ContainsRune(got, '\x1b') {
		t.Error("an escape sequence without Color")
	}
	colored := render(t, Options{Color: true}, sum, records...)
	if !strings.Contains(colored, "\x1b[31m2010.mailbox.mapi ") || strings.Contains(colored, "\x1b[2J") {
		t.Errorf("colours are wrong:\n%q", colored)
	}
}

func TestEmptyAndClean(t *testing.T) {
	if got, want := render(t, Options{}, &classify.Summary{}), "0 packets, 0 B in 0 flows\n\nNo flow follows a documented data path\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	_, records := everything()
	got := render(t, Options{}, &classify.Summary{}, records[0])
	if !strings.Contains(got, "\nNothing wrong: no deviating, unexpected or blocked flow\n") {
		t.Error(got)
	}
}

// TestBounded gives more different servers than are kept: nothing is lost
// from the counts, and what is shown is the same each time.
func TestBounded(t *testing.T) {
	var all []*classify.Record
	for i := range maxKept + 500 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 99)
		all = append(all, record("10.0.0.9:1", addr.String(), classify.Verdict{Status: classify.Unexpected, Reason: classify.NoPath}))
	}
	first := render(t, Options{}, &classify.Summary{}, all...)
	for _, want := range []string{"Unexpected: 4,596 flows", "and 4,086 more server ports", "and 500 more flows"} {
		if !strings.Contains(first, want) {
			t.Errorf("no %q in\n%s", want, first)
		}
	}
	for range 5 {
		if again := render(t, Options{}, &classify.Summary{}, all...); again != first {
			t.Fatal("not the same twice")
		}
	}
}

func TestWidths(t *testing.T) {
	sum, records := everything()
	for _, width := range []int{90, 100, 200} {
		for _, line := range strings.Split(render(t, Options{Width: width}, sum, records...), "\n") {
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("width %d: %d columns: %s", width, n, line)
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		size(0): "0 B", size(999): "999 B", size(1000): "1.0 kB", size(999_949): "999.9 kB", size(999_950): "1.0 MB",
		size(1_500_000_000): "1.5 GB", size(1 << 63): "9223.4 PB",
		thousands(0): "0", thousands(999): "999", thousands(1000): "1,000", thousands(12345678): "12,345,678",
		span(-1): "0 ms", span(59_900 * time.Millisecond): "59.9 s", span(61 * time.Second): "1 min 1 s", span(25 * time.Hour): "1 d 1 h",
		count(1, "flow"): "1 flow", count(0, "flow"): "0 flows",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
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
			if r.Verdict.Status == classify.Unrelated || r.Verdict.Status == classify.Expected {
				_ = s.Write(r)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUnrelated(b *testing.B) {
	s := New(&bytes.Buffer{}, Options{})
	r := record("10.0.0.9:1077", "10.0.0.1:53", classify.Verdict{Status: classify.Unrelated})
	for b.Loop() {
		_ = s.Write(r)
	}
}
