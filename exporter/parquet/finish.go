package parquet

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"

	"github.com/exspan/exspan/exporter/folder"
)

// A part is a file of blocks. Each is its length in bytes and the CRC-32C of its
// content as 32-bit numbers, and its content. That is a partHead in JSON in the first
// block, and rows as appendRow has them, compressed with zstd, in the others. A block
// that is cut or changed ends the part.

const (
	partSuffix = ".part"
	fileSuffix = ".parquet"
	blockHead  = 8
	maxBlock   = 64 << 20
)

// partHead says what a part holds, for a later version of the program.
type partHead struct {
	Realm, Sensor string
	Hour          int64
	Columns       []column
}

// maker is what files are made with, made when it is first needed.
type maker struct {
	writer  *parquet.GenericWriter[any]
	decoder *zstd.Decoder
	free    chan *batch
}

const (
	batchRows = 256 // rows handed from one goroutine to the other at a time
	batches   = 3   // that there are; with one, the goroutines wait for each other
)

// batch holds rows on their way from a part to a file.
type batch struct {
	data []byte // which rows refers to
	rows []parquet.Row
	sum  uint64 // of the numbers that identify the flows
}

// fill takes at most batchRows rows of b, and returns what comes after them.
func (t *batch) fill(dec *decoder, b []byte) ([]byte, error) {
	rest, n := b, 0
	for ; n < batchRows && len(rest) > 0; n++ {
		_, _, more, err := next(rest)
		if err != nil {
			return nil, err
		}
		rest = more
	}
	t.data = append(t.data[:0], b[:len(b)-len(rest)]...)
	t.rows, t.sum = t.rows[:n], 0
	left := t.data
	for i := range t.rows {
		h, row, more, err := next(left)
		if err != nil {
			return nil, err
		}
		if t.rows[i], err = dec.row(t.rows[i][:0], row); err != nil {
			return nil, err
		}
		t.sum, left = t.sum+h.identity, more
	}
	return rest, nil
}

// frame appends a block with content.
func frame(b, content []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	b = binary.LittleEndian.AppendUint32(b, checksum(content))
	return append(b, content...)
}

// checksum returns the CRC-32C of b. The table is made when it is first needed.
func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// partHead returns the first block of a part.
func (f *Folder) partHead(t target) []byte {
	head, err := json.Marshal(partHead{f.opt.Realm, t.sensor, t.hour, columnsOf(schemaOf[1]())})
	if err != nil {
		panic(err) // it is of strings and numbers
	}
	return frame(nil, head)
}

// blocks reads the blocks of a part.
type blocks struct {
	in      *bufio.Reader
	content []byte
}

// next returns the content of the next block, or io.EOF after the last one that is
// whole.
func (b *blocks) next() ([]byte, error) {
	var head [blockHead]byte
	if _, err := io.ReadFull(b.in, head[:]); err != nil {
		return nil, ended(err)
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxBlock {
		return nil, io.EOF
	}
	if uint32(cap(b.content)) < n {
		b.content = make([]byte, n)
	}
	b.content = b.content[:n]
	if _, err := io.ReadFull(b.in, b.content); err != nil {
		return nil, ended(err)
	}
	if checksum(b.content) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, io.EOF
	}
	return b.content, nil
}

