// Package readfile reads captures into memory, for tests and benchmarks.
package readfile

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/exspan/exspan/capture"
)

// Packets returns the packets of a capture file. The caller may keep them.
func Packets(t testing.TB, file string) []capture.Packet {
	t.Helper()
	src, err := capture.OpenFiles([]string{file}, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = src.Close() }()
	var all []capture.Packet
	for {
		b, err := src.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Packets {
			p.Payload = bytes.Clone(p.Payload)
			all = append(all, p)
		}
		b.Release()
	}
}
