package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/rules"
)

// explained holds the fields of an explanation that tests use.
type explained struct {
	Path       string `json:"path"`
	Status     string `json:"status"`
	FirstFrame uint64 `json:"first_frame"`
	LastFrame  uint64 `json:"last_frame"`
	Filter     string `json:"display_filter"`
	Facts      []struct {
		Name, Value string
		Frame       uint64
	}
	Candidates []candidate
}

type candidate struct {
	ID      string
	Chosen  bool
	Against []string
}

func explainFlow(t *testing.T, args ...string) []explained {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(append([]string{"explain", "-q", "--format", "json"}, args...), &stdout, &stderr); code != exitDone {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr.String())
	}
	var list []explained
	if err := json.Unmarshal(stdout.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// flowLine holds the fields of a flow record that tests use.
type flowLine struct {
	ID      string         `json:"community_id"`
	Packets map[string]int `json:"packets"`
	Proto   string         `json:"proto"`
	Server  struct{ Port uint16 }
	Verdict struct {
		Path    string
		Also    []string
		Status  string
		Version string
	}
}

// TestExplainRecordings explains every flow of three recordings. The row of the verdict
// must come first, the explanation must agree with the record, every other row must name
// a condition that failed, and every fact must be in a frame of the flow. With the
// display filter, tshark must show exactly the flow's frames.
func TestExplainRecordings(t *testing.T) {
	tshark, _ := exec.LookPath("tshark")
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"org", "mail", "rpc"} {
		file, site := "../../testdata/"+name+".pcapng", "../../testdata/"+name+".site.yaml"
		var stdout, stderr bytes.Buffer
		if code := run([]string{"analyze", "-q", "--format", "ndjson", "--site", site, file}, &stdout, &stderr); code != exitDone {
			t.Fatalf("exit code %d: %s", code, stderr.String())
		}
		byID := map[string][]flowLine{}
		var ids []string
		for line := range strings.Lines(stdout.String()) {
			var f flowLine
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatal(err)
			}
			if byID[f.ID] == nil {
				ids = append(ids, f.ID)
			}
			byID[f.ID] = append(byID[f.ID], f)
		}
		var filters []string
		var want []selection
		for _, id := range ids {
			list := explainFlow(t, "--site", site, file, id)
			if len(list) != len(byID[id]) {
				t.Errorf("%s %s: %d flows, want %d", name, id, len(list), len(byID[id]))
				continue
			}
			for i, x := range list {
				f := &byID[id][i]
				checkExplained(t, packs, name+" "+id, &x, f)
				filters = append(filters, x.Filter)
				want = append(want, selection{count: uint64(f.Packets["to_server"] + f.Packets["to_client"]), first: x.FirstFrame, last: x.LastFrame})
			}
		}
		if tshark == "" {
			continue
		}
		for i, got := range selected(t, tshark, file, filters) {
			if got.sum = 0; got != want[i] {
				t.Errorf("%s: %s: tshark shows %+v, the flow has %+v", name, filters[i], got, want[i])
			}
		}
	}
}

func checkExplained(t *testing.T, packs *rules.Packs, what string, x *explained, f *flowLine) {
	t.Helper()
	if x.Path != f.Verdict.Path || x.Status != f.Verdict.Status {
		t.Errorf("%s: %s %s, the record has %s %s", what, x.Status, x.Path, f.Verdict.Status, f.Verdict.Path)
	}
	if x.Path != "" && (len(x.Candidates) == 0 || x.Candidates[0].ID != x.Path || !x.Candidates[0].Chosen) {
		t.Errorf("%s: the first row is not %s", what, x.Path)
	}
	chosen := 0
	for _, c := range x.Candidates {
		if c.Chosen {
			chosen++
			if c.ID != x.Path && !slices.Contains(f.Verdict.Also, c.ID) {
				t.Errorf("%s: %s was not chosen", what, c.ID)
			}
		} else if len(c.Against) == 0 {
			t.Errorf("%s: no reason against %s", what, c.ID)
		}
	}
	if x.Path != "" && chosen != 1+len(f.Verdict.Also) {
		t.Errorf("%s: %d rows are chosen, the record names %d", what, chosen, 1+len(f.Verdict.Also))
	}
	// Every row with the port must be compared with the flow.
	if x.Status == "unrelated" {
		return
	}
	for _, p := range slices.Concat(packs.Paths(f.Verdict.Version), packs.Paths(rules.Platform)) {
		if slices.ContainsFunc(p.Legs, func(l rules.Leg) bool {
			return !l.Port.Dynamic && l.Port.From == f.Server.Port && (f.Proto == "tcp" && l.Port.TCP || f.Proto == "udp" && l.Port.UDP)
		}) && !slices.ContainsFunc(x.Candidates, func(c candidate) bool { return c.ID == p.ID }) {
			t.Errorf("%s: %s has the port %d and is not mentioned", what, p.ID, f.Server.Port)
		}
	}
	for _, fact := range x.Facts {
		if fact.Frame != 0 && (fact.Frame < x.FirstFrame || fact.Frame > x.LastFrame) {
			t.Errorf("%s: %s was read in frame %d, the flow has %d to %d", what, fact.Name, fact.Frame, x.FirstFrame, x.LastFrame)
		}
	}
}

