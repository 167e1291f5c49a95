package etw

import (
	"fmt"
	"io"
	"time"
)

// netmon is a file of Network Monitor. A table at its end holds the positions of the
// frames, which need not be contiguous.
type netmon struct {
	major, minor byte
	media        uint16
	start        int64 // as a FILETIME, in an unknown time zone
	table        window
	frames       window
	size         int64
	read         int64 // bytes of all frames read, at most size because frames cannot overlap
	stream       stream
	bad          bool
}

const netmonHeader = 72 // in files of Network Monitor; others have longer headers

// isNetMon reports whether a file that begins with b is a file of Network Monitor.
func isNetMon(b []byte) bool {
	return len(b) >= 6 && (string(b[:4]) == "RTSS" || string(b[:4]) == "GMBU")
}

func openNetMon(in io.ReaderAt, size int64, r *Report) (*netmon, error) {
	var b [netmonHeader]byte
	if n, err := in.ReadAt(b[:], 0); n < len(b) {
		if err == io.EOF {
			return nil, &Error{int64(n), "the file ends inside its header"}
		}
		return nil, &Error{int64(n), err.Error()}
	}
	n := &netmon{minor: b[4], major: b[5], media: le.Uint16(b[6:]), size: size}
	if n.major != 1 && n.major != 2 || (n.major == 1) != (b[0] == 'R') {
		return nil, &Error{4, fmt.Sprintf("version %d.%d of Network Monitor's format is not known", n.major, n.minor)}
	}
	r.NetMon = fmt.Sprintf("%d.%d", n.major, n.minor)
	var t [8]int
	for i := range t {
		t[i] = int(le.Uint16(b[8+2*i:]))
	}
	// SYSTEMTIME: year, month, day of the week, day, hour, minute, second, millisecond.
	start := time.Date(t[0], time.Month(t[1]), t[3], t[4], t[5], t[6], t[7]*1e6, time.UTC)
	n.start = start.Unix()*1e7 + int64(start.Nanosecond()/100) + epoch
	off, length := int64(le.Uint32(b[24:])), int64(le.Uint32(b[28:]))&^3
	if off < netmonHeader && length > 0 || off > size {
		return nil, &Error{24, fmt.Sprintf("the table of frames is said to be at byte %d of %d: the file was cut, or the capture not ended", off, size)}
	}
	if length > size-off {
		r.damage(off, "the file ends inside the table of frames: %d of %d bytes", size-off, length)
		length = (size - off) &^ 3
	}
	n.table.in, n.frames.in = in, in
	n.table.open(off, off+length, fewChunk)
	return n, nil
}

// next finds the next packet in the order of the table, which is the order of capture, as
// in other capture files. It returns nil at the end.
func (n *netmon) next(r *Report) *stream {
	for !n.bad {
		b := n.table.peek(4)
		if len(b) < 4 {
			if n.table.err != nil {
				r.damage(n.table.next, "%v", n.table.err)
			}
			break
		}
		off := int64(le.Uint32(b))
		n.table.skip(4)
		if n.frame(off, r) {
			return &n.stream
		}
	}
	return nil
}

