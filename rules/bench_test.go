package rules

import "testing"

func BenchmarkEmbedded(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Embedded("2010"); err != nil {
			b.Fatal(err)
		}
	}
}
