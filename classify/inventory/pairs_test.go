package inventory

import (
	"math/rand/v2"
	"testing"

	"github.com/exspan/exspan/capture"
)

// BenchmarkPairs notes a million host pairs, and asks for each.
func BenchmarkPairs(b *testing.B) {
	type pair struct{ a, b capture.Addr }
	all := make([]pair, 1_000_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range all {
		c, s := r.Uint32N(60000), r.Uint32N(40)
		all[i] = pair{capture.Addr{10: 0xff, 11: 0xff, 12: 10, 13: 1, 14: byte(c >> 8), 15: byte(c)}, capture.Addr{10: 0xff, 11: 0xff, 12: 10, 13: 250, 15: byte(s)}}
	}
	b.Run("saw", func(b *testing.B) {
		for b.Loop() {
			p := newPairs()
			for i := range all {
				p.Saw(all[i].a, all[i].b, i%5 != 0)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/pair")
	})
	p := newPairs()
	for i := range all {
		p.Saw(all[i].a, all[i].b, i%5 != 0)
	}
	b.Run("oneWay", func(b *testing.B) {
		for b.Loop() {
			for i := range all {
				p.OneWay(all[i].a, all[i].b)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/pair")
	})
}

func TestPairs(t *testing.T) {
	p := newPairs()
	addr := func(i int) capture.Addr { return capture.Addr{0: 1, 14: byte(i >> 8), 15: byte(i)} }
	for i := range 5000 {
		p.Saw(addr(i), addr(i+1), i%4 == 0)
		if i%4 == 2 {
			p.Saw(addr(i+1), addr(i), false)
		}
	}
	for i := range 5000 {
		if got, want := p.OneWay(addr(i+1), addr(i)), i%2 == 1; got != want {
			t.Fatalf("pair %d: one-way %v, want %v", i, got, want)
		}
	}
	if !p.OneWay(addr(7), addr(9)) || p.refused != 0 {
		t.Error("a pair never seen is one-way")
	}
}
