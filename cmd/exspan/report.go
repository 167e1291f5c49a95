package main

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/diagram"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/exporter/report"
	"github.com/exspan/exspan/rules"
)

func reportFormats() []string { return stringsOf(report.Formats()) }

// reportFlags are the flags of exspan report.
type reportFlags struct {
	pipeline.Options
	format, output string
}

func newReportCmd() *cobra.Command {
	r := &reportFlags{}
	cmd := &cobra.Command{
		Use:   "report [flags] FILE... -o REPORT.html [-- BPF-EXPRESSION]",
		Short: "Write a page that shows all of it, for a browser or for paper",
		Long: `Write one page on captures, or on flow records that analyze or monitor wrote: what is
wrong and what to do, who talks to whom, the data paths with their traffic over time
and with what was seen beside what is documented, findings, unexpected and blocked
flows, dynamic ports and how to pin them, coverage, telephone calls, and what the
captures could not show.

The page is one file. It loads nothing from anywhere, and reads well on a phone, on
paper, and without JavaScript, which sorts and filters its tables. It shows addresses
and names of hosts; give it to whom you would give the capture's addresses. Tables are
bounded, and name the command that lists what they leave out.

A name that ends in .md, or --format md, makes it Markdown for a ticket.`,
		Example: `  exspan report trace.pcapng -o report.html
  exspan report --site site.yaml monday.pcapng tuesday.pcapng -o report.html
  exspan report --format md trace.pcapng -o -`,
		Args: cobra.ArbitraryArgs,
		RunE: r.run,
	}
	r.InputFlags(cmd.Flags())
	r.EngineFlags(cmd.Flags(), "how long, in packet time, an ended flow waits for what may still explain it; 0 means to the end")
	cmd.Flags().StringVar(&r.format, "format", "", "what to write: `FORMAT` is "+orList(reportFormats())+" (default by the name of the output, else html)")
	cmd.Flags().StringVarP(&r.output, "output", "o", "", "write to `FILE`, which appears when it is complete; \"-\" is standard output")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(reportFormats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (r *reportFlags) run(cmd *cobra.Command, args []string) error {
	if r.format == "" {
		var err error
		if r.format, err = formatOf(r.output, string(report.HTML), reportFormats(), map[string]string{"htm": string(report.HTML)}); err != nil {
			return err
		}
	}
	errs := []error{checkWords("format", []string{r.format}, reportFormats())}
	stdout := cmd.OutOrStdout()
	switch {
	case r.output == "":
		errs = append(errs, errors.New("no output given; -o report.html names it, and -o - is standard output"))
	case r.output == "-" && r.format == string(report.HTML) && pipeline.IsTerminal(stdout):
		errs = append(errs, errors.New("-o -: standard output is a terminal; name a file or a pipe"))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r.Args(cmd, args)
	out, err := openOutput(r.output, stdout)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer out.abandon()
	result, err := r.ViewFiles(cmd, func(cfg *classify.Config) record.Sink {
		cfg.Calls = true
		return report.New(out, report.Options{Packs: cfg.Packs, Format: report.Format(r.format), Title: r.Title(), Version: r.Version(cfg), Assumed: siteVersion(&r.Options, cfg),
			Input: r.input(), Diagram: drawDiagram(cfg.Site)})
	}, pipeline.Output{Flag: "output", Name: r.output})
	if err != nil {
		return err
	}
	return out.finish(result)
}

// drawDiagram returns a function that draws a Model. site may be nil.
func drawDiagram(site *rules.Site) report.Drawer {
	return func(m *model.Model, link func(int, []*model.Edge) string) ([]byte, error) {
		g := diagram.New(m, diagram.Options{By: diagram.ByRole, Site: site})
		links := map[*diagram.Arrow]string{}
		for _, a := range g.Arrows {
			links[a] = link(a.Number, a.Edges)
		}
		g.Link = func(a *diagram.Arrow) string { return links[a] }
		var b bytes.Buffer
		err := diagram.Write(&b, g, diagram.SVG)
		return b.Bytes(), err
	}
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_./,:@%+=-]+$`)

// input returns what stands for the input in commands that a reader types: flags that change
// verdicts, and the files, quoted for a shell.
func (r *reportFlags) input() string {
	const most = 3
	var words []string
	if r.Site != "" {
		words = append(words, "--site", r.Site)
	}
	words = append(words, r.Files...)
	if len(r.Files) > most {
		words = append(words[:len(words)-len(r.Files)+most], "...")
	}
	words = slices.Clone(words)
	for i, w := range words {
		if !plainName.MatchString(w) {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