// frame reads the frame at off and reports whether it is a packet.
func (n *netmon) frame(off int64, r *Report) bool {
	head, trailer := int64(16), int64(0)
	if n.major == 1 {
		head = 8
	} else {
		switch n.minor {
		case 0:
		case 1:
			trailer = 2
		case 2:
			trailer = 6
		default:
			trailer = 15
		}
	}
	if off > n.size-head {
		r.damage(off, "a frame beyond the end of the file, at %d of %d bytes", off, n.size)
		return false
	}
	b := n.at(off, head)
	if int64(len(b)) < head {
		return n.unread(off, r)
	}
	var original, captured int64
	ft := n.start
	if n.major == 1 {
		ft += int64(le.Uint32(b)) * 10_000
		original, captured = int64(le.Uint16(b[4:])), int64(le.Uint16(b[6:]))
	} else {
		ft += int64(le.Uint64(b)) * 10
		original, captured = int64(le.Uint32(b[8:])), int64(le.Uint32(b[12:]))
	}
	if captured > maxPacket {
		r.damage(off, "a frame of %d bytes, more than the limit of %d", captured, maxPacket)
		return false
	}
	all := head + captured + trailer
	if off > n.size-all {
		r.damage(off, "the file ends inside a frame: %d of %d bytes", n.size-off, all)
		return false
	}
	if n.read += all; n.read > n.size {
		r.damage(off, "frames that overlap")
		n.bad = true
		return false
	}
	if b = n.at(off, all); int64(len(b)) < all {
		return n.unread(off, r)
	}
	data, end := b[head:head+captured], b[head+captured:all]
	media := n.media
	if trailer > 0 {
		media = le.Uint16(end)
	}
	local := true
	if trailer == 15 {
		ft, local = int64(le.Uint64(end[6:])), false
	}
	if n.packet(media, data, int(original), ft, r) {
		r.LocalTime = r.LocalTime || local && media != mediaEvent
		return true
	}
	return false
}

func (n *netmon) unread(off int64, r *Report) bool {
	if n.frames.err != nil {
		r.damage(off, "%v", n.frames.err)
	}
	n.bad = true
	return false
}

// at returns size bytes at off. It reads consecutive frames in large pieces.
func (n *netmon) at(off, size int64) []byte {
	w := &n.frames
	if d := off - w.position(); w.buf != nil && d >= 0 && d <= int64(w.fil-w.off) {
		w.skip(int(d))
	} else {
		w.open(off, n.size, fewChunk)
	}
	b := w.peek(int(size))
	return b[:min(int64(len(b)), size)]
}

// Media of Network Monitor. Those of Message Analyzer, token ring, FDDI and ATM are not
// supported.
const (
	mediaPcap  = 0xe000 // plus a pcap link type
	mediaEvent = 0xffe0 // an event
	mediaInfo  = 0xfffb // from here on, media other than frames
)

// packet converts a frame to an appearance and reports whether it is one.
func (n *netmon) packet(media uint16, data []byte, original int, ft int64, r *Report) bool {
	a := &n.stream.seen
	if media == mediaEvent {
		return n.trace(data, r)
	}
	*a = appearance{time: unixNano(ft), data: data, original: original, whole: true, link: linkEther}
	switch {
	case media == 0 || media == 1 || media == mediaPcap+1:
	case media >= 7 && media <= 9 || media == mediaPcap+101:
		a.link = linkIP
	case media == 6:
		// Metadata precedes the frame: a version and the length of all metadata.
		if len(data) < 3 || int(le.Uint16(data[1:])) < 3 || int(le.Uint16(data[1:])) > len(data) {
			r.Short++
			return false
		}
		m := int(le.Uint16(data[1:]))
		a.data, a.original, a.link = data[m:], max(0, original-m), link80211
	case media == mediaPcap+105:
		a.link = link80211
	case media > mediaPcap && media < mediaPcap+0x80:
		a.link, a.kind = linkOther, media-mediaPcap
	case media >= mediaInfo:
		return false
	default:
		r.Media++
		return false
	}
	r.Events++
	return true
}

// trace reads an event from an event trace log that was opened and saved with Network
// Monitor or Message Analyzer. It differs from the event in the log in its clock, and in
// ten bytes between header and data.
func (n *netmon) trace(b []byte, r *Report) bool {
	if len(b) < eventHeader+9 {
		r.Short++
		return false
	}
	items, size := le.Uint16(b[84:]), int(le.Uint16(b[86:]))
	data := b[eventHeader+9:]
	if items > 0 && size <= len(data) { // inferred: the data comes last
		data = data[len(data)-size:]
	}
	data = data[:min(size, len(data))]
	n.stream.parts.cpu = uint16(b[80])
	return n.stream.parts.packet(b[:eventHeader], data, unixNano(int64(le.Uint64(b[16:]))), &n.stream.seen, r)
}
