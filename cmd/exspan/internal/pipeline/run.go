// Package pipeline is the run that the commands share: it holds the flags that say
// what is read and how it is judged, opens the input, feeds the engine, and
// hands records and the summary to a view, which is a record.Sink.
package pipeline

import (
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/accept"
)

// An Error is a run-time error: a damaged file or a full disk. Commands treat
// every other error as the operator's mistake.
type Error struct{ Err error }

func (e Error) Error() string { return e.Err.Error() }

// Unwrap returns the error inside.
func (e Error) Unwrap() error { return e.Err }

// Streams are the streams that a run reads from and reports to.
type Streams struct {
	// Stdin is read for the name "-".
	Stdin io.Reader
	// Progress is a terminal that shows how much has been read. It may be nil;
	// a writer that is no terminal is left alone.
	Progress io.Writer
}

// Result is what a run leaves besides records and summary.
type Result struct {
	// Records reports whether the input was flow records, not packets.
	Records bool
	// Last is the number of the last frame that the engine got, or of flow records.
	Last uint64
	// Damage holds what kept input from being read in full. The summary lists
	// it too.
	Damage []error
	// Notes says what keeps the input from being complete, though nothing of it
	// is damaged. The summary lists it too.
	Notes []string
}

// Nothing reports whether damage kept all input from being read.
func (r *Result) Nothing() bool { return len(r.Damage) > 0 && r.Last == 0 }

// Err returns the damage as one Error, or nil.
func (r *Result) Err() error {
	if len(r.Damage) == 0 {
		return nil
	}
	return Error{errors.Join(r.Damage...)}
}

// Run reads the files named in o and classifies their flows. It closes view
// unless reading or writing failed, which it returns as an Error. When ctx
// ends, Run reports what was read until then.
func (o *Options) Run(ctx context.Context, cfg classify.Config, s Streams, view record.Sink) (*Result, error) {
	view = accept.New(cfg.Site, o.Wanted(view))
	if records, err := o.Records(&s); err != nil {
		return nil, err
	} else if records {
		return o.replay(ctx, cfg, s, view)
	}
	if o.Workers > 0 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(o.Workers))
	}
	// Most runs end before their garbage is worth collecting: only the limit
	// that limitMemory sets starts a collection.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer o.LimitHeap()()
	eng, err := classify.New(cfg, view)
	if err != nil {
		return nil, err
	}
	parallel := runtime.GOMAXPROCS(0) > 1
	opt := o.Capture()
	opt.Pieces, opt.Stdin = parallel, s.Stdin
	show := NewProgress(s.Progress)
	if show != nil {
		opt.Progress = show.read
	}
	src, err := capture.OpenFiles(o.Files, opt)
	if err != nil {
		return nil, err
	}
	if show != nil {
		show.files = src.Ended
	}
	last, err := feed(ctx, eng, src, parallel, o.heapLimit())
	show.Clear()
	r := &Result{Last: last, Damage: src.Errors()}
	if ctx.Err() != nil {
		r.Damage = append(r.Damage, errors.New("interrupted; what was read until then is reported"))
	}
	traces := src.Traces()
	r.Notes = notes(traces)
	eng.Tell(traces)
	if err == nil {
		err = eng.Close(r.Damage)
	}
	if err != nil {
		return r, Error{err}
	}
	return r, nil
}

// feed gives all packets to the engine, until the end of the input or of ctx.
// It returns the number of the last frame given.
func feed(ctx context.Context, eng *classify.Engine, src capture.Source, parallel bool, limit int64) (last uint64, err error) {
	// Close makes a Read that waits for a pipe return.
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
			limitMemory(eng, live, limit)
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
// the engine's tables, which hold no pointers and are never garbage, and on top
// of them 48 MiB, or twice what else was alive at the last collection if that
// is more, but not less than 96 MiB in all and no more than limit. Collections so stay
// rare however large the tables grow.
func limitMemory(eng *classify.Engine, live []metrics.Sample, limit int64) {
	const small, least = 48 << 20, 96 << 20
	metrics.Read(live)
	tables := eng.Memory()
	rest := int(live[0].Value.Uint64()) - tables
	debug.SetMemoryLimit(min(int64(max(tables*17/16+max(small, 2*rest), least)), limit))
}

// View does all that a command does besides its own: it takes the arguments of
// cmd, checks them, loads rules and site file, and runs the view that make
// returns. make may be called before a mistake is found, and must not write. It may change
// cfg.
func (o *Options) View(cmd *cobra.Command, args []string, make func(cfg *classify.Config) record.Sink) (*Result, error) {
	o.Args(cmd, args)
	return o.ViewFiles(cmd, make)
}

// ViewFiles is View for files that are known already, by a command that writes
// outputs.
func (o *Options) ViewFiles(cmd *cobra.Command, make func(cfg *classify.Config) record.Sink, outputs ...Output) (*Result, error) {
	if err := errors.Join(append(o.CheckInputs(), o.CheckEngine()...)...); err != nil {
		return nil, err
	}
	cfg, err := o.Config()
	if err != nil {
		return nil, err
	}
	if err := o.CheckFiles(outputs...); err != nil {
		return nil, err
	}
	s := Streams{Stdin: cmd.InOrStdin()}
	if !o.Quiet {
		s.Progress = cmd.ErrOrStderr()
	}
	view := make(&cfg) // which may change cfg
	return o.Run(cmd.Context(), cfg, s, view)
}
