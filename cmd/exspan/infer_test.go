package main

import (
	"bytes"
	"fmt"
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

// TestInferRecordings infers a site file from each recording. It must contain no role
// that is wrong according to the recording's own site file, and it must not change when
// it is inferred again with itself as the site file.
func TestInferRecordings(t *testing.T) {
	files, err := filepath.Glob("../../testdata/*.pcapng")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	// Roles that the traffic falsely proves are listed elsewhere and do not count.
	known, err := os.ReadFile("../../testdata/labels/false-roles.txt")
	if err != nil {
		t.Fatal(err)
	}
	servers, right := 0, 0
	for _, file := range files {
		own := file[:len(file)-len(".pcapng")] + ".site.yaml"
		data, err := os.ReadFile(own)
		if err != nil {
			t.Fatal(err)
		}
		truth, err := rules.LoadSite(own, data)
		if err != nil {
			t.Fatal(err)
		}
		got, name := inferred(t, file)
		for _, s := range got.Servers {
			for _, addr := range s.Addresses {
				i := slices.IndexFunc(truth.Servers, func(x rules.Server) bool { return slices.Contains(x.Addresses, addr) })
				if i < 0 {
					continue // the recording's site file does not mention it
				}
				for _, role := range s.Roles {
					listed := strings.Contains(string(known), fmt.Sprintf("%s\tis %s, not %s\n", addr, truth.Servers[i].Roles[0], role))
					if !slices.Contains(truth.Servers[i].Roles, role) && !listed {
						t.Errorf("%s: %s is called %s, and is %v", file, addr, role, truth.Servers[i].Roles)
					}
				}
			}
		}
		for _, x := range truth.Servers {
			if !slices.ContainsFunc(x.Roles, rules.Role.Exchange) {
				continue
			}
			servers++
			if slices.ContainsFunc(got.Servers, func(s rules.Server) bool { return slices.Contains(s.Addresses, x.Addresses[0]) }) {
				right++
			}
		}
		again, _ := inferred(t, "--site", name, file)
		if !reflect.DeepEqual(got, again) {
			t.Errorf("%s: a second run infers\n%+v\nwant\n%+v", file, again, got)
		}
	}
	t.Logf("%d of %d Exchange servers are named", right, servers)
}
