package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/glossary"
)

func newGlossaryCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "glossary [WORD...]",
		Short: "Explain the words of a verdict",
		Long: `Print what a status, reason, finding, confidence or outcome means, how grave a
finding is and what to do about it. Without a WORD, list them all.`,
		Example: `  exspan glossary
  exspan glossary cleartext`,
		ValidArgsFunction: func(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			var words []string
			for _, e := range glossary.Entries() {
				words = append(words, e.Word+"\t"+e.Title)
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			w := cmd.OutOrStdout()
			columns := textWidth(w)
			if len(args) == 0 {
				return glossaryList(w, columns)
			}
			var entries []*glossary.Entry
			for _, word := range args {
				found := glossary.Lookup(strings.ToLower(word))
				if found == nil {
					return fmt.Errorf("no entry for %q%s; exspan glossary lists the words", word, didYouMean(word, glossaryWords()))
				}
				entries = append(entries, found...)
			}
			for i, e := range entries {
				if i > 0 {
					fmt.Fprintln(w)
				}
				printEntry(w, e, columns)
			}
			return nil
		},
	}
}

func glossaryWords() []string {
	var words []string
	for _, e := range glossary.Entries() {
		words = append(words, e.Word)
	}
	return words
}

// textWidth returns the columns for running text: those of the terminal, at
// least 40 and at most 100, or 80 where there is none.
func textWidth(w io.Writer) int {
	columns := terminalColumns(w)
	if columns == 0 {
		return 80
	}
	return min(max(columns, 40), 100)
}

func glossaryList(w io.Writer, columns int) error {
	var kind glossary.Kind
	for _, e := range glossary.Entries() {
		if e.Kind != kind {
			if kind != "" {
				fmt.Fprintln(w)
			}
			kind = e.Kind
			fmt.Fprintln(w, strings.ToUpper(string(kind)))
		}
		title := e.Title
		if e.Severity != glossary.Ungraded {
			title = e.Severity.String() + ": " + title
		}
		if _, err := fmt.Fprintln(w, wrapText(fmt.Sprintf("%-24s ", e.Word)+title, columns, 27)); err != nil {
			return pipeline.Error{Err: err}
		}
	}
	return nil
}

func printEntry(w io.Writer, e *glossary.Entry, columns int) {
	head := fmt.Sprintf("%s (%s", e.Word, e.Kind)
	if e.Severity != glossary.Ungraded {
		head += ", " + e.Severity.String()
	}
	fmt.Fprintf(w, "%s): %s\n", head, e.Title)
	fmt.Fprintln(w, wrapText("  "+e.Text, columns, 2))
	if e.Kind != glossary.Finding {
		return
	}
	if len(e.Advice) == 0 {
		fmt.Fprintln(w, "  To do: no document is known that says.")
		return
	}
	for _, a := range e.Advice {
		what := "To do: "
		if a.Protocols != nil {
			what = "To do for " + strings.Join(a.Protocols, ", ") + ": "
		}
		fmt.Fprintln(w, wrapText("  "+what+a.Do, columns, 4))
		fmt.Fprintln(w, wrapText("    Source: "+a.Source+".", columns, 4))
	}
}

// wrapText breaks text at spaces; lines after the first are indented. Leading
// spaces stay.
func wrapText(text string, columns, indent int) string {
	var b strings.Builder
	for len(text) > columns {
		cut := strings.LastIndexByte(text[:columns+1], ' ')
		if cut <= indent {
			if cut = strings.IndexByte(text[columns:], ' '); cut < 0 {
				break
			}
			cut += columns
		}
		b.WriteString(strings.TrimRight(text[:cut], " ") + "\n")
		text = strings.Repeat(" ", indent) + text[cut+1:]
	}
	return b.String() + text
}
