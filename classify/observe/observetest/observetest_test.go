package observetest_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	. "github.com/exspan/exspan/classify/observe/observetest"
)

// toy is a protocol of records. A record is a length byte and that many bytes. 'f'
// records are facts, 'u' records are upgrades, 's' records are skipped unread, and '!' is
// not a record.
type toy struct{ perCall, lookAhead, hoard bool }

func (o *toy) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Gap > 0 {
		r.Add("gap", fmt.Sprint(in.Gap))
		return 0, nil
	}
	if o.perCall {
		r.Add("call", fmt.Sprint(len(in.Data)))
	}
	n := 0
	for len(in.Data)-n >= 2 {
		rec := in.Data[n:]
		size := 1 + int(rec[0])
		switch rec[1] {
		case '!':
			return 0, observe.ErrViolation
		case 's':
			return n + size, nil
		}
		if o.hoard || len(rec) < size {
			return n, nil
		}
		switch rec[1] {
		case 'f':
			r.Add("fact", string(rec[2:size]))
			if o.lookAhead && len(rec) > size {
				r.Add("ahead", string(rec[size:]))
			}
		case 'u':
			r.Next = "tls"
			return n + size, observe.ErrUpgrade
		}
		n += size
	}
	return n, nil
}

func protocol(o toy) observe.Protocol {
	return observe.Protocol{Name: "toy", TCP: []uint16{7}, Stream: true, New: func() observe.Observer { c := o; return &c },
		Detect: func(f *observe.First) observe.Match {
			if len(f.ToServer) < 2 {
				return observe.More
			}
			return observe.Yes
		}}
}

func rec(kind, s string) string { return string(rune(1+len(s))) + kind + s }

func TestRun(t *testing.T) {
	conv := []Segment{
		ToServer(rec("f", "one"), rec("f", "two")[:2]),
		ToClient(rec("f", "reply")),
		ToServer(rec("f", "two")[2:], rec("s", strings.Repeat("x", 40))[:10]),
		Lost(observe.ToServer, 20),
		ToServer(strings.Repeat("x", 12), rec("f", "three")),
		Lost(observe.ToClient, 5),
		ToClient(rec("f", "four"), rec("u", "go"), rec("f", "never")),
		ToServer(rec("f", "neither")),
	}
	r := Check(t, protocol(toy{}), conv, Options{})
	Expect(t, r, "fact=one", "fact=two", "fact=reply", "fact=three", "gap=5", "fact=four")
	if !errors.Is(r.Err, observe.ErrUpgrade) || r.Next != "tls" || r.NextAt[observe.ToClient] != len(rec("f", "reply"))+5+len(rec("f",
		"four"))+len(rec("u", "go")) {
		t.Errorf("ended with %v, next %q at %v", r.Err, r.Next, r.NextAt)
	}
}

// recorder records whether Check would fail a test.
type recorder struct {
	testing.TB
	failed []string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Errorf(f string, a ...any) { r.failed = append(r.failed, fmt.Sprintf(f, a...)) }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...) }

func TestCheckFindsBrokenObservers(t *testing.T) {
	conv := []Segment{ToServer(rec("f", "one"), rec("f", "two")), ToServer(rec("f", "three"))}
	for _, c := range []struct {
		name string
		o    toy
		conv []Segment
		want string
	}{
		{"reports by call", toy{perCall: true}, conv, "in cuts of 1 reports"},
		{"looks at what happens to be there", toy{lookAhead: true}, conv, "reports"},
		{"hoards", toy{hoard: true}, []Segment{ToServer(rec("f", strings.Repeat("y", 100)), strings.Repeat("z", MaxHeld))}, "unused"},
	} {
		r := &recorder{TB: t}
		Check(r, protocol(c.o), c.conv, Options{})
		if all := strings.Join(r.failed, "\n"); !strings.Contains(all, c.want) {
			t.Errorf("%s: Check reports %q, want %q", c.name, all, c.want)
		}
	}
	p := protocol(toy{})
	p.Detect = func(f *observe.First) observe.Match {
		if len(f.ToServer) < 3 {
			return observe.No
		}
		return observe.Yes
	}
	r := &recorder{TB: t}
	Check(r, p, conv, Options{})
	if len(r.failed) == 0 || !strings.Contains(r.failed[0], "Detect returns 0 for the first 0 bytes") {
		t.Errorf("Check reports %q for an inconsistent Detect", r.failed)
	}
}

func TestEncode(t *testing.T) {
	conv := []Segment{ToServer("a", "b"), ToClient("c"), Lost(observe.ToClient, 7)}
	got, o := Decode(Encode(conv, Options{Midstream: true, Identities: true}))
	if len(got) != 3 || !bytes.Equal(got[0].Data, []byte("ab")) || got[1].Dir != observe.ToClient || got[2].Gap != 7 {
		t.Errorf("decoded %+v", got)
	}
	if !o.Midstream || !o.Identities || o.Datagram || o.Unacknowledged {
		t.Errorf("decoded %+v", o)
	}
}

func TestFlows(t *testing.T) {
	flows := Flows(t, Corpus(t, "epm/ntlm_rpc.pcapng"), "")
	if len(flows) != 2 {
		t.Fatalf("%d flows, want 2", len(flows))
	}
	f := flows[0]
	if f.Client.String() != "10.0.0.20:49942" || f.Server.String() != "10.0.0.10:135" || f.Midstream || len(f.Segments) != 4 {
		t.Errorf("first flow is %v > %v, midstream %v, %d segments", f.Client, f.Server, f.Midstream, len(f.Segments))
	}
}
