package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/firewall"
	"github.com/exspan/exspan/exporter/model"
)

func firewallFormats() []string { return stringsOf(firewall.Formats()) }

// firewallFlags are the flags of exspan firewall.
type firewallFlags struct {
	pipeline.Options
	look           look
	format, output string
	strict         bool
}

func newFirewallCmd() *cobra.Command {
	f := &firewallFlags{}
	cmd := &cobra.Command{
		Use:   "firewall [flags] [FILE...] [-- BPF-EXPRESSION]",
		Short: "Print firewall rules for what is documented and was seen",
		Long: `Print firewall rules for the documented data paths that captures, or flow records that
analyze or monitor wrote, show. Without a file, they are those of all paths that are
documented between the servers and networks of the site file.

A dynamic port becomes the documented range, with how to pin it, or the port to
which the site file pins it. What no document explains never becomes a rule: it is
listed at the end. Microsoft does not support filters among Exchange servers, nor
between them and domain controllers, so those pairs may use any port, unless
--strict asks for theirs.

Rules for nftables, iptables and ip6tables touch only what reaches or leaves an Exchange
server: what is in no rule is rejected. Read them before you load them.`,
		Example: `  exspan firewall --site site.yaml trace.pcapng
  exspan firewall --site site.yaml --format nftables -o exspan.nft trace.pcapng
  exspan firewall --site site.yaml --strict`,
		Args: cobra.ArbitraryArgs,
		RunE: f.run,
	}
	f.InputFlags(cmd.Flags())
	f.EngineFlags(cmd.Flags(), "how long, in packet time, an ended flow waits for what may still explain it; 0 means to the end")
	cmd.Flags().StringVar(&f.format, "format", "table", "what to write: `FORMAT` is "+orList(firewallFormats()))
	cmd.Flags().BoolVar(&f.strict, "strict", false, "list the ports of pairs that Microsoft does not support to be filtered")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "write to `FILE`, which appears when it is complete (default standard output)")
	cmd.Flags().IntVar(&f.look.width, "width", 0, "columns of the table; 0 means those of the terminal, else $COLUMNS, else 100")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(firewallFormats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (f *firewallFlags) run(cmd *cobra.Command, args []string) error {
	f.look.color = colorWords[0]
	if err := checkWords("format", []string{f.format}, firewallFormats()); err != nil {
		return err
	}
	if err := f.look.check(); err != nil {
		return err
	}
	f.Args(cmd, args)
	out, err := openOutput(f.output, cmd.OutOrStdout())
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer out.abandon()
	m, cfg, result, err := modelOf(cmd, &f.Options, pipeline.Output{Flag: "output", Name: f.output})
	if err != nil {
		return err
	}
	title := f.Title()
	if result == nil {
		if cfg.Site == nil {
			return errors.New("rules for what? Name a capture, or the servers with --site")
		}
		title, result = f.Site, &pipeline.Result{}
	}
	plan := firewall.New(m, firewall.Options{Packs: cfg.Packs, Site: cfg.Site, Version: siteVersion(&f.Options, cfg), Strict: f.strict})
	err = plan.Write(out, firewall.Format(f.format), firewall.Look{Title: title, Width: f.look.columns(cmd.OutOrStdout())})
	if err != nil {
		return pipeline.Error{Err: err}
	}
	if n := len(plan.Refused); n > 0 && f.format == string(firewall.CSV) {
		fmt.Fprintf(cmd.ErrOrStderr(), "exspan: not made into rules: %s; --format table lists what\n", count(uint64(n), "service"))
	}
	return out.finish(result)
}

// siteVersion returns the Exchange version of the site file, else that of --exchange.
func siteVersion(o *pipeline.Options, cfg *classify.Config) string {
	if cfg.Site != nil && cfg.Site.Version != "" {
		return cfg.Site.Version
	}
	return o.Exchange
}

// modelOf returns the Model of the files of o. If there are none, it is that of the
// documents, for all versions of the site file, and the result is nil.
func modelOf(cmd *cobra.Command, o *pipeline.Options, outputs ...pipeline.Output) (*model.Model, *classify.Config, *pipeline.Result, error) {
	if len(o.Files) == 0 {
		cfg, err := o.Config()
		if err != nil {
			return nil, nil, nil, err
		}
		m, err := documentedModel(o, &cfg)
		return m, &cfg, nil, err
	}
	var b *model.Builder
	var cfg *classify.Config
	result, err := o.ViewFiles(cmd, func(c *classify.Config) record.Sink {
		cfg = c
		b = model.New(model.Options{Packs: c.Packs, Version: siteVersion(o, c)})
		return b
	}, outputs...)
	if err != nil {
		return nil, nil, nil, err
	}
	return b.Model(), cfg, result, nil
}

// documentedModel returns the Model of the documents for the versions of the site file, or
// for --exchange.
func documentedModel(o *pipeline.Options, cfg *classify.Config) (*model.Model, error) {
	versions := []string{siteVersion(o, cfg)}
	if cfg.Site != nil {
		for i := range cfg.Site.Servers {
			if v := cfg.Site.Servers[i].Version; v != "" && !slices.Contains(versions, v) {
				versions = append(versions, v)
			}
		}
	}
	for i, v := range versions {
		known := cfg.Packs.Versions()
		if at := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, v) }); at >= 0 {
			versions[i] = known[at]
		} else if len(cfg.Packs.Paths(v)) == 0 {
			return nil, fmt.Errorf("--exchange: no data paths of %q; known are %s", v, strings.Join(known, ", "))
		}
	}
	return model.NewDocumented(cfg.Packs, versions...), nil
}
