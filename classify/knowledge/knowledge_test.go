package knowledge

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// TestViewsCommute puts the views of sensors in random orders, with repeats, and with
// losses of all but each sensor's last. What comes out must be the same.
func TestViewsCommute(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var told []View
		last := map[string]View{}
		for i := range 1 + r.IntN(12) {
			x := View{Sensor: fmt.Sprint("s", r.IntN(4)), Value: Value{At: int64(r.IntN(6)), Proof: []Proof{WeakEvidence, OneSided, TwoSided}[r.IntN(3)],
				Learned: int64(r.IntN(50)), Used: int64(50 + r.IntN(50)), Ended: int64(r.IntN(2) * r.IntN(90)), Source: fmt.Sprint("source", i)}}
			told = append(told, x)
			if old, ok := last[x.Sensor]; !ok || old.compare(&x) < 0 {
				last[x.Sensor] = x
			}
		}
		var want Views
		for _, x := range last {
			want.Put(x)
		}
		for range 4 {
			var got Views
			for _, i := range r.Perm(len(told)) {
				if !reflect.DeepEqual(told[i], last[told[i].Sensor]) && r.IntN(3) == 0 {
					continue // lost; a later one came
				}
				for range 1 + r.IntN(2) {
					got.Put(told[i])
				}
			}
			if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(got.Merged(), want.Merged()) {
				t.Fatalf("%+v\ngave %+v\nwant %+v", told, got, want)
			}
		}
		check(t, want)
	}
}

// check holds what views say together against each of them.
func check(t *testing.T, v Views) {
	t.Helper()
	m := v.Merged()
	ended := true
	for _, x := range v {
		if x.Proof > m.Proof || x.Learned < m.Learned || x.Used > m.Used {
			t.Fatalf("%+v is not in %+v", x, m)
		}
		if x.Ended == 0 || x.Ended > m.Ended {
			ended = x.Ended != 0 && m.Ended != 0
		}
		if x.Ended == 0 && m.Ended != 0 {
			t.Fatalf("%+v was ended by others: %+v", x, m)
		}
	}
	if !ended && m.Ended != 0 {
		t.Fatalf("%+v has ended too early", m)
	}
}

