package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// lists determines what tests do with the committed lists of known disagreements.
var lists = flag.String("lists", "", `"shrink" takes off the lists what agrees now, "rewrite" writes them anew`)

// testdataDir is the folder of recorded captures and their ground truth.
const testdataDir = "../../testdata"

// testdata returns the path of a file in testdataDir.
func testdata(name string) string { return filepath.Join(testdataDir, name) }

// checkList compares disagreements with the committed list. The keys of disagree name
// what was compared; its values describe the difference. known holds all existing keys,
// and whether each was compared in this run. A key that disagrees and is not listed is an
// error. So is a listed key that agrees or does not exist: the list can only shrink.
//
// A line of the list consists of a key, a tab, and the difference when the line was
// written, which is only for the reader.
func checkList(t *testing.T, name string, known map[string]bool, disagree map[string]string) {
	t.Helper()
	listed := readList(t, name)
	switch *lists {
	case "":
	case "shrink":
		for key := range listed {
			compared, exists := known[key]
			switch _, differs := disagree[key]; {
			case differs:
				listed[key] = disagree[key]
			case compared || !exists:
				delete(listed, key)
			}
		}
		writeList(t, name, listed)
	case "rewrite":
		for key := range listed {
			if compared, exists := known[key]; compared || !exists {
				delete(listed, key)
			}
		}
		maps.Copy(listed, disagree)
		writeList(t, name, listed)
	default:
		t.Fatalf("-lists is %q; shrink and rewrite are known", *lists)
	}
	for _, key := range slices.Sorted(maps.Keys(disagree)) {
		if _, ok := listed[key]; !ok {
			t.Errorf("%s: %s", key, disagree[key])
		}
	}
	better := 0
	for _, key := range slices.Sorted(maps.Keys(listed)) {
		compared, exists := known[key]
		switch _, differs := disagree[key]; {
		case !exists:
			t.Errorf("%s lists %q, which does not exist", name, key)
		case compared && !differs:
			better++
			if better <= 10 {
				t.Errorf("%s agrees now", key)
			}
		}
	}
	if better > 0 {
		t.Errorf("%d lines of %s agree now: take them off with go test ./cmd/exspan -run '^%s$' -lists shrink", better, name, t.Name())
	}
}

// checkCounts is like checkList, for comparisons with too many differences to list. It
// compares the number of differences under a key with the committed number, which can
// only shrink. differ also contains keys without differences. A line of the list consists
// of a key, a tab, the number, a tab, and one of the differences. A person can add another
// tab and the reason, which stays.
func checkCounts(t *testing.T, name string, differ map[string][]string) {
	t.Helper()
	listed := map[string]int{}
	text := readList(t, name)
	for key, value := range text {
		number, _, _ := strings.Cut(value, "\t")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("%s: %q: %v", name, key, err)
		}
		listed[key] = n
	}
	better := 0
	for _, key := range slices.Sorted(maps.Keys(differ)) {
		n := len(differ[key])
		if n < listed[key] {
			better++
		}
		if n > listed[key] && *lists != "rewrite" {
			t.Errorf("%s: %d differ, %d are listed:\n%s", key, n, listed[key], strings.Join(differ[key][:min(n, 20)], "\n"))
		}
		switch {
		case *lists == "" || *lists == "shrink" && n > listed[key]:
		case n == 0:
			delete(text, key)
		default:
			slices.Sort(differ[key])
			columns := strings.SplitN(text[key], "\t", 3)
			text[key] = fmt.Sprintf("%d\t%s", n, differ[key][0])
			if len(columns) == 3 {
				text[key] += "\t" + columns[2]
			}
		}
	}
	if *lists != "" {
		writeList(t, name, text)
	} else if better > 0 {
		t.Errorf("%d lines of %s are better now: lower them with go test ./cmd/exspan -run '^%s$' -lists shrink", better, name, t.Name())
	}
}

func readList(t *testing.T, name string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil && (!os.IsNotExist(err) || *lists == "") {
		t.Fatal(err)
	}
	list := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSuffix(line, "\n"); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, reason, _ := strings.Cut(line, "\t")
		if _, twice := list[key]; twice {
			t.Fatalf("%s lists %q twice", name, key)
		}
		list[key] = reason
	}
	return list
}

