// Command exspan says which documented Exchange data path each network flow
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

	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
)

// The exit codes; the first that applies is given.
const (
	exitDone  = 0
	exitError = 1 // a run-time error: a damaged file, a full disk
	exitUsage = 2 // the operator's mistake: a flag, a site file, rules
	exitFound = 3 // --fail-on found what it names
)

// errFound is returned when --fail-on found what it names; what it found was
// printed already.
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
func printError(w io.Writer, err error) {
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(w, "exspan: %s\n", line)
	}
}

func newRootCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exspan",
		Short: "Passive traffic classifier for Microsoft Exchange",
		Long: `exspan reads network traffic, recognises the protocol of each flow, learns the
dynamic ports that endpoint mappers announce, and says which documented
Microsoft Exchange data path each flow follows.`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAnalyzeCmd(), newMonitorCmd(), newInterfacesCmd(), newTopCmd(), newRulesCmd(), newVersionCmd(), newManCmd())
	return cmd
}
