package pcapng

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
)

// A Delay writes the packets of flows selected by verdict during capture. It holds
// every packet for a fixed time, after which the verdict of its flow is stable, and
// then writes or drops it. It keeps the order of packets.
type Delay struct {
	w        io.Writer
	statuses []record.Status
	vlans    bool
	delay    int64
	limit    int

	flows map[key]*judged
	held  fifo
	room  *room
	spare []*room
	bytes int // of held packets and of flows
	known int // of flows that have a verdict
	// forgot reports whether flows were forgotten since known was less than a quarter
	// of limit: what has no verdict may be theirs.
	forgot bool

	enc     *capture.Writer
	buf     bytes.Buffer
	head    []byte // section header and interfaces so far
	shared  atomic.Pointer[[]byte]
	written atomic.Uint64
	dropped atomic.Uint64
	short   atomic.Int64 // for how long the limit let a packet wait, in nanoseconds; 0 if always for delay
}

// judged is the state of a flow.
type judged struct {
	key     key
	known   bool // there is a verdict
	want    bool
	ended   bool
	waiting int // number of its held packets
	comment string
}

// size returns the approximate memory, in bytes, of a flow, with its place in the map.
func (j *judged) size() int { return 256 + len(j.comment) }

// waiting is a packet that is held: what it takes to write it.
type waiting struct {
	time  int64 // as capture.Packet.Time
	iface uint16
	frame capture.Frame
	room  *room
	flow  *judged
}

// fifo is a queue of packets. Its pieces are used again and never copied, so it takes the
// memory of what it holds, and a burst leaves nothing behind.
type fifo struct {
	pieces []*[pieceSize]waiting
	first  int // of the first piece
	next   int // of the last piece
	spare  *[pieceSize]waiting
}

const pieceSize = 512

// empty reports whether nothing is held.
func (q *fifo) empty() bool { return len(q.pieces) == 0 }

// oldest returns the packet that came first. The queue must not be empty.
func (q *fifo) oldest() *waiting { return &q.pieces[0][q.first] }

// newest returns the packet that came last. The queue must not be empty.
func (q *fifo) newest() *waiting { return &q.pieces[len(q.pieces)-1][q.next-1] }

// push adds a packet.
func (q *fifo) push(w waiting) {
	if q.empty() || q.next == pieceSize {
		p := q.spare
		if q.spare = nil; p == nil {
			p = new([pieceSize]waiting)
		}
		q.pieces, q.next = append(q.pieces, p), 0
	}
	q.pieces[len(q.pieces)-1][q.next] = w
	q.next++
}

// pop takes out the packet that came first.
func (q *fifo) pop() {
	*q.oldest() = waiting{} // so that its frame and flow can be collected
	if q.first++; q.first < pieceSize && (len(q.pieces) > 1 || q.first < q.next) {
		return
	}
	q.spare, q.first = q.pieces[0], 0
	q.pieces = slices.Delete(q.pieces, 0, 1)
}

// room holds the data of frames, one behind the other: to allocate each costs more than
// to copy it.
type room struct {
	buf  []byte
	held int // packets whose frames are in it
}

const (
	roomSize  = 256 << 10
	spareRoom = 16 // rooms that are kept for reuse, at most
)

// NewDelay returns a Delay that writes the packets of flows with one of the
// statuses to w, with one call of its Write for each packet. Between w and each file
// there must be a writer of Sections. The Delay holds packets for delay, in packet
// time, and at most limit bytes of frames and of what it remembers of flows: where there
// is no more room, packets wait less (Short). What it remembers of flows may take half
// of limit: beyond that, a flow is forgotten as soon as none of its packets is held, and
// what follows of it has no verdict unless Judged is called again (Dropped). If vlans is
// true, VLAN tags are part of the key of a flow.
func NewDelay(w io.Writer, statuses []record.Status, vlans bool, delay time.Duration, limit int) (*Delay, error) {
	d := &Delay{w: w, statuses: statuses, vlans: vlans, delay: int64(delay), limit: limit, flows: map[key]*judged{}}
	var err error
	if d.enc, err = capture.NewWriter(&d.buf, "exspan"); err == nil {
		err = d.enc.Flush()
	}
	d.head = slices.Clone(d.buf.Bytes())
	d.buf.Reset()
	d.share()
	return d, err
}

