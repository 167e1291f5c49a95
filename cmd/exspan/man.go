package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/spf13/pflag"
)

// newManCmd writes the manual pages. It serves packaging, so help
// does not list it.
func newManCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages to the folder DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			date := time.Now()
			if epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
				date = time.Unix(epoch, 0)
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return pipeline.Error{Err: err}
			}
			return writePages(cmd.Root(), args[0], date.UTC().Format(time.DateOnly))
		},
	}
}

// writePages writes one page a command.
func writePages(cmd *cobra.Command, dir, date string) error {
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(manPage(cmd, date)), 0o644); err != nil {
		return pipeline.Error{Err: err}
	}
	for _, c := range subcommands(cmd) {
		if err := writePages(c, dir, date); err != nil {
			return err
		}
	}
	return nil
}

// subcommands are those that have pages: cobra's own explain themselves.
func subcommands(cmd *cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "completion" {
			list = append(list, c)
		}
	}
	return list
}

// manPage returns the page of a command, in the macros of man(7).
func manPage(cmd *cobra.Command, date string) string {
	var b strings.Builder
	title := func(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }
	fmt.Fprintf(&b, ".TH %s 1 %s \"%s\" \"exspan\"\n",
		roff(strings.ToUpper(title(cmd))), date, roff(strings.TrimSpace("exspan "+version)))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(title(cmd)), roff(cmd.Short))
	b.WriteString(".SH SYNOPSIS\n.nf\n")
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\\fB%s\\fP COMMAND\n", roff(cmd.CommandPath()))
	} else {
		fmt.Fprintf(&b, "\\fB%s\\fP%s\n", roff(cmd.CommandPath()), roff(strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath())))
	}
	b.WriteString(".fi\n.SH DESCRIPTION\n")
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	for i, paragraph := range strings.Split(strings.TrimSpace(long), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		if strings.HasPrefix(paragraph, " ") {
			fmt.Fprintf(&b, ".nf\n%s\n.fi\n", roff(paragraph))
			continue
		}
		b.WriteString(roff(paragraph) + "\n")
	}
	if list := subcommands(cmd); len(list) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range list {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fP(1)\n%s.\n", roff(title(c)), roff(c.Short))
		}
	}
	if cmd.HasAvailableFlags() {
		b.WriteString(".SH OPTIONS\n")
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			b.WriteString(manFlag(f))
		}
	})
	if cmd.Flags().Lookup("max-memory") != nil {
		b.WriteString(manMemory())
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(cmd.Example))
	}
	if cmd.HasParent() {
		fmt.Fprintf(&b, ".SH SEE ALSO\n\\fB%s\\fP(1)\n", roff(title(cmd.Parent())))
	}
	return b.String()
}

// manFlag returns the entry of a flag.
func manFlag(f *pflag.Flag) string {
	value, usage := pflag.UnquoteUsage(f)
	name := "\\fB" + roff("--"+f.Name) + "\\fP"
	if f.Shorthand != "" {
		name = "\\fB" + roff("-"+f.Shorthand) + "\\fP, " + name
	}
	if value != "" {
		name += " \\fI" + roff(value) + "\\fP"
	}
	switch f.DefValue {
	case "", "[]", "0", "false", "0s":
	default:
		usage += " (default " + f.DefValue + ")"
	}
	return ".TP\n" + name + "\n" + roff(usage) + ".\n"
}

// manMemory returns the section on --max-memory.
func manMemory() string {
	var b strings.Builder
	b.WriteString(".SH MEMORY\nOf \\fB" + roff("--max-memory") + "\\fP, 48 MiB are for the program, and the buffers come off next. " +
		"The rest is divided as follows. The number in brackets is how much there is room for with 512 MiB and without buffers. " +
		"What is given up is counted in the summary and by the metric exspan_limit_reached_total, under the names given.\n")
	for _, s := range classify.SharesOf(monitorMemory - 48<<20) {
		room := fmt.Sprint(s.Room)
		if s.Each == 1 {
			room = fmt.Sprintf("%d MiB", s.Room>>20)
		}
		fmt.Fprintf(&b, ".TP\n%s\n%s: %d %% (%s). When it is used up, %s. Counted as %s.\n", "\\fB"+roff(s.ID)+"\\fP",
			roff(s.Name), s.Percent, room, roff(s.Full), roff(strings.Join(s.Limits, ", ")))
	}
	return b.String()
}

// roff returns text that troff shows as it is.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
