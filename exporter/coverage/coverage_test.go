package coverage

import (
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/rules"
)

// A path of which some flows got through is not blocked, and one of which none did is.
func TestStates(t *testing.T) {
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	imap, pop := packs.Path("2010.cas.imap4"), packs.Path("2010.cas.pop3")
	s := New(io.Discard, Options{Packs: packs, Version: "2010"})
	write := func(p *rules.DataPath, at int64, o record.Outcome) {
		r := &record.Record{
			State: "ended", Outcome: o, First: time.Unix(at, 0), Last: time.Unix(at, 0), Packets: record.Count{1, 1},
			Client: record.Host{Addr: netip.MustParseAddr("10.0.0.9"), Roles: []string{"client"}}, Server: record.Host{Addr: netip.MustParseAddr("10.0.0.5"), Roles: []string{"cas|hub"}},
			Verdict: record.Verdict{Status: record.Expected, Path: p},
		}
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	write(imap, 5, record.Refused)
	write(imap, 3, record.Answered)
	write(pop, 7, record.Unanswered)
	sum := &record.Summary{Hosts: []record.HostSummary{{Addr: netip.MustParseAddr("10.0.0.5"), Version: "2010", Roles: []record.RoleProof{{Role: "cas|hub"}}}}}
	if err := s.Close(sum); err != nil {
		t.Fatal(err)
	}
	row := func(id string) Row {
		i := slices.IndexFunc(s.Rows(), func(r Row) bool { return r.ID == id })
		if i < 0 {
			t.Fatalf("no row %s", id)
		}
		return s.Rows()[i]
	}
	if r := row(imap.ID); r.State != model.Seen || r.Flows != 2 || !r.First.Equal(time.Unix(3, 0)) || !r.Last.Equal(time.Unix(5, 0)) {
		t.Errorf("%+v", r)
	}
	if r := row(pop.ID); r.State != model.Blocked || !strings.Contains(r.Why, "unanswered") {
		t.Errorf("%+v", r)
	}
	if r := row("2010.cas.owa"); r.State != model.NotSeen {
		t.Errorf("%+v", r)
	}
	if r := row("2010.um.phone"); r.State != model.NotObservable {
		t.Errorf("%+v", r)
	}
	for _, r := range s.Rows() {
		if packs.Path(r.ID).NotUsed || packs.Path(r.ID).Platform() {
			t.Errorf("%s is listed", r.ID)
		}
	}
}
