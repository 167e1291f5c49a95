package rotate

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// packed is the ending of compressed files.
const packed = ".gz"

// wakePacking makes the goroutine look for files to compress.
func (f *File) wakePacking() {
	if f.pack == nil {
		return
	}
	select {
	case f.pack <- true:
	default:
	}
}

// endPacking ends the goroutine.
func (f *File) endPacking() {
	if f.stop != nil {
		f.stop()
		f.packing.Wait()
	}
}

// compressAll compresses old files, one after the other, until ctx ends.
func (f *File) compressAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.pack:
		}
		old, err := f.old()
		for _, name := range old {
			if strings.HasSuffix(name, packed) {
				continue
			}
			err = errors.Join(err, compress(ctx, filepath.Join(filepath.Dir(f.name), name)))
		}
		if err != nil && ctx.Err() == nil && f.opt.Failed != nil {
			f.opt.Failed(err)
		}
	}
}

// compress replaces a regular file by a compressed one with the same mode and group.
// The compressed file has its name when it is complete. A file that is gone is no
// error, because pruning may take it away.
func compress(ctx context.Context, name string) error {
	in, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	st, err := in.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return err
	}
	temporary := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+packed)
	_ = os.Remove(temporary) // of a process that was killed
	out, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		_ = out.Close()
		_ = os.Remove(temporary) // unless it has its name
	}()
	if err := sameGroup(out, st); err != nil {
		return err
	}
	if err := out.Chmod(st.Mode().Perm()); err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	if _, err := io.Copy(z, &cancelled{ctx, in}); err != nil {
		return err
	}
	if err := errors.Join(z.Close(), out.Sync(), out.Close()); err != nil {
		return err
	}
	if !exists(name) { // it was pruned meanwhile
		return nil
	}
	if err := os.Rename(temporary, name+packed); err != nil {
		return err
	}
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// cancelled is a reader that ends with an error when ctx does.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
