// Package manpagetest checks manual pages, for the tests of the programs that have them.
package manpagetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Check checks the pages in the folder dir. Every command that help lists must have a
// page of that date, every flag must be on it, mandoc must find no mistake, and there must
// be no other pages.
func Check(t *testing.T, root *cobra.Command, dir, date string) {
	t.Helper()
	pages := 0
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		pages++
		file := filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1")
		page, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			return
		}
		if !strings.Contains(string(page), " 1 "+date+" ") {
			t.Errorf("%s: the date is not that of SOURCE_DATE_EPOCH", file)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			want := `\fB` + strings.ReplaceAll("--"+f.Name, "-", `\-`) + `\fP`
			if has := strings.Contains(string(page), want); has == f.Hidden {
				t.Errorf("%s: has %s: %v", file, f.Name, has)
			}
		})
		if mandoc, err := exec.LookPath("mandoc"); err == nil {
			if out, err := exec.Command(mandoc, "-T", "lint", "-W", "warning", file).CombinedOutput(); err != nil {
				t.Errorf("mandoc: %v\n%s", err, out)
			}
		}
		for _, s := range c.Commands() {
			if !s.Hidden {
				visit(s)
			}
		}
	}
	visit(root)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != pages || pages < 5 {
		t.Errorf("%d files for %d commands (%v)", len(files), pages, err)
	}
}
