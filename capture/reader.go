package capture

// This file is long because it holds both formats, pcap and pcapng: they share
// the reading in blocks, the errors and the time scales.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
)

const (
	maxFrame      = 256 << 10 // captured bytes of one frame, unless the file's snap length is larger
	maxSnap       = 16 << 20  // and then up to here
	maxBlock      = 16 << 20  // one pcapng block
	maxInterfaces = 1 << 16   // interfaces described in one pcapng file
)

// FileError says where and why the reading of a capture file ended early.
// Everything before the damage was delivered.
type FileError struct {
	File   string // as the user named it
	Offset int64  // in the uncompressed stream, of the first byte that could not be used; less than 0 if the whole file is meant
	Reason string
}

func (e *FileError) Error() string {
	if e.Offset < 0 {
		return e.File + ": " + e.Reason
	}
	return fmt.Sprintf("%s: byte %d: %s", e.File, e.Offset, e.Reason)
}

// iface is what a capture file says about an interface.
type iface struct {
	link   uint16
	index  uint16 // what Packet.Interface is
	snap   uint32
	scale  timeScale
	offset int64 // seconds
	filter *filter
	name   string // with sink.names
	plain  bool   // its frames are Ethernet's and not filtered, nor kept if they are a file's: common may read them
}

// timeScale turns time stamps of a file into nanoseconds.
type timeScale struct {
	mul   uint64
	div   uint64
	shift uint8 // for resolutions that are powers of two
}

// nanoseconds returns ts units plus offset seconds. What int64 cannot hold is
// clamped: no clock says so, but files can.
func (s timeScale) nanoseconds(ts uint64, offset int64) int64 {
	hi, lo := bits.Mul64(ts, s.mul)
	switch {
	case s.shift > 0:
		lo = lo>>s.shift | hi<<(64-s.shift)
		hi >>= s.shift
	case s.div > 1:
		lo, hi = ts/s.div, 0
	}
	if hi != 0 || lo > math.MaxInt64 {
		return math.MaxInt64
	}
	if offset == 0 {
		return int64(lo)
	}
	if offset > math.MaxInt64/second || offset < math.MinInt64/second {
		return math.MaxInt64
	}
	t := int64(lo) + offset*second
	if offset > 0 && t < 0 {
		return math.MaxInt64
	}
	return t
}

const second = 1_000_000_000 // nanoseconds

var microseconds = timeScale{mul: 1000}

// resolution reads if_tsresol (pcapng section 4.2).
func resolution(b byte) timeScale {
	n := b & 0x7f
	switch {
	case b&0x80 != 0 && n > 63:
		return timeScale{mul: 0}
	case b&0x80 != 0:
		return timeScale{mul: 1e9, shift: n}
	case n <= 9:
		return timeScale{mul: pow10(9 - n)}
	case n <= 28:
		return timeScale{mul: 1, div: pow10(n - 9)}
	}
	return timeScale{mul: 0}
}

func pow10(n byte) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

type format uint8

const (
	formatUnknown format = iota
	formatPcap
	formatPcapng
)

// reader reads one capture file of either format, block by block, and decodes
// its frames where they lie.
type reader struct {
	name string
	in   io.Reader

	blk      *block
	off, end int   // the part of blk that is not used yet
	base     int64 // offset of blk.buf[0] in the stream
	inErr    error // what ended in: io.EOF or worse
	inEnded  bool
	pieces   *pieces // what in is read by, unless nil
	need     int     // bytes from off on that decode lacked

	format format
	swap   bool // the file is big-endian
	header int  // length of a pcap record header
	swapLn uint8
	limit  uint32
	ifaces []iface
	first  int // pcapng: index in ifaces of the section's first interface
	last   int64

	file  uint16 // in merge mode, the number of the file
	merge bool   // frames are kept in head instead of being decoded
	full  bool   // scan ended because the batch is full, or with a frame in head
	head  frame  // in merge mode, what next found
	sink  *sink
	pool  *pool // of blocks
}

