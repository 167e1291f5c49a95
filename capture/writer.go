package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"
)

// Writer writes packets with their frames to a pcapng file
// (draft-ietf-opsawg-pcapng), each with a comment if there is one to make.
// gopacket's writer knows no comments of packets.
type Writer struct {
	// Names are names of interfaces, by Packet.Interface. Interfaces that have none
	// are told apart by their link type alone.
	Names []string

	w      *bufio.Writer
	ifaces map[ifaceName]uint32 // interface blocks
	buf    []byte
}

// ifaceName is what tells interfaces of a written file apart.
type ifaceName struct {
	link uint16
	name string
}

// NewWriter writes the head of a pcapng file to w; application is named as
// what wrote it.
func NewWriter(w io.Writer, application string) (*Writer, error) {
	n := &Writer{w: bufio.NewWriterSize(w, 64<<10), ifaces: make(map[ifaceName]uint32)}
	b := binary.LittleEndian.AppendUint32(n.buf, magicByteOrder)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, math.MaxUint64) // length of the section: not known
	b = appendOption(b, 4, application)
	b = appendOption(b, 0, "")
	n.buf = b
	return n, n.block(magicSection, b)
}

var errNoFrame = errors.New("capture: the packet has no frame; frames are kept with Options.KeepFrames")

// Write writes p's frame, and before it those of the fragments that p was
// reassembled from, each with the comment. A comment is cut at 65,535 bytes,
// what a pcapng option holds.
func (w *Writer) Write(p *Packet, comment string) error {
	f := p.Frame
	if f == nil {
		return errNoFrame
	}
	of := ifaceName{link: f.LinkType}
	if i := int(p.Interface); i < len(w.Names) {
		of.name = w.Names[i]
	}
	for i := range f.Earlier {
		e := &f.Earlier[i]
		if err := w.frame(of, e.Time, e.WireLength, e.Data, comment); err != nil {
			return err
		}
	}
	return w.frame(of, p.Time, f.WireLength, f.Data, comment)
}

// WriteFrame writes a frame with its comment and the name of its interface.
func (w *Writer) WriteFrame(f *RawFrame) error {
	return w.frame(ifaceName{f.LinkType, f.Interface[:min(len(f.Interface), math.MaxUint16)]}, f.Time, f.WireLength, f.Data, f.Comment)
}

// Describe writes the description of an interface before its first packet is there.
// Write and WriteFrame write those that are missing.
func (w *Writer) Describe(linkType uint16, name string) error {
	of := ifaceName{linkType, name}
	if _, ok := w.ifaces[of]; ok {
		return nil
	}
	return w.describe(of)
}

func (w *Writer) describe(of ifaceName) error {
	w.ifaces[of] = uint32(len(w.ifaces))
	b := binary.LittleEndian.AppendUint16(w.buf[:0], of.link)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 0) // no snap length of ours
	if of.name != "" {
		b = appendOption(b, optionName, of.name)
	}
	b = appendOption(b, optionResolution, "\x09") // if_tsresol: nanoseconds
	b = appendOption(b, 0, "")
	w.buf = b
	return w.block(blockInterface, b)
}

func (w *Writer) frame(of ifaceName, t int64, wire uint32, data []byte, comment string) error {
	id, ok := w.ifaces[of]
	if !ok {
		id = uint32(len(w.ifaces))
		if err := w.describe(of); err != nil {
			return err
		}
	}
	b := binary.LittleEndian.AppendUint32(w.buf[:0], id)
	b = binary.LittleEndian.AppendUint32(b, uint32(uint64(t)>>32))
	b = binary.LittleEndian.AppendUint32(b, uint32(t))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, max(wire, uint32(len(data))))
	b = append(b, data...)
	b = pad(b)
	if comment != "" {
		b = appendOption(b, optionComment, comment[:min(len(comment), math.MaxUint16)])
		b = appendOption(b, 0, "")
	}
	w.buf = b
	return w.block(blockEnhanced, b)
}

// Flush writes what is still buffered. It has to be called at the end.
func (w *Writer) Flush() error { return w.w.Flush() }

// block writes one block with the body b, a multiple of 4 bytes. The error of
// a bufio.Writer stays, so the last one tells of all.
func (w *Writer) block(kind uint32, b []byte) error {
	var h [8]byte
	binary.LittleEndian.PutUint32(h[:], kind)
	binary.LittleEndian.PutUint32(h[4:], uint32(len(b)+12))
	w.w.Write(h[:])
	w.w.Write(b)
	_, err := w.w.Write(h[4:])
	return err
}

func appendOption(b []byte, code uint16, value string) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...))
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
