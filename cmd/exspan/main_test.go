package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/exspan/exspan/capture/capturetest"
)

var update = flag.Bool("update", false, "rewrite what the scenarios expect")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"exspan": main})
}

// TestScenarios runs testdata/script/*.txtar: packets as text, a command, and the
// expected output.
func TestScenarios(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"pcap":   compilePcap,
			"cut":    cutFile,
			"code":   exitsWith,
			"fields": pickFields,
		},
	})
}

// compilePcap writes a capture file: pcap PACKETS.txt OUT.pcap.
func compilePcap(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pcap PACKETS.txt OUT.pcap")
	}
	data, err := capturetest.CompileFS(args[0], []byte(ts.ReadFile(args[0])), os.DirFS(ts.MkAbs(".")))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o644))
}

// cutFile damages a file: cut FILE BYTES removes that many bytes from its end.
func cutFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut FILE BYTES")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	data := ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(data[:len(data)-n]), 0o644))
}

// exitsWith runs a command and expects an exit code: code N COMMAND ARGS...
func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// pickFields writes selected fields of NDJSON, one line per flow: fields IN OUT FIELD...
// A field is given as a path (server.port, facts.rpc.interface). Lists are joined by
// commas, findings are shown as their ids, and absent values as "-".
func pickFields(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: fields IN OUT FIELD...")
	}
	var out strings.Builder
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var flow map[string]any
		ts.Check(json.Unmarshal([]byte(line), &flow))
		var cells []string
		for _, field := range args[2:] {
			cells = append(cells, cell(lookUp(flow, field)))
		}
		out.WriteString(strings.Join(cells, " ") + "\n")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(out.String()), 0o644))
}

// lookUp follows a path of member names, some of which contain dots.
func lookUp(object map[string]any, path string) any {
	if v, ok := object[path]; ok {
		return v
	}
	name, rest, _ := strings.Cut(path, ".")
	inner, ok := object[name].(map[string]any)
	if !ok {
		return nil
	}
	return lookUp(inner, rest)
}

func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case []any:
		var cells []string
		for _, x := range v {
			cells = append(cells, cell(x))
		}
		return strings.Join(cells, ",")
	case map[string]any:
		return cell(v["id"])
	}
	return fmt.Sprint(v)
}

// syncBuffer is a buffer that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
