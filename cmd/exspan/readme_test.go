package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/capture/capturetest"
)

// answers maps what a command of the README or of the help says to the recording that
// it is run on and to what its answer has to say. Flows and reasons are those of
// the recordings' labels.
var answers = []struct {
	part, file string
	want       []string
}{
	{"diagram ", "org", []string{"<svg ", "SMTP client to Hub Transport, 587/tcp"}},
	{"--by pair", "mail", []string{"10.20.4.42 > 10.20.2.12  7 flows", "IMAP4"}},
	{"cleartext,weak-auth", "mail", []string{"10.20.2.22:143/tcp", "DEVIATING", "cleartext, weak-auth"}},
	{"--finding blocked", "rpc", []string{"10.20.4.41", "mb1.corp.example:6002/tcp", "refused"}},
	{"explain --status unexpected", "mail", []string{"10.20.4.41 port 53768  >  10.20.2.33 port 465", "It is       unexpected", "Because     tls on 465/tcp"}},
	{"rules coverage", "mail", []string{"documented paths seen", "not seen        Mailbox Replication Service (MRS)", "DEVIATING       IMAP4"}},
	{"diff", "mail", []string{"No difference."}},
	{"ports ", "rpc", []string{"Pin it by registry", "MSExchangeRPC"}},
	{"site infer", "mail", []string{"servers:"}},
	{"glossary", "", []string{"cleartext", "Not encrypted, though documented so"}},
	{"analyze trace.pcapng", "mail", []string{"11 of 41 flows need attention", "CRITICAL  Passwords in the clear", "To do: Set-ImapSettings"}},
	{"report", "mail", []string{"<h1>11 of 41 flows need attention", "Passwords in the clear", "Set-ImapSettings", "<svg"}},
	{"firewall", "org", []string{"FROM", "587/tcp", "SMTP client to Hub Transport", "Microsoft supports no firewall among Exchange servers"}},
}

// TestReadmeCommands runs the commands under "What it answers" in the README, and those
// that the help of the program begins with, and verifies the answers.
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
	commands := 0
	for line := range strings.Lines(section + questions) {
		args := strings.Fields(line)
		if len(args) == 0 || args[0] != "exspan" {
			continue
		}
		commands++
		if !answered(t, args[1:]) {
			t.Errorf("it is not known what answers: %s", line)
		}
	}
	if commands < 17 {
		t.Errorf("%d commands", commands)
	}
}

// answered runs a command, which what it is for may follow, and verifies its answer. It
// reports whether that is known.
func answered(t *testing.T, args []string) bool {
	t.Helper()
	text := strings.Join(args, " ")
	for _, a := range answers {
		if !strings.Contains(text, a.part) {
			continue
		}
		for i, arg := range args {
			if arg == "trace.pcapng" {
				args[i] = "../../testdata/" + a.file + ".pcapng"
			}
			if arg == "site.yaml" {
				args[i] = filepath.Join(t.TempDir(), "site.yaml")
			}
			if arg == "report.html" {
				args[i] = filepath.Join(t.TempDir(), arg)
			}
		}
		end := 1 + slices.IndexFunc(args, func(arg string) bool { return strings.HasSuffix(arg, ".pcapng") })
		switch {
		case a.part == "diff":
			end++
		case slices.Contains(args, "-o"):
			end += 2
		case end == 0:
			end = 1
			if len(args) > 1 && args[1] == "cleartext" {
				end = 2
			}
		}
		var stdout, stderr bytes.Buffer
		if code := run(args[:end], &stdout, &stderr); code != exitDone {
			t.Errorf("%v: exit code %d: %s", args[:end], code, stderr.String())
			return true
		}
		if i := slices.Index(args[:end], "-o"); i >= 0 {
			data, err := os.ReadFile(args[i+1])
			if err != nil {
				t.Error(err)
			}
			stdout.Write(data)
		}
		for _, want := range a.want {
			if !strings.Contains(stdout.String(), want) {
				t.Errorf("%v: no %q in\n%s", args[:end], want, stdout.String())
			}
		}
		return true
	}
	return false
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
// except those that watch interfaces, ask a monitor or need other programs.
func TestExamplesRun(t *testing.T) {
	const packets = `start 2026-01-02T09:14:00Z
handshake 10.0.0.9:1051 > 10.0.0.5:46861
tcp 10.0.0.9:1051 > 10.0.0.5:46861 rpc-bind(a4f1db00-ca47-1067-b31f-00dd010662da/0.81)
tcp 10.0.0.5:46861 > 10.0.0.9:1051 rpc-bind-ack(46861)
handshake 10.0.0.9:1052 > 10.0.0.5:9999
tcp 10.0.0.5:9999 > 10.0.0.9:1052 "SSH-2.0-OpenSSH_5.3\r\n"
tcp 10.0.0.9:1052 > 10.0.0.5:9999 "SSH-2.0-PuTTY\r\n"
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
	if err := os.Mkdir("captures", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"captures/a.pcap", "trace.pcapng", "trace.pcap", "a.pcap", "b.pcap", "before.pcapng", "after.pcapng", "monday.pcapng", "tuesday.pcapng"} {
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
			if strings.ContainsAny(line, "|") || slices.Contains(args, "-") || c.Name() == "monitor" || c.Name() == "top" || c.Name() == "observe" || len(args) == 0 {
				continue
			}
			if strings.Contains(line, "-o site.yaml") {
				args[len(args)-1] = "new.yaml" // no output may overwrite the input of another example
			}
			for i, a := range args {
				if a == "-o" && c.Name() == "convert" {
					args[i+1] = "converted" + filepath.Ext(args[i+1])
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

// TestHelpFits verifies that the help of every command fits into 80 columns, but for
// examples, which are to be copied, and that a synopsis names flags before a BPF
// expression.
func TestHelpFits(t *testing.T) {
	t.Setenv("COLUMNS", "80")
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		var out bytes.Buffer
		c.SetOut(&out)
		if err := c.Help(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimRight(line, "\n")
			if len(line) > 80 && !strings.HasPrefix(line, "  exspan ") && !strings.HasPrefix(line, "  netsh") && c.Name() != "completion" {
				t.Errorf("%s: %d columns: %s", c.CommandPath(), len(line), line)
			}
		}
		if use := c.UseLine(); strings.Contains(use, "--") && strings.Index(use, "[flags]") > strings.Index(use, "[--") {
			t.Errorf("the flags come last: %s", use)
		}
		for _, s := range c.Commands() {
			if s.IsAvailableCommand() && s.Name() != "completion" {
				visit(s)
			}
		}
	}
	visit(newRootCmd())
}
