package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"

	"github.com/exspan/exspan/capture"
	capturelive "github.com/exspan/exspan/capture/live"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter"
	"github.com/exspan/exspan/exporter/live"
	"github.com/exspan/exspan/exporter/ndjson"
	"github.com/exspan/exspan/exporter/parquet"
	"github.com/exspan/exspan/exporter/pcapng"
	"github.com/exspan/exspan/exporter/prometheus"
	"github.com/exspan/exspan/exporter/queue"
	"github.com/exspan/exspan/exporter/recent"
	"github.com/exspan/exspan/exporter/rotate"
	"github.com/exspan/exspan/exporter/share"
	"github.com/exspan/exspan/rules"
)

const (
	writeDelay = 10 * time.Second // by then the verdict of a flow is stable
	endTime    = 3500 * time.Millisecond
)

// watch is a running monitor.
type watch struct {
	m    *monitor
	log  *slog.Logger
	src  capture.Source
	live *capturelive.Source // src, or nil when a file is read
	eng  *classify.Engine

	exporter *prometheus.Exporter
	recent   *recent.Table
	page     *live.Server // nil where nothing is served
	packs    *rules.Packs // those of the start
	registry *prom.Registry
	// registerer adds to registry, with the name of the sensor.
	registerer prom.Registerer
	outputs    []*sinkFile
	records    *sinkFile // --ndjson
	packets    *sinkFile // --write
	flows      *sinkFile // --parquet
	delay      *pcapng.Delay
	span       *capturelive.Watch
	sink       *siteSink // of the engine
	current    *siteSink // of flows as they stand

	// patience ends when outputs have no more time to write.
	patience   context.Context
	impatience context.CancelFunc

	behind  atomic.Int64 // nanoseconds
	oneWay  atomicFloat  // share of connections in the last minute; not a number if it is not known
	unsaved atomic.Uint64
	ready   atomic.Bool
	reload  reloader
	share   *share.Share // nil without --share
}

// sinkFile is a file, a folder or standard output behind a queue.
type sinkFile struct {
	*queue.Queue
	name   string
	file   *rotate.File    // nil for standard output and folders
	folder *parquet.Folder // nil for others
}

// Lost returns the number of records lost.
func (o *sinkFile) Lost() uint64 {
	if o.folder != nil {
		return o.Queue.Lost() + o.folder.Lost()
	}
	return o.Queue.Lost()
}

// Errors returns the number of errors while writing.
func (o *sinkFile) Errors() uint64 {
	if o.folder != nil {
		return o.Queue.Errors() + o.folder.Errors()
	}
	return o.Queue.Errors()
}

func (m *monitor) logger(stderr io.Writer) *slog.Logger {
	level, format := promslog.NewLevel(), promslog.NewFormat()
	_ = level.Set(m.logLevel) // checked
	_ = format.Set(m.logFormat)
	return promslog.New(&promslog.Config{Level: level, Format: format, Writer: stderr})
}

func (m *monitor) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	if m.dumpFilter {
		_, err := fmt.Fprintln(stdout, capture.FilterExpression(m.Filter, capture.LinkEthernet))
		return err
	}
	log := m.logger(stderr)
	if m.user != "" && keepsCapture {
		if err := becomeUser(m.user); err != nil {
			return err
		}
	}
	listeners, err := m.listeners()
	if err != nil {
		return err
	}
	w, err := m.start(stdin, stdout, log)
	if err != nil {
		return err
	}
	defer func() { _ = w.src.Close() }()
	if m.user != "" && !keepsCapture {
		if err := becomeUser(m.user); err != nil {
			return err
		}
		if w.live != nil {
			log.Warn("An interface that vanishes cannot be opened again as this user; the monitor will end then", "user", m.user)
		}
	}
	if m.state != "" {
		// Fail now, not in 30 s, if the file cannot be written.
		if err := saveState(w.eng, m.state); err != nil {
			return fmt.Errorf("--state: %w", err)
		}
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	stopServing := w.serve(listeners)
	ended := make(chan struct{})
	defer close(ended)
	go w.housekeep(hup, ended)
	stop := context.AfterFunc(ctx, func() {
		log.Info("Ending")
		w.hurry()
		_ = w.src.Close()
	})
	defer stop()
	if w.share != nil {
		w.share.Start()
	}
	w.ready.Store(true)
	err = w.feed()
	w.ready.Store(false)
	err = errors.Join(err, w.end(err))
	stopServing()
	if err != nil {
		return pipeline.Error{Err: err}
	}
	return nil
}

