package brief

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/rules"
)

var imap = &rules.DataPath{ID: "2010.cas.imap4", Name: "IMAP4", Encryption: []string{"ssl", "tls"}, ByDefault: "yes", Source: "a document", From: []rules.Role{rules.Client}, To: []rules.Role{rules.CAS}}

func flow(client byte, port uint16, v record.Verdict) *record.Record {
	at := time.Unix(1_300_000_000, 0).UTC()
	return &record.Record{Proto: capture.TCP, State: "ended", Outcome: record.Answered, Protocol: "imap", First: at, Last: at.Add(time.Minute),
		Client: record.Host{Addr: netip.AddrFrom4([4]byte{10, 0, 9, client}), Port: 1050}, Server: record.Host{Addr: netip.MustParseAddr("10.0.0.5"), Port: port, Roles: []string{"cas"}},
		Verdict: v}
}

func violation(id record.FindingID, detail string) record.Verdict {
	return record.Verdict{Status: record.Deviating, Path: imap, Findings: []record.Finding{{ID: id, Level: record.Violation, Detail: detail}}}
}

func tallyOf(records ...*record.Record) *tally.Tally {
	t := &tally.Tally{Options: tally.Options{Examples: 3}}
	for _, r := range records {
		t.Add(r)
	}
	return t
}

func TestAttention(t *testing.T) {
	refused := flow(3, 143, record.Verdict{Status: record.Expected, Path: imap})
	refused.Outcome = record.Refused
	all := tallyOf(flow(1, 143, violation(record.FindingCleartext, "none, 2010.cas.imap4 documents tls")), flow(2, 143, record.Verdict{Status: record.Expected, Path: imap}),
		refused, flow(4, 9999, record.Verdict{Status: record.Unexpected, Reason: record.NoPath}))
	for _, tt := range []struct {
		t     *tally.Tally
		drops int
		want  string
	}{
		{all, 0, "3 of 4 flows need attention: 1 not encrypted, 1 blocked, 1 unexpected."},
		{all, 2, "5 of 6 flows need attention: 1 not encrypted, 3 blocked, 1 unexpected."},
		{tallyOf(refused), 0, "1 of 1 flow needs attention: 1 blocked."},
		{tallyOf(flow(2, 143, record.Verdict{Status: record.Expected, Path: imap})), 0, ""},
	} {
		if got := Attention(tt.t, tt.drops); got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
	}
}

func TestCalm(t *testing.T) {
	calm := tallyOf(flow(1, 143, record.Verdict{Status: record.Expected, Path: imap}))
	if got := Calm(calm); got != "Nothing needs attention: no deviating, unexpected or blocked flow." {
		t.Errorf("got %q", got)
	}
	open := tallyOf(flow(1, 4000, record.Verdict{Status: record.Undetermined, Reason: record.NoPayload}))
	if got := Calm(open); got != "No flow needs attention; 1 flow could not be determined." {
		t.Errorf("got %q", got)
	}
}

// TestGroups verifies the order of findings, and that passwords in the clear are called so
// where nothing else is weak.
func TestGroups(t *testing.T) {
	clear := violation(record.FindingWeakAuth, "login sends the password in clear")
	ta := tallyOf(flow(1, 143, violation(record.FindingCleartext, "")), flow(2, 143, clear), flow(3, 143, violation(record.FindingProhibited, "")))
	var ids []record.FindingID
	for _, g := range Violations(ta) {
		ids = append(ids, g.ID)
	}
	if !slices.Equal(ids, []record.FindingID{record.FindingWeakAuth, record.FindingCleartext}) {
		t.Errorf("violations %v, want the gravest first and none that counts as blocked", ids)
	}
	weak := Violations(ta)[0]
	if weak.Entry.Title != "Passwords in the clear" || !slices.Equal(weak.Sources, []string{"a document"}) || len(weak.Todo) != 1 || !strings.Contains(weak.Todo[0], "SecureLogin") {
		t.Errorf("group %+v %q", weak, weak.Entry.Title)
	}
	ta.Add(flow(4, 143, violation(record.FindingWeakAuth, "NTLM version 1")))
	if got := Violations(ta)[0].Entry.Title; got == "Passwords in the clear" {
		t.Errorf("NTLM version 1 is called %q", got)
	}
}

func TestDetail(t *testing.T) {
	f := &tally.Finding{Path: imap}
	for detail, want := range map[string]string{
		"login sends the password in clear":            "seen: the password in the clear (LOGIN); documented: SSL or TLS by default",
		"none, 2010.cas.imap4 documents tls":           "seen: no authentication; documented: TLS",
		"ntlm, 2010.cas.imap4 documents kerberos":      "seen: NTLM; documented: Kerberos",
		"something that the packs have no form for it": "something that the packs have no form for it",
	} {
		if got := Detail(detail, f); got != want {
			t.Errorf("%q: got %q, want %q", detail, got, want)
		}
	}
	if got := Detail("x, y documents z", &tally.Finding{}); got != "x, y documents z" {
		t.Errorf("without a path %q", got)
	}
}

