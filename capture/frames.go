package capture

import "io"

// RawFrame is a frame as a capture file has it, of whatever protocol.
type RawFrame struct {
	Time       int64  // nanoseconds since the Unix epoch
	LinkType   uint16 // LINKTYPE_ value
	WireLength uint32 // its length on the wire
	Data       []byte // valid until the next call of NextFrame
	Interface  string // the interface's name, or ""
	Comment    string // what the file says of the frame, or ""
}

// NextFrame puts the next frame that the filter takes into r, in the order of time,
// or returns io.EOF when all files have ended. It needs Options.Frames, and takes
// the place of Read.
func (f *Files) NextFrame(r *RawFrame) error {
	for len(f.in) > 0 {
		i := f.in[0]
		if i.r == nil {
			if err := f.openInput(i, &f.read); err != nil {
				f.end(err)
				continue
			}
			f.advance(i)
			continue
		}
		if f.shownFrame {
			f.shownFrame = false
			f.advance(i)
			continue
		}
		f.shownFrame = true
		h := &i.r.head
		f.tell()
		if h.iface.filter != nil && !h.iface.filter.match(h.data, h.wire) {
			continue
		}
		*r = RawFrame{h.time, h.iface.link, h.wire, h.data, h.iface.name, h.comment}
		return nil
	}
	f.tell()
	return io.EOF
}
