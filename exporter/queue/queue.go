// Package queue decouples a caller that must not wait from a slow writer: a disk,
// a pipe, a terminal. A queue is bounded; it counts what it has to drop.
package queue

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// chunk is how many bytes are written at a time at most, but for larger
// records.
const chunk = 64 << 10

// ErrStuck is returned by Close where the writer did not take everything in
// time.
var ErrStuck = errors.New("the writer did not take everything in time")

// Queue is an io.Writer that never fails and, but for WaitForRoom, never waits:
// what is written goes to another writer in a goroutine of its own. One call
// of Write is one record; records are written whole, and lost whole.
type Queue struct {
	w     io.Writer
	limit int
	fail  func(err error)

	mu      sync.Mutex
	pending []byte
	ends    []int // of the records in pending
	held    int   // bytes in pending and on their way
	flying  int   // records on their way
	closed  bool

	wake chan struct{} // there is something to write
	room chan struct{} // something was written
	done chan struct{} // the goroutine has returned
	wait atomic.Pointer[context.Context]
	lost atomic.Uint64
	errs atomic.Uint64
}

// New returns a queue that holds at most limit bytes for w. The goroutine that
// writes calls fail, unless it is nil, with each error of w, and goes on with the
// next records.
func New(w io.Writer, limit int, fail func(error)) *Queue {
	q := &Queue{w: w, limit: limit, fail: fail, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{})}
	go q.run()
	return q
}

// Lost is the number of records that were lost, because the queue was full or
// the writer failed.
func (q *Queue) Lost() uint64 { return q.lost.Load() }

// Errors is the number of errors of the writer.
func (q *Queue) Errors() uint64 { return q.errs.Load() }

// WaitForRoom makes Write wait, until ctx ends, when the queue is full: for
// input that can wait, and at the end.
func (q *Queue) WaitForRoom(ctx context.Context) {
	q.wait.Store(&ctx)
	q.signal(q.room) // one that waits may have to wait for another ctx
}

func (q *Queue) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Write takes one record. The error is always nil, and n is len(p): a record
// that is lost is counted. Only one goroutine may write.
func (q *Queue) Write(p []byte) (n int, err error) {
	q.mu.Lock()
	for q.held > 0 && q.held+len(p) > q.limit {
		ctx := q.wait.Load()
		if ctx == nil || (*ctx).Err() != nil || q.closed {
			q.mu.Unlock()
			q.lost.Add(1)
			return len(p), nil
		}
		q.mu.Unlock()
		select {
		case <-q.room:
		case <-(*ctx).Done():
		}
		q.mu.Lock()
	}
	if q.closed {
		q.lost.Add(1)
	} else {
		q.pending = append(q.pending, p...)
		q.ends = append(q.ends, len(q.pending))
		q.held += len(p)
	}
	q.mu.Unlock()
	q.signal(q.wake)
	return len(p), nil
}

func (q *Queue) run() {
	defer close(q.done)
	var buf []byte
	var ends []int
	for {
		q.mu.Lock()
		buf, q.pending = q.pending, buf[:0]
		ends, q.ends = q.ends, ends[:0]
		q.flying = len(ends)
		closed := q.closed
		q.mu.Unlock()
		if len(ends) == 0 {
			if closed {
				return
			}
			<-q.wake
			continue
		}
		start, first := 0, 0
		for i, end := range ends {
			if i+1 < len(ends) && ends[i+1]-start <= chunk {
				continue
			}
			q.write(buf[start:end], i+1-first)
			start, first = end, i+1
		}
		// A burst should not cost its memory for ever.
		if cap(buf) > 1<<20 {
			buf = nil
		}
	}
}

func (q *Queue) write(p []byte, records int) {
	_, err := q.w.Write(p)
	if err != nil {
		q.lost.Add(uint64(records))
		q.errs.Add(1)
		if q.fail != nil {
			q.fail(err)
		}
	}
	q.mu.Lock()
	q.held -= len(p)
	q.flying -= records
	q.mu.Unlock()
	q.signal(q.room)
}

// Close waits until what is in the queue is written, or ctx ends. The error is
// nil or ErrStuck; what was not written then counts as lost. The writer is not
// closed, and must not be after ErrStuck.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal(q.wake)
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lost.Add(uint64(len(q.ends) + q.flying))
	q.ends = nil
	return ErrStuck
}
