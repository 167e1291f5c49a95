package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync/atomic"

	"github.com/exspan/exspan/capture/etw"
)

// Trace is what a capture that Windows made tells besides packets.
type Trace struct {
	File string
	// Format says what made it: "pktmon on Windows build 26100".
	Format string
	// Notes says, a sentence each, what keeps the capture from being complete, and
	// which command does better.
	Notes []string
	// Drops are the packets that Windows says it dropped, by flow, reason and
	// component. They are not among the packets.
	Drops []Drop
	etw.Report
}

// maxSpool is how many bytes of a trace that cannot be read from any place, from
// standard input or compressed, are put into a temporary file.
const maxSpool = 8 << 30

// translator turns a trace of Windows into pcapng as it is read: so it can be merged,
// filtered and decoded like any capture. Its first reader is a goroutine of its own.
type translator struct {
	name string
	opt  Options
	dst  etw.Options

	in    *etw.Reader
	size  int64
	spool *os.File
	frame etw.Frame
	rest  []byte // of a block that did not fit into what Read was given
	err   error  // what comes after rest

	links   map[interfaceKey]uint32
	last    interfaceKey // of the frame before, and its number in links
	lastID  uint32
	drops   drops
	comment *comments // nil unless frames are read with names
	done    atomic.Bool
	told    Trace // complete when done is set
}

// interfaceKey is what tells the interfaces of a translated trace apart.
type interfaceKey struct {
	link      uint16
	component uint32
	event     uint16
}

// translate returns s as it is, unless it is a trace of Windows.
func (f *Files) translate(i *input, s *stream, file io.Closer, read *atomic.Int64) *stream {
	var head [etw.HeadSize]byte
	n, _ := io.ReadFull(s.Reader, head[:4]) // an error comes again
	if c, _ := detect(head[:n]); n == 4 && (c == contentUnknown || c == contentWindows) {
		m, _ := io.ReadFull(s.Reader, head[4:])
		n += m
	}
	s.Reader = io.MultiReader(bytes.NewReader(head[:n]), s.Reader)
	if c, _ := detect(head[:n]); c != contentWindows {
		return s
	}
	t := &translator{name: i.name, opt: f.opt, links: map[interfaceKey]uint32{}}
	i.trace = t
	outer := &stream{file: s}
	outer.ahead(aheadSize, func() (io.Reader, error) {
		if in, ok := file.(interface {
			io.ReaderAt
			Stat() (os.FileInfo, error)
		}); ok && s.stop == nil {
			if st, err := in.Stat(); err == nil && st.Mode().IsRegular() {
				read.Store(read.Load() - int64(n)) // they are read again
				return t, t.open(counterAt{in, read}, st.Size())
			}
		}
		if err := t.spoolFrom(s.Reader, outer.stop); err != nil {
			return t, err
		}
		return t, t.open(t.spool, t.size)
	}, nil)
	return outer
}

// spoolFrom copies all of r to a temporary file, as long as stop is open.
func (t *translator) spoolFrom(r io.Reader, stop <-chan struct{}) error {
	f, err := os.CreateTemp("", "exspan-*.etl")
	if err != nil {
		return &FileError{t.name, -1, "a trace that is compressed or comes from standard input needs a temporary file: " + err.Error()}
	}
	t.spool = f
	_ = os.Remove(f.Name()) // where files can go while they are open; else close does it
	buf := make([]byte, 256<<10)
	for {
		select {
		case <-stop:
			return os.ErrClosed
		default:
		}
		n, err := r.Read(buf)
		if t.size += int64(n); t.size > maxSpool {
			return &FileError{t.name, -1, "more than 8 GiB of a trace that is compressed or comes from standard input; uncompress it to a file and read that"}
		}
		if _, werr := f.Write(buf[:n]); werr != nil {
			return &FileError{t.name, -1, "writing a temporary file: " + werr.Error()}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &FileError{t.name, t.size, err.Error()}
		}
	}
}

func (t *translator) close() {
	if t.spool != nil {
		_ = t.spool.Close()
		_ = os.Remove(t.spool.Name())
	}
}

func (t *translator) open(in io.ReaderAt, size int64) (err error) {
	if err := t.drops.init(t.opt); err != nil {
		return &FileError{t.name, -1, err.Error()}
	}
	if t.opt.Frames {
		if t.comment, err = readComments(in, size); err != nil {
			return t.fileError(err)
		}
	}
	t.dst = etw.Options{AllAppearances: t.opt.AllAppearances, Drop: t.drops.add}
	if t.in, err = etw.NewReader(in, size, t.dst); err != nil {
		return t.fileError(err)
	}
	b := binary.LittleEndian.AppendUint32(nil, magicByteOrder)
	b = append(b, 1, 0, 0, 0)
	b = append(b, bytes.Repeat([]byte{0xff}, 8)...) // the section's length is not known
	t.rest = appendBlock(t.rest, magicSection, b)
	return nil
}

