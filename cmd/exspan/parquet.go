package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/pflag"

	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/parquet"
	"github.com/exspan/exspan/exporter/queue"
)

// lake holds the flags on flows at rest.
type lake struct {
	parquet, realm, sensor string
	shares                 bool // the realm is one of sensors that share, too
}

// flags adds the flags, but --sensor, which has another meaning with each command.
func (l *lake) flags(f *pflag.FlagSet, what, realmOf string) {
	f.StringVar(&l.parquet, "parquet", "", "write "+what+" as Parquet to the folder `DIR`, a file for each hour in realm=/sensor=/date= folders")
	f.StringVar(&l.realm, "realm", "", "`NAME` of the network whose addresses these are, for "+realmOf+"; private addresses repeat from one to the next (default \"default\")")
}

// check returns the mistakes in the flags.
func (l *lake) check() []error {
	var errs []error
	for _, f := range []struct{ flag, name string }{{"sensor", l.sensor}, {"realm", l.realm}} {
		if f.name != "" && knowledge.CheckName(f.name) != nil {
			errs = append(errs, fmt.Errorf("--%s: want at most %d bytes of printable text", f.flag, knowledge.MaxName))
		}
	}
	if l.realm != "" && l.parquet == "" && !l.shares {
		errs = append(errs, errors.New("--realm: names a network for --parquet DIR, which is not given"))
	}
	return errs
}

// open opens the folder of --parquet.
func (l *lake) open(o parquet.Options) (*parquet.Folder, error) {
	o.Dir, o.Realm, o.Program = l.parquet, l.realm, versionNumber()
	folder, err := parquet.Open(o)
	if err != nil {
		return nil, fmt.Errorf("--parquet: %w", err)
	}
	return folder, nil
}

// folderSink is a sink that finishes the files of its folder at the end.
type folderSink struct {
	*parquet.Sink
	folder *parquet.Folder
	show   *pipeline.Progress
}

// progress shows how many flows are in files.
func (s *folderSink) progress(written, all uint64) {
	s.show.Show(func() string {
		return fmt.Sprintf("%3d %% of %d flows written as Parquet", written*100/max(all, 1), all)
	})
}

func (s *folderSink) Close(*record.Summary) error {
	defer s.show.Clear()
	if err := s.folder.Close(context.Background()); err != nil {
		return fmt.Errorf("--parquet: %w", err)
	}
	return nil
}

func (s *folderSink) Write(r *record.Record) error {
	if err := s.Sink.Write(r); err != nil {
		return fmt.Errorf("--parquet: %w", err)
	}
	return nil
}

// openParquet opens the folder of --parquet behind a queue.
func (w *watch) openParquet() error {
	failed := w.failed(w.m.parquet)
	o := parquet.Options{Keep: true, Mode: fs.FileMode(w.m.fileMode), Group: w.m.group(), Now: time.Now, Failed: failed}
	folder, err := w.m.open(o)
	if err != nil {
		return err
	}
	w.flows = &sinkFile{name: w.m.parquet, folder: folder, Queue: queue.New(folder, int(w.m.queue), failed)}
	w.outputs = append(w.outputs, w.flows)
	return nil
}

// closeFolder finishes the files of --parquet. What there is no time for is finished by
// the next start.
func (w *watch) closeFolder(f *parquet.Folder) error {
	err := f.Close(w.patience)
	if errors.Is(err, context.Canceled) {
		w.log.Warn("Some files are not finished; the next start finishes them", "output", w.m.parquet)
		return nil
	}
	if err != nil {
		return fmt.Errorf("--parquet: %w", err)
	}
	return nil
}
