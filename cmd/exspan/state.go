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

// restoreState loads what an earlier run learned into the engine. It renames a
// damaged file, so that an operator can look at it and the next run does not fail
// on it again.
func restoreState(eng *classify.Engine, name string, now time.Time, log *slog.Logger) error {
	st, err := os.Stat(name)
	if err == nil && !st.Mode().IsRegular() { // to open a pipe may take for ever
		return fmt.Errorf("--state: %s is not a regular file", name)
	}
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
		log.Warn("Ignoring the damaged state file", "file", name, "err", err, "renamed_to", aside)
		if err := os.Rename(name, aside); err != nil {
			log.Warn("Cannot rename the damaged state file", "err", err)
		}
	}
	return nil
}

// saveState writes what the engine has learned. It writes to a temporary file
// first, and renames it, so that there is never half a state file.
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
