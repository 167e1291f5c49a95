package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/rules"
)

// coverageRow holds the fields of a coverage that tests use.
type coverageRow struct {
	ID, Exchange, State, Why string
	Flows                    uint64
	Tied                     bool
}

func coverageOf(t *testing.T, args ...string) []coverageRow {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(append([]string{"rules", "coverage", "-q", "--format", "json"}, args...), &stdout, &stderr); code != exitDone {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr.String())
	}
	var rows []coverageRow
	if err := json.Unmarshal(stdout.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// everyPath writes one capture with packets that follow every documented path of a
// version, and a site file. It returns their names.
func everyPath(t *testing.T, packs *rules.Packs, version string) (capture, site string) {
	t.Helper()
	p := newPathText(packs)
	for _, d := range documentedPaths(t) {
		if v := d.row["version"]; v != version && v != rules.Platform || d.portless() || d.row["table"] == "not-used" {
			continue
		}
		if _, err := p.generate(&d); err != nil {
			t.Errorf("%s: %v", d.id(), err)
		}
	}
	var text strings.Builder
	text.WriteString("start 2026-01-02T09:14:00Z\n")
	for name, address := range p.hosts {
		fmt.Fprintf(&text, "host %s %s\n", name, address)
	}
	text.WriteString(p.String())
	data, err := capturetest.Compile(version, []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	capture, site = filepath.Join(dir, "a.pcap"), filepath.Join(dir, "a.yaml")
	for name, b := range map[string][]byte{capture: data, site: []byte(pathSite(versionInSite(version)))} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return capture, site
}

// TestCoverageOfEveryPath compares the coverage of captures that contain every documented
// path of a version with their content. All paths must be seen; in one half of the
// traffic, all but those that only the other half announces; in an empty capture, none.
func TestCoverageOfEveryPath(t *testing.T) {
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	unreached := readList(t, filepath.Join(testdataDir, "reference", "unreached.txt"))
	for _, version := range []string{"2003", "2007", "2010", "2013", "2016", "2019", "se"} {
		capture, site := everyPath(t, packs, version)
		rows := coverageOf(t, "--site", site, "--all", capture)
		n := 0
		for _, p := range slices.Concat(packs.Paths(versionInSite(version)), packs.Paths(rules.Platform)) {
			if !p.NotUsed {
				n++
			}
		}
		if len(rows) != n {
			t.Errorf("%s: %d rows, want %d", version, len(rows), n)
		}
		for _, r := range rows {
			p := packs.Path(r.ID)
			portless := !slices.ContainsFunc(p.Legs, func(l rules.Leg) bool { return l.Port.IP == "" })
			switch _, known := unreached[r.ID]; {
			case known, portless: // there are no packets for it
			case p.Local: // traffic within a host is not on the wire
				if r.State != "not-observable" {
					t.Errorf("%s: %s", r.ID, r.State)
				}
			case p.LastResort() && r.State == "not-observable" && strings.Contains(r.Why, "documented better"):
			case r.State != "seen" && r.State != "deviating":
				t.Errorf("%s: %s %s", r.ID, r.State, r.Why)
			}
		}
		checkOneWay(t, version, site, capture)
		for _, r := range coverageOf(t, "--site", site, capture, "--", "ip6") {
			if r.State != "not-seen" || r.Why != "" {
				t.Errorf("%s: %s %s in an empty capture", r.ID, r.State, r.Why)
			}
		}
	}
}

// checkOneWay reads the packets to one server, as from a mirror port of one direction.
// Each path that this server shows in both directions must be seen, or not observable
// because of the direction. None may be blocked or not seen.
func checkOneWay(t *testing.T, version, site, capture string) {
	t.Helper()
	seen, hidden := 0, 0
	both := map[string]coverageRow{}
	for _, r := range coverageOf(t, "--site", site, capture, "--", "host 10.0.1.1") {
		both[r.ID] = r
	}
	for _, r := range coverageOf(t, "--site", site, capture, "--", "dst host 10.0.1.1") {
		if s := both[r.ID].State; s != "seen" && s != "deviating" {
			continue
		}
		switch {
		case r.State == "seen" || r.State == "deviating":
			seen++
		case r.State == "not-observable" && strings.Contains(r.Why, "captured in one direction only"):
			hidden++
		default:
			t.Errorf("%s: %s %s in a capture of one direction", r.ID, r.State, r.Why)
		}
	}
	t.Logf("%s: of one direction %d paths are seen, %d not observable", version, seen, hidden)
	if seen == 0 {
		t.Errorf("%s: nothing is seen in one direction", version)
	}
}
