package etw

import (
	"fmt"
	"math"
)

// outSize is the size of the decompressed part in memory: the range of matches, and two
// records.
const outSize = lzHistory + 2*maxRecord

// processor reads the records of one processor, buffer by buffer. It keeps only a part of
// the current buffer in memory, because a buffer can have 16 MiB. For a compressed buffer
// the part includes the range of matches.
type processor struct {
	number  uint16
	log     *etl
	buffers []stored // buffers that were not read yet

	now       stored
	open      bool
	in        window // the buffer's bytes in the file
	lz        lz77
	out       []byte // decompressed data, if the buffer is compressed
	off       int    // bytes of out that were used
	remaining int    // bytes that were not decompressed yet
	bad       error  // the error that ended the decompression
}

// record returns the next record, which is valid until the next call, or nil at the end.
// Damage ends the buffer, not the file.
func (p *processor) record(r *Report) []byte {
	for {
		if !p.open && !p.next(r) {
			return nil
		}
		b := p.peek(8)
		if len(b) < 8 || le.Uint32(b) == 0 || le.Uint32(b) == math.MaxUint32 {
			p.close(r)
			continue
		}
		size, ok := recordSize(b)
		if !ok {
			p.damage(r, fmt.Sprintf("no record where one should begin: %02x %02x %02x %02x", b[0], b[1], b[2], b[3]))
			continue
		}
		// The next record is aligned to 8 bytes in the buffer, not in the file.
		room := (size + 7) &^ 7
		if b = p.peek(room); len(b) < size {
			if p.bad == nil && !p.now.cut {
				p.damage(r, fmt.Sprintf("a record of %d bytes where %d are left", size, len(b)))
			} else {
				p.close(r)
			}
			continue
		}
		p.skip(min(len(b), room))
		return b[:size:size]
	}
}

// recordSize returns the size of the record that begins with b, which has at least 8
// bytes. It reports whether the size is valid.
func recordSize(b []byte) (int, bool) {
	kind, marker := b[2], b[3]
	size := int(le.Uint16(b))
	if marker == 0xc0 && (kind >= 1 && kind <= 4 || kind == 0x10 || kind == 0x11) {
		size = int(le.Uint16(b[4:]))
	}
	return size, marker&0x80 != 0 && size >= 8
}

// next opens the next buffer and reports whether there is one.
func (p *processor) next(r *Report) bool {
	if len(p.buffers) == 0 {
		p.out, p.in.buf = nil, nil
		return false
	}
	s := p.buffers[0]
	p.buffers = p.buffers[1:]
	p.now, p.open, p.bad, p.remaining = s, true, nil, 0
	begin, end := s.offset+bufferHeader, s.offset+int64(s.length)
	if !s.packed {
		p.in.open(begin, max(begin, min(end, s.offset+int64(s.used))), fileChunk)
		return true
	}
	p.in.open(begin, end, fileChunk)
	p.lz, p.off = lz77{}, 0
	if p.out == nil {
		p.out = make([]byte, 0, outSize)
	}
	p.out = p.out[:0]
	p.remaining = max(0, int(s.used)-bufferHeader)
	if s.used > max(p.log.buffer, maxFirst) || p.remaining > maxRatio*int(s.length) {
		p.damage(r, fmt.Sprintf("%d bytes from %d, more than a session's buffer can hold", p.remaining, s.length))
		p.remaining = 0
	}
	return true
}

// close ends the buffer and reports why it ended early, if it did.
func (p *processor) close(r *Report) {
	p.open = false
	switch {
	case p.bad != nil && !p.now.cut:
		r.damage(p.now.offset, "in a compressed buffer: %v", p.bad)
	case p.in.err != nil && !p.now.cut:
		r.damage(p.in.next, "%v", p.in.err)
	}
}

// damage ends the buffer. Reading continues with the next one.
func (p *processor) damage(r *Report, text string) {
	r.damage(p.now.offset, "in a buffer: %s", text)
	p.open = false
}

// peek returns the part of the buffer in memory. It has at least n bytes, unless the
// buffer has fewer.
func (p *processor) peek(n int) []byte {
	if !p.now.packed {
		return p.in.peek(n)
	}
	for len(p.out)-p.off < n && p.remaining > 0 && p.bad == nil {
		p.decompress()
	}
	return p.out[p.off:]
}

func (p *processor) skip(n int) {
	if p.now.packed {
		p.off += n
	} else {
		p.in.skip(n)
	}
}

// decompress decodes more of the buffer after the unused data.
func (p *processor) decompress() {
	if keep := min(p.off, max(0, len(p.out)-lzHistory)); keep > 0 {
		p.out = p.out[:copy(p.out, p.out[keep:])]
		p.off -= keep
	}
	src := p.in.peek(lzGroup)
	last := p.in.next >= p.in.end || p.in.err != nil
	had := len(p.out)
	out, used, err := p.lz.decode(p.out, src, had+p.remaining, last)
	p.out, p.bad = out, err
	p.remaining -= len(out) - had
	p.in.skip(used)
	if err == nil && used == 0 && len(out) == had {
		p.bad = errShort
	}
}
