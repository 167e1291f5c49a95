package ndjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// mapi returns a record with all fields set. It is named after the capture from which its
// values are taken.
func mapi() *record.Record {
	facts := &observe.Facts{}
	facts.Add("rpc.interface", "emsmdb")
	facts.Add("auth", "ntlm")
	facts.Add("rpc.uuid", "a4f1db00-ca47-1067-b31f-00dd010662da v0.81")
	facts.Add("rpc.interface", "nspi")
	return &record.Record{
		Number:    7,
		First:     time.Date(2010, 3, 4, 5, 6, 7, 8, time.UTC),
		Last:      time.Date(2010, 3, 4, 7, 6, 7, 120_000_000, time.FixedZone("", 3600)),
		Proto:     capture.TCP,
		Client:    record.Host{Addr: netip.MustParseAddr("192.168.0.173"), Port: 1073, Name: "pc1", Roles: []string{"client"}},
		Server:    record.Host{Addr: netip.MustParseAddr("192.168.0.2"), Port: 1032, Roles: []string{"mailbox|cas", "dc"}},
		VLANs:     []string{"10.20", "10"},
		Packets:   record.Count{11, 9},
		Bytes:     record.Count{1887, 2848},
		GapBytes:  record.Count{0, 1460},
		State:     "ended",
		Outcome:   record.Answered,
		Protocol:  "dcerpc",
		Facts:     facts,
		SetupTime: 1500 * time.Microsecond,
		Endpoint: &record.LearnedEndpoint{
			Service: "emsmdb", Annotation: `the "store"`, Source: observe.FromMap,
			From:      netip.MustParseAddrPort("192.168.0.2:135"),
			Announced: netip.MustParseAddr("10.1.1.1"),
			Learned:   time.Date(2010, 3, 4, 5, 6, 6, 999_999_999, time.UTC),
		},
		Verdict: record.Verdict{
			Status: record.Deviating,
			Path:   &rules.DataPath{ID: "2010.mailbox.mapi", Confidence: "high"}, Group: "2010.rpc",
			Also:       []*rules.DataPath{{ID: "2010.static.rpc-client-access"}},
			Confidence: record.Observed,
			Reason:     record.NoPayload,
			Why:        "rpc.interface=emsmdb",
			Findings:   []record.Finding{{ID: "cleartext", Level: record.Violation, Detail: "no encryption"}, {ID: "refused", Level: record.Remark}},
		},
	}
}

// TestWrite compares records with lines written by hand from the documented form.
func TestWrite(t *testing.T) {
	tests := []struct {
		name   string
		record *record.Record
		want   string
	}{
		{"full", mapi(), `{"first":"2010-03-04T05:06:07.000000008Z","last":"2010-03-04T06:06:07.120000000Z",` +
			`"community_id":"1:E+5q/1F7nfzOnlHWNhQWLBe4Ht0=","proto":"tcp",` +
			`"client":{"ip":"192.168.0.173","port":1073,"name":"pc1","roles":["client"]},` +
			`"server":{"ip":"192.168.0.2","port":1032,"roles":["mailbox|cas","dc"]},` +
			`"vlan":["10.20","10"],"packets":{"to_server":11,"to_client":9},"bytes":{"to_server":1887,"to_client":2848},` +
			`"gap_bytes":{"to_server":0,"to_client":1460},` +
			`"state":"ended","outcome":"answered","setup_us":1500,"protocol":"dcerpc",` +
			`"facts":{"rpc.interface":["emsmdb","nspi"],"auth":["ntlm"],"rpc.uuid":["a4f1db00-ca47-1067-b31f-00dd010662da v0.81"]},` +
			`"endpoint":{"service":"emsmdb","annotation":"the \"store\"","source":"ept_map","from":"192.168.0.2:135",` +
			`"announced":"10.1.1.1","learned":"2010-03-04T05:06:06.999999999Z"},` +
			`"verdict":{"status":"deviating","path":"2010.mailbox.mapi","also":["2010.static.rpc-client-access"],"group":"2010.rpc",` +
			`"confidence":"observed","source_confidence":"high","reason":"no-payload","why":"rpc.interface=emsmdb",` +
			`"findings":[{"id":"cleartext","level":"violation","detail":"no encryption"},{"id":"refused","level":"remark"}]}}` + "\n"},
		{"bare", &record.Record{
			Proto:   capture.UDP,
			Client:  record.Host{Addr: netip.MustParseAddr("1.2.3.4"), Port: 1122},
			Server:  record.Host{Addr: netip.MustParseAddr("5.6.7.8"), Port: 3344},
			Facts:   &observe.Facts{},
			Verdict: record.Verdict{Status: record.Unrelated},
		}, `{"community_id":"1:0Mu9InQx6z4ZiCZM/7HXi2WMhOg=","proto":"udp","client":{"ip":"1.2.3.4","port":1122},` +
			`"server":{"ip":"5.6.7.8","port":3344},"packets":{"to_server":0,"to_client":0},"bytes":{"to_server":0,"to_client":0},` +
			`"verdict":{"status":"unrelated"}}` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			s := New(&b)
			if err := s.Write(tt.record); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(&record.Summary{}); err != nil {
				t.Fatal(err)
			}
			if b.String() != tt.want {
				t.Errorf("got  %swant %s", b.String(), tt.want)
			}
			if !json.Valid(b.Bytes()) {
				t.Error("not valid JSON")
			}
		})
	}
}

