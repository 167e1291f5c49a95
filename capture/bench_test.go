package capture

import (
	"io"
	"os"
	"testing"
)

// BenchmarkReadFile reads and decodes the file that EXSPAN_BENCH names.
func BenchmarkReadFile(b *testing.B) {
	name := os.Getenv("EXSPAN_BENCH")
	if name == "" {
		b.Skip("EXSPAN_BENCH names no capture file")
	}
	for _, parallel := range []bool{false, true} {
		b.Run(map[bool]string{false: "inline", true: "parallel"}[parallel], func(b *testing.B) {
			var frames uint64
			for b.Loop() {
				s, err := OpenFiles([]string{name}, Options{Parallel: parallel})
				if err != nil {
					b.Fatal(err)
				}
				var st Stats
				for {
					bt, err := s.Read()
					if err == io.EOF {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
					st = bt.Stats
					bt.Release()
				}
				s.Close()
				frames += st.Frames
				b.SetBytes(int64(st.Bytes))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(frames), "ns/packet")
		})
	}
}
