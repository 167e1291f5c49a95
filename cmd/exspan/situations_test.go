package main

import (
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture/capturetest"
)

// TestSituations compares verdicts with an Exchange expert's judgement of each flow of
// testdata/situations; see the README there. Rows that do not agree yet are listed in
// disagree.txt, which can only shrink.
func TestSituations(t *testing.T) {
	dir := filepath.Join(testdataDir, "situations")
	rows := readTable(t, filepath.Join(dir, "expected.tsv"))
	s := situations{dir: dir, temp: t.TempDir(), runs: map[[2]string]*situation{}}
	groups := newTally()
	known, disagree := map[string]bool{}, map[string]string{}
	for _, row := range rows {
		key := fmt.Sprintf("%s [%s] %s", row["file"], row["site"], row["flow"])
		if known[key] {
			t.Fatalf("two rows for %s", key)
		}
		known[key] = true
		problems := s.judge(t, row)
		groups.count(row["group"], len(problems) == 0)
		if len(problems) > 0 {
			disagree[key] = strings.Join(problems, "; ")
		}
	}
	groups.report(t, "situations")
	checkList(t, filepath.Join(dir, "disagree.txt"), known, disagree)
}

// situations runs each text once for each site file.
type situations struct {
	dir, temp string
	runs      map[[2]string]*situation
}

// situation is the output of one run.
type situation struct {
	hosts map[string]string     // name to address
	flows map[string]jsonRecord // by proto, client and server; the first one of each
	err   error
}

func flowKey(proto, client, server string) string { return proto + " " + client + " > " + server }

