package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/infer"
	"github.com/exspan/exspan/rules"
)

func newSiteCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "site",
		Short: "Begin and check site files",
		Long: `A site file tells exspan what is known of the network: servers with their roles,
networks of clients, wanted flows and accepted findings.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSiteInferCmd(), newSiteCheckCmd(), newSchemaCmd("site files", "site", rules.SiteSchema))
	return cmd
}

func newSiteInferCmd() *cobra.Command {
	o := &pipeline.Options{}
	output := ""
	cmd := &cobra.Command{
		Use:   "infer [flags] FILE... [-- BPF-EXPRESSION]",
		Short: "Write a site file from what captures prove",
		Long: `Write a site file from what captures, or flow records that analyze or monitor
wrote, prove: servers with their roles and the evidence, and versions. Static
ports and networks of clients are guesses, and marked so. Hosts that talk with
Exchange servers and are not recognised stand in it as comments to be filled in.

With --site, what that file says stays as it is, and what traffic proves besides
is added.`,
		Example: `  exspan site infer trace.pcapng -o site.yaml
  exspan site infer --site site.yaml tuesday.pcapng`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Args(cmd, args)
			out, err := openOutput(output, cmd.OutOrStdout())
			if err != nil {
				return fmt.Errorf("--output: %w", err)
			}
			defer out.abandon()
			date := time.Now()
			result, err := o.ViewFiles(cmd, func(cfg *classify.Config) record.Sink {
				return infer.New(out, infer.Options{Site: cfg.Site, Title: o.Title(), Date: date.Format(time.DateOnly)})
			}, pipeline.Output{Flag: "output", Name: output})
			if err != nil {
				return err
			}
			return out.finish(result)
		},
	}
	o.InputFlags(cmd.Flags())
	o.EngineFlags(cmd.Flags(), "how long, in packet time, an ended flow waits for what may still explain it; 0 means to the end")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to `FILE`, which appears when it is complete (default standard output)")
	return cmd
}

func newSiteCheckCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "check FILE...",
		Short:   "Check site files",
		Long:    `Read site files, and print every mistake in them as file:line:column.`,
		Example: `  exspan site check site.yaml`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			for _, file := range args {
				data, err := pipeline.ReadFile(file)
				if err == nil {
					_, err = rules.LoadSite(file, data)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}

// newSchemaCmd returns the command that prints the JSON Schema of a kind of file.
func newSchemaCmd(files, name string, schema func() []byte) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON Schema of " + files,
		Long: `Print a JSON Schema of ` + files + `, by which editors complete keys and words, and
mark mistakes while you type. Editors with the YAML language server (Visual Studio Code,
Neovim, Emacs and others) take it from the first line of a file:

    # yaml-language-server: $schema=` + name + `.schema.json

What a schema cannot say, such as that a name is there twice, the command check
finds.`,
		Example: "  exspan " + name + " schema > " + name + ".schema.json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := cmd.OutOrStdout().Write(schema()); err != nil {
				return pipeline.Error{Err: err}
			}
			return nil
		},
	}
}
