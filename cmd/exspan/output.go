package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
)

// output is the destination of records: standard output, or a file that gets its
// name only when it is complete.
type output struct {
	*bufio.Writer
	file *os.File // nil for standard output
	name string   // final name of file; empty if it has that name already
}

// openOutput opens the named file for writing; an empty name or "-" is stdout.
func openOutput(name string, stdout io.Writer) (*output, error) {
	if name == "" || name == "-" {
		return &output{Writer: bufio.NewWriterSize(stdout, 64<<10)}, nil
	}
	// Replace the file that a symbolic link names, not the link.
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	st, err := os.Stat(name)
	switch {
	case err == nil && st.IsDir():
		return nil, &fs.PathError{Op: "write", Path: name, Err: errors.New("is a directory")}
	case err == nil && !st.Mode().IsRegular():
		// A device or a pipe cannot be replaced by renaming.
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &output{Writer: bufio.NewWriterSize(f, 64<<10), file: f}, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	mode := fs.FileMode(0o644)
	if st != nil {
		mode = st.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			pe.Path = name // the temporary name would puzzle
		}
		return nil, err
	}
	if err := f.Chmod(mode); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return &output{Writer: bufio.NewWriterSize(f, 64<<10), file: f, name: name}, nil
}

// commit flushes the output and gives the file its name.
func (o *output) commit() error {
	err := o.Flush()
	if o.file == nil {
		return err
	}
	if err = errors.Join(err, o.file.Close()); err == nil && o.name != "" {
		err = os.Rename(o.file.Name(), o.name)
	}
	if err != nil {
		o.abandon()
	}
	return err
}

// finish commits the output and returns the damage of the input. If nothing of the input
// could be read, a file that o would replace stays as it was.
func (o *output) finish(result *pipeline.Result) error {
	if result.Nothing() && o.name != "" {
		o.abandon()
		return pipeline.Error{Err: errors.Join(result.Err(), fmt.Errorf("nothing could be read, so %s is not written", o.name))}
	}
	if err := o.commit(); err != nil {
		return pipeline.Error{Err: err}
	}
	return result.Err()
}

// abandon removes a file that was not committed. It does nothing after commit.
func (o *output) abandon() {
	if o.file == nil {
		return
	}
	_ = o.file.Close()
	if o.name != "" {
		_ = os.Remove(o.file.Name())
	}
	o.file = nil
}
