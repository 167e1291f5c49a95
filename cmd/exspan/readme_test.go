package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestReadmeCommands runs the commands under "What it answers" of the README on
// a recorded capture, and wants each to answer.
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
			continue // a recording may have nothing that is blocked
		}
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%s: no %q in\n%s", command, want, stdout.String())
		}
	}
	if commands < 9 {
		t.Errorf("%d commands", commands)
	}
}

// TestExamples parses the examples in the help of every command: each names a
// command and flags that exist.
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