// start opens the input and the outputs, and creates everything but the web
// server. It is long because each part needs what came before it, and an error
// closes what is open.
func (m *monitor) start(stdin io.Reader, stdout io.Writer, log *slog.Logger) (w *watch, err error) {
	w = &watch{m: m, log: log, span: capturelive.NewWatch()}
	w.oneWay.store(math.NaN())
	w.patience, w.impatience = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			w.impatience()
			for _, o := range w.outputs {
				_ = o.Queue.Close(w.patience)
				if o.folder != nil {
					o.folder.Abandon()
				}
			}
			if w.src != nil {
				_ = w.src.Close()
			}
		}
	}()
	cfg, err := m.engineConfig()
	if err != nil {
		return w, err
	}
	err = m.CheckFiles(pipeline.Output{Flag: "write", Name: m.write}, pipeline.Output{Flag: "ndjson", Name: m.ndjson},
		pipeline.Output{Flag: "state", Name: m.state})
	if err != nil {
		return w, err
	}
	w.exporter = prometheus.New(cfg.Packs)
	w.packs, w.recent = cfg.Packs, recent.New()
	w.recent.PendingOnly = !m.flows
	sinks := []record.Sink{w.exporter, w.recent}
	if m.serves() {
		w.page = w.newLive(&cfg)
		sinks = append(sinks, w.page)
	}
	if m.ndjson != "" {
		if w.records, err = w.openOutput(m.ndjson, stdout); err != nil {
			return w, fmt.Errorf("--ndjson: %w", err)
		}
		var sink record.Sink = ndjson.New(w.records)
		if m.interim == 0 {
			sink = finalSink{sink}
		}
		sinks = append(sinks, sink)
	}
	if m.parquet != "" {
		if err := w.openParquet(); err != nil {
			return w, err
		}
		sinks = append(sinks, finalSink{parquet.NewSink(w.flows)})
	}
	if m.share.url != "" {
		w.newShare()
		cfg.OnLearned = w.share.Learned
		sinks = append(sinks, notableSink{ndjson.New(w.share)})
	}
	w.current = newSiteSink(cfg.Site, m.Wanted(w.recent))
	cfg.OnJudged = func(j record.Judged) {
		if w.delay != nil {
			w.delay.Judged(j)
		}
		_ = w.current.Write(j.Record) // it does not fail
	}
	if m.write == "" {
		cfg.JudgedIf = w.recent.Wants
	}
	w.sink = newSiteSink(cfg.Site, m.Wanted(exporter.Multi(sinks...)))
	if w.eng, err = classify.New(cfg, w.sink); err != nil {
		return w, err
	}
	if m.state != "" {
		if err := restoreState(w.eng, m.state, time.Now(), log); err != nil {
			return w, err
		}
	}
	if m.read != "" {
		opt := m.Capture()
		opt.Parallel, opt.KeepFrames, opt.Stdin = true, m.write != "", stdin
		w.src, err = capture.OpenFiles(m.Files, opt)
	} else if w.live, err = capturelive.Open(m.captureOptions(), log); err == nil {
		w.src = w.live
		w.logInterfaces()
	}
	if err != nil {
		return w, err
	}
	if m.write != "" {
		if err := w.openWrite(); err != nil {
			return w, fmt.Errorf("--write: %w", err)
		}
	}
	if w.live == nil {
		// Files and pipes can wait for a slow disk. Interfaces cannot.
		for _, o := range w.outputs {
			o.WaitForRoom(w.patience)
		}
	}
	m.LimitHeap()
	w.exporter.Snapshot = w.eng.Snapshot
	w.reload.init(w, cfg.Site)
	w.register()
	return w, nil
}

// logInterfaces logs which interfaces are captured from, and what on them would
// distort the results.
func (w *watch) logInterfaces() {
	for _, i := range w.live.Interfaces() {
		w.log.Info("Capturing", "interface", i.Name, "method", i.Method)
		for _, o := range capturelive.Offloads(i.Name) {
			w.log.Warn("The interface merges frames before capture, so packets differ from those on the wire; "+
				"turn the offload off with ethtool -K", "interface", i.Name, "offload", o)
		}
	}
	if f := capture.FilterExpression(w.m.Filter, capture.LinkEthernet); f != w.m.Filter {
		w.log.Info("The filter also applies to frames with VLAN tags", "filter", f)
	}
}

// openOutput opens a file for records, or standard output for "-", behind a queue.
func (w *watch) openOutput(name string, stdout io.Writer) (*sinkFile, error) {
	if name == "-" {
		return w.output(name, nil, stdout), nil
	}
	file, err := rotate.Open(name, w.rotation(nil))
	if err != nil {
		return nil, err
	}
	return w.output(name, file, file), nil
}

func (w *watch) rotation(head func() []byte) rotate.Options {
	o := rotate.Options{Size: int64(w.m.rotateSize), Interval: w.m.rotateInterval, Keep: w.m.rotateKeep, Compress: w.m.rotateCompress,
		Mode: fs.FileMode(w.m.fileMode), Group: w.m.group(), Head: head, Now: time.Now,
		Failed: func(err error) { w.log.Error("Cannot compress an old file", "err", err) }}
	return o
}

// output puts a queue before a writer to a file, which is nil for standard output.
func (w *watch) output(name string, file *rotate.File, to io.Writer) *sinkFile {
	o := &sinkFile{name: name, file: file, Queue: queue.New(to, int(w.m.queue), w.failed(name))}
	w.outputs = append(w.outputs, o)
	return o
}