// selection describes the frames that a display filter selects: their number, and the
// sum, minimum and maximum of their frame numbers.
type selection struct{ count, sum, first, last uint64 }

func (s *selection) add(frame uint64) {
	if s.count == 0 {
		s.first = frame
	}
	s.count++
	s.sum += frame
	s.last = frame
}

// selected returns the frames of a file that tshark selects with each filter. tshark
// reads the file once.
func selected(t *testing.T, tshark, file string, filters []string, flags ...string) []selection {
	t.Helper()
	var list []selection
	for chunk := range slices.Chunk(filters, 20) {
		stat := "io,stat,0"
		for _, f := range chunk {
			for _, what := range []string{"COUNT", "SUM", "MIN", "MAX"} {
				stat += "," + what + "(frame.number)frame.number && " + f
			}
		}
		out, err := exec.Command(tshark, append([]string{"-q", "-r", file, "-z", stat}, flags...)...).Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", file, err, out)
		}
		row := ""
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "<>") {
				row = line
			}
		}
		_, row, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(row), "|"), "|")
		var numbers []uint64
		for cell := range strings.SplitSeq(row, "|") {
			if n, err := strconv.ParseUint(strings.TrimSpace(cell), 10, 64); err == nil {
				numbers = append(numbers, n)
			}
		}
		if len(numbers) != 4*len(chunk) {
			t.Fatalf("%s: %d numbers for %d filters:\n%s", file, len(numbers), len(chunk), out)
		}
		for n := range slices.Chunk(numbers, 4) {
			list = append(list, selection{n[0], n[1], n[2], n[3]})
		}
	}
	return list
}

// filterPackets contains flows that a filter may confuse: the same ends used again, both
// protocols, swapped ends, and an ICMP error that quotes a flow.
const filterPackets = `start 2026-01-02T09:14:00Z
handshake 10.0.0.9:1052 > 10.0.0.5:110
tcp 10.0.0.5:110 > 10.0.0.9:1052 "+OK ready\r\n"
fin 10.0.0.9:1052 > 10.0.0.5:110
handshake 10.0.0.9:1053 > 10.0.0.5:110
tcp 10.0.0.5:110 > 10.0.0.9:1053 "+OK ready\r\n"
udp 10.0.0.9:1052 > 10.0.0.5:110 "x"
udp 10.0.0.5:110 > 10.0.0.9:1052 "y"
tcp 10.0.0.9:110 > 10.0.0.5:1052 S
tcp 10.0.0.5:1052 > 10.0.0.9:110 RA
fin 10.0.0.9:1053 > 10.0.0.5:110
+5s tcp 10.0.0.9:1052 > 10.0.0.5:110 S seq=700000
tcp 10.0.0.5:110 > 10.0.0.9:1052 SA seq=900000
tcp 10.0.0.9:1052 > 10.0.0.5:110 A
tcp 10.0.0.5:110 > 10.0.0.9:1052 "+OK ready\r\n"
fin 10.0.0.9:1052 > 10.0.0.5:110
`

// filtersOf explains every flow of a file and returns its filter by the number of the
// flow's first frame.
func filtersOf(t *testing.T, file string, flags ...string) map[uint64]string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(append([]string{"analyze", "-q", "--format", "ndjson", file}, flags...), &stdout, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	filters, asked := map[uint64]string{}, map[string]bool{}
	for line := range strings.Lines(stdout.String()) {
		var f flowLine
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		if asked[f.ID] {
			continue
		}
		asked[f.ID] = true
		for _, x := range explainFlow(t, append([]string{file, f.ID}, flags...)...) {
			filters[x.FirstFrame] = x.Filter
		}
	}
	return filters
}