func writeList(t *testing.T, name string, list map[string]string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("# What does not agree yet, and how it differs. Tests let this list shrink, never grow.\n")
	for _, key := range slices.Sorted(maps.Keys(list)) {
		fmt.Fprintf(&b, "%s\t%s\n", key, strings.ReplaceAll(list[key], "\n", " "))
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tally counts agreements by group.
type tally struct {
	agree, total map[string]int
}

func newTally() *tally { return &tally{map[string]int{}, map[string]int{}} }

func (c *tally) count(group string, agrees bool) {
	c.total[group]++
	if agrees {
		c.agree[group]++
	}
}

// report logs the counts and writes them to NAME.txt in the folder that EXSPAN_AGREEMENT
// names. make test prints them from there, because go test does not print the logs of
// passed tests.
func (c *tally) report(t *testing.T, name string) {
	t.Helper()
	var b strings.Builder
	agree, total := 0, 0
	for _, group := range slices.Sorted(maps.Keys(c.total)) {
		agree, total = agree+c.agree[group], total+c.total[group]
		fmt.Fprintf(&b, "%-16s %-40s %5d of %5d agree\n", name, group, c.agree[group], c.total[group])
	}
	fmt.Fprintf(&b, "%-16s %-40s %5d of %5d agree\n", name, "all", agree, total)
	t.Log("\n" + b.String())
	dir := os.Getenv("EXSPAN_AGREEMENT")
	if dir == "" {
		return
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".txt"), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readTable reads a table of tab-separated values whose first line names the columns.
func readTable(t *testing.T, name string) []map[string]string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	var columns []string
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.TrimRight(line, "\r\n"), "\t")
		if columns == nil {
			columns = cells
			continue
		}
		if len(cells) != len(columns) {
			t.Fatalf("%s: %d columns where %d are wanted: %s", name, len(cells), len(columns), line)
		}
		row := map[string]string{}
		for i, c := range columns {
			row[c] = cells[i]
		}
		rows = append(rows, row)
	}
	return rows
}

// jsonRecord is one line of NDJSON, read without the program's own types.
type jsonRecord map[string]any

func (r jsonRecord) object(name string) jsonRecord {
	m, _ := r[name].(map[string]any)
	return m
}

func (r jsonRecord) text(name string) string {
	s, _ := r[name].(string)
	return s
}

func (r jsonRecord) list(name string) (all []string) {
	values, _ := r[name].([]any)
	for _, v := range values {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

func (r jsonRecord) number(name string) int {
	n, _ := r[name].(float64)
	return int(n)
}

// end returns the address and port of one end, as "address port".
func (r jsonRecord) end(name string) string {
	e := r.object(name)
	return fmt.Sprint(e.text("ip"), " ", e.number("port"))
}

// paths returns verdict.path and verdict.also.
func (r jsonRecord) paths() []string {
	v := r.object("verdict")
	if p := v.text("path"); p != "" {
		return append([]string{p}, v.list("also")...)
	}
	return v.list("also")
}

// finding is an entry of verdict.findings.
type finding struct{ id, level string }

func (r jsonRecord) findings() (all []finding) {
	values, _ := r.object("verdict")["findings"].([]any)
	for _, v := range values {
		switch v := v.(type) {
		case string:
			all = append(all, finding{v, ""})
		case map[string]any:
			all = append(all, finding{jsonRecord(v).text("id"), jsonRecord(v).text("level")})
		}
	}
	return all
}

// analyzed runs exspan analyze on a capture and returns its records. An exit code other
// than 0 is an error; the records read so far are still returned.
func analyzed(args ...string) ([]jsonRecord, error) {
	var stdout, stderr bytes.Buffer
	var failed error
	if code := run(append([]string{"analyze", "-q", "--format", "ndjson"}, args...), &stdout, &stderr); code != exitDone {
		failed = fmt.Errorf("exit code %d: %s", code, strings.TrimSpace(stderr.String()))
	}
	var all []jsonRecord
	for line := range bytes.Lines(stdout.Bytes()) {
		var r jsonRecord
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%w: %s", err, line)
		}
		all = append(all, r)
	}
	return all, failed
}