func (d *Delay) share() {
	head := slices.Clone(d.head)
	d.shared.Store(&head)
}

// Head returns the bytes with which every file must begin. It is safe for concurrent use.
func (d *Delay) Head() []byte { return *d.shared.Load() }

// Written returns the number of packets passed to the writer. It is safe for concurrent
// use.
func (d *Delay) Written() uint64 { return d.written.Load() }

// Describe adds an interface to the head of files before its first packet comes.
// Call it for all interfaces in their order (capture.Packet.Interface) and before
// the first packet.
func (d *Delay) Describe(linkType uint16, name string) error {
	d.enc.Names = append(d.enc.Names, name)
	if err := errors.Join(d.enc.Describe(linkType, name), d.enc.Flush()); err != nil {
		return err
	}
	d.head = append(d.head, d.buf.Bytes()...)
	d.share()
	d.buf.Reset()
	return nil
}

// Sections returns a writer for what a Delay writes to w, a file that begins with
// the Delay's Head. Where interfaces have been added to the Head since, it begins
// a new section of the file, so that every packet in the file refers to a
// description that is there, whatever was lost on the way.
func (d *Delay) Sections(w io.Writer) io.Writer { return &sections{d, w, len(d.Head())} }

type sections struct {
	d    *Delay
	w    io.Writer
	head int // length of the head that the file has; a head only grows
}

func (s *sections) Write(p []byte) (int, error) {
	head := s.d.Head()
	if len(head) == s.head {
		return s.w.Write(p)
	}
	n, err := s.w.Write(append(slices.Clone(head), p...))
	if err == nil {
		s.head = len(head)
	}
	return max(n-len(head), 0), err
}

// Short returns for how long the packet waited that had to make room last, and 0
// if none had to since the last call. It may be called by any goroutine.
func (d *Delay) Short() time.Duration { return time.Duration(d.short.Swap(0)) }

// Dropped returns the number of packets dropped at the limit without a verdict on their
// flow. It is safe for concurrent use.
func (d *Delay) Dropped() uint64 { return d.dropped.Load() }

func (d *Delay) key(client, server capture.Endpoint, proto uint8, vlans capture.VLANs) key {
	vlan := ""
	if d.vlans {
		vlan = vlans.String()
	}
	return keyOf(client, server, proto, vlan)
}

// Judged sets the current verdict of a flow; see classify.Config.OnJudged.
func (d *Delay) Judged(f record.Judged) {
	vlans := ""
	if d.vlans {
		vlans = f.Tags
	}
	k := keyOf(capture.EndpointFrom(netip.AddrPortFrom(f.Client.Addr, f.Client.Port)),
		capture.EndpointFrom(netip.AddrPortFrom(f.Server.Addr, f.Server.Port)), f.Proto, vlans)
	j := d.flows[k]
	want := slices.Contains(d.statuses, f.Verdict.Status)
	if j == nil {
		if f.Ended || d.full() {
			d.forgot = d.forgot || !f.Ended
			return
		}
		j = d.add(k)
	}
	d.count(j, -1)
	j.known, j.want, j.ended = true, want, f.Ended
	if j.comment = ""; want {
		j.comment = comment(f.Record)
	}
	d.count(j, 1)
	if j.ended && j.waiting == 0 {
		d.forget(j)
	}
}

// add returns a flow that is new.
func (d *Delay) add(k key) *judged {
	j := &judged{key: k}
	d.flows[k] = j
	d.count(j, 1)
	return j
}

// count adds the memory of a flow to what is counted, or takes it off if sign is -1.
func (d *Delay) count(j *judged, sign int) {
	n := sign * j.size()
	d.bytes += n
	if j.known {
		d.known += n
	}
	d.forgot = d.forgot && d.known >= d.limit/4
}

// full reports whether flows with a verdict take more than their part of the limit.
func (d *Delay) full() bool { return d.known > d.limit/2 }

// forget takes a flow, of which no packet is held, out of the table.
func (d *Delay) forget(j *judged) {
	delete(d.flows, j.key)
	d.count(j, -1)
}

