package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/capture/capturetest"
)

// TestReadmeCommands runs the commands under "What it answers" in the README on a
// recorded capture and verifies that each prints an answer.
func TestReadmeCommands(t *testing.T) {
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "## What it answers\n")
	section, _, _ := strings.Cut(rest, "\n`--site")
	if !ok {
		t.Fatal("the README has no such section")
	}
	wants := map[string]string{
		"--by pair": "10.20.4.42 > ", "cleartext,weak-auth": "DEVIATING", "unexpected": "UNEXPECTED", "explain": "documented is",
		"rules coverage": "documented paths seen", "diff": "No difference.", "ports ": "endpoint", "site infer": "servers:", "glossary": "To do", "": "need attention",
	}
	commands := 0
	for line := range strings.Lines(section) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), "#")
		args := strings.Fields(command)
		if len(args) == 0 || args[0] != "exspan" {
			continue
		}
		commands++
		text := strings.ReplaceAll(strings.Join(args[1:], " "), "trace.pcapng", "../../testdata/mail.pcapng")
		switch { // mail.pcapng has none
		case strings.Contains(text, "unexpected"):
			text = strings.ReplaceAll(text, "mail.pcapng", "web.pcapng")
		case strings.Contains(text, "explain"):
			text = strings.ReplaceAll(text, "mail.pcapng", "org.pcapng")
		}
		var stdout, stderr bytes.Buffer
		if code := run(strings.Fields(text), &stdout, &stderr); code != exitDone {
			t.Errorf("%s: exit code %d: %s", command, code, stderr.String())
			continue
		}
		want := wants[""]
		for part, w := range wants {
			if part != "" && strings.Contains(text, part) {
				want = w
				break
			}
		}
		if strings.Contains(text, "refused") {
			continue // a recording may have no blocked traffic
		}
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%s: no %q in\n%s", command, want, stdout.String())
		}
	}
	if commands < 9 {
		t.Errorf("%d commands", commands)
	}
}

// TestExamples parses the examples in the help of every command. The command and the
// flags of each must exist.
func TestExamples(t *testing.T) {
	quotes := regexp.MustCompile(`'[^']*'`)
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			line = quotes.ReplaceAllString(strings.TrimSpace(line), "quoted")
			if i := strings.Index(line, "| exspan "); i >= 0 {
				line = line[i+2:]
			}
			args := strings.Fields(line)
			if len(args) == 0 || args[0] != "exspan" {
				continue
			}
			cmd, flags, err := newRootCmd().Find(args[1:])
			if err == nil {
				err = cmd.ParseFlags(flags)
			}
			if err != nil || cmd.CommandPath() != c.CommandPath() {
				t.Errorf("%s: %s (%v)", c.CommandPath(), line, err)
			}
		}
		for _, s := range c.Commands() {
			visit(s)
		}
	}
	visit(newRootCmd())
}

// TestExamplesRun runs the examples in the help of every command on suitable captures,
// except those that watch interfaces or need other programs.
func TestExamplesRun(t *testing.T) {
	const packets = `start 2026-01-02T09:14:00Z
handshake 10.0.0.9:1051 > 10.0.0.5:46861
tcp 10.0.0.9:1051 > 10.0.0.5:46861 rpc-bind(a4f1db00-ca47-1067-b31f-00dd010662da/0.81)
tcp 10.0.0.5:46861 > 10.0.0.9:1051 rpc-bind-ack(46861)
`
	data, err := capturetest.Compile("packets", []byte(packets))
	if err != nil {
		t.Fatal(err)
	}
	trace, err := os.ReadFile("../../testdata/windows/pktmon.etl")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for _, name := range []string{"trace.pcapng", "trace.pcap", "a.pcap", "b.pcap", "before.pcapng", "after.pcapng", "monday.pcapng", "tuesday.pcapng"} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"trace.etl", "a.etl"} {
		if err := os.WriteFile(name, trace, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("site.yaml", []byte("servers:\n  - {name: mb1, addresses: [10.0.0.5], roles: [mailbox]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) {
		var stdout, stderr bytes.Buffer
		if code := run(args, &stdout, &stderr); code != exitDone && code != exitFound {
			t.Errorf("%v: exit code %d: %s", args, code, stderr.String())
		} else if stdout.Len() == 0 && !strings.Contains(strings.Join(args, " "), "-o ") && !slices.Contains(args, "check") && !slices.Contains(args, "--status") {
			t.Errorf("%v: no output", args)
		}
	}
	for _, name := range []string{"flows", "monday", "tuesday"} {
		call("analyze", "-q", "--format", "ndjson", "-o", name+".ndjson", "trace.pcapng")
	}
	ran := 0
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " > ")
			args := strings.Fields(line)
			if strings.ContainsAny(line, "|") || slices.Contains(args, "-") || c.Name() == "monitor" || c.Name() == "top" || len(args) == 0 {
				continue
			}
			if strings.Contains(line, "-o site.yaml") {
				args[len(args)-1] = "new.yaml" // no output may overwrite the input of another example
			}
			for i, a := range args {
				if a == "-o" && c.Name() == "convert" {
					args[i+1] = "converted.pcapng"
				}
			}
			call(args[1:]...)
			ran++
		}
		for _, s := range c.Commands() {
			visit(s)
		}
	}
	visit(newRootCmd())
	if ran < 25 {
		t.Errorf("%d examples", ran)
	}
}
