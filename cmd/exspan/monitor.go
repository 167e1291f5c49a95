package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/spf13/cobra"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/live"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/cmd/internal/flagfile"
)

// listenAddress is the default address for metrics, which nobody but this machine
// reaches. The list of default ports that the
// Prometheus project keeps
// (https://github.com/prometheus/prometheus/wiki/Default-port-allocations)
// has used up 9100 to 9999 and continues from 10000; 10135 is free.
const listenAddress = "localhost:10135"

// notInFile are the flags that the file of --config.file cannot set.
var notInFile = []string{"config.file", "help", "version", "dump-filter"}

// monitor holds the flags of the command monitor.
type monitor struct {
	pipeline.Options
	lake
	interfaces  []string
	read        string
	method      string
	rings       int
	snapLen     int
	buffer      size
	promiscuous bool
	timestamps  string
	dumpFilter  bool
	interim     time.Duration

	ndjson         string
	write          string
	writeStatus    []string
	writeBuffer    size
	rotateSize     size
	rotateInterval time.Duration
	rotateKeep     int
	rotateCompress bool
	fileMode       fileMode
	fileGroup      string
	queue          size

	state         string
	stateInterval time.Duration
	user          string
	listen        []string
	systemdSocket bool
	hostnames     []string
	lifecycle     bool
	webConfig     string
	pprof         bool
	flows         bool
	share         sharing
	logLevel      string
	logFormat     string
	config        string
}

