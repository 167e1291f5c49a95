package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/exporter"
	"github.com/exspan/exspan/exporter/calls"
	"github.com/exspan/exspan/exporter/csv"
	"github.com/exspan/exspan/exporter/ndjson"
	"github.com/exspan/exspan/exporter/pcapng"
	"github.com/exspan/exspan/exporter/table"
)

// analysis holds what the flags of analyze say.
type analysis struct {
	format, output string
	site, exchange string
	rules          []string
	failOn         []string
	workers        int
	hold           time.Duration
	maxHeld        int
	keyVLAN        bool
	identities     bool
	calls          bool
	write          string
	writeStatus    []string
	quiet          bool
	cpuProfile     string
	memProfile     string

	files  []string
	filter string
}

// pipeHold is how long ended flows wait where the end of the input may never
// come.
const pipeHold = 5 * time.Minute

var formats = []string{"table", "ndjson", "csv"}

func newAnalyzeCmd() *cobra.Command {
	a := &analysis{}
	cmd := &cobra.Command{
		Use:   "analyze FILE... [-- BPF-EXPRESSION]",
		Short: "Say what each flow of capture files is",
		Long: `Read capture files (pcap and pcapng, plain, gzip or zstd; "-" is standard
input) as one, in time order, and say of each flow which documented Exchange
data path it follows, how sure that is, and what differs from the documentation.

Exit codes: 0 done, 1 a run-time error such as a damaged file (everything
before the damage is reported), 2 a mistake in flags, site file or rules,
3 --fail-on found what it names.`,
		Example: `  exspan analyze trace.pcapng
  exspan analyze --format ndjson a.pcap b.pcap.gz - -- host 10.0.0.5
  exspan analyze --site site.yaml --fail-on unexpected,cleartext trace.pcap`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.files = args
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				a.files, a.filter = args[:dash], strings.Join(args[dash:], " ")
			}
			if err := a.check(); err != nil {
				return err
			}
			if slices.Contains(a.files, "-") && !cmd.Flags().Changed("hold") {
				a.hold = pipeHold
			}
			return a.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&a.format, "format", "table", "what to write: "+strings.Join(formats, ", "))
	f.StringVarP(&a.output, "output", "o", "", "write to `FILE`, which appears when it is complete (default standard output)")
	f.StringVar(&a.site, "site", "", "`FILE` that says what is known of the network")
	f.StringArrayVar(&a.rules, "rules", nil, "`FILE` of rules besides the built-in ones; a data path of the same id replaces it (repeatable)")
	f.StringVar(&a.exchange, "exchange", "2010", "`VERSION` of Exchange where neither the site file nor traffic tells")
	f.StringSliceVar(&a.failOn, "fail-on", nil, "exit with 3 if a flow has one of these statuses, findings or reasons (`LIST`, comma-separated)")
	f.IntVar(&a.workers, "workers", 0, "how many processors to use; 0 means all")
	f.DurationVar(&a.hold, "hold", 0, "how long, in packet time, an ended flow waits for what may still explain it; 0 means to the end, the default but for standard input (5m)")
	f.IntVar(&a.maxHeld, "max-held", 1_000_000, "how many ended flows wait at most")
	f.BoolVar(&a.keyVLAN, "key-vlan", false, "the same addresses and ports in other VLANs are other flows")
	f.BoolVar(&a.identities, "include-identities", false, "show user and host principals, paths and names in full")
	f.BoolVar(&a.calls, "calls", false, "write telephone calls with their legs, media and quality instead of flows")
	f.StringVarP(&a.write, "write", "w", "", "write the packets of flows to the pcapng `FILE`, the verdict as packet comment")
	f.StringSliceVar(&a.writeStatus, "write-status", []string{"deviating", "unexpected"}, "of flows with these statuses (`LIST`, with --write)")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress on standard error")
	f.StringVar(&a.cpuProfile, "cpuprofile", "", "write a CPU profile to `FILE`")
	f.StringVar(&a.memProfile, "memprofile", "", "write a heap profile to `FILE`")
	_ = f.MarkHidden("cpuprofile")
	_ = f.MarkHidden("memprofile")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions(failWords, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("write-status", cobra.FixedCompletions(statuses, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

var statuses = []string{
	string(classify.Expected), string(classify.Deviating), string(classify.Unexpected), string(classify.Unrelated),
	string(classify.Undetermined),
}

// check finds mistakes in the flags, all of them.
func (a *analysis) check() error {
	var errs []error
	if len(a.files) == 0 {
		errs = append(errs, errors.New("no capture file given; \"-\" reads standard input"))
	}
	stdin := 0
	for _, name := range a.files {
		if name == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		errs = append(errs, errors.New("standard input can be read only once"))
	}
	if a.calls && a.format == "csv" {
		errs = append(errs, errors.New("--calls: calls are written as table or ndjson, not as csv"))
	}
	if !slices.Contains(formats, a.format) {
		errs = append(errs, fmt.Errorf("--format: unknown %q; known are %s", a.format, strings.Join(formats, ", ")))
	}
	errs = append(errs, checkWords("fail-on", a.failOn, failWords), checkWords("write-status", a.writeStatus, statuses))
	if a.workers < 0 {
		errs = append(errs, fmt.Errorf("--workers: %d is less than 0", a.workers))
	}
	if a.hold < 0 {
		errs = append(errs, fmt.Errorf("--hold: %s is less than 0", a.hold))
	}
	if a.write == "-" {
		errs = append(errs, errors.New("--write: needs the name of a file"))
	}
	if a.write != "" {
		for _, name := range a.files {
			if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() {
				errs = append(errs, fmt.Errorf("--write: %s is no regular file, and it has to be read twice; standard input can be", name))
			}
		}
	}
	if a.maxHeld < 1 {
		errs = append(errs, fmt.Errorf("--max-held: %d is less than 1", a.maxHeld))
	}
	return errors.Join(errs...)
}

func (a *analysis) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	if a.workers > 0 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(a.workers))
	}
	// The garbage of most runs is not worth collecting: nothing starts that but
	// the limit that limitMemory sets.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	stopProfile, err := a.profile()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProfile()) }()

	cfg, err := a.config()
	if err != nil {
		return err
	}
	out, err := openOutput(a.output, stdout)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer out.abandon()
	sinks := []classify.Sink{a.sink(out, stdout)}
	fail := newFailOn(a.failOn)
	if len(a.failOn) > 0 {
		sinks = append(sinks, fail)
	}
	var selection *pcapng.Selection
	var packets *output
	if a.write != "" {
		if packets, err = openOutput(a.write, nil); err != nil {
			return fmt.Errorf("--write: %w", err)
		}
		defer packets.abandon()
		selection = pcapng.NewSelection(toStatuses(a.writeStatus), a.keyVLAN)
		sinks = append(sinks, selection)
	}
	eng, err := classify.New(cfg, exporter.Multi(sinks...))
	if err != nil {
		return err
	}

	var show *progress
	if !a.quiet && !(a.format != "table" && a.output == "" && isTerminal(stdout)) {
		show = newProgress(stderr)
	}
	parallel := runtime.GOMAXPROCS(0) > 1
	opt := capture.Options{Filter: a.filter, Pieces: parallel, Stdin: stdin}
	var again *os.File // what was read from standard input, to be read again
	if selection != nil && slices.Contains(a.files, "-") {
		if again, err = os.CreateTemp("", "exspan-*"); err != nil {
			return runError{err}
		}
		defer func() { _ = again.Close(); _ = os.Remove(again.Name()) }()
		opt.Stdin = io.TeeReader(stdin, again)
	}
	if show != nil {
		opt.Progress = show.update
	}
	src, err := capture.OpenFiles(a.files, opt)
	if err != nil {
		return err
	}
	last, err := feed(ctx, eng, src, parallel)
	show.clear()
	damage := src.Errors()
	if ctx.Err() != nil {
		damage = append(damage, errors.New("interrupted; what was read until then is reported"))
	}
	if err == nil {
		err = eng.Close(damage)
	}
	if err == nil {
		err = out.commit()
	}
	if err == nil && selection != nil {
		err = a.copyPackets(packets, selection, again, last, stderr)
	}
	if err != nil {
		return runError{err}
	}
	if len(damage) > 0 {
		return runError{errors.Join(damage...)}
	}
	return fail.report(stderr)
}

