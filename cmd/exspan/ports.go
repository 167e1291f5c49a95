package main

import (
	"github.com/spf13/cobra"

	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/ports"
)

func newPortsCmd() *cobra.Command {
	v := &viewFlags{}
	cmd := &cobra.Command{
		Use:   "ports [flags] FILE... [-- BPF-EXPRESSION]",
		Short: "Tell which dynamic ports services had, and how to pin them",
		Long: `Tell of each RPC service whose endpoint captures announce which ports it had over
time, whether they are in the range that is documented for pinned ports, and by
which registry value or file the service can be pinned, with the document.`,
		Example: `  exspan ports trace.pcapng
  exspan ports --format json monday.pcapng tuesday.pcapng`,
		Args: cobra.ArbitraryArgs,
	}
	v.flags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := v.check(nil); err != nil {
			return err
		}
		stdout := cmd.OutOrStdout()
		result, err := v.View(cmd, args, func(cfg *classify.Config) record.Sink {
			return ports.New(stdout, ports.Options{Packs: cfg.Packs, Version: siteVersion(&v.Options, cfg), JSON: v.format == "json", Width: v.look.columns(stdout)})
		})
		if err != nil {
			return err
		}
		return result.Err()
	}
	return cmd
}
