package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter"
	"github.com/exspan/exspan/exporter/calls"
	"github.com/exspan/exspan/exporter/csv"
	"github.com/exspan/exspan/exporter/filter"
	"github.com/exspan/exspan/exporter/flows"
	"github.com/exspan/exspan/exporter/ndjson"
	"github.com/exspan/exspan/exporter/parquet"
	"github.com/exspan/exspan/exporter/pcapng"
	"github.com/exspan/exspan/exporter/table"
	"github.com/exspan/exspan/exporter/text"
)

// analysis holds the flags of analyze.
type analysis struct {
	pipeline.Options
	lake
	format, output string
	look           look
	filters        filterFlags
	chosen         *filter.Sink // by filters; nil for all flows
	by, sort       string
	rows           int64 // bytes for flows that are sorted or grouped
	all            bool
	failOn         []string
	calls          bool
	write          string
	writeStatus    []string
	cpuProfile     string
	memProfile     string
}

// What --format takes: a report, one line a flow for people, and two forms for
// programs.
var formats = []string{"table", "flows", "ndjson", "csv"}

func newAnalyzeCmd() *cobra.Command {
	a := &analysis{}
	encapsulations := false
	cmd := &cobra.Command{
		Use:   "analyze [flags] FILE... [-- BPF-EXPRESSION]",
		Short: "Say what each flow of capture files is",
		Long: `Read capture files as one, in time order, and say of each flow which documented
Exchange data path it follows, how sure that is, and what differs from the
documentation. Files are pcap, pcapng, .etl of Windows' netsh and pktmon, or .cap
of Network Monitor, plain or compressed with gzip or zstd; "-" is standard input.
-R takes folders of thousands of them, which one process reads by the time of
their packets, whatever their names.

Exit codes: 0 done, 1 a run-time error such as a damaged file (everything
before the damage is reported), 2 a mistake in flags, site file or rules,
3 --fail-on found what it names.

--status, --reason, --path, --finding, --host, --role and --port choose flows;
with them, or with --by or --sort, the format is flows unless --format says
otherwise. exspan glossary explains the words. --fail-on looks at all flows and
takes statuses, findings and reasons:
` + wrapWords(failWords(), 78),
		Example: `  exspan analyze trace.pcapng
  exspan analyze --by pair trace.pcapng
  exspan analyze --status unexpected --host mb1 trace.pcapng
  exspan analyze --format ndjson a.pcap b.pcap.gz - -- host 10.0.0.5
  exspan analyze -R captures --sensor s1 --parquet flows
  exspan analyze --site site.yaml --fail-on unexpected,cleartext trace.pcap`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if encapsulations {
				return listEncapsulations(cmd.OutOrStdout())
			}
			a.Args(cmd, args)
			if err := a.check(cmd); err != nil {
				return err
			}
			return a.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	a.InputFlags(f)
	a.EngineFlags(f, "how long, in packet time, an ended flow waits for what may still explain it; 0 means to the end, the default but for standard input (5m)")
	f.StringVar(&a.format, "format", "table", "what to write: `FORMAT` is "+orList(formats))
	a.look.flags(f)
	a.filters.flags(cmd)
	f.BoolVar(&a.all, "all", false, "in the table, show what is otherwise counted only")
	f.StringVar(&a.by, "by", "", "group flows: `WHAT` is pair, for client and server")
	f.StringVar(&a.sort, "sort", "", "sort flows by `KEY`: "+orList(flows.Keys()))
	f.StringVarP(&a.output, "output", "o", "", "write to `FILE`, which appears when it is complete (default standard output)")
	f.StringSliceVar(&a.failOn, "fail-on", nil, "exit with 3 if a flow has one of these statuses, findings or reasons, or if too much was unread (`LIST`, comma-separated)")
	f.BoolVar(&a.calls, "calls", false, "write telephone calls with their legs, media and quality instead of flows")
	f.StringVarP(&a.write, "write", "w", "", "write the packets of flows to the pcapng `FILE`, the verdict as packet comment")
	f.StringSliceVar(&a.writeStatus, "write-status", []string{"deviating", "unexpected"}, "of flows with these statuses (`LIST`, with --write)")
	a.lake.flags(f, "flows", "--parquet")
	f.StringVar(&a.sensor, "sensor", "", "`NAME` of the sensor that captured the files, for records")
	f.BoolVar(&encapsulations, "list-encapsulations", false, "list the link types, tags and tunnels that are read, and end")
	f.StringVar(&a.cpuProfile, "cpuprofile", "", "write a CPU profile to `FILE`")
	f.StringVar(&a.memProfile, "memprofile", "", "write a heap profile to `FILE`")
	_ = f.MarkHidden("cpuprofile")
	_ = f.MarkHidden("memprofile")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions([]string{"pair"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(flows.Keys(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions(failWords(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("write-status", cobra.FixedCompletions(statuses, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// listEncapsulations writes what frames may be wrapped in, a line each.
func listEncapsulations(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range capture.Encapsulations() {
		line := e.Name + "\t" + e.Where
		if e.Note != "" {
			line += " (" + e.Note + ")"
		}
		fmt.Fprintln(tw, line)
	}
	return tw.Flush()
}

var statuses = []string{
	string(record.Expected), string(record.Deviating), string(record.Unexpected), string(record.Unrelated),
	string(record.Undetermined),
}

// check returns all mistakes in the flags.
func (a *analysis) check(cmd *cobra.Command) error {
	errs := a.CheckInputs()
	set := cmd.Flags().Changed
	chosen := a.filters.any() || a.by != "" || a.sort != ""
	if chosen && !set("format") && !a.calls {
		a.format = "flows"
	}
	switch {
	case a.calls && a.format != "table" && a.format != "ndjson":
		errs = append(errs, fmt.Errorf("--calls: calls are written as table or ndjson, not as %s", a.format))
	case a.calls && chosen:
		errs = append(errs, errors.New("--calls: calls are neither chosen nor sorted"))
	case a.format == "table" && a.filters.any():
		errs = append(errs, errors.New("--format table: a report is of all flows; flows are chosen with --format flows, ndjson or csv"))
	case a.format != "flows" && (a.by != "" || a.sort != ""):
		errs = append(errs, fmt.Errorf("--by and --sort: with --format flows, not %s", a.format))
	}
	if a.by != "" {
		errs = append(errs, checkWords("by", []string{a.by}, []string{"pair"}))
	}
	if a.sort != "" {
		errs = append(errs, checkWords("sort", []string{a.sort}, flows.Keys()))
	}
	errs = append(errs, a.look.check())
	errs = append(errs, a.filters.check()...)
	if !slices.Contains(formats, a.format) {
		errs = append(errs, checkWords("format", []string{a.format}, formats))
	}
	errs = append(errs, checkWords("fail-on", a.failOn, failWords()), checkWords("write-status", a.writeStatus, statuses))
	errs = append(errs, a.CheckEngine()...)
	errs = append(errs, a.lake.check()...)
	if a.write == "" && cmd.Flags().Changed("write-status") {
		errs = append(errs, errors.New("--write-status: needs -w FILE, the file that those packets are written to"))
	}
	if a.write == "-" {
		errs = append(errs, errors.New("--write: needs the name of a file"))
	}
	return errors.Join(errs...)
}

// checkFiles returns the mistakes in the names of files.
func (a *analysis) checkFiles() error {
	err := a.CheckFiles(pipeline.Output{Flag: "output", Name: a.output}, pipeline.Output{Flag: "write", Name: a.write})
	if err != nil || a.write == "" {
		return err
	}
	for _, name := range a.Files {
		if pipeline.HoldsRecords(name) {
			err = errors.Join(err, fmt.Errorf("--write: %s holds flow records, which have no packets", name))
		}
		if st, serr := os.Stat(name); serr == nil && !st.Mode().IsRegular() {
			err = errors.Join(err, fmt.Errorf("--write: %s is no regular file, and it has to be read twice; standard input can be", name))
		}
	}
	return err
}

func (a *analysis) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	stopProfile, err := a.profile()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProfile()) }()

	a.shareMemory()
	cfg, err := a.Config()
	if err != nil {
		return err
	}
	cfg.Calls, cfg.Sensor = a.calls, a.sensor
	if err := a.checkFiles(); err != nil {
		return err
	}
	out, err := openOutput(a.output, stdout)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer out.abandon()
	sinks := []record.Sink{a.sink(out, stdout, &cfg)}
	streams := pipeline.Streams{Stdin: stdin}
	if !a.Quiet && !(a.format != "table" && a.by == "" && a.sort == "" && a.output == "" && pipeline.IsTerminal(stdout)) {
		streams.Progress = stderr
	}
	var packets *packetCopy
	if a.write != "" {
		if packets, err = a.openWrite(&streams); err != nil {
			return err
		}
		defer packets.close()
		sinks = append(sinks, packets.selection)
	}
	if a.parquet != "" {
		f := &folderSink{}
		if !a.Quiet {
			f.show = pipeline.NewProgress(stderr)
		}
		if f.folder, err = a.open(parquet.Options{Progress: f.progress}); err != nil {
			return err
		}
		defer f.folder.Abandon()
		f.Sink = parquet.NewSink(f.folder)
		sinks = append(sinks, a.filtered(f))
	}
	fail := newFailOn(a.failOn, exporter.Multi(sinks...))
	result, err := a.Run(ctx, cfg, streams, fail)
	if err != nil {
		return err
	}
	if result.Nothing() && out.name != "" {
		return out.finish(result)
	}
	if err := out.commit(); err != nil {
		return pipeline.Error{Err: err}
	}
	if a.format != "table" || a.calls {
		for _, n := range append(result.Notes, fail.warning, fail.snap, fail.limits) {
			if n != "" {
				printLines(stderr, n)
			}
		}
	}
	if a.chosen != nil && a.chosen.Matched == 0 && a.format == "flows" && !a.Quiet {
		fmt.Fprintf(stderr, "None of %s matches.\n", text.Count(a.chosen.Flows, "flow"))
	}
	if packets != nil {
		if err := a.copyPackets(packets, result.Last, stderr); err != nil {
			return pipeline.Error{Err: err}
		}
	}
	if err := result.Err(); err != nil {
		return err
	}
	return fail.report(stderr)
}

// packetCopy is the file of --write, what goes into it, and what was read from
// standard input, to be read again.
type packetCopy struct {
	selection *pcapng.Selection
	out       *output
	stdin     *os.File
}

func (p *packetCopy) close() {
	p.out.abandon()
	if p.stdin != nil {
		_ = p.stdin.Close()
		_ = os.Remove(p.stdin.Name())
	}
}

// openWrite prepares --write. It lets streams keep a copy of standard input.
func (a *analysis) openWrite(streams *pipeline.Streams) (*packetCopy, error) {
	out, err := openOutput(a.write, nil)
	if err != nil {
		return nil, fmt.Errorf("--write: %w", err)
	}
	p := &packetCopy{selection: pcapng.NewSelection(toStatuses(a.writeStatus), a.KeyVLAN), out: out}
	if slices.Contains(a.Files, "-") {
		if p.stdin, err = os.CreateTemp("", "exspan-*"); err != nil {
			p.close()
			return nil, pipeline.Error{Err: err}
		}
		streams.Stdin = io.TeeReader(streams.Stdin, p.stdin)
	}
	return p, nil
}

// copyPackets reads the input again, up to the packet numbered last, and writes
// those of the selected flows.
func (a *analysis) copyPackets(p *packetCopy, last uint64, stderr io.Writer) error {
	opt := a.Capture()
	opt.Parallel, opt.KeepFrames = a.Workers != 1, true
	if p.stdin != nil {
		if _, err := p.stdin.Seek(0, io.SeekStart); err != nil {
			return err
		}
		opt.Stdin = p.stdin
	}
	src, err := capture.OpenFiles(a.Files, opt)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	if _, err := p.selection.Copy(p.out, src, last); err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	if n := p.selection.Refused; n > 0 {
		fmt.Fprintf(stderr, "exspan: --write: packets of %d flows only, %d more were left out\n", pcapng.MaxFlows, n)
	}
	return p.out.commit()
}

func toStatuses(words []string) []record.Status {
	list := make([]record.Status, len(words))
	for i, w := range words {
		list[i] = record.Status(w)
	}
	return list
}

// sink returns the sink of the format. config is what the run is configured
// with.
func (a *analysis) sink(w io.Writer, stdout io.Writer, config *classify.Config) record.Sink {
	if a.output != "" {
		stdout = nil // the report does not go to the terminal
	}
	var s record.Sink
	switch {
	case a.calls:
		return calls.New(w, a.format == "ndjson")
	case a.format == "ndjson":
		s = ndjson.New(w)
	case a.format == "csv":
		s = csv.New(w)
	case a.format == "flows":
		s = flows.New(w, flows.Options{Width: a.look.columns(stdout), Color: a.look.colored(stdout), Sort: a.sort, Pairs: a.by == "pair",
			MaxMemory: int(a.rows), GroupName: config.Packs.GroupName})
	default:
		return table.New(w, table.Options{Width: a.look.columns(stdout), Color: a.look.colored(stdout), All: a.all, Title: a.Title(),
			Version: a.Version(config), Assumed: a.Exchange, GroupName: config.Packs.GroupName})
	}
	if a.filters.any() {
		a.chosen = filter.New(&a.filters.criteria, s)
		return a.chosen
	}
	return s
}

// filtered returns a sink that gives s the flows that filters choose.
func (a *analysis) filtered(s record.Sink) record.Sink {
	if a.filters.any() {
		return filter.New(&a.filters.criteria, s)
	}
	return s
}

// profile starts the profiles asked for and returns the function that ends
// them.
func (a *analysis) profile() (func() error, error) {
	var cpu *os.File
	if a.cpuProfile != "" {
		var err error
		if cpu, err = os.Create(a.cpuProfile); err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(cpu); err != nil {
			return nil, err
		}
	}
	return func() error {
		var err error
		if cpu != nil {
			pprof.StopCPUProfile()
			err = cpu.Close()
		}
		if a.memProfile == "" {
			return err
		}
		runtime.GC() // a heap profile shows the time of the last collection
		f, ferr := os.Create(a.memProfile)
		if ferr != nil {
			return errors.Join(err, ferr)
		}
		return errors.Join(err, pprof.Lookup("heap").WriteTo(f, 0), f.Close())
	}, nil
}
