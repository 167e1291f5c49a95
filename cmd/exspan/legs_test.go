package main

import (
	"path/filepath"
	"testing"
)

// TestLegsOfSituations verifies which flows of situations are legs of one conversation.
// X-Forwarded-For joins some. Other flows of the same load balancer, which carry nothing
// that joins them, must not be joined.
func TestLegsOfSituations(t *testing.T) {
	s := situations{dir: filepath.Join(testdataDir, "situations"), temp: t.TempDir(), runs: map[[2]string]*situation{}}
	for _, x := range []struct {
		file         string
		outer, inner string
		alone        []string
	}{
		{
			"lb-legs.txt", "pc:2521 > lb1:443/tcp", "lb1:2522 > cas1:80/tcp",
			[]string{"lb1:2995 > cas1:995/tcp", "lb1:2993 > cas1:993/tcp", "lb1:2523 > cas1:110/tcp", "lb1:2525 > cas1:143/tcp", "lb1:2524 > hub1:25/tcp"},
		},
		{"mobile-through-load-balancer.txt", "out:3111 > lb1:443/tcp", "lb1:3112 > cas1:80/tcp", nil},
	} {
		now := s.run(t, x.file, "yes")
		if now.err != nil {
			t.Fatal(now.err)
		}
		conversation := func(flow string) string {
			r, _, problem := now.find(flow)
			if r == nil {
				t.Fatalf("%s: %s: %s", x.file, flow, problem)
			}
			return r.text("conversation")
		}
		if a, b := conversation(x.outer), conversation(x.inner); a == "" || a != b {
			t.Errorf("%s: conversations %q and %q", x.file, a, b)
		}
		for _, flow := range x.alone {
			if c := conversation(flow); c != "" {
				t.Errorf("%s: %s belongs to conversation %q", x.file, flow, c)
			}
		}
	}
}
