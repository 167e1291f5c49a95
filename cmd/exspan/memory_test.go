package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture/capturetest"
)

// TestCollections reads requests that never end, so that all of them are held, and counts
// garbage collections. They must become rarer as memory grows.
func TestCollections(t *testing.T) {
	const flows = 10_000
	var text strings.Builder
	more := strings.Repeat("x", 800)
	for part := range 5 {
		for i := range flows {
			flow := fmt.Sprintf("10.1.%d.%d:1050 > 10.0.0.2:80", i>>8, i&255)
			if part == 0 {
				fmt.Fprintf(&text, "handshake %s\ntcp %s \"GET /owa/%d HTTP/1.1\\r\\nCookie: \"\n", flow, flow, i)
			}
			fmt.Fprintf(&text, "+1us tcp %s \"%s\"\n", flow, more)
		}
	}
	data, err := capturetest.Compile("packets", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	text.Reset()
	file := filepath.Join(t.TempDir(), "a.pcap")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if code := run([]string{"analyze", "-q", file}, io.Discard, os.Stderr); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	runtime.ReadMemStats(&after)
	n := after.NumGC - before.NumGC
	t.Logf("%d collections, %d MiB allocated", n, (after.TotalAlloc-before.TotalAlloc)>>20)
	if n > 14 {
		t.Errorf("%d collections", n)
	}
}