func newMonitorCmd() *cobra.Command {
	m := &monitor{}
	cmd := &cobra.Command{
		Use:   "monitor [flags] {-i INTERFACE... | -r FILE} [-- BPF-EXPRESSION]",
		Short: "Watch interfaces and serve metrics by data path",
		Long: `Capture from network interfaces around the clock, match each flow to a
documented Exchange data path, write flow records, and serve metrics for
Prometheus on /metrics, and a page that updates itself on /live.

The page shows addresses and names, as do /report and /records, which "exspan
observe" reads, and /sensors, which lists the sensors that share (--share). So
they are for this machine alone, or for those who log in with a password of
basic_auth_users in --web.config.file. Metrics hold no addresses.

SIGHUP, or a POST to /-/reload with --web.enable-lifecycle, reloads the rules and
the site file without losing a packet; a file with a mistake changes nothing.
SIGTERM writes all open flows and ends. The file that --config.file names can set
any flag.

Exit codes: 0 done, 1 a run-time error such as a lost interface, 2 a mistake in
flags, configuration, site file or rules.`,
		Example: `  exspan monitor -i eth1 --site site.yaml --ndjson /var/log/exspan/flows.ndjson --state /var/lib/exspan/state.json
  exspan monitor -i eth1 -i eth2 -w unexpected.pcapng --write-status unexpected -- host 10.0.0.5
  exspan monitor -i eth1 --sensor berlin --share tls://hub:4222 --share-credentials berlin.nk --share-ca hub.crt
  ssh sensor tcpdump -U -w - | exspan monitor -r - --ndjson -`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := m.complete(cmd, args); err != nil {
				return err
			}
			return m.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	m.captureFlags(cmd)
	m.judgeFlags(cmd)
	f := cmd.Flags()
	f.StringVarP(&m.read, "read", "r", "", "read a capture `FILE` instead of interfaces; \"-\" is standard input")
	f.BoolVarP(&m.dumpFilter, "dump-filter", "d", false, "print the BPF expression in effect and exit")
	f.StringVar(&m.sensor, "sensor", "", "`NAME` of this sensor, for metrics and records; they name none by default")
	f.StringVar(&m.ndjson, "ndjson", "", "write flow records to `FILE`, one JSON object a line; \"-\" is standard output")
	m.lake.flags(f, "ended flows", "--parquet and --share")
	f.StringVarP(&m.write, "write", "w", "", "write the packets of flows to the pcapng `FILE`, with the verdict as packet comment")
	f.StringSliceVar(&m.writeStatus, "write-status", []string{"deviating", "unexpected"}, "`LIST` of statuses: --write takes flows that have one of them")
	m.writeBuffer = monitorMemory / 8
	f.Var(&m.writeBuffer, "write-buffer", "memory for packets that wait for the status of their flow (with --write)")
	f.Var(&m.rotateSize, "rotate-size", "start new --ndjson and --write files at this size; 0 means never")
	f.DurationVar(&m.rotateInterval, "rotate-interval", 0, "start new files at this age; 0 means never")
	f.IntVar(&m.rotateKeep, "rotate-keep", 0, "number of old files to keep; 0 means all")
	f.BoolVar(&m.rotateCompress, "rotate-compress", false, "compress old files with gzip")
	f.Var(&m.fileMode, "file-mode", "`MODE` of --ndjson, --parquet and --write files, as in 0640, whatever the umask is (default 0640 less the umask)")
	f.StringVar(&m.fileGroup, "file-group", "", "`GROUP` that owns these files; the monitor has to belong to it")
	m.queue = monitorMemory / 32
	f.Var(&m.queue, "queue-size", "memory for records that wait for a slow disk or reader")
	f.StringVar(&m.state, "state", "", "keep learned endpoints and roles in `FILE` across restarts")
	f.DurationVar(&m.stateInterval, "state-interval", 30*time.Second, "how often to write the state")
	_ = f.MarkHidden("state-interval")
	f.StringVar(&m.user, "user", "", "run as `USER`, with no privilege of root but that of capturing; files must be that user's")
	f.StringArrayVar(&m.listen, "web.listen-address", []string{listenAddress}, "`ADDRESS` to serve metrics and pages on (repeatable); empty for none")
	f.BoolVar(&m.systemdSocket, "web.systemd-socket", false, "serve metrics and pages on sockets passed by systemd")
	f.StringArrayVar(&m.hostnames, "web.hostname", nil, "serve requests for the host `NAME`, besides localhost, the name of the machine and IP addresses (repeatable)")
	f.BoolVar(&m.lifecycle, "web.enable-lifecycle", false, "reload on a POST to /-/reload")
	f.StringVar(&m.webConfig, "web.config.file", "", "`FILE` with TLS and authentication settings, in the format of exporter-toolkit")
	f.BoolVar(&m.pprof, "web.enable-pprof", false, "serve profiles on /debug/pprof")
	f.BoolVar(&m.flows, "web.enable-flows", false, "serve the last flows of each path, with addresses and names, on /flows, where \"exspan top\" reads them")
	m.share.flags(f)
	f.StringVar(&m.logLevel, "log.level", "info", "lowest level to log: debug, info, warn, error")
	f.StringVar(&m.logFormat, "log.format", "logfmt", "log format: logfmt or json")
	f.StringVar(&m.config, "config.file", "", "`FILE` of flags in YAML; flags on the command line take precedence")
	_ = cmd.RegisterFlagCompletionFunc("write-status", cobra.FixedCompletions(statuses, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("log.level", cobra.FixedCompletions(promslog.LevelFlagOptions, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("log.format", cobra.FixedCompletions(promslog.FormatFlagOptions, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// captureFlags adds the flags on capturing.
func (m *monitor) captureFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&m.interfaces, "interface", "i", nil, "`INTERFACE` to capture from (repeatable); \"exspan interfaces\" lists them")
	f.StringVar(&m.method, "capture", live.Auto, "capture method: "+strings.Join(live.Methods(), ", "))
	f.IntVar(&m.rings, "workers", 1, "number of AF_PACKET rings that share the frames of an interface")
	f.IntVar(&m.snapLen, "snaplen", live.MaxSnapLen, "maximum number of `BYTES` to capture of a frame")
	m.buffer = monitorMemory / 8
	f.Var(&m.buffer, "buffer-size", "size of the kernel buffer for each interface")
	f.BoolVar(&m.promiscuous, "promiscuous", true, "capture frames addressed to other hosts")
	f.StringVar(&m.timestamps, "timestamp-type", "", "`TYPE` of time stamps, as in pcap-tstamp(7)")
	_ = cmd.RegisterFlagCompletionFunc("capture", cobra.FixedCompletions(live.Methods(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("interface", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		devices, _ := live.List()
		for _, d := range devices {
			names = append(names, d.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

// judgeFlags adds the flags on verdicts and records.
func (m *monitor) judgeFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	m.Hold, m.MaxMemory = 5*time.Minute, monitorMemory
	m.EngineFlags(f, "how long, in packet time, to hold the record of an ended flow for what may still explain it")
	f.DurationVar(&m.interim, "interim", time.Minute, "how often, in packet time, to write a record of each live flow; 0 means never")
}

// complete applies the arguments and the configuration file, and returns all
// mistakes in them.
func (m *monitor) complete(cmd *cobra.Command, args []string) error {
	if dash := cmd.ArgsLenAtDash(); dash > 0 || dash < 0 && len(args) > 0 && len(m.interfaces) == 0 && m.read == "" && m.config == "" && !m.dumpFilter {
		return fmt.Errorf("unexpected argument %q; interfaces are given with -i, files with -r", args[0])
	}
	m.Filter = strings.Join(args, " ")
	if m.config != "" {
		data, err := pipeline.ReadFile(m.config)
		if err != nil {
			return err
		}
		if err := flagfile.Apply(cmd.Flags(), &m.Filter, m.config, data, notInFile...); err != nil {
			return err
		}
	}
	m.sizeBuffers(cmd.Flags())
	err := m.check()
	if m.write == "" && cmd.Flags().Changed("write-status") {
		err = errors.Join(err, errors.New("--write-status: needs -w FILE, the file to write those packets to"))
	}
	return err
}

// check returns all mistakes in the flags. It is long because each has a sentence of
// its own, in the order of the help.
func (m *monitor) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case m.dumpFilter:
	case m.read == "" && len(m.interfaces) == 0:
		wrong("nothing to read: name an interface with -i, or a file with -r")
	case m.read != "" && len(m.interfaces) > 0:
		wrong("--read and --interface exclude each other")
	case m.read != "":
		m.Files = []string{m.read}
		errs = append(errs, m.CheckInputs()...)
	}
	for i, name := range m.interfaces {
		if slices.Contains(m.interfaces[:i], name) {
			wrong("--interface: %s is given twice", name)
		}
	}
	errs = append(errs, checkWords("capture", []string{m.method}, live.Methods()))
	if m.rings < 1 || m.rings > live.MaxWorkers {
		wrong("--workers: %d is not between 1 and %d", m.rings, live.MaxWorkers)
	}
	if m.snapLen < 64 || m.snapLen > live.MaxSnapLen {
		wrong("--snaplen: %d is not between 64 and %d", m.snapLen, live.MaxSnapLen)
	}
	if m.buffer < 1<<20 || m.buffer > 1<<31-1 {
		wrong("--buffer-size: %s is not between 1MiB and 2GiB", m.buffer.String())
	}
	if m.read == "" {
		if err := capture.CheckFilter(m.Filter); err != nil {
			errs = append(errs, err)
		}
	}
	if m.Hold == 0 {
		wrong("--hold: must be more than 0s")
	}
	errs = append(errs, m.CheckEngine()...)
	if err := m.checkMemory(); err != nil {
		errs = append(errs, err)
	}
	if m.interim < 0 {
		wrong("--interim: %s is less than 0", m.interim)
	}
	errs = append(errs, checkWords("write-status", m.writeStatus, statuses))
	if m.write == "-" {
		wrong("--write: needs the name of a file")
	}
	if m.write != "" && m.write == m.ndjson {
		wrong("--write and --ndjson name the same file")
	}
	if m.writeBuffer < 1<<20 {
		wrong("--write-buffer: %s is less than 1MiB", m.writeBuffer.String())
	}
	if m.queue < 64<<10 {
		wrong("--queue-size: %s is less than 64KiB", m.queue.String())
	}
	if m.rotateSize != 0 && m.rotateSize < 64<<10 {
		wrong("--rotate-size: %s is less than 64KiB", m.rotateSize.String())
	}
	if m.rotateInterval != 0 && m.rotateInterval < time.Second {
		wrong("--rotate-interval: %s is less than 1s", m.rotateInterval)
	}
	if m.rotateKeep < 0 {
		wrong("--rotate-keep: %d is less than 0", m.rotateKeep)
	}
	if m.rotateCompress && m.rotateSize == 0 && m.rotateInterval == 0 {
		wrong("--rotate-compress: files are compressed when new ones start: --rotate-size or --rotate-interval says when")
	}
	if m.fileGroup != "" {
		if _, err := groupID(m.fileGroup); err != nil {
			wrong("--file-group: %w", err)
		}
	}
	m.lake.shares = m.share.url != ""
	errs = append(errs, m.lake.check()...)
	errs = append(errs, m.share.check(&m.lake))
	if m.stateInterval < time.Second || m.stateInterval > time.Minute {
		wrong("--state-interval: %s is not between 1s and 1m", m.stateInterval)
	}
	errs = append(errs, checkWords("log.level", []string{m.logLevel}, promslog.LevelFlagOptions),
		checkWords("log.format", []string{m.logFormat}, promslog.FormatFlagOptions))
	if err := web.Validate(m.webConfig); err != nil {
		wrong("--web.config.file: %w", err)
	}
	return errors.Join(errs...)
}

// group returns the number of the group of files, or nil. The name was checked.
func (m *monitor) group() *int {
	if m.fileGroup != "" {
		if id, err := groupID(m.fileGroup); err == nil {
			return &id
		}
	}
	return nil
}

// engineConfig loads the rules and the site file.
func (m *monitor) engineConfig() (classify.Config, error) {
	m.shareMemory()
	cfg, err := m.Config()
	cfg.Traffic, cfg.Interim, cfg.Sensor, cfg.Interfaces = true, m.interim, m.sensor, m.interfaces
	if cfg.Interim == 0 { // the exporter counts findings by these records
		cfg.Interim = time.Minute
	}
	return cfg, err
}

// captureOptions returns the options of each interface.
func (m *monitor) captureOptions() []live.Options {
	var list []live.Options
	for _, name := range m.interfaces {
		list = append(list, live.Options{
			Interface: name, Method: m.method, Workers: m.rings, SnapLen: m.snapLen, BufferSize: int(m.buffer),
			Promiscuous: m.promiscuous, TimestampType: m.timestamps, Filter: m.Filter, KeepFrames: m.write != "",
			VXLANPorts: m.Capture().VXLANPorts, DuplicateWindow: m.Duplicates,
		})
	}
	return list
}
