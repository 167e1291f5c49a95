package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/exporter/text"
)

// questions maps what people ask to the commands that answer, for the help of the
// program. Those in it that end in trace.pcapng are run by a test.
const questions = `Questions, and the commands that answer them:

  exspan analyze trace.pcapng                               what is wrong
  exspan analyze --by pair trace.pcapng                     who talks to whom
  exspan analyze --finding cleartext,weak-auth trace.pcapng what is unencrypted
  exspan analyze --finding blocked trace.pcapng             what is blocked
  exspan explain --status unexpected trace.pcapng           why it is unexpected
  exspan rules coverage trace.pcapng                        what paths are missing
  exspan report trace.pcapng -o report.html                 all of it, as one page
  exspan site infer trace.pcapng -o site.yaml               a first site file
  exspan glossary                                           what the words mean`

// helpColumns returns the width of the flags in the help.
func helpColumns() int {
	if columns := terminalColumns(os.Stdout); columns > 0 {
		return min(max(columns, 60), 120)
	}
	return 100
}

// wrapHelp breaks the running text of the help of a command and those below it into
// lines of 80 columns. Paragraphs with indented lines stay as they are.
func wrapHelp(cmd *cobra.Command) {
	paragraphs := strings.Split(cmd.Long, "\n\n")
	for i, p := range paragraphs {
		if !strings.HasPrefix(p, " ") && !strings.Contains(p, "\n ") {
			paragraphs[i] = strings.Join(text.Wrap(strings.ReplaceAll(p, "\n", " "), 80, 0, 0), "\n")
		}
	}
	cmd.Long = strings.Join(paragraphs, "\n\n")
	for _, c := range cmd.Commands() {
		wrapHelp(c)
	}
}
