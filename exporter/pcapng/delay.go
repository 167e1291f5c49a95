package pcapng

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
)

// Delay writes the packets of flows chosen by their verdict while they are
// captured: it holds every packet until its flow's verdict has settled, then
// writes or drops it. Packets are written in the order they were given.
type Delay struct {
	w        io.Writer
	statuses []record.Status
	vlans    bool
	delay    int64
	limit    int

	flows map[key]*judged
	held  []waiting
	first int // of held
	bytes int

	enc     *capture.Writer
	buf     bytes.Buffer
	head    []byte // section header and interfaces so far
	shared  atomic.Pointer[[]byte]
	written atomic.Uint64
	dropped atomic.Uint64
}

// judged is what is known of a flow.
type judged struct {
	known   bool // the verdict has settled
	want    bool
	over    bool
	waiting int // packets of it that are held
	comment string
}

type waiting struct {
	p    capture.Packet
	flow *judged
	key  key
}

// NewDelay returns a Delay that writes the packets of flows with one of the
// statuses to w, one call of its Write a packet. Packets wait for delay in
// packet time, and hold at most limit bytes of frames. With vlans the VLAN tags
// are part of a flow's key.
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

// Head is what a file has to begin with. It may be called by any goroutine.
func (d *Delay) Head() []byte { return *d.shared.Load() }

// Written is the number of packets given to the writer, Dropped that of those
// lost because the limit was reached before their flow's verdict had settled.
// Both may be called by any goroutine.
func (d *Delay) Written() uint64 { return d.written.Load() }

// Dropped is described with Written.
func (d *Delay) Dropped() uint64 { return d.dropped.Load() }

func (d *Delay) key(client, server capture.Endpoint, proto uint8, vlans capture.VLANs) key {
	vlan := ""
	if d.vlans {
		vlan = vlans.String()
	}
	return keyOf(client, server, proto, vlan)
}

// Judged takes in what a flow's verdict is now; see classify.Config.OnJudged.
func (d *Delay) Judged(f record.Judged) {
	vlans := ""
	if d.vlans {
		vlans = f.VLANs
	}
	k := keyOf(capture.EndpointFrom(f.Client), capture.EndpointFrom(f.Server), f.Proto, vlans)
	j := d.flows[k]
	want := slices.Contains(d.statuses, f.Verdict.Status)
	if j == nil {
		if f.Ended {
			return
		}
		j = &judged{}
		d.flows[k] = j
	}
	j.known, j.want, j.over = true, want, f.Ended
	if j.comment = ""; want {
		j.comment = comment(&record.Record{Verdict: *f.Verdict})
	}
	if j.over && j.waiting == 0 {
		delete(d.flows, k)
	}
}

// Packets takes in the packets of a batch that the engine has seen. They must
// have frames; they are copied.
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
			j = &judged{}
			d.flows[k] = j
		}
		j.waiting++
		c, f := *p, *p.Frame
		f.Data, f.Earlier = slices.Clone(f.Data), slices.Clone(f.Earlier)
		for i := range f.Earlier {
			f.Earlier[i].Data = slices.Clone(f.Earlier[i].Data)
		}
		c.Payload, c.Frame = nil, &f
		d.held = append(d.held, waiting{c, j, k})
		d.bytes += size(&c)
	}
	for d.bytes > d.limit {
		d.pop(true)
	}
}

// size is what a held packet costs.
func size(p *capture.Packet) int {
	n := 256 + len(p.Frame.Data)
	for i := range p.Frame.Earlier {
		n += 64 + len(p.Frame.Earlier[i].Data)
	}
	return n
}

// Advance tells the packet time, in nanoseconds since the Unix epoch: what has
// waited long enough is written or dropped.
func (d *Delay) Advance(now int64) {
	for d.first < len(d.held) && d.held[d.first].p.Time+d.delay <= now {
		d.pop(false)
	}
}

// Finish writes or drops what still waits.
func (d *Delay) Finish() {
	for d.first < len(d.held) {
		d.pop(false)
	}
}

// pop decides on the packet that waited longest.
func (d *Delay) pop(early bool) {
	h := &d.held[d.first]
	j := h.flow
	d.bytes -= size(&h.p)
	switch {
	case j.want:
		d.write(&h.p, j.comment)
	case early && !j.known:
		d.dropped.Add(1)
	}
	if j.waiting--; j.waiting == 0 && (j.over || !j.known) && d.flows[h.key] == j {
		delete(d.flows, h.key)
	}
	*h = waiting{}
	d.first++
	if d.first > 1024 && d.first*2 > len(d.held) {
		n := copy(d.held, d.held[d.first:])
		clear(d.held[n:])
		d.held, d.first = d.held[:n], 0
	}
}

// write gives one packet to the writer.
func (d *Delay) write(p *capture.Packet, comment string) {
	if d.enc.Write(p, comment) != nil || d.enc.Flush() != nil {
		d.buf.Reset() // a packet without frame: the source was not asked for frames
		return
	}
	b := d.buf.Bytes()
	const describesInterface = 1
	if binary.LittleEndian.Uint32(b) == describesInterface {
		// A file may be begun anew between any two packets, so interfaces are
		// described in its head. Here a new section begins, with that head.
		n := binary.LittleEndian.Uint32(b[4:])
		d.head = append(d.head, b[:n]...)
		d.share()
		b = append(slices.Clone(d.head), b[n:]...)
	}
	_, _ = d.w.Write(b)
	d.buf.Reset()
	d.written.Add(1)
}
