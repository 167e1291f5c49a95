package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture/capturetest"
)

// TestFaults compares captures that once gave wrong answers, and similar ones, with the
// correct answers in testdata/faults/expected.tsv; see the README there. Captures that
// cannot be redistributed are read from the folder that EXSPAN_FAULTS names, or from the
// one beside EXSPAN_CORPUS, and skipped if there is none. Rows that do not hold yet are
// listed in disagree.txt, which can only shrink.
func TestFaults(t *testing.T) {
	dir := filepath.Join(testdataDir, "faults")
	f := faults{dir: dir, others: os.Getenv("EXSPAN_FAULTS"), temp: t.TempDir(), runs: map[[2]string][]jsonRecord{}}
	if f.others == "" && os.Getenv("EXSPAN_CORPUS") != "" {
		f.others = filepath.Join(filepath.Dir(filepath.Clean(os.Getenv("EXSPAN_CORPUS"))), "faults")
	}
	groups := newTally()
	compared, disagree := map[string]bool{}, map[string]string{}
	skipped := 0
	for _, row := range readTable(t, filepath.Join(dir, "expected.tsv")) {
		key := fmt.Sprintf("%s %s %s %s", row["file"], row["server"], row["field"], row["want"])
		if _, twice := compared[key]; twice {
			t.Fatalf("two rows for %s", key)
		}
		file := f.find(row["file"])
		if compared[key] = file != ""; file == "" {
			skipped++
			continue
		}
		got, ok := holds(f.run(t, file, row["site"]), row)
		group, _, nested := strings.Cut(row["file"], "/")
		if !nested {
			group = "others"
		}
		groups.count(group, ok)
		if !ok {
			disagree[key] = fmt.Sprintf("got %s (%s)", got, row["why"])
		}
	}
	groups.report(t, "faults")
	if skipped > 0 {
		t.Logf("%d rows skipped: EXSPAN_FAULTS names no folder with their captures", skipped)
	}
	checkList(t, filepath.Join(dir, "disagree.txt"), compared, disagree)
}

// faults reads each capture once with each site file.
type faults struct {
	dir, others, temp string
	runs              map[[2]string][]jsonRecord
}

// find returns the path of a capture, or "".
func (f *faults) find(file string) string {
	for _, dir := range []string{f.dir, f.others} {
		name := filepath.Join(dir, file)
		if _, err := os.Stat(name); err == nil && dir != "" {
			return name
		}
	}
	return ""
}

func (f *faults) run(t *testing.T, file, site string) []jsonRecord {
	t.Helper()
	key := [2]string{file, site}
	if records, done := f.runs[key]; done {
		return records
	}
	args := []string{file}
	if strings.HasSuffix(file, ".txt") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data, err := capturetest.Compile(file, text)
		if err != nil {
			t.Fatal(err)
		}
		args[0] = filepath.Join(f.temp, strings.TrimSuffix(filepath.Base(file), ".txt")+".pcap")
		if err := os.WriteFile(args[0], data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if site != "-" {
		args = append(args, "--site", filepath.Join(f.dir, site))
	}
	records, err := analyzed(args...)
	if err != nil {
		t.Errorf("%s: %v", file, err)
	}
	f.runs[key] = records
	return records
}

// holds returns the records' value for a row and whether it is the expected one.
func holds(records []jsonRecord, row map[string]string) (got string, ok bool) {
	if row["server"] == "*" {
		return fmt.Sprintf("%d flows", len(records)), len(records) > 0
	}
	end, proto, _ := cutLast(row["server"], "/")
	ip, port, _ := cutLast(end, ":")
	field, arg, _ := strings.Cut(row["field"], ":")
	var flows []jsonRecord
	for _, r := range records {
		if r.text("proto") == proto && r.end("server") == ip+" "+port {
			flows = append(flows, r)
		}
	}
	want := strings.Split(row["want"], "|")
	wanted := func(v string) bool { return slices.Contains(want, v) || want[0] == "*" }
	var values []string
	switch field {
	case "finding":
		for _, r := range flows {
			for _, f := range r.findings() {
				values = append(values, f.id)
			}
		}
		ok = slices.ContainsFunc(values, wanted)
	case "fact", "nofact":
		for _, r := range flows {
			values = append(values, r.object("facts").list(arg)...)
		}
		ok = len(flows) > 0 && slices.ContainsFunc(values, wanted) == (field == "fact")
	case "not":
		for _, r := range flows {
			values = append(values, r.text("protocol"))
		}
		ok = len(flows) > 0 && !slices.ContainsFunc(values, wanted)
	case "both":
		for _, r := range flows {
			p := r.object("packets")
			values = append(values, fmt.Sprintf("%d/%d", p.number("to_server"), p.number("to_client")))
			ok = ok || p.number("to_server") > 0 && p.number("to_client") > 0
		}
	default:
		if arg != "" {
			flows = slices.DeleteFunc(flows, func(r jsonRecord) bool { return r.object("client").text("ip") != arg })
		}
		for _, r := range flows {
			values = append(values, fieldOf(r, field, len(flows)))
		}
		ok = len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(want, v) })
	}
	slices.Sort(values)
	return orNothing(strings.Join(slices.Compact(values), "|")), ok
}

