package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
)

// scatter writes the frames of a recording to files in folders, whose names say nothing
// of the order: the number of the file that a frame goes to is file(its number).
func scatter(t *testing.T, recording string, file func(frame int) int) (dir string, files int) {
	t.Helper()
	src, err := capture.OpenFiles([]string{recording}, capture.Options{Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	var parts []*bytes.Buffer
	var writers []*capture.Writer
	for n := 0; ; n++ {
		var f capture.RawFrame
		if err := src.NextFrame(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		i := file(n)
		for i >= len(parts) {
			parts = append(parts, new(bytes.Buffer))
			w, err := capture.NewWriter(parts[len(parts)-1], "test")
			if err != nil {
				t.Fatal(err)
			}
			writers = append(writers, w)
		}
		if err := writers[i].WriteFrame(&f); err != nil {
			t.Fatal(err)
		}
	}
	dir = t.TempDir()
	names := rand.New(rand.NewPCG(3, 4)).Perm(len(parts))
	for i, p := range parts {
		if err := writers[i].Flush(); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, fmt.Sprint(names[i]%7), fmt.Sprintf("%05d.pcapng", names[i]))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, p.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, len(parts)
}

// TestFolders reads recordings that are cut into thousands of files: one after the
// other, and all at the same time. What an endpoint mapper says in one of them explains
// flows in others, so that the output is that of the recording in one piece; few files
// are open; and what is damaged stops nothing.
func TestFolders(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// exspan runs with at most 160 open files.
	exspan := func(args ...string) (stdout, stderr string, code int) {
		cmd := exec.Command("sh", append([]string{"-c", `ulimit -n 160; exec "$0" "$@"`, filepath.Join(filepath.Dir(self), "exspan")}, args...)...)
		var out, log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &log
		_ = cmd.Run()
		return out.String(), log.String(), cmd.ProcessState.ExitCode()
	}
	// The name makes TestMain run the program.
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "exspan")); err != nil {
		t.Fatal(err)
	}
	self = filepath.Join(bin, "exspan")
	for _, c := range []struct {
		name, recording string
		file            func(frame int) int
	}{
		{"a frame each", "um-calls", func(n int) int { return n }},
		{"all at once", "org", func(n int) int { return n % 900 }},
		{"both", "rpc", func(n int) int { return n%3 + n/9*3 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			recording := "../../testdata/" + c.recording
			args := []string{"analyze", "-q", "--format", "ndjson", "--site", recording + ".site.yaml"}
			want, log, code := exspan(append(args, recording+".pcapng")...)
			if code != 0 {
				t.Fatal(log)
			}
			dir, n := scatter(t, recording+".pcapng", c.file)
			t.Logf("%d files", n)
			lake := filepath.Join(t.TempDir(), "lake")
			got, log, code := exspan(append(args, "--parquet", lake, "-R", dir)...)
			if code != 0 || log != "" {
				t.Fatalf("exit code %d: %s", code, log)
			}
			if got != want {
				t.Errorf("%d bytes that differ from the %d of the recording", len(got), len(want))
			}
			if rows, flows := len(restRows(t, lake)), strings.Count(want, "\n"); rows != flows {
				t.Errorf("%d rows, want %d", rows, flows)
			}

			// Damage in the middle, and no capture at all.
			for name, data := range map[string]string{"broken.pcap": "no capture", "0/cut.pcapng": "\n\r\r\n\x1c\x00"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, log, code = exspan(append(args, "-R", dir)...)
			if code != 1 || got != want || !strings.Contains(log, "broken.pcap: ") || !strings.Contains(log, "cut.pcapng: ") || strings.Count(log, "\n") != 2 {
				t.Errorf("exit code %d, the same output: %t: %s", code, got == want, log)
			}
		})
	}
}
