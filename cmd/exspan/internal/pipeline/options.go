package pipeline

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/filter"
)

// pipeHold is how long an ended flow waits where the end of the input may never
// come.
const pipeHold = 5 * time.Minute

// Options are the flags that commands share.
type Options struct {
	Files     []string
	Filter    string // a BPF expression
	Recursive bool
	Workers   int
	Quiet     bool
	// AllAppearances reads what Windows captured at several layers each time.
	AllAppearances bool

	Site       string
	Rules      []string
	Exchange   string
	NoPlatform bool
	Hold       time.Duration
	MaxHeld    int
	MaxMemory  Size    // 0 means half of what there is
	Buffers    Buffers // taken off MaxMemory
	KeyVLAN    bool
	Identities bool
	VXLANPorts []int
	Duplicates time.Duration // window within which frames may be copies

	read    []string // files given with -r
	command string   // what was typed, for examples in errors
	folders bool     // -R exists

	exchange, maxHeld *pflag.Flag
}

// InputFlags adds the flags that say how capture files are read.
func (o *Options) InputFlags(f *pflag.FlagSet) {
	o.folders = true
	f.StringArrayVarP(&o.read, "read", "r", nil, "read this capture `FILE` too (repeatable)")
	f.BoolVarP(&o.Recursive, "recursive", "R", false, "read the capture files in folders, and in folders in them")
	f.IntVar(&o.Workers, "workers", 0, "how many processors to use; 0 means all")
	f.BoolVar(&o.AllAppearances, "all-appearances", false, "read a packet of a Windows trace at each layer and adapter where it was seen, instead of once")
	f.BoolVarP(&o.Quiet, "quiet", "q", false, "no progress on standard error")
}

// EngineFlags adds the flags that say how flows are judged. hold is the usage
// text of --hold, whose default is o.Hold.
func (o *Options) EngineFlags(f *pflag.FlagSet, hold string) {
	f.StringVar(&o.Site, "site", "", "`FILE` that says what is known of the network")
	f.StringArrayVar(&o.Rules, "rules", nil, "`FILE` of rules besides the built-in ones; a data path of the same id replaces it (repeatable)")
	f.StringVar(&o.Exchange, "exchange", match.DefaultVersion, "`VERSION` of Exchange where neither the site file nor traffic tells")
	o.exchange = f.Lookup("exchange")
	f.BoolVar(&o.NoPlatform, "no-platform", false, "leave flows out that are the traffic of Windows itself, on no data path of Exchange")
	f.DurationVar(&o.Hold, "hold", o.Hold, hold)
	f.IntVar(&o.MaxHeld, "max-held", 0, "how many ended flows wait at most (default what --max-memory allows)")
	o.maxHeld = f.Lookup("max-held")
	maxMemory := "memory to stay below; where a part of it is used up, what matters least is given up and counted"
	if o.MaxMemory == 0 {
		maxMemory += " (default half of what the machine or the cgroup has)"
	}
	f.Var(&o.MaxMemory, "max-memory", maxMemory)
	f.BoolVar(&o.KeyVLAN, "key-vlan", false, "the same addresses and ports in other VLANs are other flows")
	f.DurationVar(&o.Duplicates, "duplicate-window", capture.DuplicateWindow, "a second frame with the same packet within this time is the mirror's copy and left out; 0 takes all for packets")
	f.IntSliceVar(&o.VXLANPorts, "vxlan-port", nil, "UDP `PORT` of VXLAN besides 4789 and 8472 (repeatable)")
	f.BoolVar(&o.Identities, "include-identities", false, "show user and host principals, paths and names in full")
}

// Args takes files and filter from the arguments of cmd.
func (o *Options) Args(cmd *cobra.Command, args []string) {
	files := args
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		files, o.Filter = args[:dash], strings.Join(args[dash:], " ")
	}
	o.Files = append(slices.Clone(o.read), files...)
	o.command = cmd.CommandPath()
	if slices.Contains(o.Files, "-") && !cmd.Flags().Changed("hold") {
		o.Hold = pipeHold
	}
}

