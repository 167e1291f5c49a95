package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/exspan/exspan/capture/capturetest"
)

// restRow is what the tests compare of a row.
type restRow struct {
	First       int64  `parquet:"first,optional"`
	CommunityID string `parquet:"community_id"`
	Verdict     struct {
		Why string `parquet:"why,optional"`
	} `parquet:"verdict"`
}

func (r restRow) String() string { return fmt.Sprint(r.First, r.CommunityID, r.Verdict.Why) }

// restRows reads all files of a folder, sorted.
func restRows(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	for _, name := range restFiles(dir) {
		rows, err := parquet.ReadFile[restRow](name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, r := range rows {
			lines = append(lines, r.String())
		}
	}
	slices.Sort(lines)
	return lines
}

// restFiles returns what readers take for files of flows.
func restFiles(dir string) []string {
	var names []string
	_ = filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Ext(name) == ".parquet" {
			names = append(names, name)
		}
		return nil
	})
	return names
}

// ended returns the last records of flows in NDJSON, in the form of restRows.
func ended(t *testing.T, data []byte) []string {
	t.Helper()
	var lines []string
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var r struct {
			First       time.Time
			State       string
			CommunityID string `json:"community_id"`
			Verdict     struct{ Why string }
		}
		if err := d.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if r.State == "ended" {
			x := restRow{First: r.First.UnixNano(), CommunityID: r.CommunityID}
			x.Verdict.Why = r.Verdict.Why
			lines = append(lines, x.String())
		}
	}
	slices.Sort(lines)
	return lines
}

// TestParquetKilled kills a monitor in the middle of its input. What it had written
// before its last flush is in a file after the next start, once, and no file is there
// before that.
func TestParquetKilled(t *testing.T) {
	var text strings.Builder
	for i := range 200 {
		fmt.Fprintf(&text, "+1s handshake 10.0.0.2:%d > 10.0.0.5:25\nfin 10.0.0.2:%[1]d > 10.0.0.5:25\n", 2000+i)
	}
	data, err := capturetest.CompileFS("packets", []byte(text.String()), os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	lake, lines := filepath.Join(dir, "lake"), filepath.Join(dir, "flows.ndjson")
	start := func(input string) (*exec.Cmd, io.WriteCloser, *bytes.Buffer) {
		cmd := exspan(t, "monitor", "-r", input, "--web.listen-address=", "--ndjson", lines,
			"--state", filepath.Join(dir, "state"), "--state-interval", "1s", "--hold", "1s", "--parquet", lake)
		var log bytes.Buffer
		cmd.Stderr = &log
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd, in, &log
	}
	cmd, in, log := start("-")
	if _, err := in.Write(data); err != nil {
		t.Fatal(err)
	}
	before, quiet := -1, 0
	for i := 0; quiet < 10; i++ { // seconds after the last record
		if i > 240 {
			t.Fatal("no end of records")
		}
		time.Sleep(250 * time.Millisecond)
		b, _ := os.ReadFile(lines)
		if quiet++; len(b) != before {
			before, quiet = len(b), 0
		}
		parts, _ := filepath.Glob(filepath.Join(lake, ".exspan", "*", "*.part"))
		if len(parts) == 0 {
			quiet = 0
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	b, err := os.ReadFile(lines)
	if err != nil {
		t.Fatal(err)
	}
	want := ended(t, b)
	if len(want) < 20 {
		t.Fatalf("%d records before the end: %s", len(want), log)
	}
	if n := restFiles(lake); len(n) > 0 {
		t.Errorf("files before the hour is over: %v", n)
	}
	cmd, in, log = start("../../testdata/um-srtp.pcapng") // of another time
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, log)
	}
	b, err = os.ReadFile(lines)
	if err != nil {
		t.Fatal(err)
	}
	all := ended(t, b)
	if got := restRows(t, lake); !slices.Equal(got, all) || len(all) <= len(want) {
		t.Errorf("%d rows, want %d:\n%s\nwant\n%s", len(got), len(all), strings.Join(got, "\n"), strings.Join(all, "\n"))
	}
	if _, err := os.Stat(filepath.Join(lake, ".exspan")); !os.IsNotExist(err) {
		t.Errorf("parts are left: %v", err)
	}
}

// TestParquetDiskFull fills the disk of --parquet. Capture and the other outputs go on,
// losses are counted, and files are whole or absent.
func TestParquetDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	dir := t.TempDir()
	lake := filepath.Join(dir, "lake")
	if err := os.Mkdir(lake, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", lake, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip(err)
	}
	defer func() { _ = syscall.Unmount(lake, syscall.MNT_DETACH) }()
	args := []string{"-r", "../../testdata/org.pcapng", "--site", "../../testdata/org.site.yaml", "--parquet", lake}
	run := func(args ...string) (stdout, stderr string, code int) {
		cmd := exspan(t, args...)
		var out, log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &log
		_ = cmd.Run()
		return out.String(), log.String(), cmd.ProcessState.ExitCode()
	}
	fill := filepath.Join(lake, "filler")
	room := func(n int) {
		_ = os.Remove(fill)
		f, err := os.Create(fill)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		for {
			if _, err := f.Write(buf); err != nil {
				break
			}
		}
		st, _ := f.Stat()
		if err := f.Truncate(max(st.Size()-int64(n), 0)); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}

	room(4096) // nothing but the folder of parts
	out, log, code := run(append([]string{"monitor", "--web.listen-address=", "--ndjson", "-", "--interim", "0"}, args...)...)
	lines := ended(t, []byte(out))
	if code != 1 || !strings.Contains(log, "no space left on device") || len(lines) != 86 {
		t.Errorf("exit code %d with %d records: %s", code, len(lines), log)
	}
	if n := restFiles(lake); len(n) > 0 {
		t.Errorf("files on a full disk: %v", n)
	}
	_, log, code = run(append([]string{"analyze", "-q"}, args...)...)
	if code != 1 || !strings.Contains(log, "--parquet: ") || !strings.Contains(log, "no space left on device") {
		t.Errorf("exit code %d: %s", code, log)
	}
	if n := restFiles(lake); len(n) > 0 {
		t.Errorf("files on a full disk: %v", n)
	}

	room(24 << 10) // the part, and not the file
	_, log, code = run(append([]string{"monitor", "--web.listen-address="}, args...)...)
	if n := restFiles(lake); len(n) > 0 || code != 1 || !strings.Contains(log, "no space left on device") {
		t.Errorf("files %v, exit code %d: %s", n, code, log)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	_, log, code = run("monitor", "--web.listen-address=", "-r", "../../testdata/um-srtp.pcapng", "--parquet", lake)
	got := restRows(t, lake)
	n := 0
	for _, l := range lines {
		if slices.Contains(got, l) {
			n++
		}
	}
	if code != 0 || n != len(lines) || len(got) <= n {
		t.Errorf("%d rows, %d of the %d that were left; exit code %d: %s", len(got), n, len(lines), code, log)
	}
}
