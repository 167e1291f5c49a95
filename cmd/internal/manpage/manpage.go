// Package manpage writes the manual pages of a program from the help of its commands.
package manpage

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command returns the command "man", which writes the manual pages of its program. It
// serves packaging, so help does not list it. For more see Write; failed gives an error of
// Write the kind of those at run time.
func Command(version string, more func(*cobra.Command) string, failed func(error) error) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages to the folder DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := Write(cmd.Root(), args[0], version, more); err != nil {
				return failed(err)
			}
			return nil
		},
	}
}

// Write writes a page for a program and for each of its commands that help lists, to the
// folder dir, which it creates. The pages bear the version, and the date that
// SOURCE_DATE_EPOCH gives, or else today's. What more returns for a command follows its
// options; it may be nil.
func Write(root *cobra.Command, dir, version string, more func(*cobra.Command) string) error {
	date := time.Now()
	if epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		date = time.Unix(epoch, 0)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	w := writer{dir, date.UTC().Format(time.DateOnly), strings.TrimSpace(root.Name() + " " + version), more}
	return w.write(root)
}

// writer is what all pages have in common.
type writer struct {
	dir, date, version string
	more               func(*cobra.Command) string
}

// write writes the page of a command, and those of the commands below it.
func (w *writer) write(cmd *cobra.Command) error {
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	if err := os.WriteFile(filepath.Join(w.dir, name+".1"), []byte(w.page(cmd)), 0o644); err != nil {
		return err
	}
	for _, c := range subcommands(cmd) {
		if err := w.write(c); err != nil {
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

// page returns the page of a command, in the macros of man(7).
func (w *writer) page(cmd *cobra.Command) string {
	var b strings.Builder
	title := func(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }
	fmt.Fprintf(&b, ".TH %s 1 %s \"%s\" \"exspan\"\n",
		Roff(strings.ToUpper(title(cmd))), w.date, Roff(w.version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", Roff(title(cmd)), Roff(cmd.Short))
	b.WriteString(".SH SYNOPSIS\n.nf\n")
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\\fB%s\\fP COMMAND\n", Roff(cmd.CommandPath()))
	} else {
		fmt.Fprintf(&b, "\\fB%s\\fP%s\n", Roff(cmd.CommandPath()), Roff(strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath())))
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
			fmt.Fprintf(&b, ".nf\n%s\n.fi\n", Roff(paragraph))
			continue
		}
		b.WriteString(Roff(paragraph) + "\n")
	}
	if list := subcommands(cmd); len(list) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range list {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fP(1)\n%s.\n", Roff(title(c)), Roff(c.Short))
		}
	}
	if cmd.HasAvailableFlags() {
		b.WriteString(".SH OPTIONS\n")
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			b.WriteString(flag(f))
		}
	})
	if w.more != nil {
		b.WriteString(w.more(cmd))
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", Roff(cmd.Example))
	}
	if cmd.HasParent() {
		fmt.Fprintf(&b, ".SH SEE ALSO\n\\fB%s\\fP(1)\n", Roff(title(cmd.Parent())))
	}
	return b.String()
}

// flag returns the entry of a flag.
func flag(f *pflag.Flag) string {
	value, usage := pflag.UnquoteUsage(f)
	name := "\\fB" + Roff("--"+f.Name) + "\\fP"
	if f.Shorthand != "" {
		name = "\\fB" + Roff("-"+f.Shorthand) + "\\fP, " + name
	}
	if value != "" {
		name += " \\fI" + Roff(value) + "\\fP"
	}
	switch f.DefValue {
	case "", "[]", "0", "false", "0s":
	default:
		usage += " (default " + f.DefValue + ")"
	}
	return ".TP\n" + name + "\n" + Roff(usage) + ".\n"
}

// Roff returns text that troff shows as it is.
func Roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