func ended(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

// finishParts finishes parts as they become due.
func (f *Folder) finishParts() {
	defer close(f.ended)
	for range f.queue {
		f.failed(f.finishDue())
	}
}

// finishDue finishes the parts that are due. One that fails stays due, and is tried
// again next time.
func (f *Folder) finishDue() error {
	f.mu.Lock()
	due := f.due
	f.due = nil
	f.mu.Unlock()
	var errs []error
	for _, p := range due {
		err := f.ctx.Err()
		if err == nil {
			err = f.finish(p)
		}
		if err != nil {
			f.mu.Lock()
			f.due = append(f.due, p)
			f.mu.Unlock()
			if f.ctx.Err() == nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// finish makes a file of p and removes p.
func (f *Folder) finish(p *part) (err error) {
	in, err := os.Open(p.name)
	if err != nil {
		return err
	}
	aside := strings.TrimSuffix(p.name, partSuffix) + ".tmp"
	h, identity, rows, err := f.copyRows(in, aside)
	err = errors.Join(err, in.Close())
	defer func() { _ = os.Remove(aside) }()
	if err != nil {
		return err
	}
	if rows > 0 {
		if err := f.place(aside, h, identity); err != nil {
			return err
		}
	}
	// A crash before this makes the same file once more, with the same name.
	if err := os.Remove(p.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if p.left != nil {
		p.left.parts--
		p.left.drop()
	}
	return nil
}

// place renames the file aside to where it belongs.
func (f *Folder) place(aside string, h *partHead, identity uint64) error {
	at := time.Unix(h.Hour*3600, 0).UTC()
	dir := filepath.Join(f.opt.Dir, "realm="+escape(h.Realm), "sensor="+escape(h.Sensor), "date="+at.Format(time.DateOnly))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	name := filepath.Join(dir, fmt.Sprintf("%s-%016x%s", at.Format("15"), identity, fileSuffix))
	if err := os.Rename(aside, name); err != nil {
		return err
	}
	if f.opt.Keep {
		folder.Sync(dir)
	}
	return nil
}

// copyRows writes the rows of a part to the file aside. It returns the number that
// identifies the flows, which does not depend on their order, and the number of rows.
func (f *Folder) copyRows(in io.Reader, aside string) (_ *partHead, identity uint64, rows int, err error) {
	b := blocks{in: bufio.NewReaderSize(in, 256<<10)}
	content, err := b.next()
	if errors.Is(err, io.EOF) {
		return nil, 0, 0, nil // nothing was written before the crash
	}
	if err != nil {
		return nil, 0, 0, err
	}
	h := &partHead{}
	if err := json.Unmarshal(content, h); err != nil {
		return nil, 0, 0, fmt.Errorf("%s: %w", aside, err)
	}
	out, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, 0, 0, err
	}
	defer func() {
		if err == nil && f.opt.Keep {
			err = out.Sync()
		}
		err = errors.Join(err, out.Close())
		f.make.writer = nil
	}()
	if err := f.chown(out); err != nil {
		return nil, 0, 0, err
	}
	s := schemaOf[0]()
	buffered := bufio.NewWriterSize(out, 256<<10)
	f.beginFile(s, buffered, h)
	rows, identity, err = f.copyBlocks(&b, newDecoder(h.Columns, s))
	if err == nil {
		err = f.ctx.Err()
	}
	if err != nil {
		return nil, 0, 0, err
	}
	return h, identity, rows, errors.Join(f.make.writer.Close(), buffered.Flush())
}

// copyBlocks writes the rows of all blocks, which a goroutine of its own decodes
// meanwhile. It returns their number and the sum of the numbers that identify them.
func (f *Folder) copyBlocks(b *blocks, dec *decoder) (rows int, identity uint64, err error) {
	ctx, stop := context.WithCancel(f.ctx)
	defer stop()
	full, failed := make(chan *batch), error(nil)
	go func() {
		defer close(full)
		failed = f.decodeBlocks(ctx, b, dec, full)
	}()
	for t := range full {
		if err == nil {
			_, err = f.make.writer.WriteRows(t.rows)
			rows, identity = rows+len(t.rows), identity+t.sum
			f.done.Add(uint64(len(t.rows)))
			if f.opt.Progress != nil {
				f.opt.Progress(f.done.Load(), f.taken.Load())
			}
			if err != nil {
				stop()
			}
		}
		f.make.free <- t
	}
	return rows, identity, errors.Join(err, failed)
}

// decodeBlocks sends the rows of all blocks to full, until ctx ends.
func (f *Folder) decodeBlocks(ctx context.Context, b *blocks, dec *decoder, full chan<- *batch) error {
	var plain []byte
	for ctx.Err() == nil {
		content, err := b.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if plain, err = f.make.decoder.DecodeAll(content, plain[:0]); err != nil {
			return err
		}
		for rest := plain; len(rest) > 0; {
			t := <-f.make.free
			if rest, err = t.fill(dec, rest); err != nil {
				f.make.free <- t
				return err
			}
			full <- t
		}
	}
	return nil
}

// beginFile makes f.make.writer write to w. Reset of a writer of parquet-go 0.32 forgets the
// names of columns, so that each file takes a writer of its own.
func (f *Folder) beginFile(s *schema, w io.Writer, h *partHead) {
	if f.make.decoder == nil {
		f.make.decoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock)) // the options are constant
		n := batches
		if f.opt.Keep { // a monitor needs the other processors for packets
			n = 1
		}
		f.make.free = make(chan *batch, n)
		for range n {
			f.make.free <- &batch{rows: make([]parquet.Row, batchRows)}
		}
	}
	f.make.writer = newWriter(s, w, f.opt.Program, map[string]string{"exspan.realm": h.Realm, "exspan.sensor": h.Sensor})
}

// compressor compresses blocks.
var compressor = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(blockSize))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
})

// appendBlock appends rows as a block.
func appendBlock(b, rows []byte) []byte {
	return frame(b, compressor().EncodeAll(rows, nil))
}

// escape returns s as a value in the name of a folder, in the manner of Hive.
func escape(s string) string {
	if s == "" {
		return "default"
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || strings.IndexByte("\"#%'*/:<=>?\\{}[]^|\x7f", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