func (t *translator) fileError(err error) error {
	if e, ok := err.(*etw.Error); ok {
		return &FileError{t.name, e.Offset, e.Reason}
	}
	return err
}

// Read fills b with blocks of pcapng.
func (t *translator) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if len(t.rest) > 0 {
			m := copy(b[n:], t.rest)
			t.rest = t.rest[m:]
			n += m
			continue
		}
		if t.err != nil {
			break
		}
		if err := t.in.Next(&t.frame); err != nil {
			t.end()
			continue
		}
		n += t.write(b[n:])
	}
	if n == 0 && t.err != nil {
		return 0, t.err
	}
	return n, nil
}

// write writes the frame at hand to b, as much of it as has room, and keeps the rest.
func (t *translator) write(b []byte) int {
	id, before := t.iface()
	if before != nil {
		t.rest = before
	}
	size := 32 + (len(t.frame.Data)+3)&^3
	comment := t.comment.text(&t.frame)
	if before != nil || comment != "" || size > len(b) {
		t.rest = appendFrame(t.rest, id, &t.frame, comment)
		return 0
	}
	appendFrame(b[:0], id, &t.frame, "")
	return size
}

// appendFrame appends an enhanced packet block (draft-ietf-opsawg-pcapng section 4.3).
func appendFrame(b []byte, id uint32, f *etw.Frame, comment string) []byte {
	start := len(b)
	b = append(b, blockEnhanced, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, id)
	b = binary.LittleEndian.AppendUint32(b, uint32(uint64(f.Time)>>32))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Time))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.Data)))
	b = binary.LittleEndian.AppendUint32(b, f.Wire)
	b = append(b, f.Data...)
	for (len(b)-start)%4 != 0 {
		b = append(b, 0)
	}
	if comment != "" {
		b = appendOption(b, optionComment, comment)
		b = appendOption(b, 0, "")
	}
	length := uint32(len(b) - start + 4)
	binary.LittleEndian.PutUint32(b[start+4:], length)
	return binary.LittleEndian.AppendUint32(b, length)
}

// appendBlock appends a block with the body body, a multiple of four bytes.
func appendBlock(b []byte, kind uint32, body []byte) []byte {
	length := uint32(len(body) + 12)
	b = binary.LittleEndian.AppendUint32(b, kind)
	b = binary.LittleEndian.AppendUint32(b, length)
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, length)
}

// maxNamed is how many interfaces a translated trace has at most; packets of further
// ones are those of one without a name.
const maxNamed = 4096

// iface returns the number of the frame's interface, and the block that describes
// it if it is new.
func (t *translator) iface() (id uint32, block []byte) {
	key := interfaceKey{link: t.frame.Link}
	if t.comment != nil && len(t.links) < maxNamed {
		key.component, key.event = t.frame.Point.Component, t.frame.Point.Event
	}
	if key == t.last && len(t.links) > 0 {
		return t.lastID, nil
	}
	id, ok := t.links[key]
	if !ok {
		id = uint32(len(t.links))
		t.links[key] = id
	}
	t.last, t.lastID = key, id
	if ok {
		return id, nil
	}
	b := binary.LittleEndian.AppendUint16(nil, key.link)
	b = append(b, 0, 0, 0, 0, 0, 0)
	if name := t.comment.name(key); name != "" {
		b = appendOption(b, optionName, name)
	}
	b = appendOption(b, optionResolution, "\x09") // nanoseconds
	b = appendOption(b, 0, "")
	return id, appendBlock(nil, blockInterface, b)
}

// end makes the trace complete and finds what is to be told of the file's end.
func (t *translator) end() {
	r := t.in.Report()
	t.told = Trace{File: t.name, Format: r.Format(), Notes: r.Notes(), Drops: t.drops.list(r), Report: *r}
	t.err = io.EOF
	if err := r.Err(); err != nil {
		t.err = t.fileError(err)
	} else if text := r.Empty(); text != "" {
		t.err = &FileError{t.name, -1, text}
	}
	t.done.Store(true)
}

// Traces returns what was learned of the captures that Windows made, in the order in
// which they ended. It is complete when Read has returned io.EOF.
func (f *Files) Traces() []*Trace {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*Trace(nil), f.traces...)
}

// counterAt counts the bytes read from any place.
type counterAt struct {
	r io.ReaderAt
	n *atomic.Int64
}

func (c counterAt) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(b, off)
	c.n.Add(int64(n))
	return n, err
}
