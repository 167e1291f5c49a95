// Command exspan reports which documented Exchange data path each network flow
// follows, whether its authentication and encryption are as documented, and
// which flows no document explains.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// The exit codes; the first that applies is given.
const (
	exitDone  = 0
	exitError = 1 // a run-time error: a damaged file, a full disk
	exitUsage = 2 // the operator's mistake: a flag, a site file, rules
	exitFound = 3 // --fail-on found what it names
)

// errFound is returned when --fail-on found what it names. The command has printed
// what it found.
var errFound = errors.New("found")

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	// A closed standard output is seen as an error of Write, so that files
	// being written can be put in order.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)

	cmd := newRootCmd()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return exitCode(cmd.ExecuteContext(ctx), stderr)
}

func exitCode(err error, stderr io.Writer) int {
	var re pipeline.Error
	switch {
	case err == nil || errors.Is(err, syscall.EPIPE):
		return exitDone
	case errors.Is(err, errFound):
		return exitFound
	case errors.As(err, &re):
		printError(stderr, err)
		return exitError
	}
	printError(stderr, err)
	return exitUsage
}

// printError writes one line a mistake, as errors that hold several do.
func printError(w io.Writer, err error) { printLines(w, err.Error()) }

// printLines writes lines after the name of the program. Names of files and excerpts
// of them cannot steer the terminal.
func printLines(w io.Writer, lines string) {
	for _, line := range strings.Split(lines, "\n") {
		fmt.Fprintf(w, "exspan: %s\n", text.Printable(strings.ReplaceAll(line, "\t", "    ")))
	}
}

func newRootCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exspan",
		Short: "Passive traffic classifier for Microsoft Exchange",
		Long: `exspan reads network traffic, recognises the protocol of each flow, learns the
dynamic ports that endpoint mappers announce, and reports which documented
Microsoft Exchange data path each flow follows.

` + questions,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args)
			}
			return cmd.Help()
		},
	}
	rulesCmd := newRulesCmd()
	rulesCmd.AddCommand(newCoverageCmd())
	cmd.AddCommand(newAnalyzeCmd(), newConvertCmd(), newMonitorCmd(), newInterfacesCmd(), newTopCmd(), newObserveCmd(), newDiffCmd(), newExplainCmd(), newPortsCmd(), newFirewallCmd(), newReportCmd(), newDiagramCmd(), newSiteCmd(), rulesCmd, newGlossaryCmd(), newVersionCmd(), newManCmd())
	cmd.SetFlagErrorFunc(flagError)
	cmd.SetUsageTemplate(strings.ReplaceAll(cmd.UsageTemplate(), "FlagUsages ", fmt.Sprintf("FlagUsagesWrapped %d ", helpColumns())))
	cmd.SetVersionTemplate("exspan {{.Version}}\n")
	addVersion(cmd, versionText())
	wrapHelp(cmd)
	return cmd
}

// addVersion gives a command and those below it the flag --version, unless they
// have one of their own.
func addVersion(cmd *cobra.Command, version string) {
	if cmd.Flags().Lookup("version") == nil {
		cmd.Version = version
		cmd.Flags().Bool("version", false, "print the version")
	}
	for _, c := range cmd.Commands() {
		addVersion(c, version)
	}
	if cmd.HasParent() && cmd.HasSubCommands() {
		cmd.Args = unknownCommand
	}
}

// unknownCommand returns an error with a suggestion of what to type instead of
// args.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if _, err := os.Stat(args[0]); err == nil && !cmd.HasParent() {
		return fmt.Errorf("%s is a file, not a command; to classify its flows: exspan analyze %s", args[0], strings.Join(args, " "))
	}
	return fmt.Errorf("unknown command %q%s; %s --help lists them", args[0], didYouMean(args[0], names), cmd.CommandPath())
}

// habits maps flags of other programs to what exspan has instead.
var habits = map[string]string{
	"-f": "a BPF expression comes at the end, after --",
	"-Y": "a BPF expression comes at the end, after --",
	"-n": "names are never looked up",
	"-V": "--version prints the version",
	"-j": "--format ndjson writes JSON", "--json": "--format ndjson writes JSON", "-T": "--format says what to write",
	"-v": "--version prints the version", "--verbose": "--format ndjson writes all that is known of each flow",
}

// noArguments is for commands that take flags alone.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%q is too much: %s takes no arguments", args[0], cmd.CommandPath())
}

// flagError adds to an error of the flag parser what may have been meant.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	name, long := strings.CutPrefix(text, "unknown flag: --")
	if !long {
		rest, ok := strings.CutPrefix(text, "unknown shorthand flag: ")
		if !ok || len(rest) < 3 {
			return err
		}
		name = rest[1:2]
		if name == "r" && !cmd.HasParent() {
			return errors.New("-r belongs to a command: exspan analyze -r FILE")
		}
		if hint := habits["-"+name]; hint != "" {
			return fmt.Errorf("unknown flag: -%s; %s", name, hint)
		}
		return fmt.Errorf("unknown flag: -%s; %s --help lists the flags", name, cmd.CommandPath())
	}
	if hint := habits["--"+name]; hint != "" {
		return fmt.Errorf("%s; %s", text, hint)
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, "--"+f.Name)
		}
	})
	return errors.New(text + didYouMean("--"+name, known))
}

// didYouMean returns a hint at the known word that is closest to a misspelt one, or
// "".
func didYouMean(word string, known []string) string {
	if near := rules.Near(word, known); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}
