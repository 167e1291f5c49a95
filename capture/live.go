package capture

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/gopacket"
)

// How live packets are gathered.
const (
	liveDelay = 100 * time.Millisecond // the longest that a packet waits for its batch
	liveIdle  = time.Second            // between two ticks when nothing arrives
	liveClose = time.Second            // how long Close waits for a read under way
	liveAhead = 8                      // batches between the capturing goroutine and Read
)

// Live is a Source that reads from a gopacket source, such as a pcap handle.
type Live struct {
	in   gopacket.ZeroCopyPacketDataSource
	face iface
	sink sink

	ahead   chan *fileBatch
	stop    chan struct{}
	ended   chan struct{} // the capturing goroutine has returned
	idle    *time.Timer
	stats   Stats // as they stood after what Read returned last
	once    sync.Once
	err     error // valid when ahead is closed
	closing atomic.Bool
}

// NewSource returns a source that captures from in, whose frames have the given
// link type. It captures in a goroutine of its own: frames are copied into
// batches, and a batch is handed over when it is full, or 100 ms after its
// first frame. When nothing arrives, Read returns a batch with Tick set once a
// second. When Read is not called, capturing waits, and the kernel counts what
// it has to drop.
//
// Reading from in must return with a timeout error (that of package pcap, or one
// with Timeout() true) at least every 500 ms or so: only then
// can the last frames before a silence be handed over, and a handle be closed.
// If in has a method Close, Close calls it, but never while a read is under
// way: gopacket's handles would wait for it. Progress, Parallel and Stdin of o
// have no meaning here. A filter in o is applied to the frames that were copied from
// the kernel already; one that the source applies itself costs less.
func NewSource(in gopacket.ZeroCopyPacketDataSource, linkType int, o Options) (*Live, error) {
	l := &Live{
		in:    in,
		face:  iface{link: uint16(linkType)},
		sink:  sink{pool: newPool(blockSize), keep: o.KeepFrames, dec: o.decoder(), copies: newCopies(o.DuplicateWindow)},
		ahead: make(chan *fileBatch, liveAhead), stop: make(chan struct{}), ended: make(chan struct{}),
		idle: time.NewTimer(liveIdle),
	}
	var err error
	if l.face.filter, err = newFilter(o.Filter, l.face.link); err != nil {
		return nil, err
	}
	l.face.plain = l.face.link == LinkEthernet && l.face.filter == nil
	go l.run()
	return l, nil
}

// run captures until Close or an error.
func (l *Live) run() {
	defer close(l.ended)
	defer close(l.ahead)
	blk := l.sink.pool.block(0)
	used := 0
	bt := l.sink.pool.batch()
	bt.refer(blk)
	var first, last time.Time // of the frames of bt
	frames := uint64(0)
	hand := func() bool {
		if l.sink.stats.Frames == frames {
			return true
		}
		frames = l.sink.stats.Frames
		l.sink.finish(bt)
		if bt.n == 0 {
			bt.Tick = last.UnixNano()
		}
		select {
		case l.ahead <- bt:
		case <-l.stop:
			return false
		}
		bt = l.sink.pool.batch()
		bt.refer(blk)
		return true
	}
	for !l.closing.Load() {
		data, info, err := l.read()
		if err != nil {
			if isTimeout(err) {
				if !hand() {
					return
				}
				continue
			}
			if !errors.Is(err, io.EOF) && !l.closing.Load() {
				l.err = err
			}
			hand()
			return
		}
		if len(data) > maxSnap {
			data = data[:maxSnap]
		}
		if used+len(data) > len(blk.buf) {
			if !hand() {
				return
			}
			bt.done()
			blk.release()
			blk, used = l.sink.pool.block(len(data)), 0
			bt = l.sink.pool.batch()
			bt.refer(blk)
		}
		last = info.Timestamp
		if l.sink.stats.Frames == frames {
			first = last
		}
		frame := append(blk.buf[used:used:used+len(data)], data...)
		used += len(frame)
		full := l.sink.frame(bt, &l.face, frame, uint32(info.Length), last.UnixNano())
		if full || last.Sub(first) >= liveDelay {
			if !hand() {
				return
			}
		}
	}
}

// read reads one frame, and takes a panic of the source for an error.
func (l *Live) read() (data []byte, info gopacket.CaptureInfo, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("capture: the packet source panicked")
		}
	}()
	return l.in.ZeroCopyReadPacketData()
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return isPcapTimeout(err) || errors.As(err, &t) && t.Timeout()
}

// Read implements Source. At the end of the source, and after Close, the error
// is io.EOF.
func (l *Live) Read() (*Batch, error) {
	l.idle.Reset(liveIdle)
	select {
	case <-l.stop:
		return nil, io.EOF
	default:
	}
	select {
	case bt, ok := <-l.ahead:
		switch {
		case ok:
			l.stats = bt.Stats
			return &bt.Batch, nil
		case l.err != nil:
			return nil, l.err
		}
		return nil, io.EOF
	case <-l.stop:
		return nil, io.EOF
	case now := <-l.idle.C:
		return &Batch{Tick: now.UnixNano(), Stats: l.stats}, nil
	}
}

// Close ends the capture. It returns within about a second even if a read from
// the source does not return; the source is closed when it does.
func (l *Live) Close() error {
	var err error
	l.once.Do(func() {
		l.closing.Store(true)
		close(l.stop)
		closed := make(chan error, 1)
		go func() {
			<-l.ended
			switch c := l.in.(type) {
			case interface{ Close() error }:
				closed <- c.Close()
			case interface{ Close() }:
				c.Close()
				closed <- nil
			default:
				closed <- nil
			}
		}()
		select {
		case err = <-closed:
		case <-time.After(liveClose):
		}
	})
	return err
}