// TestKeys encodes names that would be something else in a subject.
func TestKeys(t *testing.T) {
	names := []string{"a", "a.b", "a.>", "*", ">", "", "=", "a b", "ü", "x:y", "=2E"}
	seen := map[string]bool{}
	for _, realm := range names {
		for _, sensor := range names {
			for _, addr := range []string{"10.0.0.5", "2001:db8::5"} {
				f := Fact{Server: netip.MustParseAddr(addr), UDP: addr[0] == '2', Port: 59532, What: "a4f1db00-ca47-1067-b31f-00dd010662da v0.81"}
				key := f.Key(realm, sensor)
				if strings.Count(key, ".") != 5 || strings.ContainsAny(key, ":*> ") || seen[key] || !strings.HasPrefix(key, Prefix(realm, sensor)) {
					t.Fatalf("%q, %q give %q", realm, sensor, key)
				}
				seen[key] = true
				got, r, s, err := Decode(key, f.Encode())
				if f.Proof = Unproven; err != nil || r != realm || s != sensor || !reflect.DeepEqual(got, f) {
					t.Fatalf("%q: %+v %q %q (%v)", key, got, r, s, err)
				}
			}
		}
	}
	if strings.HasPrefix(Prefix("r", "a.b"), Prefix("r", "a")) {
		t.Error("sensor a owns the keys of a.b")
	}
	for _, bad := range []string{"", "a.b", "r.s.10=2E0=2E0=2E5.tcp.99999.x", "r.s.host.tcp.1.x", "r.s.10=2E0=2E0=2E5.sctp.1.x", "r.s.10=2e0=2e0=2e5.tcp.1.x",
		"r.s.10=2E0=2E0=2E5.tcp.01.x", "r.=61.10=2E0=2E0=2E5.tcp.1.x", "r.s.10=2E0=2E0=2E5.tcp.1.x=", "r.s.10=2E0=2E0=2E5.tcp.1.x.y"} {
		if _, _, _, err := Decode(bad, []byte(`{"v":1}`)); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}

// TestValues encodes each field, and refuses values that cannot be.
func TestValues(t *testing.T) {
	f := Fact{Kind: Endpoint, Server: netip.MustParseAddr("10.0.0.5"), Port: 1, What: "x", Value: Value{At: 1, Proof: TwoSided, Learned: 2, Used: 3, Ended: 4,
		Expires: 5, Source: "ept_map", From: netip.MustParseAddrPort("10.0.0.5:135"), Announced: netip.MustParseAddr("10.0.0.6"), Annotation: "text",
		Codecs: "pcmu", Dispute: "it is", Strange: true, Datagram: true, Evidence: "a banner", Peer: netip.MustParseAddr("10.0.0.7"),
		Text: "2010", Build: "14.1"}}
	v := reflect.ValueOf(f.Value)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("the test leaves out %s", v.Type().Field(i).Name)
		}
	}
	got, _, _, err := Decode(f.Key("r", "s"), f.Encode())
	if err != nil || !reflect.DeepEqual(got, f) {
		t.Fatalf("%+v\nwant %+v (%v)", got, f, err)
	}
	if n := len(f.Key("r", "s")) + len(f.Encode()); n > 600 {
		t.Errorf("a full value takes %d bytes", n)
	}
	if err := f.Check(10); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Fact){
		"no address":          func(f *Fact) { f.Server = netip.Addr{} },
		"the site file's":     func(f *Fact) { f.Proof = SiteFile },
		"told again":          func(f *Fact) { f.Proof = Remote },
		"no proof":            func(f *Fact) { f.Proof = Unproven },
		"from the future":     func(f *Fact) { f.At = 10 + Skew + 1 },
		"used in the future":  func(f *Fact) { f.Used, f.Expires = 10+Skew+1, 10+Skew+1 },
		"for ever":            func(f *Fact) { f.Expires = 1 << 62 },
		"used, then learned":  func(f *Fact) { f.Learned = f.Used + 1 },
		"no port":             func(f *Fact) { f.Port = 0 },
		"no service":          func(f *Fact) { f.What = "" },
		"long":                func(f *Fact) { f.Annotation = strings.Repeat("x", MaxText+1) },
		"steers the terminal": func(f *Fact) { f.Evidence = "\x1b[2J" },
		"a version of none":   func(f *Fact) { f.Kind, f.Text = Version, "" },
	} {
		bad := f
		if change(&bad); bad.Check(10) == nil {
			t.Errorf("%s is believed", name)
		}
	}
	for _, bad := range []string{"", "[]", `{"v":0}`, `{"v":1,"from":"x"}`, `{"v":1,"text":"` + strings.Repeat("x", MaxValue) + `"}`} {
		if _, _, _, err := Decode(f.Key("r", "s"), []byte(bad)); err == nil {
			t.Errorf("%.20q is a value", bad)
		}
	}
	if _, _, _, err := Decode(f.Key("r", "s"), []byte(`{"v":2}`)); !errors.Is(err, ErrNewer) {
		t.Errorf("a later version gives %v", err)
	}
	if _, _, _, err := Decode(f.Key("r", "s"), []byte(`{"v":1,"later":{"x":1}}`)); err != nil {
		t.Errorf("a field of a later version gives %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	x := Fact{Server: netip.MustParseAddr("10.0.0.5"), Port: 1, What: "x", Value: Value{Proof: TwoSided}}
	f.Add(x.Key("r", "s"), x.Encode())
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		x, realm, sensor, err := Decode(key, value)
		if err != nil {
			return
		}
		if x.Key(realm, sensor) != key {
			t.Fatalf("%q became %q", key, x.Key(realm, sensor))
		}
		if x.Check(1e18) == nil && !json.Valid(x.Encode()) {
			t.Fatalf("%q cannot be encoded again", value)
		}
	})
}