// Packets adds copies of the packets of a batch that the engine has processed. The
// packets must have frames.
func (d *Delay) Packets(packets []capture.Packet) {
	for i := range packets {
		p := &packets[i]
		proto := p.Proto
		if proto == capture.ICMP || proto == capture.ICMPv6 {
			proto = p.Quoted
		}
		k := d.key(p.Src, p.Dst, proto, p.VLANs)
		j := d.flows[k]
		if j == nil {
			j = d.add(k)
		}
		j.waiting++
		r := d.roomFor(size(p.Frame))
		r.held++
		f := *p.Frame
		f.Data, f.Earlier = r.add(f.Data), slices.Clone(f.Earlier)
		for i := range f.Earlier {
			f.Earlier[i].Data = r.add(f.Earlier[i].Data)
		}
		d.held.push(waiting{p.Time, p.Interface, f, r, j})
		d.bytes += size(&f)
	}
	for d.bytes > d.limit && !d.held.empty() {
		d.pop(true)
	}
}

// roomFor returns a room that has n bytes left.
func (d *Delay) roomFor(n int) *room {
	if r := d.room; r != nil && cap(r.buf)-len(r.buf) >= n {
		return r
	}
	last := len(d.spare) - 1
	switch {
	case n <= roomSize && last >= 0:
		d.room, d.spare = d.spare[last], d.spare[:last]
	default:
		d.room = &room{buf: make([]byte, 0, max(n, roomSize))}
	}
	return d.room
}

// add returns a copy of data in the room, which has space for it.
func (r *room) add(data []byte) []byte {
	n := len(r.buf)
	r.buf = append(r.buf, data...)
	return r.buf[n:len(r.buf):len(r.buf)]
}

// leave notes that a packet in a room is held no longer.
func (d *Delay) leave(r *room) {
	if r.held--; r.held > 0 || r == d.room {
		return
	}
	if cap(r.buf) == roomSize && len(d.spare) < spareRoom {
		r.buf = r.buf[:0]
		d.spare = append(d.spare, r)
	}
}

// size returns the approximate memory in bytes of a held packet with a frame.
func size(f *capture.Frame) int {
	n := 96 + len(f.Data)
	for i := range f.Earlier {
		n += 64 + len(f.Earlier[i].Data)
	}
	return n
}

// Advance sets the packet time, in nanoseconds since the Unix epoch, and writes or
// drops the packets that have waited long enough.
func (d *Delay) Advance(now int64) {
	for !d.held.empty() && d.held.oldest().time+d.delay <= now {
		d.pop(false)
	}
}

// Finish writes or drops all packets that are still held.
func (d *Delay) Finish() {
	for !d.held.empty() {
		d.pop(false)
	}
}

// pop writes or drops the packet that was held longest.
func (d *Delay) pop(early bool) {
	h := d.held.oldest()
	j := h.flow
	d.bytes -= size(&h.frame)
	switch {
	case j.want:
		d.write(&capture.Packet{Time: h.time, Interface: h.iface, Frame: &h.frame}, j.comment)
	case !j.known && (early || d.forgot):
		d.dropped.Add(1)
	}
	if early {
		d.short.Store(max(d.held.newest().time-h.time, 1))
	}
	if j.waiting--; j.waiting == 0 && (j.ended || !j.known || d.full()) && d.flows[j.key] == j {
		d.forgot = d.forgot || d.full()
		d.forget(j)
	}
	d.leave(h.room)
	d.held.pop()
}

// write passes one packet to the writer.
func (d *Delay) write(p *capture.Packet, comment string) {
	if d.enc.Write(p, comment) != nil || d.enc.Flush() != nil {
		d.buf.Reset() // the packet has no frame because the source does not keep frames
		return
	}
	b := d.buf.Bytes()
	const describesInterface = 1
	if binary.LittleEndian.Uint32(b) == describesInterface {
		// The head describes the interfaces, so that a file may start between any two
		// packets.
		n := binary.LittleEndian.Uint32(b[4:])
		d.head = append(d.head, b[:n]...)
		d.share()
		b = b[n:]
	}
	_, _ = d.w.Write(b)
	d.buf.Reset()
	d.written.Add(1)
}
