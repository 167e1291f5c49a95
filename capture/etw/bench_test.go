//go:build unix

package etw_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/etw/etwtest"
)

// BenchmarkRead reads a capture as pcapng and in the format of Windows. It reports the
// processor time per packet, and the speed of the trace relative to pcapng. The packets
// are the first ones of the capture that EXSPAN_BENCH names, or those of a recording,
// repeated.
func BenchmarkRead(b *testing.B) {
	frames := many(b, 200_000)
	pcapng := filepath.Join(b.TempDir(), "x.pcapng")
	write(b, pcapng, frames)
	for _, v := range []struct {
		name string
		o    etwtest.Options
	}{
		{"netsh", etwtest.Options{CPUs: 2}},
		{"pktmon", etwtest.Options{CPUs: 2, Pktmon: true, Compressed: true, Layers: 1}},
		{"netsh-layers-4", etwtest.Options{CPUs: 2, Layers: 4}},
		{"pktmon-layers-4", etwtest.Options{CPUs: 2, Pktmon: true, Compressed: true, Layers: 4}},
	} {
		b.Run(v.name, func(b *testing.B) {
			etl := filepath.Join(b.TempDir(), "x.etl")
			if err := os.WriteFile(etl, etwtest.ETL(frames, v.o), 0o600); err != nil {
				b.Fatal(err)
			}
			// Other processes disturb the fastest round least.
			plain, trace := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
			for b.Loop() {
				plain = min(plain, drain(b, pcapng, len(frames)))
				trace = min(trace, drain(b, etl, len(frames)))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(plain.Nanoseconds())/float64(len(frames)), "cpu-ns/pcapng-packet")
			b.ReportMetric(float64(trace.Nanoseconds())/float64(len(frames)), "cpu-ns/etl-packet")
			b.ReportMetric(100*float64(plain)/float64(trace), "%speed")
		})
	}
}

// many returns n frames in the order of time.
func many(b *testing.B, n int) []etwtest.Frame {
	if name := os.Getenv("EXSPAN_BENCH"); name != "" {
		f, err := capture.OpenFiles([]string{name}, capture.Options{Frames: true})
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		var list []etwtest.Frame
		var r capture.RawFrame
		for len(list) < n && f.NextFrame(&r) == nil {
			list = append(list, etwtest.Frame{Time: r.Time, Wire: r.WireLength, Data: bytes.Clone(r.Data)})
		}
		if len(list) == 0 {
			b.Fatal(f.Errors())
		}
		order(list)
		return list
	}
	once := recording(b, "mail.pcapng")
	order(once)
	length := once[len(once)-1].Time - once[0].Time + 2e9 // after that time, the same bytes are another packet
	var list []etwtest.Frame
	for len(list) < n {
		shift := int64(len(list)/len(once)) * length
		for _, f := range once {
			f.Time += shift
			list = append(list, f)
		}
	}
	return list
}

func write(b *testing.B, name string, frames []etwtest.Frame) {
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w, err := capture.NewWriter(f, "exspan")
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range frames {
		r := capture.RawFrame{Time: p.Time, LinkType: capture.LinkEthernet, WireLength: p.Wire, Data: p.Data}
		if err := w.WriteFrame(&r); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}

// drain reads the n frames of a file and returns the processor time that it took.
func drain(b *testing.B, name string, n int) time.Duration {
	start := processorTime(b)
	f, err := capture.OpenFiles([]string{name}, capture.Options{})
	if err != nil {
		b.Fatal(err)
	}
	var st capture.Stats
	for {
		bt, err := f.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		st = bt.Stats
		bt.Release()
	}
	took := processorTime(b) - start
	if err := errors.Join(append(f.Errors(), f.Close())...); err != nil || st.Frames != uint64(n) {
		b.Fatalf("%s: %d frames of %d, %v", name, st.Frames, n, err)
	}
	return took
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
