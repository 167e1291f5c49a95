package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/parquet"
	"github.com/exspan/exspan/rules"
)

// conversion holds the flags of convert.
type conversion struct {
	pipeline.Options
	output string
}

func newConvertCmd() *cobra.Command {
	c := &conversion{}
	cmd := &cobra.Command{
		Use:   "convert [flags] FILE... -o OUT [-- BPF-EXPRESSION]",
		Short: "Write captures as one pcapng file, or flow records as Parquet",
		Long: `Read capture files (.etl of netsh and pktmon, .cap of Network Monitor, pcap and
pcapng, plain, gzip or zstd; "-" is standard input) and write their frames, in
time order, to one pcapng file that Wireshark and tcpdump read.

Each packet of a Windows trace is written once; --all-appearances writes it at
each layer where it was seen. Frames of 802.11 and raw IP become Ethernet. Names
of adapters and drivers become names of interfaces, and drops that pktmon reports
become comments of packets.

Flow records, as analyze and monitor write them in NDJSON, become one file of
Parquet, with the columns of --parquet of those two, and sensor. Such an output
has the extension .parquet.

To capture on an Exchange server, run one of these, and copy the .etl file:

  netsh trace start capture=yes report=disabled maxsize=1024 tracefile=C:\exspan.etl
  netsh trace stop

  pktmon start --capture --comp nics --pkt-size 0 --file-name C:\exspan.etl
  pktmon stop`,
		Example: `  exspan convert trace.etl -o trace.pcapng
  exspan convert a.etl b.pcap -o both.pcapng -- host 10.0.0.5
  exspan convert trace.etl -o - | tshark -r -
  exspan convert flows.ndjson -o flows.parquet`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Args(cmd, args)
			if err := c.check(); err != nil {
				return err
			}
			return c.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.InputFlags(cmd.Flags())
	_ = cmd.Flags().MarkHidden("workers") // one is enough
	cmd.Flags().StringVarP(&c.output, "output", "o", "", "write to `FILE`, which appears when it is complete; \"-\" is standard output")
	return cmd
}

func (c *conversion) check() error {
	errs := c.CheckInputs()
	if c.output == "" {
		errs = append(errs, errors.New("no output given; -o OUT.pcapng names it, and -o - is standard output"))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.CheckFiles(pipeline.Output{Flag: "output", Name: c.output})
}

// checkRecords returns an error where the kind of input and the name of the output do
// not fit.
func (c *conversion) checkRecords(records bool) error {
	isParquet := strings.EqualFold(filepath.Ext(c.output), ".parquet")
	switch {
	case records && !isParquet && c.output != "-":
		return fmt.Errorf("--output: flow records have no packets, so that %s cannot be made of them; a name that ends in .parquet makes them a file of Parquet", c.output)
	case !records && isParquet:
		return errors.New("--output: Parquet is made of flow records; for captures there is exspan analyze --parquet DIR")
	}
	return nil
}

// records writes flow records as one file of Parquet.
func (c *conversion) records(ctx context.Context, streams pipeline.Streams, out *output) error {
	packs, err := rules.Embedded()
	if err != nil {
		return err
	}
	result, err := c.Run(ctx, classify.Config{Packs: packs}, streams, parquet.NewFile(out, versionNumber()))
	if err != nil {
		return err
	}
	return out.finish(result)
}

func (c *conversion) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	if c.output == "-" && pipeline.IsTerminal(stdout) {
		return errors.New("-o -: standard output is a terminal; name a file or a pipe")
	}
	streams := pipeline.Streams{Stdin: stdin}
	if !c.Quiet {
		streams.Progress = stderr
	}
	records, err := c.Records(&streams)
	if err != nil {
		return err
	}
	if err := c.checkRecords(records); err != nil {
		return err
	}
	out, err := openOutput(c.output, stdout)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer out.abandon()
	if records {
		return c.records(ctx, streams, out)
	}
	w, err := capture.NewWriter(out, "exspan")
	if err != nil {
		return pipeline.Error{Err: err}
	}
	frames, result, err := c.Frames(ctx, streams, w.WriteFrame)
	if err != nil {
		return err
	}
	for _, n := range result.Notes {
		printLines(stderr, n)
	}
	if frames == 0 && len(result.Damage) > 0 {
		return result.Err() // an empty file helps nobody
	}
	if err := errors.Join(w.Flush(), out.commit()); err != nil {
		return pipeline.Error{Err: err}
	}
	return result.Err()
}