// failed returns a function that logs errors of an output: one a minute, because they
// come in thousands.
func (w *watch) failed(name string) func(error) {
	var quiet atomic.Int64
	return func(err error) {
		now := time.Now().UnixNano()
		if last := quiet.Load(); now > last && quiet.CompareAndSwap(last, now+int64(time.Minute)) {
			w.log.Error("Writing failed; exspan_output_lost_total counts what was lost", "output", name, "err", err)
		}
	}
}

// openWrite prepares --write.
func (w *watch) openWrite() error {
	delay, err := pcapng.NewDelay(writerFunc(func(p []byte) (int, error) { return w.packets.Write(p) }),
		toStatuses(w.m.writeStatus), w.m.KeyVLAN, writeDelay, int(w.m.writeBuffer))
	if err != nil {
		return err
	}
	if w.live != nil {
		for _, i := range w.live.Interfaces() {
			if err := delay.Describe(i.Link, i.Name); err != nil {
				return err
			}
		}
	}
	file, err := rotate.Open(w.m.write, w.rotation(delay.Head))
	if err != nil {
		return err
	}
	w.delay, w.packets = delay, w.output(w.m.write, file, delay.Sections(file))
	return nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// hurry limits the time for outputs to endTime from now.
func (w *watch) hurry() { time.AfterFunc(endTime, w.impatience) }

// feed passes all packets to the engine until the source ends or is closed.
func (w *watch) feed() error {
	minute := time.Now()
	for {
		b, err := w.src.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = w.batch(b)
		b.Release()
		if err != nil {
			return err
		}
		if now := time.Now(); w.live != nil && now.Sub(minute) >= time.Minute {
			minute = now
			share, ok := w.span.OneWay()
			if !ok {
				share = math.NaN()
			}
			w.oneWay.store(share)
		}
	}
}

func (w *watch) batch(b *capture.Batch) error {
	if err := w.eng.Batch(b); err != nil {
		return err
	}
	n := len(b.Packets)
	if w.live != nil {
		w.span.Packets(b.Packets)
		if n > 0 {
			w.behind.Store(time.Now().UnixNano() - b.Packets[n-1].Time)
		} else {
			w.behind.Store(0)
		}
	}
	if w.delay != nil {
		w.delay.Packets(b.Packets)
		now := b.Tick
		if n > 0 {
			now = b.Packets[n-1].Time
		}
		w.delay.Advance(now)
	}
	return nil
}

// housekeep saves the state, reads the counters of interfaces, logs losses, and
// reloads on a signal.
func (w *watch) housekeep(hup <-chan os.Signal, ended <-chan struct{}) {
	tick, report := time.NewTicker(w.m.stateInterval), time.NewTicker(reportEvery)
	defer tick.Stop()
	defer report.Stop()
	reporter := newReporter(w, time.Now())
	for {
		select {
		case <-ended:
			return
		case <-hup:
			for _, o := range w.outputs {
				if o.file != nil {
					o.file.Reopen()
				}
			}
			_ = w.reload.now()
		case <-tick.C:
			if w.live != nil {
				w.live.Interfaces()
			}
			w.saveState()
			if w.flows != nil {
				w.flows.folder.Flush()
			}
		case now := <-report.C:
			reporter.report(now)
		}
	}
}

func (w *watch) saveState() {
	if w.m.state == "" {
		return
	}
	if err := saveState(w.eng, w.m.state); err != nil {
		w.unsaved.Add(1)
		w.log.Error("Cannot save the state", "err", err)
	}
}

// end writes what is still open. failed is the error that ended the input, if
// any.
func (w *watch) end(failed error) error {
	// Now there is time to wait for a slow disk. With live capture the wait is
	// limited, because there may be no operator to end it.
	if w.live != nil {
		w.hurry()
	}
	for _, o := range w.outputs {
		o.WaitForRoom(w.patience)
	}
	var damage []error
	if f, ok := w.src.(*capture.Files); ok {
		damage = f.Errors()
	}
	inputErrs := damage
	if failed != nil {
		inputErrs = append(slices.Clone(damage), failed)
	}
	err := w.eng.Close(inputErrs)
	if w.share != nil {
		w.share.Close()
	}
	if w.delay != nil {
		w.delay.Finish()
	}
	w.saveState()
	for _, o := range w.outputs {
		if cerr := o.Queue.Close(w.patience); cerr != nil {
			w.log.Error("Some output could not be written in time", "output", o.name, "err", cerr)
		} else if o.file != nil {
			err = errors.Join(err, o.file.Close())
		} else if o.folder != nil {
			err = errors.Join(err, w.closeFolder(o.folder))
		}
		if lost := o.Lost(); lost > 0 {
			w.log.Error("Records were lost", "output", o.name, "lost", lost)
		}
	}
	return errors.Join(append(damage, err)...)
}
