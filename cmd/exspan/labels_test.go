package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recording is a capture of testdata with its ground truth.
type recording struct {
	name  string
	hosts map[string]recordedHost // by name
	names map[string]string       // address to name
}

type recordedHost struct {
	Name, Address string
	Roles         []string
}

func (r *recording) capture() string { return filepath.Join(testdataDir, r.name+".pcapng") }
func (r *recording) site() string    { return filepath.Join(testdataDir, r.name+".site.yaml") }

// recordings returns all captures of testdata with a ground truth.
func recordings(t *testing.T) (all []recording) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testdataDir, "*.truth.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded captures: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var truth struct{ Hosts []recordedHost }
		if err := json.Unmarshal(data, &truth); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		r := recording{strings.TrimSuffix(filepath.Base(file), ".truth.json"), map[string]recordedHost{}, map[string]string{}}
		for _, h := range truth.Hosts {
			r.hosts[h.Name], r.names[h.Address] = h, h.Name
		}
		all = append(all, r)
	}
	return all
}

// label is a row of testdata/labels.
type label struct {
	capture string
	row     map[string]string
}

func (l *label) key() string { return l.capture + " " + l.row["flow"] + " frame " + l.row["frame"] }

// labels returns the expected verdicts of a recording.
func labels(t *testing.T, r *recording) (all []label) {
	t.Helper()
	for _, row := range readTable(t, filepath.Join(testdataDir, "labels", r.name+".tsv")) {
		all = append(all, label{r.name, row})
	}
	return all
}

// byLabel returns the record of each label, or nil if there is none, and the number of
// remaining records. Flows with the same ends are matched in the order in which they
// begin.
func byLabel(t *testing.T, r *recording, all []label, records []jsonRecord) (found []jsonRecord, swapped []bool, left int) {
	t.Helper()
	hosts := map[string]string{}
	for name, h := range r.hosts {
		hosts[name] = h.Address
	}
	flows := map[string][]jsonRecord{}
	slices.SortStableFunc(records, func(a, b jsonRecord) int { return strings.Compare(a.text("first"), b.text("first")) })
	for _, rec := range records {
		key := flowKey(rec.text("proto"), rec.end("client"), rec.end("server"))
		flows[key] = append(flows[key], rec)
	}
	left = len(records)
	s := situation{hosts: hosts}
	for _, l := range all {
		ends, proto, _ := cutLast(l.row["flow"], "/")
		client, server, _ := strings.Cut(ends, " > ")
		a, err := s.end(client)
		b, err2 := s.end(server)
		if err != nil || err2 != nil {
			t.Fatalf("%s: %v %v", l.key(), err, err2)
		}
		var rec jsonRecord
		key, turned := flowKey(proto, a, b), false
		if len(flows[key]) == 0 {
			key, turned = flowKey(proto, b, a), true
		}
		if len(flows[key]) > 0 {
			rec, flows[key] = flows[key][0], flows[key][1:]
			left--
		}
		found, swapped = append(found, rec), append(swapped, turned)
	}
	return found, swapped, left
}

// TestLabels compares the verdict of every flow of every recording with the expected one
// in testdata/labels; see the README there. Flows that do not agree yet are listed in
// disagree.txt, which can only shrink.
func TestLabels(t *testing.T) {
	groups := newTally()
	known, disagree := map[string]bool{}, map[string]string{}
	for _, r := range recordings(t) {
		records, err := analyzed("--site", r.site(), r.capture())
		if err != nil {
			t.Fatal(err)
		}
		all := labels(t, &r)
		found, swapped, left := byLabel(t, &r, all, records)
		if left != 0 {
			t.Errorf("%s: %d flows without a label", r.name, left)
		}
		for i, l := range all {
			key := l.key()
			if known[key] {
				t.Fatalf("two labels for %s", key)
			}
			known[key] = true
			problems := []string{"no such flow"}
			if found[i] != nil {
				problems = differs(l.row, found[i], swapped[i], nil)
				if swapped[i] {
					problems = append(problems, "client and server are swapped")
				}
			}
			groups.count(r.name, len(problems) == 0)
			if len(problems) > 0 {
				disagree[key] = fmt.Sprintf("%s (%s)", strings.Join(problems, "; "), l.row["note"])
			}
		}
	}
	groups.report(t, "labels")
	checkList(t, filepath.Join(testdataDir, "labels", "disagree.txt"), known, disagree)
}

