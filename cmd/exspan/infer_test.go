package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/rules"
)

// inferred runs site infer and returns the parsed file and its text.
func inferred(t *testing.T, args ...string) (*rules.Site, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "site.yaml")
	var stderr bytes.Buffer
	if code := run(append([]string{"site", "infer", "-q", "-o", file}, args...), &stderr, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	site, err := rules.LoadSite(file, data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return site, file
}

// TestInferRecordings infers a site file from each recording without the recording's own
// site file. No role in the file may be wrong, and the file must name most of the
// Exchange servers in the recording. A second run with the file must return the same
// file, and the output of analyze with the file must not contradict the recording's own
// site file. The hosts and flows for which this does not hold yet are listed in
// infer.txt, which can only shrink.
func TestInferRecordings(t *testing.T) {
	groups := newTally()
	known, wrong := map[string]bool{}, map[string]string{}
	servers, right, open := 0, 0, 0
	for _, r := range recordings(t) {
		got, name := inferred(t, r.capture())
		with, err := analyzed("--site", r.site(), r.capture())
		if err != nil {
			t.Fatal(err)
		}
		again, err := analyzed("--site", name, r.capture())
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, rec := range with {
			seen[rec.object("client").text("ip")], seen[rec.object("server").text("ip")] = true, true
		}
		for hostName, h := range r.hosts {
			i := slices.IndexFunc(got.Servers, func(s rules.Server) bool { return slices.Contains(s.Addresses, netip.MustParseAddr(h.Address)) })
			key := r.name + " " + hostName
			known[key] = true
			exchange := slices.ContainsFunc(h.Roles, inside) && seen[h.Address]
			named := false
			if i >= 0 {
				for _, role := range got.Servers[i].Roles {
					if !trueRole(h.Roles, string(role)) {
						wrong[key] = fmt.Sprintf("is called %s, and is %s", role, strings.Join(h.Roles, ","))
					}
					named = true
				}
				if any := got.Servers[i].OneOf; len(any) > 0 && !slices.ContainsFunc(any, func(role rules.Role) bool { return trueRole(h.Roles, string(role)) }) {
					wrong[key] = fmt.Sprintf("is called one of %v, and is %s", any, strings.Join(h.Roles, ","))
				} else if len(any) > 0 && exchange && !named {
					open++
				}
			}
			if exchange {
				servers++
				groups.count(r.name, i >= 0)
				if named {
					right++
				}
			}
		}
		all := labels(t, &r)
		a, _, _ := byLabel(t, &r, all, with)
		b, _, _ := byLabel(t, &r, all, again)
		for i, l := range all {
			known[l.key()] = true
			if a[i] == nil || b[i] == nil {
				t.Fatalf("%s: no such flow", l.key())
			}
			switch b[i].object("verdict").text("status") {
			case "unrelated", "undetermined":
				continue // it makes no claim
			}
			if a[i].object("verdict").text("status") != "undetermined" && !sameVerdict(a[i], b[i]) {
				wrong[l.key()] = fmt.Sprintf("%s, with the site file %s", verdictOf(b[i]), verdictOf(a[i]))
			}
		}
		second, _ := inferred(t, "--site", name, r.capture())
		if !reflect.DeepEqual(got, second) {
			t.Errorf("%s: a second run infers\n%+v\nwant\n%+v", r.name, second, got)
		}
	}
	groups.report(t, "named")
	if right < 29 {
		t.Errorf("%d servers are named with their role; there were 29", right)
	}
	t.Logf("of %d Exchange servers that take part %d are named with their role, and %d with alternatives", servers, right, open)
	checkList(t, filepath.Join(testdataDir, "labels", "infer.txt"), known, wrong)
}
