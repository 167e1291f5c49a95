package flows

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
)

func flow(i int) *record.Record {
	return &record.Record{
		Proto: capture.TCP, State: "ended", Outcome: record.Answered, Protocol: "rdp", First: time.Unix(int64(1_300_000_000+i), 0),
		Client: record.Host{Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Port: 1050},
		Server: record.Host{Addr: netip.MustParseAddr("2001:db8::5"), Port: 3389},
		Bytes:  record.Count{uint64(i), 1}, Verdict: record.Verdict{Status: record.Unexpected, Reason: record.NoPath},
	}
}

func render(t *testing.T, o Options, flows int) string {
	t.Helper()
	var b bytes.Buffer
	s := New(&b, o)
	for i := range flows {
		if err := s.Write(flow(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(&record.Summary{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestStreams verifies that each of many flows is written on a line of its own, and that
// only the flows that determine the column widths are held.
func TestStreams(t *testing.T) {
	var b bytes.Buffer
	s := New(&b, Options{})
	for i := range sizing + 5000 {
		if err := s.Write(flow(i)); err != nil {
			t.Fatal(err)
		}
		if len(s.rows) > sizing {
			t.Fatalf("%d flows are held", len(s.rows))
		}
	}
	if err := s.Close(&record.Summary{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != sizing+5000+1 {
		t.Errorf("%d lines", n)
	}
	if want := "[2001:db8::5]:3389/tcp"; !strings.Contains(b.String(), want) {
		t.Errorf("no %s", want)
	}
}

// TestMemory verifies that the memory for sorting and grouping is limited, and that flows
// that do not fit are counted.
func TestMemory(t *testing.T) {
	for _, o := range []Options{{Sort: ByBytes, MaxMemory: 100_000}, {Pairs: true, MaxMemory: 100_000}} {
		got := render(t, o, 5000)
		shown := strings.Count(got, "UNEXPECTED")
		if shown < 50 || shown > 1000 {
			t.Errorf("%+v: %d flows are shown", o, shown)
		}
		if want := fmt.Sprintf("and %d more flows", 5000-shown); !strings.Contains(got, want) {
			t.Errorf("%+v: no %q", o, want)
		}
	}
}

func TestSort(t *testing.T) {
	got := render(t, Options{Sort: ByBytes}, 3)
	var order []string
	for _, line := range strings.Split(got, "\n")[1:4] {
		order = append(order, strings.Fields(line)[1])
	}
	if want := "10.0.0.2:1050 10.0.0.1:1050 10.0.0.0:1050"; strings.Join(order, " ") != want {
		t.Errorf("%v, want %s", order, want)
	}
}

// TestHostile verifies that text from the network is harmless on a terminal.
func TestHostile(t *testing.T) {
	r := flow(1)
	r.Client.Name = "\x1b[2Jname\r\n"
	for _, o := range []Options{{}, {Pairs: true}} {
		var b bytes.Buffer
		s := New(&b, o)
		_ = s.Write(r)
		_ = s.Close(&record.Summary{})
		if strings.ContainsAny(b.String(), "\x1b\r") || !strings.Contains(b.String(), "?[2Jname??") {
			t.Errorf("%q", b.String())
		}
	}
}