// feed gives all packets to the engine, until the end of the input or of ctx.
// It returns the number of the last frame given.
func feed(ctx context.Context, eng *classify.Engine, src capture.Source, parallel bool) (last uint64, err error) {
	// Close lets a Read that waits for a pipe return.
	stop := context.AfterFunc(ctx, func() { _ = src.Close() })
	defer func() {
		if stop() {
			_ = src.Close()
		}
	}()
	n := 0
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	err = eng.Feed(src, parallel, func(b *capture.Batch) error {
		if n%8 == 0 {
			limitMemory(eng, live)
		}
		n++
		last = b.Stats.Frames
		return nil
	})
	if ctx.Err() != nil {
		err = nil
	}
	return last, err
}

// limitMemory sets how much memory may be in use before garbage is collected:
// as much as the engine's tables, which hold no pointers and are never garbage,
// and beside them what a small run may leave uncollected, or twice of what else
// was alive at the last collection. So collecting stays rare beside allocating,
// however much a capture makes the engine hold.
func limitMemory(eng *classify.Engine, live []metrics.Sample) {
	const small = 36 << 20
	metrics.Read(live)
	tables := eng.Memory()
	rest := int(live[0].Value.Uint64()) - tables
	debug.SetMemoryLimit(int64(tables*17/16 + max(small, 2*rest)))
}