// TestWithoutSite reads every recording without its site file. A flow of an Exchange
// server should keep its verdict, and no host may get a role that it does not have. Flows
// that lose their verdict are listed in without-site.txt, and hosts with a false role in
// false-roles.txt. Both lists can only shrink.
func TestWithoutSite(t *testing.T) {
	groups := newTally()
	flows, lost := map[string]bool{}, map[string]string{}
	hosts, wrong := map[string]bool{}, map[string]string{}
	for _, r := range recordings(t) {
		with, err := analyzed("--site", r.site(), r.capture())
		if err != nil {
			t.Fatal(err)
		}
		without, err := analyzed(r.capture())
		if err != nil {
			t.Fatal(err)
		}
		all := labels(t, &r)
		a, _, _ := byLabel(t, &r, all, with)
		b, _, _ := byLabel(t, &r, all, without)
		for i, l := range all {
			if l.row["status"] == "unrelated" || a[i] == nil {
				continue
			}
			flows[l.key()] = true
			kept := b[i] != nil && sameVerdict(a[i], b[i])
			groups.count(r.name, kept)
			if !kept {
				lost[l.key()] = fmt.Sprintf("%s, with the site file %s", verdictOf(b[i]), verdictOf(a[i]))
			}
		}
		for _, rec := range without {
			for _, end := range []string{"client", "server"} {
				e := rec.object(end)
				name := r.names[e.text("ip")]
				key := r.name + " " + orDash(name) + " " + e.text("ip")
				hosts[key] = true
				for _, role := range e.list("roles") {
					if !trueRole(r.hosts[name].Roles, role) {
						wrong[key] = fmt.Sprintf("is %s, not %s", orDash(strings.Join(r.hosts[name].Roles, ",")), role)
					}
				}
			}
		}
	}
	groups.report(t, "without site")
	dir := filepath.Join(testdataDir, "labels")
	checkList(t, filepath.Join(dir, "without-site.txt"), flows, lost)
	checkList(t, filepath.Join(dir, "false-roles.txt"), hosts, wrong)
}

// sameVerdict reports whether two records have the same status and the path of one is
// among those of the other.
func sameVerdict(a, b jsonRecord) bool {
	v, w := a.object("verdict"), b.object("verdict")
	p, q := v.text("path"), w.text("path")
	return v.text("status") == w.text("status") && (p == q || slices.Contains(v.list("also"), q) || slices.Contains(w.list("also"), p))
}

// verdictOf returns the status and the first data path of a record.
func verdictOf(r jsonRecord) string {
	if r == nil {
		return "no such flow"
	}
	v := r.object("verdict")
	return strings.TrimSpace(v.text("status") + " " + v.text("path"))
}

// trueRole reports whether a host with certain roles has one of the roles in "a|b". An
// administrator or a host on the internet is also a client. A host without a role of its
// own is a telephone or the router in front of it.
func trueRole(roles []string, role string) bool {
	can := slices.Clone(roles)
	switch {
	case len(roles) == 0:
		can = append(can, "client", "pbx")
	case slices.Contains(roles, "admin"), slices.Contains(roles, "internet"):
		can = append(can, "client")
	case slices.Contains(roles, "dc"):
		can = append(can, "dc", "gc", "dns")
	case slices.ContainsFunc(roles, inside):
		can = append(can, "any-exchange")
	}
	return slices.ContainsFunc(strings.Split(role, "|"), func(r string) bool { return slices.Contains(can, r) })
}