func (s *situations) run(t *testing.T, file, site string) *situation {
	t.Helper()
	if done := s.runs[[2]string{file, site}]; done != nil {
		return done
	}
	now := &situation{hosts: map[string]string{}, flows: map[string]jsonRecord{}}
	s.runs[[2]string{file, site}] = now
	text, err := os.ReadFile(filepath.Join(s.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if w := strings.Fields(line); len(w) == 3 && w[0] == "host" {
			now.hosts[w[1]] = w[2]
		}
	}
	data, err := capturetest.Compile(file, text)
	if err != nil {
		now.err = err
		return now
	}
	name := filepath.Join(s.temp, strings.TrimSuffix(file, ".txt")+".pcap")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{name}
	switch site {
	case "no":
	case "yes":
		args = append(args, "--site", filepath.Join(s.dir, strings.TrimSuffix(file, ".txt")+".site.yaml"))
	default:
		args = append(args, "--site", filepath.Join(s.dir, site+".site.yaml"))
	}
	records, err := analyzed(args...)
	now.err = err
	for _, r := range records {
		key := flowKey(r.text("proto"), r.end("client"), r.end("server"))
		if now.flows[key] == nil {
			now.flows[key] = r
		}
	}
	return now
}

// find returns the record of a row's flow, and whether its ends are swapped relative to
// the row.
func (s *situation) find(flow string) (r jsonRecord, swapped bool, problem string) {
	ends, proto, ok := cutLast(flow, "/")
	either := strings.Contains(ends, " <> ")
	client, server, ok2 := strings.Cut(strings.Replace(ends, " <> ", " > ", 1), " > ")
	a, err := s.end(client)
	b, err2 := s.end(server)
	if !ok || !ok2 || err != nil || err2 != nil {
		return nil, false, fmt.Sprintf("%q is no flow: %v %v", flow, err, err2)
	}
	if r := s.flows[flowKey(proto, a, b)]; r != nil {
		return r, false, ""
	}
	if r := s.flows[flowKey(proto, b, a)]; r != nil {
		if either {
			return r, true, ""
		}
		return r, true, "client and server are swapped"
	}
	return nil, false, "no such flow"
}

// end converts NAME:PORT to "address port".
func (s *situation) end(text string) (string, error) {
	name, port, _ := cutLast(strings.TrimSpace(text), ":")
	name = strings.Trim(name, "[]")
	if a, ok := s.hosts[name]; ok {
		name = a
	}
	a, err := netip.ParseAddr(name)
	if err != nil {
		return "", err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return fmt.Sprint(a, " ", n), err
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// judge returns the differences between a row and exspan's output.
func (s *situations) judge(t *testing.T, row map[string]string) []string {
	t.Helper()
	now := s.run(t, row["file"], row["site"])
	if now.err != nil {
		return []string{now.err.Error()}
	}
	r, swapped, problem := now.find(row["flow"])
	if r == nil {
		return []string{problem}
	}
	var other jsonRecord
	if strings.Contains(row["status"], "=yes") {
		if with := s.run(t, row["file"], "yes"); with.err == nil {
			other, _, _ = with.find(row["flow"])
		}
	}
	var problems []string
	if problem != "" {
		problems = append(problems, problem)
	}
	return append(problems, differs(row, r, swapped, other)...)
}

// differs compares a record with a row, column by column. other is the record of the same
// flow with the site file. Where a row lists several answers, undetermined for lack of
// rules is not one of them.
func differs(row map[string]string, r jsonRecord, swapped bool, other jsonRecord) []string {
	var bad []string
	problem := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	v := r.object("verdict")
	status, reason := v.text("status"), v.text("reason")
	ok, byReason := statusIs(row["status"], status, reason, other)
	if !ok {
		got := status
		if reason != "" {
			got += "/" + reason
		}
		problem("status %s, want %s", got, row["status"])
	}
	documented := status == "expected" || status == "deviating"
	paths := r.paths()
	bad = append(bad, pathsDiffer(row, paths, documented)...)
	found := r.findings()
	if documented {
		for _, want := range splitCell(row["findings_must"], ",") {
			if !slices.ContainsFunc(found, func(f finding) bool { return isFinding(f, strings.Split(want, "|")) }) {
				problem("no finding %s", want)
			}
		}
	}
	for _, not := range splitCell(row["findings_must_not"], ",") {
		for _, f := range found {
			if isFinding(f, []string{not}) {
				problem("finding %s:%s", f.id, f.level)
			}
		}
	}
	if row["reason"] != "" && (status == "unexpected" || status == "undetermined") && !byReason {
		if !slices.Contains(strings.Split(row["reason"], "|"), reason) {
			problem("reason %s, want %s", orDash(reason), row["reason"])
		}
	}
	client, server := r.object("client"), r.object("server")
	if swapped {
		client, server = server, client
	}
	bad = append(bad, rolesDiffer("client", row["roles_client"], client.list("roles"))...)
	bad = append(bad, rolesDiffer("server", row["roles_server"], server.list("roles"))...)
	texts := strings.Join(wordsOf(map[string]any(v)), " / ")
	if !documented {
		for _, want := range splitCell(row["why_must_mention"], "&&") {
			if version, ok := strings.CutPrefix(want, "@version="); ok {
				if !strings.Contains(versionWords(r), version) {
					problem("the version %s it was judged by is not visible", version)
				}
			} else if !slices.ContainsFunc(strings.Split(want, "||"), func(s string) bool { return strings.Contains(texts, strings.TrimSpace(s)) }) {
				problem("why does not mention %s: %s", want, orDash(v.text("why")))
			}
		}
	}
	for _, not := range splitCell(row["why_must_not"], "||") {
		if strings.Contains(texts, not) {
			problem("why mentions %s: %s", not, orDash(v.text("why")))
		}
	}
	return bad
}

// statusIs reports whether a status is among the alternatives of a row, and whether it
// matches an alternative that names the reason.
func statusIs(want, status, reason string, other jsonRecord) (ok, byReason bool) {
	alternatives := splitCell(want, "|")
	for _, alternative := range alternatives {
		s, r, _ := strings.Cut(alternative, "/")
		switch {
		case strings.HasPrefix(s, "="):
			ok = ok || other != nil && other.object("verdict").text("status") == status
		case s != status || r != "" && r != reason:
		case r == "no-rules" && len(alternatives) > 1:
		default:
			ok = true
			byReason = byReason || r != ""
		}
	}
	return ok, byReason
}

func pathsDiffer(row map[string]string, paths []string, documented bool) (bad []string) {
	got := orDash(strings.Join(paths, ","))
	switch {
	case row["path"] == "-":
		if len(paths) > 0 {
			bad = append(bad, fmt.Sprintf("path %s, want none", got))
		}
	case documented:
		for _, want := range splitCell(row["path"], ",") {
			if !slices.ContainsFunc(paths, func(p string) bool { return matchesAny(p, strings.Split(want, "|")) }) {
				bad = append(bad, fmt.Sprintf("path %s, want %s", got, want))
			}
		}
	}
	for _, not := range splitCell(row["not_path"], ",") {
		var hit []string
		for _, p := range paths {
			if matchesAny(p, []string{not}) {
				hit = append(hit, p)
			}
		}
		if len(hit) > 0 {
			bad = append(bad, fmt.Sprintf("path %s, must not", strings.Join(hit, ",")))
		}
	}
	return bad
}

// rolesDiffer compares roles. "hub" must be there (for "hub|edge", one of them), and
// "!hub" must not.
func rolesDiffer(end, want string, got []string) (bad []string) {
	var have []string
	for _, role := range got {
		have = append(have, strings.Split(role, "|")...)
	}
	for _, role := range splitCell(want, ",") {
		if not, ok := strings.CutPrefix(role, "!"); ok {
			if slices.Contains(have, not) {
				bad = append(bad, fmt.Sprintf("%s is %s", end, not))
			}
		} else if !slices.ContainsFunc(strings.Split(role, "|"), func(r string) bool { return slices.Contains(have, r) }) {
			bad = append(bad, fmt.Sprintf("%s is not %s", end, role))
		}
	}
	return bad
}

// isFinding reports whether a finding is one of ID or ID:LEVEL.
func isFinding(f finding, alternatives []string) bool {
	return slices.ContainsFunc(alternatives, func(want string) bool {
		id, level, _ := strings.Cut(strings.TrimSpace(want), ":")
		return matchesAny(f.id, []string{id}) && (level == "" || level == f.level)
	})
}

// wordsOf returns all texts of a verdict except the ids of paths, its status and its
// grades.
func wordsOf(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, x := range v {
			all = append(all, wordsOf(x)...)
		}
	case map[string]any:
		for name, x := range v {
			switch name {
			case "path", "also", "group", "status", "confidence", "source_confidence":
			default:
				all = append(all, wordsOf(x)...)
			}
		}
	}
	return all
}

// versionWords returns the texts of a record that can reveal the version by which it was
// judged. They exclude times, addresses, names and facts.
func versionWords(r jsonRecord) string {
	var all []string
	for name, x := range r {
		switch name {
		case "first", "last", "community_id", "facts":
		case "client", "server":
			for inner, y := range r.object(name) {
				if inner != "ip" && inner != "name" {
					all = append(all, wordsOf(y)...)
				}
			}
		default:
			all = append(all, wordsOf(x)...)
		}
	}
	return strings.Join(all, " / ")
}

// matchesAny reports whether s matches one of the patterns, in which * matches anything.
func matchesAny(s string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(strings.TrimSpace(p), s)
		return ok && err == nil
	})
}

// splitCell splits a cell and drops empty parts.
func splitCell(cell, sep string) (parts []string) {
	for _, p := range strings.Split(cell, sep) {
		if p = strings.TrimSpace(p); p != "" {
			parts = append(parts, p)
		}
	}
	return parts
}
