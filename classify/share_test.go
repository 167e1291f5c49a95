package classify_test

import (
	"fmt"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/inventory"
	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// sensor is one of several engines that share what they learn.
type sensor struct {
	name    string
	sees    func(p *capture.Packet) bool
	engine  *classify.Engine
	flows   map[string]string // status and path by flow
	learned []knowledge.Fact  // and not told yet
}

func (s *sensor) Write(r *record.Record) error {
	path := "-"
	if r.Verdict.Path != nil {
		path = r.Verdict.Path.ID
	}
	key := fmt.Sprintf("%d %s:%d > %s:%d", r.Proto, r.Client.Addr, r.Client.Port, r.Server.Addr, r.Server.Port)
	s.flows[key] = string(r.Verdict.Status) + " " + path + " " + r.Verdict.Group
	return nil
}

func (s *sensor) Close(*record.Summary) error { return nil }

func newSensor(t *testing.T, name string, site *rules.Site, sees func(*capture.Packet) bool) *sensor {
	t.Helper()
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	s := &sensor{name: name, sees: sees, flows: map[string]string{}}
	s.engine, err = classify.New(classify.Config{Packs: packs, Site: site, OnLearned: func(f *knowledge.Fact) { s.learned = append(s.learned, *f) }}, s)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tell tells the other sensors what one has learned: what is new, or all.
func (s *sensor) tell(t *testing.T, all bool, others []*sensor) {
	t.Helper()
	if all {
		s.learned = nil
		for w, more := (inventory.Walk{}), true; more; {
			s.learned, more = s.engine.Facts(&w, s.learned)
		}
	}
	var list []knowledge.Told
	for i := range s.learned {
		f := &s.learned[i]
		f.At = f.Used
		got, realm, name, err := knowledge.Decode(f.Key("realm", s.name), f.Encode())
		if err != nil || realm != "realm" || name != s.name {
			t.Fatalf("%+v cannot be told: %v", f, err)
		}
		if err := got.Check(f.Used); err != nil {
			t.Fatalf("%+v would not be believed: %v", f, err)
		}
		list = append(list, knowledge.Told{Sensor: s.name, Fact: got})
	}
	s.learned = s.learned[:0]
	for _, o := range others {
		if o != s {
			o.engine.Share(list)
		}
	}
}

// TestSensorsShare divides a recording among three sensors: a sees all but the flows to
// dynamic ports, b sees what clients send to dynamic ports, and c sees what servers send
// from them. Each flow must get the path that one sensor gives it that sees all, whether
// they hear from each other at once or late. Without a site file, only what clients send
// tells two services of one port apart; there c must say what a sensor says that sees the
// flows of a and c.
func TestSensorsShare(t *testing.T) {
	r := load(t, "rpc")
	dynamic := func(e capture.Endpoint) bool {
		return e.Port >= 1024 && e.Port < 3268 || e.Port > 3269 && e.Port < 32768 || e.Port >= 49152 && e.Port < 49160 || e.Port == 46861
	}
	toDynamic := func(p *capture.Packet) bool { return p.Proto == capture.TCP && dynamic(p.Dst) && !dynamic(p.Src) }
	fromDynamic := func(p *capture.Packet) bool { return p.Proto == capture.TCP && dynamic(p.Src) && !dynamic(p.Dst) }
	split := [...]func(p *capture.Packet) bool{
		func(p *capture.Packet) bool { return !toDynamic(p) && !fromDynamic(p) }, toDynamic, fromDynamic,
	}
	for name, site := range map[string]*rules.Site{"with site file": r.site, "without": nil} {
		one := newSensor(t, "one", site, func(*capture.Packet) bool { return true })
		half := newSensor(t, "half", site, func(p *capture.Packet) bool { return !toDynamic(p) })
		feed(t, r, []*sensor{one, half}, "never")
		for _, when := range []string{"at once", "in the second half", "in snapshots", "at the end"} {
			var all []*sensor
			for i, sees := range split {
				all = append(all, newSensor(t, string('a'+rune(i)), site, sees))
			}
			feed(t, r, all, when)
			seen := map[string]bool{}
			for _, s := range all {
				for flow, got := range s.flows {
					seen[flow] = true
					want := one.flows[flow]
					if s.name == "c" && site == nil {
						want = half.flows[flow]
					}
					if want == "unexpected - " && got == "undetermined - " {
						continue // it saw the reset of a refused connection alone
					}
					if got != want {
						t.Errorf("%s, told %s: sensor %s says of %s %q, want %q", name, when, s.name, flow, got, want)
					}
				}
			}
			if len(seen) < len(one.flows) {
				t.Errorf("%d flows were seen, %d are there", len(seen), len(one.flows))
			}
		}
	}
}

// feed gives sensors the packets that each sees, and passes on what they learn.
func feed(t *testing.T, r *recording, all []*sensor, when string) {
	t.Helper()
	for i := range r.packets {
		p := r.packets[i]
		for _, s := range all {
			if s.sees(&p) {
				if err := s.engine.Batch(&capture.Batch{Packets: []capture.Packet{p}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if when == "at once" || when == "in the second half" && i > len(r.packets)/2 || when == "in snapshots" && i%200 == 199 {
			for _, s := range all {
				s.tell(t, when == "in snapshots", all)
			}
		}
	}
	if when != "never" {
		for _, s := range all {
			s.tell(t, true, all)
		}
	}
	for _, s := range all {
		if err := s.engine.Close(nil); err != nil {
			t.Fatal(err)
		}
	}
}
