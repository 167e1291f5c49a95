package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestReportScreens prints the reports in terminals of three widths, directly and through
// less. Lines must fit, colours must appear only where they are wanted, and the most
// important lines must come first.
func TestReportScreens(t *testing.T) {
	mail, err := filepath.Abs(testdata("mail.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	site, err := filepath.Abs(testdata("mail.site.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{60, 80, 120} {
		for _, c := range []struct {
			name, env, after string
			args             []string
			want             string
			color            bool
		}{
			{"report", "", "", []string{"analyze", "--site", site, mail}, "flows need attention", true},
			{"report without colours", "NO_COLOR=1", "", []string{"analyze", "--site", site, mail}, "flows need attention", false},
			{"report on a dumb terminal", "TERM=dumb", "", []string{"analyze", "--site", site, mail}, "flows need attention", false},
			{"report in less", "", " | less -X", []string{"analyze", "--site", site, mail}, "flows need attention", false},
			{"flows", "", "", []string{"analyze", "--format", "flows", "--site", site, mail}, "DEVIATING", true},
			{"flows in less", "", " | less -X", []string{"analyze", "--format", "flows", "--site", site, mail}, "TIME", false},
			{"pairs", "", "", []string{"analyze", "--by", "pair", "--site", site, mail}, "edge1 > hub1", true},
			{"paths in less", "", " | less -X", []string{"rules", "list", "--version", "2010"}, "NAME", false},
			{"glossary", "", "", []string{"glossary"}, "announced", false},
		} {
			if width < 80 && strings.HasPrefix(c.name, "flows") {
				continue // one line per flow needs 70 columns
			}
			t.Run(fmt.Sprintf("%s-%d", c.name, width), func(t *testing.T) {
				// The history keeps all of the output. capture-pane -J joins lines that
				// the terminal wraps, so a wrapped line is visible as one long line.
				x := newTerminalAfter(t, width, 40, c.env, c.after, c.args...)
				end := "ended with 0"
				if c.after != "" {
					end = ":"
				}
				x.wait(end)
				screen := x.tmux("capture-pane", "-p", "-J", "-S", "-")
				screen, _, _ = strings.Cut(screen, "\nended with")
				if !strings.Contains(strings.Join(strings.Fields(screen), " "), c.want) {
					t.Errorf("there is no %q:\n%s", c.want, screen)
				}
				for l := range strings.Lines(screen) {
					if n := len([]rune(strings.TrimRight(l, " \n"))); n > width && strings.Contains(strings.TrimSpace(l), " ") {
						t.Errorf("a line has %d columns: %s", n, l)
					}
				}
				if colored := strings.Contains(x.tmux("capture-pane", "-p", "-e", "-S", "-"), "\x1b[31m"); colored != c.color {
					t.Errorf("red is there: %t, want %t", colored, c.color)
				}
			})
		}
	}
}
