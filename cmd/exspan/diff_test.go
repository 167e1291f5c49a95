package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture/capturetest"
)

// difference holds the fields of a difference that tests use.
type difference struct {
	Kind, State, What, ID, Was, Now string
}

func diffOf(t *testing.T, args ...string) []difference {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(append([]string{"diff", "-q", "--format", "json"}, args...), &stdout, &stderr); code != exitDone {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr.String())
	}
	var list []difference
	if err := json.Unmarshal(stdout.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestDiffRecords compares the flow records of three recordings. In another order and a
// year later they must be equal. Without one of the records, that flow must be the only
// difference.
func TestDiffRecords(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, lines []string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	year := regexp.MustCompile(`"(first|last|learned)":"2026-`)
	for _, name := range []string{"org", "mail", "rpc"} {
		var stdout, stderr bytes.Buffer
		if code := run([]string{"analyze", "-q", "--format", "ndjson", "--site", "../../testdata/" + name + ".site.yaml", "../../testdata/" + name + ".pcapng"}, &stdout, &stderr); code != exitDone {
			t.Fatalf("exit code %d: %s", code, stderr.String())
		}
		lines := slices.Collect(strings.Lines(stdout.String()))
		all := write("all.ndjson", lines)
		later := slices.Clone(lines)
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(later), func(i, j int) { later[i], later[j] = later[j], later[i] })
		for i := range later {
			if later[i] = year.ReplaceAllString(later[i], `"$1":"2027-`); !strings.Contains(later[i], `"first":"2027-`) {
				t.Fatalf("%s: no year in %s", name, later[i])
			}
		}
		if list := diffOf(t, all, write("later.ndjson", later)); len(list) > 0 {
			t.Errorf("%s in another order and later: %+v", name, list)
		}
		for i := 0; i < len(lines); i += 7 {
			checkOneLess(t, name, lines[i], diffOf(t, all, write("less.ndjson", slices.Delete(slices.Clone(lines), i, i+1))))
		}
	}
}

// checkOneLess compares the differences without a flow with the record of the flow.
func checkOneLess(t *testing.T, name, line string, list []difference) {
	t.Helper()
	type end struct {
		IP   string
		Name string
		Port uint16
	}
	var r struct {
		Client, Server end
		Protocol       string
		Endpoint       struct{ Service string }
		Verdict        struct {
			Status, Path, Group string
			Findings            []struct{ ID string }
		}
	}
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatal(err)
	}
	names := func(what string, e *end) bool {
		return strings.Contains(what, e.IP) || e.Name != "" && strings.Contains(what, e.Name)
	}
	if len(list) == 0 {
		t.Errorf("%s without %s: no difference", name, line)
	}
	for _, d := range list {
		ok := d.State == "gone" || d.State == "changed"
		switch d.Kind {
		case "path":
			ok = ok && (d.ID == r.Verdict.Path || d.ID == r.Verdict.Group)
		case "finding":
			ok = ok && slices.ContainsFunc(r.Verdict.Findings, func(f struct{ ID string }) bool { return f.ID == d.ID })
		case "pair":
			ok = ok && names(d.What, &r.Client) && names(d.What, &r.Server)
		case "unexpected":
			ok = ok && r.Verdict.Status == "unexpected" && names(d.What, &r.Server)
		case "endpoint":
			ok = ok && d.ID == r.Endpoint.Service && names(d.What, &r.Server)
		case "unrelated":
			ok = ok && r.Verdict.Status == "unrelated"
		default:
			ok = false
		}
		if !ok {
			t.Errorf("%s without %s: %+v", name, line, d)
		}
	}
}

// TestDiffCaptures compares a recording with one a day later, which must be equal, and
// with one without the frames of a connection, which must be the only difference.
func TestDiffCaptures(t *testing.T) {
	const recording, site = "../../testdata/mail.pcapng", "../../testdata/mail.site.yaml"
	c, err := readFrames(recording)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var flow string
	later, less := &capturetest.Capture{LinkType: c.LinkType}, &capturetest.Capture{LinkType: c.LinkType}
	for _, f := range c.Frames {
		s, ok := cutSegment(c.LinkType, f.Data)
		if flow == "" && ok && s.dst.Port() == 143 {
			flow = s.flow()
		}
		if !ok || s.flow() != flow {
			less.Frames = append(less.Frames, f)
		}
		f.Time = f.Time.Add(24 * time.Hour)
		later.Frames = append(later.Frames, f)
	}
	if list := diffOf(t, "--site", site, recording, writeFrames(t, dir, "later.pcap", later)); len(list) > 0 {
		t.Errorf("a day later: %+v", list)
	}
	list := diffOf(t, "--site", site, recording, writeFrames(t, dir, "less.pcap", less))
	if len(list) == 0 || !slices.ContainsFunc(list, func(d difference) bool { return d.Kind == "pair" }) {
		t.Errorf("without %s: %+v", flow, list)
	}
	for _, d := range list {
		if !strings.Contains(d.What, "IMAP4") || d.State == "new" {
			t.Errorf("without %s: %+v", flow, d)
		}
	}
}
