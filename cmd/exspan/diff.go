package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/diff"
)

func newDiffCmd() *cobra.Command {
	v := &viewFlags{}
	ignoreCounts := false
	cmd := &cobra.Command{
		Use:   "diff [flags] A B [-- BPF-EXPRESSION]",
		Short: "Tell what differs between two captures",
		Long: `Tell which data paths, findings, unexpected services, pairs of hosts and learned
endpoints are new, gone or changed in B, compared with A. Each is a capture, or
flow records that analyze or monitor wrote. Order and time do not matter.

--fail-on takes new, gone and changed, and these with a kind, such as new-path,
new-finding, gone-pair or changed-endpoint.`,
		Example: `  exspan diff before.pcapng after.pcapng
  exspan diff --ignore-counts --fail-on new-finding,new-unexpected monday.ndjson tuesday.ndjson`,
		Args: cobra.ArbitraryArgs,
	}
	v.flags(cmd, diff.Words())
	cmd.Flags().BoolVar(&ignoreCounts, "ignore-counts", false, "pairs of hosts with another number of flows have not changed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := v.check(diff.Words()); err != nil {
			return err
		}
		v.Args(cmd, args)
		if len(v.Files) != 2 {
			return fmt.Errorf("want two captures or files of flow records, not %d", len(v.Files))
		}
		names := v.Files
		var runs [2]*diff.Run
		var errs []error
		for i, name := range names {
			o := v.Options
			o.Files = []string{name}
			result, err := o.ViewFiles(cmd, func(cfg *classify.Config) record.Sink {
				runs[i] = diff.NewRun(cfg.Packs)
				return runs[i]
			})
			if err != nil {
				return err
			}
			errs = append(errs, result.Err())
			if n := runs[i].Refused(); n > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "exspan: %s: %s not compared: there were too many different ones\n", name, count(n, "flow"))
			}
		}
		changes := diff.Compare(runs[0], runs[1], !ignoreCounts)
		stdout := cmd.OutOrStdout()
		if err := diff.Write(stdout, changes, diff.Options{JSON: v.format == "json", Color: v.look.colored(stdout)}); err != nil {
			return err
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		if found := diff.Found(changes, v.failOn); found != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "exspan: found %s\n", strings.Join(found, ", "))
			return errFound
		}
		return nil
	}
	return cmd
}
