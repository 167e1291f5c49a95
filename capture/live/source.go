package live

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/google/gopacket"

	"github.com/exspan/exspan/capture"
)

const (
	holdBack   = 500 * time.Millisecond // maximum wait for earlier packets of other handles
	maxQueued  = 256                    // maximum number of waiting batches of one handle
	idleTick   = time.Second
	reopenWait = time.Second
)

// Interface holds the counters of an interface since the source was opened.
type Interface struct {
	Name   string
	Method string // Pcap or AFPacket
	Link   uint16 // LINKTYPE_ value
	Up     bool   // false while the source waits for its return
	Frames uint64 // read
	Kernel uint64 // frames lost because the kernel's buffer was full
	Iface  uint64 // frames lost in the interface or its driver
}

// A Source is a capture.Source that reads interfaces. It numbers packets in the order
// of delivery. A batch is valid until it is released, or until the next Read.
type Source struct {
	faces []*face
	log   *slog.Logger

	in    chan item
	stop  chan struct{}
	ended sync.WaitGroup
	once  sync.Once

	queues  []*queue // one a handle
	spent   []*capture.Batch
	out     []capture.Packet
	number  uint64
	stats   capture.Stats // of handles that are closed
	tunnels *capture.Tunnels
	timer   *time.Timer
	last    time.Time // when a batch was delivered last
	lost    int       // interfaces that will not return
	lastErr error
}

// face is one interface.
type face struct {
	opt   Options
	index uint16
	alone bool // there are no other interfaces

	mu     sync.Mutex
	open   *opened // nil while the source waits for its return
	method string
	link   uint16
	before counts // of handles that are closed
}

// item is a message of a reading goroutine: q has begun, a batch of q, q has ended
// with err, or, without q, an interface is lost for good.
type item struct {
	q     *queue
	batch *capture.Batch
	err   error
}

// queue holds the batches of one handle that are not delivered yet.
type queue struct {
	face    *face
	stats   capture.Stats
	batches []*capture.Batch
	arrived []time.Time
	next    int // packet of the first batch
	ended   bool
}

