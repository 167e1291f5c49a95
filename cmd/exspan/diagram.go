package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/diagram"
)

func diagramFormats() []string { return stringsOf(diagram.Formats()) }

var diagramBy = []string{string(diagram.ByRole), string(diagram.ByHost), string(diagram.ByNetwork)}

// diagramFlags are the flags of exspan diagram.
type diagramFlags struct {
	pipeline.Options
	format, by, output string
}

func newDiagramCmd() *cobra.Command {
	d := &diagramFlags{}
	cmd := &cobra.Command{
		Use:   "diagram [flags] [FILE...] [-- BPF-EXPRESSION]",
		Short: "Draw who talks to whom, on which ports and data paths",
		Long: `Draw a network ports diagram of what captures, or flow records that analyze or monitor
wrote, show: the servers by role, from the outside to the directory, and an arrow for
each data path with its ports, encryption and state. What is unexpected, deviating or
blocked stands out, and numbers lead to the legend. The traffic of Windows itself is
left out.

Without a file, draw what is documented for an Exchange version (--exchange).

drawio is for diagrams.net, where shapes can be moved, and layers show what was seen,
what needs attention, and what is documented and was not seen. dot is for Graphviz,
mermaid for Markdown.`,
		Example: `  exspan diagram --site site.yaml trace.pcapng -o ports.svg
  exspan diagram --by host --format drawio -o ports.drawio trace.pcapng
  exspan diagram --exchange 2016 -o exchange2016.svg`,
		Args: cobra.ArbitraryArgs,
		RunE: d.run,
	}
	d.InputFlags(cmd.Flags())
	d.EngineFlags(cmd.Flags(), "how long, in packet time, an ended flow waits for what may still explain it; 0 means to the end")
	cmd.Flags().StringVar(&d.format, "format", "", "what to write: `FORMAT` is "+orList(diagramFormats())+" (default by the name of the output, else svg)")
	cmd.Flags().StringVar(&d.by, "by", diagramBy[0], "what becomes one box: `WORD` is "+orList(diagramBy))
	cmd.Flags().StringVarP(&d.output, "output", "o", "", "write to `FILE`, which appears when it is complete (default standard output)")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(diagramFormats(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(diagramBy, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (d *diagramFlags) run(cmd *cobra.Command, args []string) error {
	if d.format == "" {
		var err error
		if d.format, err = formatOf(d.output, string(diagram.SVG), diagramFormats(), map[string]string{"gv": string(diagram.DOT), "mmd": string(diagram.Mermaid), "md": string(diagram.Mermaid)}); err != nil {
			return err
		}
	}
	if err := errors.Join(checkWords("format", []string{d.format}, diagramFormats()), checkWords("by", []string{d.by}, diagramBy)); err != nil {
		return err
	}
	d.Args(cmd, args)
	if d.format == string(diagram.PNG) && d.output == "" && pipeline.IsTerminal(cmd.OutOrStdout()) {
		return errors.New("a picture is nothing for a terminal: -o FILE")
	}
	out, err := openOutput(d.output, cmd.OutOrStdout())
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer out.abandon()
	m, cfg, result, err := modelOf(cmd, &d.Options, pipeline.Output{Flag: "output", Name: d.output})
	if err != nil {
		return err
	}
	title := d.Title()
	if result == nil {
		title, result = "Documented data paths", &pipeline.Result{}
	}
	for i, v := range m.Versions {
		title += []string{", Exchange ", " and "}[min(i, 1)] + v
	}
	if !m.First.IsZero() {
		title += ", " + m.First.UTC().Format("2006-01-02 15:04") + " to " + m.Last.UTC().Format("2006-01-02 15:04") + " UTC"
	}
	g := diagram.New(m, diagram.Options{By: diagram.By(d.by), Title: title, Site: cfg.Site})
	if len(g.Arrows) == 0 {
		g.Title = d.Title() // no traffic proves the version
		printLines(cmd.ErrOrStderr(), diagram.Nothing)
	}
	if err := diagram.Write(out, g, diagram.Format(d.format)); err != nil {
		return pipeline.Error{Err: err}
	}
	return out.finish(result)
}

// formatOf returns the format that the name of an output asks for by its extension: one of
// formats, or one of other that stands for one. Without an extension it is standard.
func formatOf(name, standard string, formats []string, other map[string]string) (string, error) {
	ext := strings.ToLower(strings.TrimPrefix(filepath.Ext(name), "."))
	switch {
	case ext == "":
		return standard, nil
	case slices.Contains(formats, ext):
		return ext, nil
	case other[ext] != "":
		return other[ext], nil
	}
	return "", fmt.Errorf("--output: %s: no format has the extension %q; --format says which it is: %s", name, "."+ext, orList(formats))
}