// copyPackets reads the input again, up to the packet numbered last, and writes
// those of the selected flows to out.
func (a *analysis) copyPackets(out *output, s *pcapng.Selection, stdin *os.File, last uint64, stderr io.Writer) error {
	opt := capture.Options{Filter: a.filter, Parallel: a.workers != 1, KeepFrames: true}
	if stdin != nil {
		if _, err := stdin.Seek(0, io.SeekStart); err != nil {
			return err
		}
		opt.Stdin = stdin
	}
	src, err := capture.OpenFiles(a.files, opt)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	if _, err := s.Copy(out, src, last); err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	if s.Refused > 0 {
		fmt.Fprintf(stderr, "exspan: --write: packets of %d flows only, %d more were left out\n", pcapng.MaxFlows, s.Refused)
	}
	return out.commit()
}

func toStatuses(words []string) []classify.Status {
	list := make([]classify.Status, len(words))
	for i, w := range words {
		list[i] = classify.Status(w)
	}
	return list
}

// config loads rules and site file.
func (a *analysis) config() (classify.Config, error) {
	cfg := classify.Config{
		Exchange: a.exchange, Hold: a.hold, KeyVLAN: a.keyVLAN, Identities: a.identities, Calls: a.calls,
		Limits: classify.Limits{MaxHeld: a.maxHeld},
	}
	packs, err := loadPacks(a.rules)
	if err != nil {
		return cfg, err
	}
	cfg.Packs = packs
	if a.site != "" {
		cfg.Site, err = loadSite(a.site)
	}
	return cfg, err
}

func (a *analysis) sink(w io.Writer, stdout io.Writer) classify.Sink {
	if a.calls {
		return calls.New(w, a.format == "ndjson")
	}
	switch a.format {
	case "ndjson":
		return ndjson.New(w)
	case "csv":
		return csv.New(w)
	}
	o := table.Options{}
	if a.output == "" && isTerminal(stdout) {
		o.Width = max(terminalWidth(stdout), 80)
		o.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return table.New(w, o)
}

// profile starts the profiles asked for and returns what ends them.
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
		runtime.GC() // a profile is of the time of the last collection
		f, ferr := os.Create(a.memProfile)
		if ferr != nil {
			return errors.Join(err, ferr)
		}
		return errors.Join(err, pprof.Lookup("heap").WriteTo(f, 0), f.Close())
	}, nil
}
