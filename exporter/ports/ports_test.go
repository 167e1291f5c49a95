package ports

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

func endpoint(server, service string, source observe.Source, at int64, ended bool) record.EndpointSummary {
	e := record.EndpointSummary{Server: netip.MustParseAddrPort(server), Ended: ended, Flows: 2}
	e.Service, e.Source, e.Learned = service, source, time.Unix(at, 0)
	return e
}

// A service has all its ports in one row, in the order learned. A way to pin it is
// that of the host's own version, else of Windows; media are no such service.
func TestRows(t *testing.T) {
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	sum := &record.Summary{
		Hosts: []record.HostSummary{{Addr: netip.MustParseAddr("10.0.0.5"), Name: "mb1", Version: "2010"}, {Addr: netip.MustParseAddr("10.0.0.6"), Version: "2016"}},
		Endpoints: []record.EndpointSummary{
			endpoint("10.0.0.5:59532", "emsmdb", observe.FromMap, 10, true), endpoint("10.0.0.5:6005", "emsmdb", observe.FromBind, 20, false),
			endpoint("10.0.0.6:59532", "emsmdb", observe.FromMap, 10, false), endpoint("10.0.0.1:49155", "netlogon", observe.FromMap, 10, false),
			endpoint("10.0.0.5:5000", "rtp", observe.FromSDP, 10, false),
		},
	}
	var out strings.Builder
	s := New(&out, Options{Packs: packs, Version: "2010", JSON: true})
	if err := s.Close(sum); err != nil {
		t.Fatal(err)
	}
	var rows []Row
	if err := json.Unmarshal([]byte(out.String()), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 {
		t.Fatalf("%d rows: %s", len(rows), out.String())
	}
	mapi, newer, logon := rows[0], rows[1], rows[2]
	if mapi.Host != "mb1" || len(mapi.Ports) != 2 || mapi.Ports[0].Port != 59532 || !mapi.Ports[0].Ended || mapi.Ports[1].Port != 6005 {
		t.Errorf("%+v", mapi)
	}
	if len(mapi.Pins) == 0 || !strings.Contains(mapi.Pins[0].Where, "MSExchangeRPC") || mapi.Pins[0].Inside == nil || *mapi.Pins[0].Inside != insideOf(mapi.Pins[0].Range, 59532, 6005) {
		t.Errorf("pins of 2010: %+v", mapi.Pins)
	}
	for _, p := range newer.Pins {
		if strings.Contains(p.Source, "2010") && !strings.Contains(p.Source, "2016") {
			t.Errorf("a way of another version: %+v", p)
		}
	}
	if newer.Host != "10.0.0.6" {
		t.Errorf("%+v", newer)
	}
	if len(logon.Pins) == 0 || logon.Host != "10.0.0.1" {
		t.Errorf("a service of Windows: %+v", logon)
	}
}

func insideOf(text string, ports ...uint16) bool {
	var list []PortInUse
	for _, p := range ports {
		list = append(list, PortInUse{Port: p})
	}
	x := inside(text, list)
	return x != nil && *x
}

func TestInside(t *testing.T) {
	for _, x := range []struct {
		text  string
		known bool
		port  uint16
		want  bool
	}{
		{"59531-60554", true, 59531, true}, {"59531-60554", true, 60554, true}, {"59531-60554", true, 60555, false}, {"59531-60554 (recommended)", true, 59530, false},
		{"any free port", false, 1, false}, {"", false, 1, false},
	} {
		got := inside(x.text, []PortInUse{{Port: x.port}})
		if (got != nil) != x.known || got != nil && *got != x.want {
			t.Errorf("%q, %d: %v", x.text, x.port, got)
		}
	}
	if insideOf("100-200", 150, 201) {
		t.Error("one port of two is outside")
	}
}

func TestNothing(t *testing.T) {
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for json, want := range map[bool]string{true: "[]\n", false: "No endpoint of an RPC service was learned.\n"} {
		var out strings.Builder
		if err := New(&out, Options{Packs: packs, JSON: json}).Close(&record.Summary{}); err != nil || out.String() != want {
			t.Errorf("%q, %v", out.String(), err)
		}
	}
}