// Open opens interfaces. It logs to log when one vanishes or returns.
func Open(options []Options, log *slog.Logger) (*Source, error) {
	s := &Source{in: make(chan item, 4), stop: make(chan struct{}), log: log, timer: time.NewTimer(idleTick), last: time.Now(),
		out: make([]capture.Packet, 0, 512), tunnels: new(capture.Tunnels)}
	var errs []error
	for i, o := range options {
		op, err := open(o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.faces = append(s.faces, &face{opt: o, index: uint16(i), alone: len(options) == 1, open: op, method: op.method, link: uint16(op.link)})
	}
	for _, f := range s.faces {
		readers, err := f.readers(f.open, s.tunnels)
		if err != nil {
			errs = append(errs, err)
			f.shut()
			continue
		}
		if len(errs) > 0 {
			for _, r := range readers {
				_ = r.Close()
			}
			continue
		}
		s.begin(f, readers)
	}
	if len(errs) > 0 {
		_ = s.Close()
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// reader reads one handle.
type reader struct {
	capture.Source
	q *queue
}

// readers starts capturing from an open interface.
func (f *face) readers(op *opened, tunnels *capture.Tunnels) ([]reader, error) {
	o := capture.Options{Filter: f.opt.Filter, KeepFrames: f.opt.KeepFrames, VXLANPorts: f.opt.VXLANPorts, DuplicateWindow: f.opt.DuplicateWindow, Tunnels: tunnels}
	var readers []reader
	for _, h := range op.handles {
		var r capture.Source
		var err error
		switch h := h.(type) {
		case capture.Lender:
			r, err = capture.NewLent(h, op.link, !f.alone || len(op.handles) > 1, o)
		case gopacket.ZeroCopyPacketDataSource:
			r, err = capture.NewSource(h, op.link, o)
		}
		if err != nil {
			for _, r := range readers {
				_ = r.Close()
			}
			return nil, fmt.Errorf("interface %s: %w", f.opt.Interface, err)
		}
		readers = append(readers, reader{r, &queue{face: f}})
	}
	return readers, nil
}

// shut closes the handles of an interface and keeps their counters.
func (f *face) shut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		return
	}
	for _, h := range f.open.handles {
		h.Close()
		f.before = f.before.plus(h.counts())
	}
	f.open = nil
}

// begin starts reading an interface. Its queues exist from the start, so that
// delivery waits for the first packets.
func (s *Source) begin(f *face, readers []reader) {
	for _, r := range readers {
		s.queues = append(s.queues, r.q)
	}
	s.ended.Add(1)
	go s.run(f, readers)
}

// run reads an interface until the source is closed. It waits for the interface when
// it vanishes.
func (s *Source) run(f *face, readers []reader) {
	defer s.ended.Done()
	for {
		err := s.read(readers)
		f.shut()
		if s.closing() {
			return
		}
		s.log.Warn("Cannot read the interface; waiting for it", "interface", f.opt.Interface, "err", err)
		if readers = s.reopen(f); readers == nil {
			return
		}
		s.log.Info("The interface is back", "interface", f.opt.Interface)
	}
}

// reopen waits until the interface can be opened. It returns nil when the source is
// closed, or when the interface cannot be opened any more.
func (s *Source) reopen(f *face) []reader {
	for {
		select {
		case <-s.stop:
			return nil
		case <-time.After(reopenWait):
		}
		op, err := open(f.opt)
		if err == nil {
			f.mu.Lock()
			f.open, f.method, f.link = op, op.method, uint16(op.link)
			f.mu.Unlock()
			var readers []reader
			if readers, err = f.readers(op, s.tunnels); err == nil {
				for _, r := range readers {
					s.send(item{q: r.q})
				}
				return readers
			}
			f.shut()
		}
		if denied(err) {
			err = fmt.Errorf("interface %s vanished and cannot be opened again, because privileges were dropped: "+
				"let the program keep CAP_NET_RAW, or restart it", f.opt.Interface)
			s.log.Error("The interface is lost", "interface", f.opt.Interface, "err", err)
			s.send(item{err: err})
			return nil
		}
	}
}

// read hands over what the handles of an interface deliver, until one of them ends
// or the source is closed. Then it closes all of them.
func (s *Source) read(readers []reader) error {
	done := make(chan error, len(readers)+1)
	for _, r := range readers {
		go func() {
			for {
				b, err := r.Read()
				if err != nil {
					s.send(item{q: r.q, err: err})
					done <- err
					return
				}
				if !s.send(item{q: r.q, batch: b}) {
					done <- io.EOF
					return
				}
			}
		}()
	}
	ends := 0
	var first error
	select {
	case first = <-done:
		ends++
	case <-s.stop:
	}
	var closing sync.WaitGroup
	for _, r := range readers {
		closing.Go(func() { _ = r.Close() })
	}
	closing.Wait()
	for ; ends < len(readers); ends++ {
		if err := <-done; first == nil {
			first = err
		}
	}
	return first
}

func (s *Source) send(it item) bool {
	select {
	case s.in <- it:
		return true
	case <-s.stop:
		return false
	}
}

func (s *Source) closing() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// Read implements capture.Source. If no packet arrives, it returns a batch with Tick
// set once a second, even while no interface is open. After Close it returns what was
// already read, then io.EOF.
func (s *Source) Read() (*capture.Batch, error) {
	for _, b := range s.spent {
		b.Release()
	}
	s.spent = s.spent[:0]
	for {
		if s.closing() {
			s.drain()
		}
		now := time.Now()
		wait, queued := s.wait(now)
		if queued && wait <= 0 || queued && s.closing() {
			if b := s.deliver(now); len(b.Packets) > 0 {
				s.last = now
				return b, nil
			}
			continue
		}
		if s.lastErr != nil && s.lost == len(s.faces) {
			return nil, s.lastErr
		}
		if !queued {
			if s.closing() {
				return nil, io.EOF
			}
			if wait = idleTick - now.Sub(s.last); wait <= 0 {
				s.last = now
				return &capture.Batch{Tick: now.UnixNano(), Stats: s.total(), Tunnels: s.tunnels}, nil
			}
		}
		s.timer.Reset(wait)
		select {
		case it := <-s.in:
			s.take(it)
		case <-s.timer.C:
		case <-s.stop:
		}
	}
}

// drain takes all items that are ready, without waiting.
func (s *Source) drain() {
	for {
		select {
		case it := <-s.in:
			s.take(it)
		default:
			return
		}
	}
}

// take applies one item to its queue.
func (s *Source) take(it item) {
	q := it.q
	switch {
	case q == nil:
		s.lost++
		s.lastErr = it.err
	case it.batch == nil && it.err == nil:
		s.queues = append(s.queues, q)
	case it.batch == nil:
		q.ended = true
		if len(q.batches) == 0 {
			s.drop(q)
		}
	default:
		q.stats = it.batch.Stats
		if len(it.batch.Packets) == 0 {
			it.batch.Release()
			return
		}
		q.batches = append(q.batches, it.batch)
		q.arrived = append(q.arrived, time.Now())
	}
}

// drop removes a queue that has ended. It keeps the counters.
func (s *Source) drop(q *queue) {
	for i, k := range s.queues {
		if k == q {
			s.queues = append(s.queues[:i], s.queues[i+1:]...)
			s.stats.Add(&q.stats)
			return
		}
	}
}

// wait returns how long the queued packets have to wait. They wait until every queue
// has a packet, so that the earliest is known, and at most for holdBack.
func (s *Source) wait(now time.Time) (wait time.Duration, queued bool) {
	var oldest time.Time
	all := true
	for _, q := range s.queues {
		if len(q.batches) == 0 {
			all = all && q.ended
			continue
		}
		queued = true
		if len(q.batches) >= maxQueued {
			return 0, true
		}
		if oldest.IsZero() || q.arrived[0].Before(oldest) {
			oldest = q.arrived[0]
		}
	}
	if all || !queued {
		return 0, queued
	}
	return holdBack - now.Sub(oldest), true
}

// deliver returns packets of the queues in order of time. The next packet of an empty
// queue may be earlier than those of other queues. So while one is empty, deliver
// takes only packets that have waited long enough.
func (s *Source) deliver(now time.Time) *capture.Batch {
	if len(s.queues) == 1 {
		q := s.queues[0]
		b := q.pop()
		rest := b.Packets[q.next:]
		q.next = 0
		s.spent = append(s.spent, b)
		s.finish(q)
		return s.batch(rest, q.face)
	}
	bound := s.bound(now)
	s.out = s.out[:0]
	for len(s.out) < cap(s.out) {
		var first *queue
		open := false // a queue is empty and may get more
		for _, q := range s.queues {
			switch {
			case len(q.batches) == 0:
				open = open || !q.ended
			case first == nil || q.head().Time < first.head().Time:
				first = q
			}
		}
		if first == nil || open && first.head().Time > bound {
			break
		}
		s.out = append(s.out, *first.head())
		s.out[len(s.out)-1].Interface = first.face.index
		first.next++
		if first.next == len(first.batches[0].Packets) {
			s.spent = append(s.spent, first.pop())
			first.next = 0
			s.finish(first)
		}
	}
	return s.batch(s.out, nil)
}

// bound returns the time of the latest packet that has waited long enough.
func (s *Source) bound(now time.Time) int64 {
	if s.closing() {
		return math.MaxInt64
	}
	bound := int64(math.MinInt64)
	for _, q := range s.queues {
		for i, b := range q.batches {
			if now.Sub(q.arrived[i]) < holdBack && i > len(q.batches)-maxQueued {
				break
			}
			bound = max(bound, b.Packets[len(b.Packets)-1].Time)
			if i == 0 {
				bound = max(bound, q.head().Time)
			}
		}
	}
	return bound
}

func (q *queue) head() *capture.Packet { return &q.batches[0].Packets[q.next] }

func (q *queue) pop() *capture.Batch {
	b := q.batches[0]
	q.batches = q.batches[:copy(q.batches, q.batches[1:])]
	q.arrived = q.arrived[:copy(q.arrived, q.arrived[1:])]
	return b
}

func (s *Source) finish(q *queue) {
	if q.ended && len(q.batches) == 0 {
		s.drop(q)
	}
}

// batch numbers packets and returns them as a batch.
func (s *Source) batch(packets []capture.Packet, f *face) *capture.Batch {
	for i := range packets {
		s.number++
		packets[i].Number = s.number
		if f != nil {
			packets[i].Interface = f.index
		}
	}
	return &capture.Batch{Packets: packets, Stats: s.total(), Tunnels: s.tunnels}
}

func (s *Source) total() capture.Stats {
	t := s.stats
	for _, q := range s.queues {
		t.Add(&q.stats)
	}
	return t
}

// Interfaces returns the counters of all interfaces. It may be called by any
// goroutine, also after Close. Call it at least every few minutes, because the
// counters of the kernel have 32 bits.
func (s *Source) Interfaces() []Interface {
	list := make([]Interface, len(s.faces))
	for i, f := range s.faces {
		f.mu.Lock()
		c := f.before
		if f.open != nil {
			for _, h := range f.open.handles {
				c = c.plus(h.counts())
			}
		}
		list[i] = Interface{Name: f.opt.Interface, Method: f.method, Link: f.link, Up: f.open != nil, Frames: c.frames, Kernel: c.kernel, Iface: c.iface}
		f.mu.Unlock()
	}
	return list
}

// Close ends capturing. It returns within about a second.
func (s *Source) Close() error {
	s.once.Do(func() {
		close(s.stop)
		s.ended.Wait()
		for _, f := range s.faces {
			f.shut()
		}
	})
	return nil
}