// CheckInputs returns the mistakes in what Args took. It does not look at the
// files; CheckFiles does.
func (o *Options) CheckInputs() []error {
	var errs []error
	if len(o.Files) == 0 {
		errs = append(errs, errors.New("no capture file given; \"-\" reads standard input"))
	}
	stdin := 0
	for _, name := range o.Files {
		if name == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		errs = append(errs, errors.New("standard input can be read only once"))
	}
	if err := capture.CheckFilter(o.Filter); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// CheckEngine returns the mistakes in what InputFlags and EngineFlags took.
func (o *Options) CheckEngine() []error {
	var errs []error
	if o.Workers < 0 {
		errs = append(errs, fmt.Errorf("--workers: %d is less than 0", o.Workers))
	}
	if o.Hold < 0 {
		errs = append(errs, fmt.Errorf("--hold: %s is less than 0", o.Hold))
	}
	if o.maxHeld != nil && o.maxHeld.Changed && o.MaxHeld < 1 {
		errs = append(errs, fmt.Errorf("--max-held: %d is less than 1", o.MaxHeld))
	}
	errs = append(errs, o.checkMemory()...)
	if o.Duplicates < 0 || o.Duplicates > time.Minute {
		errs = append(errs, fmt.Errorf("--duplicate-window: %s is not between 0 and 1m", o.Duplicates))
	}
	for _, port := range o.VXLANPorts {
		if port < 1 || port > 65535 {
			errs = append(errs, fmt.Errorf("--vxlan-port: %d is no port", port))
		}
	}
	return errs
}

// Capture returns how frames are read, without what depends on the command.
func (o *Options) Capture() capture.Options {
	c := capture.Options{Filter: o.Filter, DuplicateWindow: o.Duplicates, AllAppearances: o.AllAppearances}
	for _, port := range o.VXLANPorts {
		c.VXLANPorts = append(c.VXLANPorts, uint16(port))
	}
	return c
}

// Config loads rules and site file, and returns the engine's configuration.
func (o *Options) Config() (classify.Config, error) {
	cfg := classify.Config{
		Exchange: o.given(), Hold: o.Hold, KeyVLAN: o.KeyVLAN, Identities: o.Identities,
		Limits: o.limits(),
	}
	packs, err := loadPacks(o.Rules)
	if err != nil {
		return cfg, err
	}
	cfg.Packs = packs
	if o.Site != "" {
		cfg.Site, err = loadSite(o.Site)
	}
	return cfg, err
}

// Wanted returns a sink that gives view the records that the flags leave.
func (o *Options) Wanted(view record.Sink) record.Sink {
	if o.NoPlatform {
		return filter.NoPlatform(view)
	}
	return view
}

// Title names the input in a few words.
func (o *Options) Title() string {
	name := func(f string) string {
		if f == "-" {
			return "standard input"
		}
		return filepath.Base(f)
	}
	switch n := len(o.Files); n {
	case 0:
		return ""
	case 1:
		return name(o.Files[0])
	case 2:
		return name(o.Files[0]) + " and " + name(o.Files[1])
	default:
		return fmt.Sprintf("%s and %d more files", name(o.Files[0]), n-1)
	}
}

// Version returns the version of Exchange that the operator named, with where,
// as "2010 (site file)", or "".
func (o *Options) Version(cfg *classify.Config) string {
	switch {
	case cfg.Site != nil && cfg.Site.Version != "":
		return cfg.Site.Version + " (site file)"
	case o.exchange != nil && o.exchange.Changed:
		return o.Exchange + " (--exchange)"
	}
	return ""
}

// given returns the version that the operator gave, or "". The default yields to
// the version of other servers.
func (o *Options) given() string {
	if o.exchange != nil && !o.exchange.Changed {
		return ""
	}
	return o.Exchange
}