// fieldOf returns a field of one of n flows to the same server.
func fieldOf(r jsonRecord, field string, n int) string {
	switch field {
	case "count":
		return fmt.Sprint(n)
	case "packets":
		p := r.object("packets")
		return fmt.Sprintf("%d/%d", p.number("to_server"), p.number("to_client"))
	case "status", "confidence":
		return r.object("verdict").text(field)
	}
	return r.text(field)
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// TestClockStepsBack reads the same traffic twice with a monitor, once with a clock that
// steps back in between. Before the end of the input, both runs must have written the
// same number of records.
func TestClockStepsBack(t *testing.T) {
	written := func(name string) int {
		f, err := os.Open(filepath.Join(testdataDir, "faults", name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		stdin := os.Stdin
		os.Stdin = r
		defer func() { os.Stdin = stdin }()
		out := filepath.Join(t.TempDir(), "records")
		ended := make(chan int)
		var stderr bytes.Buffer
		go func() {
			ended <- run([]string{"monitor", "-r", "-", "--ndjson", out, "--web.listen-address="}, io.Discard, &stderr)
		}()
		if _, err := io.Copy(w, in); err != nil {
			t.Fatal(err)
		}
		// No more input follows. What has been written now was written in time.
		n := -1
		for range 60 {
			data, _ := os.ReadFile(out)
			lines := bytes.Count(data, []byte("\n"))
			if lines == n && n > 0 {
				break
			}
			n = lines
			time.Sleep(500 * time.Millisecond)
		}
		w.Close()
		if code := <-ended; code != exitDone {
			t.Fatalf("%s: exit code %d: %s", name, code, &stderr)
		}
		return n
	}
	back, ok := written("19-clockback.pcap.gz"), written("19b-clockok.pcap.gz")
	t.Logf("%d records with a step back, %d without", back, ok)
	if ok < 1000 || back < ok {
		t.Errorf("%d records with a step back, %d without", back, ok)
	}
}

// TestOpaqueIsNamed reads tunnels and protocols whose content cannot be read. The summary
// must name them. Those that it does not name yet are listed in unnamed.txt.
func TestOpaqueIsNamed(t *testing.T) {
	dir := filepath.Join(testdataDir, "faults")
	known, unnamed := map[string]bool{}, map[string]string{}
	for file, name := range map[string]string{"esp": "esp", "ike500": "ike", "sctp132": "sctp"} {
		data, err := os.ReadFile(filepath.Join(dir, "encapsulations", file+".pcap"))
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), "a.pcap") // a name without information
		if err := os.WriteFile(copied, data, 0o644); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		if code := run([]string{"analyze", copied}, &stdout, &stderr); code != exitDone {
			t.Fatalf("%s: exit code %d: %s", file, code, &stderr)
		}
		known[file] = true
		output := strings.ReplaceAll(strings.ToLower(stdout.String()+stderr.String()), filepath.Dir(copied), "")
		words := strings.FieldsFunc(output, func(r rune) bool { return r < 'a' || r > 'z' })
		if !slices.Contains(words, name) {
			unnamed[file] = name + " is not named"
		}
	}
	checkList(t, filepath.Join(dir, "unnamed.txt"), known, unnamed)
}
