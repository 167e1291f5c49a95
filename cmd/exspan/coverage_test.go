package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/exspan/exspan/rules"
)

// TestEveryPathHasAScenario fails for each data path of the embedded rules that no
// scenario covers. A scenario covers a path if verdict.path or verdict.also of its
// expected output contains the path.
func TestEveryPathHasAScenario(t *testing.T) {
	reached := map[string]bool{}
	files, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range wantedPaths(txtar.Parse(data)) {
			reached[id] = true
		}
	}
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	paths := packs.Paths("2010")
	for _, p := range paths {
		switch {
		case reached[p.ID] && slices.Contains(unreached, p.ID):
			t.Errorf("a scenario reaches %s: take it off the list", p.ID)
		case p.Confidence == "low": // it does not explain what a better row explains
		case !reached[p.ID] && !slices.Contains(unreached, p.ID):
			t.Errorf("no scenario reaches %s", p.ID)
		}
	}
	if len(paths) != 97 {
		t.Errorf("%d data paths of 2010, not 97", len(paths))
	}
}

// unreached lists the data paths of 2010 that no scenario covers. The packets of
// TestDocumentedPaths cover them.
var unreached = []string{
	"2010.transport.adlds", "2010.transport.protocol-analysis", "2010.transport.dns-external", "2010.firewall.rpc-client-access",
	"2010.firewall.address-book", "2010.cas.udp-notification", "2010.cas.oab-fds", "2010.cas.powershell",
	"2010.dag.witness-wmi", "2010.dag.repl-wcf", "2010.hybrid.smtp", "2010.hybrid.https", "2010.hybrid.mrsproxy", "2010.federation.freebusy",
	"2010.federation.sts",
	"2010.mailbox.rus-rpc", // of low confidence; 2010.mailbox.oab-ad explains the same
}

// wantedPaths returns the data paths that a scenario expects: those in NDJSON files with
// which output is compared, and those in the columns verdict.path and verdict.also of
// fields.
func wantedPaths(scenario *txtar.Archive) (ids []string) {
	files := map[string]string{}
	for _, f := range scenario.Files {
		files[f.Name] = string(f.Data)
	}
	var columns []string
	for line := range strings.Lines(string(scenario.Comment)) {
		words := strings.Fields(line)
		switch {
		case len(words) > 3 && words[0] == "fields":
			columns = words[3:]
		case len(words) == 3 && words[0] == "cmp":
			for row := range strings.Lines(files[words[2]]) {
				if words[1] == "stdout" {
					ids = append(ids, pathsOfRecord(row)...)
					continue
				}
				ids = append(ids, pathsOfRow(row, columns)...)
			}
		}
	}
	return ids
}

func pathsOfRecord(line string) []string {
	var record struct {
		Verdict struct {
			Path string
			Also []string
		}
	}
	if json.Unmarshal([]byte(line), &record) != nil {
		return nil
	}
	return append(record.Verdict.Also, record.Verdict.Path)
}

// pathsOfRow reads a row of fields. Values can contain spaces, so pathsOfRow counts cells
// from the end that contains fewer of them: the last columns are those of the verdict.
func pathsOfRow(line string, columns []string) (ids []string) {
	cells := strings.Fields(line)
	for i, column := range columns {
		at := len(cells) - len(columns) + i
		if at >= 0 && (column == "verdict.path" || column == "verdict.also") {
			ids = append(ids, strings.Split(cells[at], ",")...)
		}
	}
	return ids
}

// TestWantedPaths reads the paths of a small scenario.
func TestWantedPaths(t *testing.T) {
	got := wantedPaths(txtar.Parse([]byte(`
# 2010.not.in.a.comment
fields stdout got facts.rpc.interface verdict.path verdict.also verdict.findings
cmp got want
cmp stdout want.json
-- want --
one two v1.0 2010.a 2010.b,2010.c -
-- want.json --
{"verdict":{"path":"2010.d","also":["2010.e"]}}
-- unused --
2010.f
`)))
	slices.Sort(got)
	if want := []string{"2010.a", "2010.b", "2010.c", "2010.d", "2010.e"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