// compareFilters compares the frames that tshark selects with filters with the frames of
// the flows.
func compareFilters(t *testing.T, tshark, name, file string, want map[uint64]selection, filters map[uint64]string, flags ...string) {
	t.Helper()
	firsts := slices.Sorted(maps.Keys(want))
	if have := slices.Sorted(maps.Keys(filters)); !slices.Equal(have, firsts) {
		t.Errorf("%s: flows begin with frames %v, want %v", name, have, firsts)
		return
	}
	var list []string
	for _, first := range firsts {
		list = append(list, filters[first])
	}
	for i, got := range selected(t, tshark, file, list, flags...) {
		if got != want[firsts[i]] {
			t.Errorf("%s: %s selects %+v, the flow has %+v", name, list[i], got, want[firsts[i]])
		}
	}
}

// decodeAs holds options that make tshark decode what it would otherwise decode as
// something else.
var decodeAs = map[string][]string{"vxlan, port 8472": {"-d", "udp.port==8472,vxlan"}}

// TestExplainFilters wraps flows in every tag, tunnel and link type. The filter of each
// flow must make tshark select exactly the frames of the flow before wrapping.
func TestExplainFilters(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark")
	}
	c, err := capturetest.Parse("text", []byte(filterPackets), nil)
	if err != nil {
		t.Fatal(err)
	}
	want, open := map[uint64]selection{}, map[string]uint64{}
	for i, f := range c.Frames {
		s, ok := cutSegment(c.LinkType, f.Data)
		if !ok {
			t.Fatalf("frame %d", i)
		}
		n := uint64(i + 1)
		if s.proto == "tcp" && s.flags&(flagSYN|flagACK) == flagSYN || open[s.flow()] == 0 {
			open[s.flow()] = n
		}
		x := want[open[s.flow()]]
		x.add(n)
		want[open[s.flow()]] = x
	}
	if len(want) != 5 {
		t.Fatalf("%d flows in the text", len(want))
	}
	dir := t.TempDir()
	plain := writeFrames(t, dir, "plain.pcap", c)
	compareFilters(t, tshark, "plain", plain, want, filtersOf(t, plain))
	for i, e := range encapsulations {
		if e.name == "esp-null" {
			continue // detected only after several packets, and by tshark only with an option
		}
		wrapped := &capturetest.Capture{LinkType: e.link}
		for _, f := range c.Frames {
			data := e.wrap(slices.Clone(f.Data))
			wrapped.Frames = append(wrapped.Frames, capturetest.Frame{Time: f.Time, Data: data, Wire: f.Wire + len(data) - len(f.Data)})
		}
		file := writeFrames(t, dir, strconv.Itoa(i)+".pcap", wrapped)
		compareFilters(t, tshark, e.name, file, want, filtersOf(t, file), decodeAs[e.name]...)
	}
}

// TestExplainVLANs verifies that filters distinguish the same ends in several VLANs if
// their flows are distinguished, and that there is one filter for all if they are one
// flow.
func TestExplainVLANs(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark")
	}
	text := "start 2026-01-02T09:14:00Z\n"
	want, all := map[uint64]selection{}, selection{}
	frame := uint64(0)
	for _, tags := range []string{"vlan=7", "", "vlan=7.8", "vlan=8", "vlan=8.7"} {
		var s selection
		for _, end := range []string{"10.0.0.9:1052 > 10.0.0.5:110 S", "10.0.0.5:110 > 10.0.0.9:1052 SA", "10.0.0.9:1052 > 10.0.0.5:110 A"} {
			text += "tcp " + end + " " + tags + "\n"
			frame++
			s.add(frame)
			all.add(frame)
		}
		want[s.first] = s
	}
	c, err := capturetest.Parse("text", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	file := writeFrames(t, t.TempDir(), "a.pcap", c)
	compareFilters(t, tshark, "each VLAN", file, want, filtersOf(t, file, "--key-vlan", "--duplicate-window", "0"))
	compareFilters(t, tshark, "all VLANs", file, map[uint64]selection{1: all}, filtersOf(t, file, "--duplicate-window", "0"))
}
