package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/exspan/exspan/classify"
)

// restoreState gives the engine what an earlier run learned. A damaged file is
// put aside, so that it can be looked at and the next run does not stumble over
// it again.
func restoreState(eng *classify.Engine, name string, now time.Time, log *slog.Logger) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	err = eng.Restore(f)
	_ = f.Close()
	if err != nil {
		aside := name + ".damaged." + now.UTC().Format("20060102T150405Z")
		log.Warn("The state file is not used", "file", name, "err", err, "renamed_to", aside)
		if err := os.Rename(name, aside); err != nil {
			log.Warn("The damaged state file cannot be renamed", "err", err)
		}
	}
	return nil
}

// saveState writes what the engine has learned, to a temporary name first.
func saveState(eng *classify.Engine, name string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err = errors.Join(eng.Save(f), f.Sync()); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