func TestInWords(t *testing.T) {
	for s, want := range map[string]string{"ssl or tls": "SSL or TLS", "ntlm, kerberos": "NTLM, Kerberos", "simple": "LDAP simple bind", "smb3": "smb3", "": ""} {
		if got := InWords(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

func TestVersions(t *testing.T) {
	host := func(version, role string) record.HostSummary {
		return record.HostSummary{Version: version, Roles: []record.RoleProof{{Role: role}}}
	}
	for _, tt := range []struct {
		named, assumed string
		hosts          []record.HostSummary
		want           string
	}{
		{"2010 (site file)", "2016", []record.HostSummary{host("2013", "mailbox")}, " Exchange 2010 (site file)."},
		{"", "2010", []record.HostSummary{host("2016", "mailbox"), host("2013", "mailbox"), host("2016", "mailbox")}, " Exchange 2013 and 2016 (from traffic)."},
		{"", "2010", []record.HostSummary{host("", "mailbox")}, " Exchange 2010 is assumed where traffic does not tell; --exchange sets another."},
		{"", "2010", []record.HostSummary{host("", "dc"), host("", "client")}, ""},
		{"", "2010", nil, ""},
	} {
		if got := Versions(tt.named, tt.assumed, tt.hosts); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestExchangeSeen(t *testing.T) {
	for roles, want := range map[string]bool{"mailbox": true, "dc": false, "client|hub": true, "": false} {
		if got := ExchangeSeen([]record.HostSummary{{Roles: []record.RoleProof{{Role: roles}}}}); got != want {
			t.Errorf("%q: %t", roles, got)
		}
	}
}

// TestNames verifies that sentences name hosts in order, and not too many.
func TestNames(t *testing.T) {
	name := func(a netip.Addr) string { return "h" + a.String()[len("10.0.9."):] }
	var unknown []*record.Record
	for i := range 12 {
		r := flow(byte(10+i), 9999, record.Verdict{Status: record.Unexpected, Reason: record.NoPath})
		r.Server.Addr, r.Server.Roles, r.Client.Roles = netip.AddrFrom4([4]byte{10, 0, 9, byte(10 + i)}), nil, []string{"client"}
		unknown = append(unknown, r)
	}
	if got := UnknownRoles(tallyOf(unknown[:1]...), name); got != "The role of h10 is not known. Add it to the site file, or capture a connection that proves it." {
		t.Errorf("got %q", got)
	}
	if got := UnknownRoles(tallyOf(unknown...), name); !strings.HasPrefix(got, "The roles of h10, h11, ") || !strings.Contains(got, "h19 and 2 more are not known. Add them") {
		t.Errorf("got %q", got)
	}
	if got := UnknownRoles(tallyOf(), name); got != "" {
		t.Errorf("got %q", got)
	}
	mail := flow(1, 143, record.Verdict{Status: record.Unrelated})
	mail.Server.Addr = netip.MustParseAddr("10.0.9.7")
	if got := NameServers(tallyOf(mail), name); !strings.HasPrefix(got, "Mail protocols were seen at h7 (143/tcp).") {
		t.Errorf("got %q", got)
	}
	if got := NameServers(tallyOf(), name); !strings.HasPrefix(got, "If hosts here are Exchange servers") {
		t.Errorf("got %q", got)
	}
	for n, want := range []string{"", "a", "a and b", "a, b and c"} {
		if got := JoinAnd([]string{"a", "b", "c"}[:n]); got != want {
			t.Errorf("%d words: %q", n, got)
		}
	}
}

func TestTrouble(t *testing.T) {
	sum := &record.Summary{
		Skipped: []record.NamedCount{{Name: "unknown link", Count: 1200}, {Name: "none", Count: 0}}, Unread: []record.NamedCount{{Name: "SCTP", Count: 7}},
		AckedUnseen: 0.25, Limits: []record.NamedCount{{Name: "flows ended early", Count: 1}, {Name: "facts left out", Count: 2000}},
		Notes: []string{"a note"}, Errors: []error{errors.New("damaged")},
	}
	want := []string{
		"Frames that are no packet of a flow: unknown link 1,200; what they are: SCTP 7",
		"Capture loss: 25.0 % of the acknowledged bytes were never captured, so nothing is called unanswered",
		"Limits reached: 1 flow ended early, 2,000 facts left out",
		"Note: a note",
		"Error: damaged",
	}
	if got := Trouble(sum); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := Trouble(&record.Summary{}); got != nil {
		t.Errorf("without trouble %q", got)
	}
}

func TestNeverCaptured(t *testing.T) {
	drops := []record.Drop{{Proto: 6}, {Proto: 6, Captured: true}, {}}
	if got := NeverCaptured(drops); fmt.Sprint(len(got)) != "1" || got[0].Proto != 6 {
		t.Errorf("got %+v", got)
	}
}

func TestKnownAndTied(t *testing.T) {
	p := &tally.Path{Weakest: record.ByPort, Strongest: record.Observed, Tied: 3, IDs: []string{"a", "b"}}
	p.Flows = 5
	if got := Known(p); got != "port to observed" {
		t.Errorf("got %q", got)
	}
	if got := Tied(p); got != "3 of them may be one of 2 paths" {
		t.Errorf("got %q", got)
	}
	p.Weakest, p.Flows = record.Observed, 3
	if got := Known(p) + ", " + Tied(p); got != "observed, one of 2 paths that packets cannot tell apart" {
		t.Errorf("got %q", got)
	}
}
