package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/exspan/exspan/cmd/internal/manpage/manpagetest"
)

// TestManPages writes the man pages, and checks them.
func TestManPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := filepath.Join(t.TempDir(), "man1")
	var stderr bytes.Buffer
	if code := run([]string{"man", dir}, &stderr, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	manpagetest.Check(t, newRootCmd(), dir, "2023-11-14")
}
