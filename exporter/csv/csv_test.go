package csv

import (
	"bytes"
	"encoding/csv"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

func write(t *testing.T, records ...*record.Record) string {
	t.Helper()
	var b bytes.Buffer
	s := New(&b)
	for _, r := range records {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(&record.Summary{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWrite(t *testing.T) {
	facts := &observe.Facts{}
	facts.Add("rpc.interface", "emsmdb")
	facts.Add("auth", "ntlm")
	facts.Add("auth", "kerberos")
	full := &record.Record{
		First: time.Date(2010, 3, 4, 5, 6, 7, 8, time.UTC), Last: time.Date(2010, 3, 4, 6, 6, 7, 8, time.FixedZone("", 3600)),
		Proto:   capture.TCP,
		Client:  record.Host{Addr: netip.MustParseAddr("2001:db8::1"), Port: 1073, Name: `=cmd|"x"`, Roles: []string{"client"}},
		Server:  record.Host{Addr: netip.MustParseAddr("192.168.0.2"), Port: 1032, Roles: []string{"mailbox|cas", "dc"}},
		VLANs:   []string{"10.20", "10"},
		Packets: record.Count{11, 9}, Bytes: record.Count{1887, 2848}, GapBytes: record.Count{1, 2},
		State: "ended", Outcome: record.Answered, Protocol: "dcerpc", Facts: facts, SetupTime: 2 * time.Millisecond, Conversation: "1:abc=",
		Endpoint: &record.LearnedEndpoint{Service: "emsmdb", Annotation: "a,b", Source: observe.FromMap,
			From: netip.MustParseAddrPort("192.168.0.2:135"), Announced: netip.MustParseAddr("10.0.0.1"), Learned: time.Unix(0, 1).UTC()},
		Verdict: record.Verdict{Status: record.Deviating,
			Path: &rules.DataPath{ID: "2010.a", Confidence: "low"}, Group: "2010.g",
			Also: []*rules.DataPath{{ID: "2010.b"}, {ID: "2010.c"}}, Confidence: record.Learned, Why: "+why",
			Findings: []record.Finding{{ID: "refused", Level: record.Remark}, {ID: "cleartext", Level: record.Violation},
				{ID: "weak-auth", Level: record.Violation}}},
	}
	bare := &record.Record{Proto: capture.UDP, Client: record.Host{Addr: netip.MustParseAddr("1.2.3.4"), Port: 1122},
		Server: record.Host{Addr: netip.MustParseAddr("5.6.7.8"), Port: 3344}, Verdict: record.Verdict{Status: record.Unrelated}}
	want := strings.Join(header, ",") + "\r\n" +
		`2010-03-04T05:06:07.000000008Z,2010-03-04T05:06:07.000000008Z,1:0rTYRSt5Vr4T2Zz8cOjo8XSFBaM=,tcp,` +
		`2001:db8::1,1073,"'=cmd|""x""",client,192.168.0.2,1032,,mailbox\|cas|dc,10.20|10,11,9,1887,2848,1,2,` +
		`ended,answered,2000,dcerpc,ntlm|kerberos,,rpc.interface=emsmdb|auth=ntlm|auth=kerberos,` +
		`emsmdb,"a,b",ept_map,192.168.0.2:135,10.0.0.1,1970-01-01T00:00:00.000000001Z,` +
		`deviating,2010.a,2010.b|2010.c,2010.g,learned,low,,'+why,cleartext|weak-auth,refused,,,1:abc=` + "\r\n" +
		`,,1:0Mu9InQx6z4ZiCZM/7HXi2WMhOg=,udp,1.2.3.4,1122,,,5.6.7.8,3344,,,,0,0,0,0,0,0,,,,,,,,,,,,,,unrelated,,,,,,,,,,,,` + "\r\n"
	got := write(t, full, bare)
	id := strings.Split(strings.Split(got, "\r\n")[1], ",")[2]
	want = strings.Replace(want, "1:0rTYRSt5Vr4T2Zz8cOjo8XSFBaM=", id, 1) // Community ID has its own test
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNoFlows(t *testing.T) {
	if got, want := write(t), strings.Join(header, ",")+"\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFormulas(t *testing.T) {
	for _, s := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"} {
		if got := text(s); got != "'"+s {
			t.Errorf("%q is written as %q", s, got)
		}
	}
	if got := text("a=1"); got != "a=1" {
		t.Errorf("a=1 is written as %q", got)
	}
}

// FuzzRow verifies that any record is read back with the same columns, and that no cell
// is a formula.
func FuzzRow(f *testing.F) {
	f.Add("=x", "a|b", "\"\r\n,", `\`)
	f.Add("", "", "", "")
	f.Fuzz(func(t *testing.T, name, role, why, service string) {
		facts := &observe.Facts{}
		facts.Add(name, role)
		got := write(t, &record.Record{
			Server: record.Host{Name: name, Roles: []string{role, name}}, Facts: facts, Protocol: service,
			Endpoint: &record.LearnedEndpoint{Service: service},
			Verdict:  record.Verdict{Why: why, Path: &rules.DataPath{ID: service}},
		})
		rows, err := csv.NewReader(strings.NewReader(got)).ReadAll()
		if err != nil {
			t.Fatalf("%v: %q", err, got)
		}
		if len(rows) != 2 || len(rows[1]) != len(header) {
			t.Fatalf("%d rows, %d columns: %q", len(rows), len(rows[1]), got)
		}
		for i, cell := range rows[1] {
			if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
				t.Errorf("column %s is a formula: %q", header[i], cell)
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	s := New(&bytes.Buffer{})
	r := &record.Record{Proto: capture.UDP, Client: record.Host{Addr: netip.MustParseAddr("1.2.3.4"), Port: 1122},
		Server: record.Host{Addr: netip.MustParseAddr("5.6.7.8"), Port: 3344}, Verdict: record.Verdict{Status: record.Unrelated}}
	for b.Loop() {
		_ = s.Write(r)
	}
}
