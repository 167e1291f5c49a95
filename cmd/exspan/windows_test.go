package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/etw/etwtest"
)

// TestWindowsRecordings packs recordings as netsh and pktmon write them, at several
// layers, with 802.11 and without checksums, and wants the same said of them.
func TestWindowsRecordings(t *testing.T) {
	for _, name := range []string{"rpc", "mail", "web", "directory", "org", "um-calls"} {
		original := filepath.Join("..", "..", "testdata", name+".pcapng")
		frames := recorded(t, original)
		for how, o := range map[string]etwtest.Options{
			"netsh":  {CPUs: 4, Layers: 2, Split: 7, Noise: true},
			"pktmon": {CPUs: 4, Layers: 6, Pktmon: true, Compressed: true, NewIDs: true, WiFi: true, Unsummed: true, Noise: true},
		} {
			trace := filepath.Join(t.TempDir(), name+"."+how+".etl")
			if err := os.WriteFile(trace, etwtest.ETL(frames, o), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, format := range []string{"table", "ndjson"} {
				want, _ := analyzedAs(t, format, original)
				got, warned := analyzedAs(t, format, trace)
				if got != want || warned != "" {
					t.Errorf("%s as %s, %s: another output\n%s\n%s", name, how, format, firstDifference(got, want), warned)
				}
			}
		}
	}
}

// recorded returns the frames of a capture file.
func recorded(t *testing.T, name string) []etwtest.Frame {
	t.Helper()
	f, err := capture.OpenFiles([]string{name}, capture.Options{Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []etwtest.Frame
	var r capture.RawFrame
	for f.NextFrame(&r) == nil {
		list = append(list, etwtest.Frame{Time: r.Time, Wire: r.WireLength, Data: bytes.Clone(r.Data)})
	}
	if len(list) == 0 || len(f.Errors()) > 0 {
		t.Fatalf("%s: %d frames, %v", name, len(list), f.Errors())
	}
	return list
}

// analyzedAs returns what analyze writes to standard output and to standard error.
func analyzedAs(t *testing.T, format string, names ...string) (string, string) {
	t.Helper()
	var out, warned bytes.Buffer
	if code := run(append([]string{"analyze", "-q", "--format", format}, names...), &out, &warned); code != exitDone {
		t.Fatalf("exit code %d: %s", code, &warned)
	}
	return out.String(), warned.String()
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d:\n  %s\nwant\n  %s", i+1, g[i], w[min(i, len(w)-1)])
		}
	}
	return "lines are missing"
}

// TestConvertWindows converts every file of testdata/windows, and lets tshark say
// what is in the result.
func TestConvertWindows(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark")
	}
	folder := filepath.Join("..", "..", "testdata", "windows")
	names, err := filepath.Glob(filepath.Join(folder, "*.truth.json"))
	if err != nil || len(names) < 12 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var truth struct {
			Packets, Cut int
			Frames       [][3]any
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		if err := d.Decode(&truth); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out.pcapng")
		var warned bytes.Buffer
		code := run([]string{"convert", "-q", strings.TrimSuffix(name, ".truth.json"), "-o", out}, &warned, &warned)
		if truth.Packets == 0 {
			if _, err := os.Stat(out); code != exitError || err == nil {
				t.Errorf("%s: code %d, and a file of nothing: %v", name, code, err)
			}
			continue
		}
		if code != exitDone {
			t.Errorf("%s: code %d: %s", name, code, &warned)
			continue
		}
		text, err := exec.Command("tshark", "-r", out, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len").Output()
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Fields(strings.ReplaceAll(string(text), "\t", "/"))
		var want []string
		for _, f := range truth.Frames {
			n, _ := f[0].(json.Number).Int64()
			want = append(want, fmt.Sprintf("%d.%09d/%v", n/1e9, n%1e9, f[1]))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: tshark sees %d packets, others than the %d that were captured; %s", name, len(got), len(want), firstDifference(strings.Join(got, "\n"), strings.Join(want, "\n")))
		}
	}
}

// TestWindowsDropped wants drops told with their flow, and a flow of which nothing
// else is known under Blocked.
func TestWindowsDropped(t *testing.T) {
	frames := recorded(t, filepath.Join("..", "..", "testdata", "rpc.pcapng"))[:200]
	blocked := frames[20]
	blocked.Data = bytes.Clone(blocked.Data)
	copy(blocked.Data[26:], []byte{10, 99, 0, 1, 10, 99, 0, 2}) // other addresses
	trace := filepath.Join(t.TempDir(), "drops.etl")
	file := etwtest.ETL(frames, etwtest.Options{Pktmon: true, Compressed: true, Layers: 4, Drops: 3, Reason: 1207, Blocked: []etwtest.Frame{blocked, blocked}})
	if err := os.WriteFile(trace, file, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := analyzedAs(t, "table", trace)
	for _, want := range []string{
		"Dropped by the captured computer\n  by the Windows firewall or another filter of its platform (INET_ReceiveInspection in tcpip.sys): ",
		"dropped  10.99.0.1:", " to 10.99.0.2:",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	plain := filepath.Join(t.TempDir(), "none.etl")
	if err := os.WriteFile(plain, etwtest.ETL(frames, etwtest.Options{Pktmon: true, Layers: 4}), 0o600); err != nil {
		t.Fatal(err)
	}
	with, _ := analyzedAs(t, "ndjson", trace)
	without, _ := analyzedAs(t, "ndjson", plain)
	if with != without {
		t.Errorf("drops change the records of flows: %s", firstDifference(with, without))
	}
}
