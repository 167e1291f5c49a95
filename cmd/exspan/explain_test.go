package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// explained is what a test reads of an explanation.
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
	Candidates []struct {
		ID      string
		Chosen  bool
		Against []string
	}
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

// flowLine is what a test reads of a flow record.
type flowLine struct {
	ID      string         `json:"community_id"`
	Packets map[string]int `json:"packets"`
	Verdict struct {
		Path   string
		Also   []string
		Status string
	}
}

// TestExplainRecordings explains every flow of three recordings. The row of the
// verdict comes first, what is said agrees with the record, every other row names
// a condition that failed, and every fact is in a frame of the flow. tshark, given
// the display filter, shows the flow's frames and no others.
func TestExplainRecordings(t *testing.T) {
	tshark, _ := exec.LookPath("tshark")
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
		for n, id := range ids {
			list := explainFlow(t, "--site", site, file, id)
			if len(list) != len(byID[id]) {
				t.Errorf("%s %s: %d flows, want %d", name, id, len(list), len(byID[id]))
				continue
			}
			for i, x := range list {
				checkExplained(t, name+" "+id, &x, &byID[id][i])
			}
			if tshark != "" && n%17 == 0 && len(list) == 1 {
				f := byID[id][0]
				checkFilter(t, tshark, file, &list[0], f.Packets["to_server"]+f.Packets["to_client"])
			}
		}
	}
}

func checkExplained(t *testing.T, what string, x *explained, f *flowLine) {
	t.Helper()
	if x.Path != f.Verdict.Path || x.Status != f.Verdict.Status {
		t.Errorf("%s: %s %s, the record says %s %s", what, x.Status, x.Path, f.Verdict.Status, f.Verdict.Path)
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
			t.Errorf("%s: nothing speaks against %s", what, c.ID)
		}
	}
	if x.Path != "" && chosen != 1+len(f.Verdict.Also) {
		t.Errorf("%s: %d rows are chosen, the record names %d", what, chosen, 1+len(f.Verdict.Also))
	}
	for _, fact := range x.Facts {
		if fact.Frame != 0 && (fact.Frame < x.FirstFrame || fact.Frame > x.LastFrame) {
			t.Errorf("%s: %s was read in frame %d, the flow has %d to %d", what, fact.Name, fact.Frame, x.FirstFrame, x.LastFrame)
		}
	}
}

func checkFilter(t *testing.T, tshark, file string, x *explained, packets int) {
	t.Helper()
	out, err := exec.Command(tshark, "-r", file, "-Y", x.Filter, "-T", "fields", "-e", "frame.number").Output()
	if err != nil {
		t.Fatalf("%s: %v", x.Filter, err)
	}
	frames := strings.Fields(string(out))
	if len(frames) != packets || frames[0] != strconv.FormatUint(x.FirstFrame, 10) || frames[len(frames)-1] != strconv.FormatUint(x.LastFrame, 10) {
		t.Errorf("%s: tshark shows %d frames, %v; the flow has %d, %d to %d", x.Filter, len(frames), frames, packets, x.FirstFrame, x.LastFrame)
	}
}
