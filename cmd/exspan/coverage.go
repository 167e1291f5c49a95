package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/coverage"
)

// viewFlags are the flags of commands that write one view of a run.
type viewFlags struct {
	pipeline.Options
	look   look
	format string
	failOn []string
}

// flags adds them; words are those of --fail-on, nil for a command without it.
func (v *viewFlags) flags(cmd *cobra.Command, words []string) {
	f := cmd.Flags()
	v.InputFlags(f)
	v.EngineFlags(f, "how long, in packet time, an ended flow waits for what may still explain it; 0 means to the end")
	v.look.flags(f)
	f.StringVar(&v.format, "format", "text", "what to write: `FORMAT` is text or json")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	if words != nil {
		f.StringSliceVar(&v.failOn, "fail-on", nil, "exit with 3 if one of these occurs (`LIST`): "+strings.Join(words, ", "))
		_ = cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
}

// check returns the first mistake in the flags.
func (v *viewFlags) check(words []string) error {
	if err := checkWords("format", []string{v.format}, []string{"text", "json"}); err != nil {
		return err
	}
	if err := checkWords("fail-on", v.failOn, words); err != nil {
		return err
	}
	return v.look.check()
}

func coverageWords() []string { return stringsOf(coverage.States()) }

func newCoverageCmd() *cobra.Command {
	v := &viewFlags{}
	cmd := &cobra.Command{
		Use:   "coverage [flags] FILE... [-- BPF-EXPRESSION]",
		Short: "Tell which documented data paths captures show",
		Long: `Tell of each documented data path of the Exchange versions at hand whether
captures, or flow records that analyze or monitor wrote, show it: seen, seen
deviating, only seen blocked, not seen, or not observable from where they were
taken, and when it was seen first and last. A flow that may follow several paths
counts for each of them; the number then has a ~ before it. Paths that the
documents list as not used are left out, and those of Windows itself, such as
logon and name resolution, unless --all asks for them.`,
		Example: `  exspan rules coverage trace.pcapng
  exspan rules coverage --site site.yaml --fail-on blocked flows.ndjson`,
		Args: cobra.ArbitraryArgs,
	}
	v.flags(cmd, coverageWords())
	all := cmd.Flags().Bool("all", false, "list the paths of Windows itself too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := v.check(coverageWords()); err != nil {
			return err
		}
		stdout := cmd.OutOrStdout()
		var sink *coverage.Sink
		result, err := v.View(cmd, args, func(cfg *classify.Config) record.Sink {
			sink = coverage.New(stdout, coverage.Options{Packs: cfg.Packs, Version: siteVersion(&v.Options, cfg), Platform: *all, JSON: v.format == "json",
				Width: v.look.columns(stdout), Color: v.look.colored(stdout)})
			return sink
		})
		if err != nil {
			return err
		}
		if err := result.Err(); err != nil {
			return err
		}
		if found := sink.Found(v.failOn); found != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "exspan: found %s\n", strings.Join(found, ", "))
			return errFound
		}
		return nil
	}
	return cmd
}