// frame is one captured frame as the file has it.
type frame struct {
	time  int64
	iface *iface
	wire  uint32
	data  []byte
	// comment is what the file says of the frame, with sink.names.
	comment string
}

// newReader returns a reader whose blocks come from p.
func newReader(name string, in io.Reader, k *sink, p *pool) *reader {
	return &reader{name: name, in: in, sink: k, pool: p, blk: p.block(0)}
}

func (r *reader) u16(b []byte) uint16 {
	if r.swap {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (r *reader) u32(b []byte) uint32 {
	if r.swap {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (r *reader) u64(b []byte) uint64 {
	if r.swap {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// read returns the next batch, which can be without packets when frames were
// skipped only. At the end of the file it is nil and io.EOF, or a *FileError.
func (r *reader) read() (*fileBatch, error) {
	for {
		bt, need, err := r.batch()
		if bt != nil {
			return bt, nil // an error repeats itself at the next call: nothing was consumed
		}
		if err == nil && need > 0 {
			err = r.fill(need)
		}
		if err != nil {
			return nil, err
		}
	}
}

// batch scans the block at hand into a batch, which is nil where there was no frame.
func (r *reader) batch() (bt *fileBatch, need int, err error) {
	n := r.sink.stats.Frames
	bt = r.sink.pool.batch()
	bt.refer(r.blk)
	need, err = r.scan(bt)
	if r.sink.stats.Frames == n {
		bt.done()
		return nil, need, err
	}
	r.sink.finish(bt)
	return bt, need, err
}

// next puts the next frame into head, in merge mode.
func (r *reader) next() error {
	for {
		need, err := r.scan(nil)
		if err == nil && r.full {
			r.head = r.sink.head
			return nil
		}
		if err == nil && need > 0 {
			err = r.fill(need)
		}
		if err != nil {
			return err
		}
	}
}

// fill makes at least one byte more available, in a block that can hold need
// bytes from r.off on. At the end of the stream it returns io.EOF, or an error
// where the stream ends within something.
func (r *reader) fill(need int) error {
	if r.inEnded {
		return r.ended(need)
	}
	if r.pieces != nil {
		p := r.pieces.take()
		r.put(p, need)
		if p.n == 0 {
			return r.ended(need)
		}
		return nil
	}
	rest := r.blk.buf[r.off:r.end]
	if r.blk.refs.Load() == 1 && len(r.blk.buf) >= need {
		copy(r.blk.buf, rest)
	} else {
		b := r.pool.block(need)
		copy(b.buf, rest)
		r.blk.release()
		r.blk = b
	}
	r.base += int64(r.off)
	r.off, r.end = 0, len(rest)
	for range 100 {
		n, err := r.in.Read(r.blk.buf[r.end:])
		r.end += n
		if err != nil {
			r.inErr, r.inEnded = err, true
		}
		if n > 0 {
			return nil
		}
		if err != nil {
			return r.ended(need)
		}
	}
	r.inErr, r.inEnded = io.ErrNoProgress, true
	return r.ended(need)
}

// ended says how the stream ended while need bytes from r.off on were wanted.
func (r *reader) ended(need int) error {
	if e := (*FileError)(nil); errors.As(r.inErr, &e) {
		return e // of a file that is translated: its place in that, not in what came of it
	}
	if !errors.Is(r.inErr, io.EOF) {
		return r.damage(r.end, "%v", r.inErr)
	}
	have := r.end - r.off
	switch {
	case r.format == formatUnknown && have == 0:
		return r.damage(r.off, "the file is empty")
	case have == 0:
		return io.EOF
	case r.format == formatUnknown:
		return r.damage(r.off, "the file ends inside its header: %d of %d bytes", have, need)
	case r.format == formatPcap && have < r.header:
		return r.damage(r.off, "the file ends inside a frame's header: %d of %d bytes", have, r.header)
	case r.format == formatPcap:
		return r.damage(r.off, "the file ends inside a frame: %d of %d bytes", have-r.header, need-r.header)
	}
	return r.damage(r.off, "the file ends inside a block: %d of %d bytes", have, need)
}

func (r *reader) damage(off int, reason string, args ...any) error {
	return &FileError{File: r.name, Offset: r.base + int64(off), Reason: fmt.Sprintf(reason, args...)}
}

// scan decodes what the block holds into bt, until either is used up. It
// returns how many bytes from r.off on it needs to go on, or 0.
func (r *reader) scan(bt *fileBatch) (need int, err error) {
	r.full = false
	switch r.format {
	case formatUnknown:
		return r.open()
	case formatPcap:
		return r.scanPcap(bt)
	}
	return r.scanPcapng(bt)
}

// describe adds an interface to those of the file.
func (r *reader) describe(f iface) {
	f.index = uint16(len(r.ifaces))
	if r.merge {
		f.index = r.file
	}
	f.plain = f.link == LinkEthernet && f.filter == nil && !r.sink.keep
	r.ifaces = append(r.ifaces, f)
}

// sink decodes frames into batches, of one file or of several in turn.
type sink struct {
	head   frame // what a scan without a batch found
	pool   *pool
	filter string
	keep   bool // frames
	names  bool // names of interfaces and comments of frames are wanted
	dec    Decoder
	stats  Stats // without what finish adds
	// quiet is the first kind of packets that common reads of which more is asked.
	quiet  commonKind
	copies copies
}

// frame decodes one frame into bt and reports whether bt is full now. Without a
// batch it keeps the frame in head.
func (k *sink) frame(bt *fileBatch, f *iface, data []byte, wire uint32, t int64) bool {
	if bt == nil {
		k.head = frame{time: t, iface: f, wire: wire, data: data}
		return true
	}
	p := &bt.array[bt.n]
	k.stats.Frames++
	k.stats.Bytes += uint64(len(data))
	p.Number, p.Time, p.Interface = k.stats.Frames, t, f.index
	k.copies.passed(1)
	if k.keep {
		if bt.frames == nil {
			bt.frames = make([]Frame, batchSize)
		}
		p.Frame = &bt.frames[bt.n]
		*p.Frame = Frame{LinkType: f.link, WireLength: wire, Data: data}
	}
	if f.plain && k.dec.done(common(data, p), p) {
		if k.copies.wants(p) && k.copies.seenCommon(p, data, 0) {
			k.copied()
			return false
		}
	} else {
		s := k.decode(bt, f, data, wire)
		if s == SkipNone && k.copies.wants(p) && k.copies.seen(p, k.dec.network, data[:max(len(data)-len(k.dec.network), 0)]) {
			k.copied()
			return false
		}
		if s == SkipNone && int(p.PayloadLength) > len(p.Payload) {
			k.stats.Truncated++
			k.stats.SnapLength = max(k.stats.SnapLength, wire)
		}
		if s != SkipNone {
			k.stats.Skipped[s]++
			if u := k.dec.unread; u.kind != UnreadNone {
				k.stats.Unread.add(u.kind, u.number, 1)
			}
			return false
		}
	}
	bt.n++
	return bt.n == batchSize
}

// decode decodes a frame of any kind into bt's next packet.
func (k *sink) decode(bt *fileBatch, f *iface, data []byte, wire uint32) Skip {
	p := &bt.array[bt.n]
	if f.filter != nil && !f.filter.match(data, wire) {
		return SkipFiltered
	}
	return k.dec.Decode(f.link, data, wire, p)
}

// hush sets quiet.
func (k *sink) hush() {
	switch {
	case k.copies.watching():
		k.quiet = commonTCP
	case k.dec.tunnelPorts() != usualPorts:
		k.quiet = commonUDP
	case k.copies.window != 0:
		k.quiet = commonEdge
	default:
		k.quiet = commonTunnel
	}
}

// copied counts a packet that is a copy.
func (k *sink) copied() {
	k.stats.Skipped[SkipDuplicate]++
	k.hush() // as it begins to watch
}

// finish completes a batch.
func (k *sink) finish(bt *fileBatch) {
	k.stats.Packets += uint64(bt.n)
	bt.Packets, bt.Stats = bt.array[:bt.n], k.stats
	bt.Stats.Fragments = k.dec.frags.stats
	bt.Tunnels = k.dec.Tunnels
}

// Magic numbers of capture files, as read in little-endian order.
const (
	magicPcap       = 0xa1b2c3d4
	magicPcapNano   = 0xa1b23c4d
	magicPcapKuzn   = 0xa1b2cd34 // "modified" pcap: 8 bytes more in each record header
	magicSection    = 0x0a0d0d0a
	magicByteOrder  = 0x1a2b3c4d
	pcapFileHeader  = 24
	pcapFrameHeader = 16
)

// open reads the file's magic number and, for pcap, the file header
// (draft-ietf-opsawg-pcap section 4).
func (r *reader) open() (need int, err error) {
	b := r.blk.buf[r.off:r.end]
	if len(b) < 4 {
		return 4, nil
	}
	magic := binary.LittleEndian.Uint32(b)
	if magic == magicSection {
		r.format = formatPcapng
		return 0, nil
	}
	swap := bits.ReverseBytes32(magic)
	if swap == magicPcap || swap == magicPcapNano || swap == magicPcapKuzn {
		magic, r.swap = swap, true
	}
	scale, header := microseconds, pcapFrameHeader
	switch magic {
	case magicPcap:
	case magicPcapNano:
		scale = timeScale{mul: 1}
	case magicPcapKuzn:
		header += 8
	default:
		return 0, r.damage(r.off, "not a capture file (pcap, pcapng, .etl or .cap of Windows): it begins with %02x %02x %02x %02x", b[0], b[1], b[2], b[3])
	}
	if len(b) < pcapFileHeader {
		return pcapFileHeader, nil
	}
	major, minor := r.u16(b[4:]), r.u16(b[6:])
	switch {
	case major == 2 && minor < 3:
		r.swapLn = 2
	case major == 2 && minor == 3:
		r.swapLn = 1
	case major != 2 && (major != 543 || minor != 0):
		return 0, r.damage(r.off+4, "pcap version %d.%d is not known", major, minor)
	}
	f := iface{link: uint16(r.u32(b[20:])), snap: r.u32(b[16:]), scale: scale}
	if f.filter, err = newFilter(r.sink.filter, f.link); err != nil {
		return 0, r.damage(r.off+20, "%v", err)
	}
	r.format, r.header = formatPcap, header
	r.describe(f)
	r.limit = frameLimit(f.snap)
	r.off += pcapFileHeader
	return 0, nil
}

// frameLimit is the number of bytes beyond which a frame's length is taken
// for damage.
func frameLimit(snap uint32) uint32 {
	if snap > maxFrame && snap <= maxSnap {
		return snap
	}
	return maxFrame
}

// scanPcap reads records (draft-ietf-opsawg-pcap section 5).
func (r *reader) scanPcap(bt *fileBatch) (need int, err error) {
	f := &r.ifaces[0]
	buf := r.blk.buf[:r.end]
	plain := bt != nil && f.plain && !r.swap && r.swapLn == 0 && r.header == pcapFrameHeader
	for !r.full {
		if plain && r.scanPlain(bt) {
			r.full = true
			break
		}
		b := buf[r.off:]
		if len(b) < r.header || len(b) < pcapFrameHeader {
			return r.header, nil
		}
		captured, wire := r.u32(b[8:]), r.u32(b[12:])
		if r.swapLn > 0 && (r.swapLn == 2 || captured > wire) {
			captured, wire = wire, captured // written so by versions before 2.4
		}
		if captured > r.limit {
			return 0, r.damage(r.off, "a frame of %d bytes, more than the limit of %d", captured, r.limit)
		}
		n := r.header + int(captured)
		if len(b) < n {
			return n, nil
		}
		t := int64(r.u32(b))*1e9 + int64(uint64(r.u32(b[4:]))*f.scale.mul)
		r.off += n
		r.full = r.sink.frame(bt, f, b[r.header:n:n], wire, t)
	}
	return 0, nil
}

// scanPlain reads records as nearly all are, up to the first that is not, and
// reports whether bt is full then.
func (r *reader) scanPlain(bt *fileBatch) bool {
	k, off, frames := r.sink, r.off, r.sink.stats.Frames
	k.hush()
	r.scanCommon(bt)
	passed := k.stats.Frames - frames
	k.stats.Bytes += uint64(r.off-off) - passed*pcapFrameHeader
	k.copies.passed(int(passed))
	return bt.n == batchSize
}

// scanCommon is the loop of scanPlain. It is a function of its own because what
// nearly all packets go through has to be short: so little is needed after the call
// of common, and the sums are of numbers of 32 bits, which do not overflow.
func (r *reader) scanCommon(bt *fileBatch) {
	k, scale, most := r.sink, r.ifaces[0].scale.mul, uint(r.limit)-leastCommon
	packets := bt.array[:]
	buf := r.blk.buf[:r.end:r.end]
	for uint(bt.n) < uint(len(packets)) {
		begin := uint(uint32(r.off))
		h := begin + pcapFrameHeader
		if h > uint(len(buf)) {
			return
		}
		b := buf[begin:h:h]
		captured := uint(binary.LittleEndian.Uint32(b[8:]))
		n := h + captured
		if captured-leastCommon > most || n > uint(len(buf)) { // too short, which wraps round, or too long
			return
		}
		p := &packets[bt.n]
		p.Number = k.stats.Frames + 1
		p.Time = int64(binary.LittleEndian.Uint32(b))*1e9 + int64(uint64(binary.LittleEndian.Uint32(b[4:]))*scale)
		p.Interface = 0 // a pcap file has but one
		if what := common(buf[h:n:n], p); what >= k.quiet {
			if what != commonEdge && !k.dec.done(what, p) {
				return
			}
			if (what == commonEdge || k.copies.watching()) && k.copies.seenCommon(p, buf, uint(r.off)+pcapFrameHeader) {
				k.copied()
				bt.n--
			}
		}
		r.off = int(n)
		k.stats.Frames++
		bt.n++
	}
}

// Block types of pcapng (draft-ietf-opsawg-pcapng section 4).
const (
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6
)

// scanPcapng reads blocks.
func (r *reader) scanPcapng(bt *fileBatch) (need int, err error) {
	for !r.full {
		b := r.blk.buf[r.off:r.end]
		if len(b) < 12 {
			return 12, nil
		}
		kind := r.u32(b)
		if kind == magicSection { // a palindrome: the same in both byte orders
			switch binary.LittleEndian.Uint32(b[8:]) {
			case magicByteOrder:
				r.swap = false
			case 0x4d3c2b1a:
				r.swap = true
			default:
				return 0, r.damage(r.off+8, "a section header without byte-order magic")
			}
		}
		length := r.u32(b[4:])
		if length < 12 || length > maxBlock {
			return 0, r.damage(r.off+4, "a block of type %#x with the impossible length %d", kind, length)
		}
		n := int(length)
		if len(b) < n {
			return n, nil
		}
		// Old writers leave out the padding of the packet, or do not count it: where the
		// length comes again says which.
		if padded := (n + 3) &^ 3; padded != n && r.u32(b[n-4:]) != length {
			if len(b) < padded {
				return padded, nil
			}
			n = padded
		}
		if again := r.u32(b[n-4:]); again != length {
			return 0, r.damage(r.off+n-4, "a block of type %#x begins with length %d and ends with %d", kind, length, again)
		}
		if err := r.block(bt, kind, b[8:n-4:n-4]); err != nil {
			return 0, err
		}
		r.off += n
	}
	return 0, nil
}

// block reads the body of one pcapng block.
func (r *reader) block(bt *fileBatch, kind uint32, b []byte) error {
	short := func() error {
		return r.damage(r.off, "a block of type %#x is too short: %d bytes of body", kind, len(b))
	}
	switch kind {
	case blockEnhanced:
		if len(b) < 20 {
			return short()
		}
		ts := uint64(r.u32(b[4:]))<<32 | uint64(r.u32(b[8:]))
		return r.record(bt, uint64(r.u32(b)), ts, r.u32(b[12:]), r.u32(b[16:]), b[20:])
	case blockPacket:
		if len(b) < 20 {
			return short()
		}
		ts := uint64(r.u32(b[4:]))<<32 | uint64(r.u32(b[8:]))
		return r.record(bt, uint64(r.u16(b)), ts, r.u32(b[12:]), r.u32(b[16:]), b[20:])
	case blockSimple:
		if len(b) < 4 {
			return short()
		}
		if r.first >= len(r.ifaces) {
			return r.damage(r.off, "a frame of interface 0, which is not described")
		}
		f := &r.ifaces[r.first]
		wire := r.u32(b)
		captured := wire
		if f.snap > 0 {
			captured = min(captured, f.snap)
		}
		if uint64(captured) > uint64(len(b)-4) {
			return r.damage(r.off, "a frame of %d bytes in a block of %d", captured, len(b)-4)
		}
		// Such blocks carry no time: that of the frame before is the best guess.
		r.full = r.sink.frame(bt, f, b[4:4+captured:4+captured], wire, r.last)
	case blockInterface:
		if len(b) < 8 {
			return short()
		}
		if len(r.ifaces) >= maxInterfaces {
			return r.damage(r.off, "more than %d interfaces", maxInterfaces)
		}
		f := iface{link: r.u16(b), snap: r.u32(b[4:]), scale: microseconds}
		r.ifaceOptions(&f, b[8:])
		for i := range r.ifaces { // the compiled filter is shared
			if r.ifaces[i].link == f.link {
				f.filter = r.ifaces[i].filter
			}
		}
		if f.filter == nil {
			var err error
			if f.filter, err = newFilter(r.sink.filter, f.link); err != nil {
				return r.damage(r.off, "%v", err)
			}
		}
		r.describe(f)
	case magicSection:
		if len(b) < 16 {
			return short()
		}
		if major := r.u16(b[4:]); major != 1 {
			return r.damage(r.off+12, "pcapng version %d.%d is not known", major, r.u16(b[6:]))
		}
		r.first = len(r.ifaces)
	}
	return nil
}

// record reads a frame with a time stamp; b begins with the frame.
func (r *reader) record(bt *fileBatch, id, ts uint64, captured, wire uint32, b []byte) error {
	if id >= uint64(len(r.ifaces)-r.first) {
		return r.damage(r.off, "a frame of interface %d, which is not described", id)
	}
	if uint64(captured) > uint64(len(b)) {
		return r.damage(r.off, "a frame of %d bytes in a block of %d", captured, len(b))
	}
	f := &r.ifaces[r.first+int(id)]
	r.last = f.scale.nanoseconds(ts, f.offset)
	r.full = r.sink.frame(bt, f, b[:captured:captured], wire, r.last)
	if r.sink.names {
		r.sink.head.comment = r.comment(b[captured:])
	}
	return nil
}

// comment returns the comments among the options that follow a frame, padded to a
// multiple of four bytes.
func (r *reader) comment(b []byte) string {
	var text string
	b = b[len(b)&3:]
	for len(b) >= 4 {
		code, n := r.u16(b), int(r.u16(b[2:]))
		b = b[4:]
		if code == 0 || n > len(b) {
			break
		}
		if code == optionComment {
			if text != "" {
				text += "\n"
			}
			text += string(b[:n])
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return text
}

// ifaceOptions reads the options of an interface description block that
// concern time (section 4.2).
func (r *reader) ifaceOptions(f *iface, b []byte) {
	for len(b) >= 4 {
		code, n := r.u16(b), int(r.u16(b[2:]))
		b = b[4:]
		if code == 0 || n > len(b) {
			return
		}
		switch {
		case code == optionName && r.sink.names:
			f.name = string(b[:n])
		case code == optionResolution && n == 1:
			f.scale = resolution(b[0])
		case code == 14 && n == 8:
			f.offset = int64(r.u64(b))
		}
		b = b[min(len(b), (n+3)&^3):]
	}
}
