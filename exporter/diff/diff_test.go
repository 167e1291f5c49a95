package diff

import (
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

var mail = &rules.DataPath{ID: "2010.cas.imap4", Name: "IMAP4", Version: "2010"}

func flow(client string, at int64, outcome record.Outcome, status record.Status) *record.Record {
	return &record.Record{
		Proto: capture.TCP, State: "ended", Protocol: "imap", Outcome: outcome, First: time.Unix(at, 0), Last: time.Unix(at, 0),
		Client: record.Host{Addr: netip.MustParseAddr(client), Port: 1050}, Server: record.Host{Addr: netip.MustParseAddr("10.0.0.5"), Port: 143, Name: "cas1"},
		Verdict: record.Verdict{Status: status, Path: mail, Group: mail.ID},
	}
}

func runOf(t *testing.T, endpoints []record.EndpointSummary, records ...*record.Record) *Run {
	t.Helper()
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	r := NewRun(packs)
	for _, rec := range records {
		if err := r.Write(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(&record.Summary{Endpoints: endpoints}); err != nil {
		t.Fatal(err)
	}
	return r
}

func learned(server, service string) record.EndpointSummary {
	e := record.EndpointSummary{Server: netip.MustParseAddrPort(server)}
	e.Service, e.Source = service, observe.FromMap
	return e
}

func TestCompare(t *testing.T) {
	a := runOf(t, []record.EndpointSummary{learned("10.0.0.5:6005", "emsmdb"), learned("10.0.0.5:6006", "emsmdb"), learned("10.0.0.5:7000", "rtp")},
		flow("10.0.0.8", 1, record.Answered, record.Expected), flow("10.0.0.9", 2, record.Answered, record.Expected), flow("10.0.0.9", 3, record.Answered, record.Expected))
	// The other way round, and later.
	same := runOf(t, []record.EndpointSummary{learned("10.0.0.5:6006", "emsmdb"), learned("10.0.0.5:6005", "emsmdb"), learned("10.0.0.5:7002", "rtp")},
		flow("10.0.0.9", 92, record.Answered, record.Expected), flow("10.0.0.9", 93, record.Answered, record.Expected), flow("10.0.0.8", 94, record.Answered, record.Expected))
	if list := Compare(a, same, true); len(list) > 0 {
		t.Errorf("the same in another order: %+v", list)
	}
	b := runOf(t, []record.EndpointSummary{learned("10.0.0.5:59532", "emsmdb")},
		flow("10.0.0.9", 1, record.Refused, record.Expected), flow("10.0.0.10", 1, record.Refused, record.Expected))
	want := []Change{
		{Kind: Path, State: Changed, What: "IMAP4", ID: mail.ID, Was: "as documented", Now: "blocked"},
		{Kind: Pair, State: New, What: "10.0.0.10 > cas1  IMAP4", ID: mail.ID, Now: "1 flow"},
		{Kind: Pair, State: Gone, What: "10.0.0.8 > cas1  IMAP4", ID: mail.ID, Was: "1 flow"},
		{Kind: Pair, State: Changed, What: "10.0.0.9 > cas1  IMAP4", ID: mail.ID, Was: "2 flows", Now: "1 flow"},
		{Kind: Endpoint, State: Changed, What: "10.0.0.5  emsmdb", ID: "emsmdb", Was: "6005/tcp, 6006/tcp", Now: "59532/tcp"},
	}
	got := Compare(a, b, true)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, c := range Compare(a, b, false) {
		if c.Kind == Pair && c.State == Changed {
			t.Errorf("counts do not matter: %+v", c)
		}
	}
	if found := Found(got, []string{"new", "gone-pair", "changed-finding"}); !reflect.DeepEqual(found, []string{"new in 1 place", "gone-pair in 1 place"}) {
		t.Errorf("found %q", found)
	}
}

func TestWriteNothing(t *testing.T) {
	for json, want := range map[bool]string{true: "[]\n", false: "No difference.\n"} {
		var b strings.Builder
		if err := Write(&b, nil, Options{JSON: json}); err != nil || b.String() != want {
			t.Errorf("%q, %v", b.String(), err)
		}
	}
}
