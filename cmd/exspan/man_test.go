package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestManPages writes the man pages. Every command that help lists must have a page,
// every flag must be on it, and mandoc must find no mistake.
func TestManPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := filepath.Join(t.TempDir(), "man1")
	var stderr bytes.Buffer
	if code := run([]string{"man", dir}, &stderr, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
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
		if !strings.Contains(string(page), " 1 2023-11-14 ") {
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
	visit(newRootCmd())
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != pages || pages < 5 {
		t.Errorf("%d files for %d commands (%v)", len(files), pages, err)
	}
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"--fail-on":       `\-\-fail\-on`,
		".hidden\n'x'\n.": "\\&.hidden\n\\&'x'\n\\&.",
		`C:\x`:            `C:\ex`,
	} {
		if got := roff(in); got != want {
			t.Errorf("roff(%q) = %q, want %q", in, got, want)
		}
	}
}