// TestTimes compares the cached second with package time, also when it changes.
func TestTimes(t *testing.T) {
	var e encoder
	start := time.Date(1969, 12, 31, 23, 59, 58, 999_999_999, time.UTC)
	for i := range 50 {
		at := start.Add(time.Duration(i) * 123_456_789)
		want := `"` + at.Format("2006-01-02T15:04:05.000000000Z07:00") + `"`
		if got := string(e.time(nil, at)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// oracle is the documented form, for encoding/json.
type oracle struct {
	First       *string `json:"first"`
	Last        *string `json:"last"`
	CommunityID string  `json:"community_id"`
	Proto       string  `json:"proto"`
	Client      oracleHost
	Server      oracleHost
	VLAN        []string            `json:"vlan"`
	Packets     map[string]uint64   `json:"packets"`
	Bytes       map[string]uint64   `json:"bytes"`
	GapBytes    map[string]uint64   `json:"gap_bytes"`
	State       string              `json:"state"`
	Outcome     string              `json:"outcome"`
	SetupUS     int64               `json:"setup_us"`
	Protocol    string              `json:"protocol"`
	Facts       map[string][]string `json:"facts"`
	Endpoint    *struct {
		Service, Annotation, Source, From, Announced, Learned string
	} `json:"endpoint"`
	Verdict struct {
		Status, Path, Group, Confidence, Reason, Why string
		SourceConfidence                             string `json:"source_confidence"`
		Also                                         []string
		Findings                                     []struct{ ID, Level, Detail string }
	} `json:"verdict"`
}

type oracleHost struct {
	IP    string
	Port  uint16
	Name  string
	Roles []string
}

func FuzzRecord(f *testing.F) {
	f.Add("pc1", "mailbox|cas", "rpc.interface", "emsmdb", "why \u2028 \xff\x00\x1f", uint64(1), int64(1_267_679_167_000_000_008))
	f.Add("", "", "", "", "", uint64(0), int64(-1))
	f.Add("{", "[", `"`, `\`, "<&>\u007f", ^uint64(0), int64(1<<62))
	f.Fuzz(func(t *testing.T, name, role, fact, value, why string, n uint64, at int64) {
		r := mapi()
		r.Server.Name, r.Server.Roles, r.Verdict.Why = name, []string{role, name}, why
		r.Facts.Add(fact, value)
		r.Facts.Add(value, fact)
		r.Endpoint.Annotation, r.Verdict.Findings[1].Detail = value, fact
		r.Packets[1], r.First = n, time.Unix(0, at)
		got := new(encoder).record(nil, r)

		var o oracle
		d := json.NewDecoder(bytes.NewReader(got))
		d.DisallowUnknownFields()
		if err := d.Decode(&o); err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		valid := func(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
		facts := map[string][]string{}
		for _, x := range r.Facts.All() {
			facts[valid(x.Name)] = append(facts[valid(x.Name)], valid(x.Value))
		}
		want := r.First.UTC().Format("2006-01-02T15:04:05.000000000Z")
		switch {
		case o.First == nil || *o.First != want:
			t.Errorf("first %v, want %s", o.First, want)
		case runes(o.Server.Name) != runes(name) || runes(o.Verdict.Why) != runes(why) || runes(o.Endpoint.Annotation) != runes(value):
			t.Errorf("strings differ: %s", got)
		case len(o.Server.Roles) != 2 || runes(o.Server.Roles[0]) != runes(role):
			t.Errorf("roles differ: %s", got)
		case o.Packets["to_client"] != n:
			t.Errorf("numbers differ: %s", got)
		case !uniqueNames(r.Facts):
			// Two names are equal after invalid bytes were replaced: the later one wins
			// in Go.
		case !reflect.DeepEqual(o.Facts, facts):
			t.Errorf("facts %v, want %v", o.Facts, facts)
		}
	})
}

// runes returns s as encoding/json reads it back: each invalid byte becomes U+FFFD.
func runes(s string) string { return string([]rune(s)) }

func uniqueNames(f *observe.Facts) bool {
	for _, x := range f.All() {
		if strings.ToValidUTF8(x.Name, "") != x.Name {
			return false
		}
	}
	return true
}

func FuzzString(f *testing.F) {
	for _, s := range []string{"", "a", "\"\\\b\f\n\r\t\x00\x1f\x7f", "\u2027\u2028\u2029\u202a", "\xff\xc0\x80", "\u009b31m", "a\u202eb\u2066\u200f\u061c", "é𝄞\ufffd", "<>&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		for _, r := range strings.TrimSuffix(b.String(), "\n") {
			if r >= 0x7f && r < 0xa0 || strings.ContainsRune("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", r) {
				fmt.Fprintf(&want, `\u%04x`, r)
			} else {
				want.WriteRune(r)
			}
		}
		if got, want := string(appendString(nil, s)), want.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func TestAllocs(t *testing.T) {
	s, r := New(discard{}), mapi()
	if n := testing.AllocsPerRun(100, func() { _ = s.Write(r) }); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	s, r := New(discard{}), mapi()
	for b.Loop() {
		_ = s.Write(r)
	}
}

// FuzzRead reads what anybody may have written into a file of records.
func FuzzRead(f *testing.F) {
	packs, err := rules.Embedded("2010")
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if err := New(&b).Write(mapi()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("{}\n{\"client\":{}}\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data), packs)
		for lines := bytes.Count(data, []byte("\n")) + 1; ; lines-- {
			rec, err := r.Read()
			if err != nil {
				return
			}
			if lines == 0 {
				t.Fatal("more records than lines")
			}
			if err := New(io.Discard).Write(rec); err != nil {
				t.Errorf("what was read cannot be written: %v", err)
			}
		}
	})
}
