// Package queue decouples a caller that must not block from a slow writer, such as a
// disk, a pipe or a terminal. A queue is bounded and counts what it drops.
package queue

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// chunk is the maximum number of bytes written at a time. A larger record is
// written whole.
const chunk = 64 << 10

// ErrStuck is the error of Close when the writer did not accept everything in
// time.
var ErrStuck = errors.New("the writer did not take everything in time")

// A Queue is an io.Writer that never fails and, unless WaitForRoom was called, never
// blocks: a goroutine of its own passes the data to another writer. One call of Write is
// one record. A record is written or lost as a whole.
type Queue struct {
	w     io.Writer
	limit int
	fail  func(err error)

	mu       sync.Mutex
	pending  []byte
	ends     []int // ends of the records in pending
	held     int   // bytes in pending and being written
	inFlight int   // records being written
	closed   bool

	wake chan struct{} // there is something to write
	room chan struct{} // something was written
	done chan struct{} // the goroutine has returned
	wait atomic.Pointer[context.Context]
	lost atomic.Uint64
	errs atomic.Uint64
}

// New returns a queue that holds at most limit bytes for w. The writing goroutine
// calls fail, unless it is nil, with each error of w, and continues with the next
// records.
func New(w io.Writer, limit int, fail func(error)) *Queue {
	q := &Queue{w: w, limit: limit, fail: fail, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{})}
	go q.run()
	return q
}

// Lost returns the number of records lost because the queue was full or the writer
// failed.
func (q *Queue) Lost() uint64 { return q.lost.Load() }

// Errors returns the number of errors from the writer.
func (q *Queue) Errors() uint64 { return q.errs.Load() }

// WaitForRoom makes Write wait while the queue is full, until ctx ends. Use it for input
// that can wait, and at the end.
func (q *Queue) WaitForRoom(ctx context.Context) {
	q.wait.Store(&ctx)
	q.signal(q.room) // a waiting Write must see the new ctx
}

func (q *Queue) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Write queues one record. It always returns len(p) and nil; Lost counts records
// that do not fit. Only one goroutine may call Write.
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
		q.inFlight = len(ends)
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
		// Release the memory of a burst.
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
	q.inFlight -= records
	q.mu.Unlock()
	q.signal(q.room)
}

// Close waits until the queue is written or ctx ends. It returns nil or ErrStuck. After
// ErrStuck, records not yet written count as lost. Close does not close the writer. After
// ErrStuck the caller must not close it either, because it is still in use.
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
	left := len(q.ends) + q.inFlight
	q.ends = nil
	q.mu.Unlock()
	if left == 0 { // all is written, and the goroutine is about to return
		<-q.done
		return nil
	}
	q.lost.Add(uint64(left))
	return ErrStuck
}
