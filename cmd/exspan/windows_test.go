package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/capture/etw/etwtest"
)

// TestWindowsRecordings packs recordings in the formats of netsh and pktmon, at several
// layers, with 802.11 and without checksums. The output must be that for the original.
func TestWindowsRecordings(t *testing.T) {
	for _, name := range []string{"rpc", "mail", "web", "directory", "org", "um-calls"} {
		original := filepath.Join("..", "..", "testdata", name+".pcapng")
		frames := recorded(t, original)
		for how, o := range map[string]etwtest.Options{
			"netsh":  {CPUs: 4, Layers: 2, Split: 7, Noise: true},
			"pktmon": {CPUs: 4, Layers: 6, Pktmon: true, Compressed: true, NewIDs: true, WiFi: true, Unsummed: true, Noise: true},
		} {
			// The file keeps the name of the original, which the report repeats. A trace
			// is recognised by its content.
			trace := filepath.Join(t.TempDir(), name+".pcapng")
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

// analyzedAs returns the standard output and standard error of analyze.
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

// TestConvertWindows converts every file of testdata/windows and verifies the result with
// tshark.
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
				t.Errorf("%s: exit code %d and an empty file: %v", name, code, err)
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

// TestWindowsDropped verifies that drops are reported with their flow, and that a flow of
// which nothing else is known is listed under Blocked.
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
		"by the Windows firewall or another filter of its platform (INET_ReceiveInspection in tcpip.sys)",
		"10.99.0.1 > 10.99.0.2:46861/tcp",
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

// TestWindowsForbidden packs an unanswered flow in the format of pktmon, with the drops
// of the Windows firewall. The flow must become prohibited, and nothing else may change.
func TestWindowsForbidden(t *testing.T) {
	packets, err := capturetest.Compile("packets.txt", []byte(`
host hub1 10.0.0.21
host hub2 10.0.0.22
handshake hub1:2001 > hub2:25
tcp hub1:2005 > hub2:25 S
+3 tcp hub1:2005 > hub2:25 S
tcp hub1:2006 > hub2:25 S
+40 tcp hub1:2001 > hub2:25 A
`))
	if err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(t.TempDir(), "original.pcap")
	site := filepath.Join(t.TempDir(), "site.yaml")
	servers := "exchange: \"2010\"\nservers:\n  - {name: hub1, addresses: [10.0.0.21], roles: [hub]}\n  - {name: hub2, addresses: [10.0.0.22], roles: [hub]}\n"
	if err := errors.Join(os.WriteFile(original, packets, 0o600), os.WriteFile(site, []byte(servers), 0o600)); err != nil {
		t.Fatal(err)
	}
	type flow struct {
		Client, Server struct {
			IP   string
			Port int
		}
		Outcome string
		Verdict struct {
			Status   string
			Findings []struct{ ID, Detail string }
		}
	}
	read := func(file string) []flow {
		var list []flow
		var out, warned bytes.Buffer
		if code := run([]string{"analyze", "-q", "--format", "ndjson", "--site", site, file}, &out, &warned); code != exitDone {
			t.Fatalf("exit code %d: %s", code, &warned)
		}
		for d := json.NewDecoder(&out); d.More(); {
			var f flow
			if err := d.Decode(&f); err != nil {
				t.Fatal(err)
			}
			list = append(list, f)
		}
		return list
	}
	before := read(original)
	at := slices.IndexFunc(before, func(f flow) bool { return f.Outcome == "unanswered" && len(f.Verdict.Findings) > 0 })
	if at < 0 {
		t.Fatal("no flow is unanswered")
	}
	frames := recorded(t, original)
	var blocked []etwtest.Frame
	for _, f := range frames {
		if len(f.Data) > 38 && f.Data[23] == 6 && int(f.Data[34])<<8|int(f.Data[35]) == before[at].Client.Port && f.Data[47]&0x12 == 2 {
			f.Time += 20_000
			blocked = append(blocked, f)
		}
	}
	trace := filepath.Join(t.TempDir(), "forbidden.etl")
	if err := os.WriteFile(trace, etwtest.ETL(frames, etwtest.Options{Pktmon: true, Compressed: true, Layers: 4, Reason: 1207, Blocked: blocked}), 0o600); err != nil {
		t.Fatal(err)
	}
	after := read(trace)
	if len(after) != len(before) || len(blocked) == 0 {
		t.Fatalf("%d flows, want %d; %d packets were blocked", len(after), len(before), len(blocked))
	}
	changed := 0
	for i := range after {
		if after[i].Outcome == before[i].Outcome {
			continue
		}
		changed++
		detail := ""
		for _, f := range after[i].Verdict.Findings {
			if f.ID == "prohibited" {
				detail = f.Detail
			}
		}
		if i != at || after[i].Outcome != "prohibited" || !strings.HasSuffix(detail, "were dropped by the Windows firewall or another filter of its platform (INET_ReceiveInspection in tcpip.sys)") {
			t.Errorf("flow %d: %s became %s: %q", i, before[i].Outcome, after[i].Outcome, detail)
		}
	}
	if changed != 1 {
		t.Errorf("%d flows changed", changed)
	}
}
