package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// gate is a writer that waits until it is opened.
type gate struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	open chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.buf.Write(p)
}

func TestWritesAllInOrder(t *testing.T) {
	var b bytes.Buffer
	q := New(&b, 1<<20, nil)
	var want strings.Builder
	for i := range 10_000 {
		s := fmt.Sprintf("record %d\n", i)
		want.WriteString(s)
		q.Write([]byte(s))
	}
	if err := q.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if b.String() != want.String() || q.Lost() != 0 {
		t.Fatalf("%d bytes of %d, %d lost", b.Len(), want.Len(), q.Lost())
	}
}

func TestFullQueue(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	q := New(g, 1000, nil)
	const all = 500
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range all {
			q.Write([]byte("123456789\n"))
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Write waits for a blocked writer")
	}
	lost := q.Lost()
	if lost != all-100 { // 1000 bytes are 100 records
		t.Errorf("%d of %d records are lost, want %d", lost, all, all-100)
	}
	close(g.open)
	if err := q.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(g.buf.String(), "123456789\n"); uint64(n)+q.Lost() != all || g.buf.Len() != n*10 {
		t.Errorf("%d records are written and %d lost of %d", n, q.Lost(), all)
	}
}

func TestRecordLargerThanTheQueue(t *testing.T) {
	var b bytes.Buffer
	q := New(&b, 10, nil)
	q.Write(make([]byte, 100_000))
	if err := q.Close(context.Background()); err != nil || b.Len() != 100_000 || q.Lost() != 0 {
		t.Fatal(err, b.Len(), q.Lost())
	}
}

// flaky fails every second call.
type flaky struct {
	n   int
	buf bytes.Buffer
}

func (f *flaky) Write(p []byte) (int, error) {
	if f.n++; f.n%2 == 0 {
		return 0, errors.New("disk full")
	}
	return f.buf.Write(p)
}

func TestErrorsAreCounted(t *testing.T) {
	w := &flaky{}
	reported := 0
	q := New(w, 1<<20, func(error) { reported++ })
	const all = 40_000
	for range all {
		q.Write([]byte("123456789\n"))
	}
	if err := q.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	written := uint64(w.buf.Len() / 10)
	if q.Errors() == 0 || uint64(reported) != q.Errors() || written == 0 || written+q.Lost() != all {
		t.Errorf("%d errors, %d reported, %d written, %d lost of %d", q.Errors(), reported, written, q.Lost(), all)
	}
}

func TestWaitForRoom(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	q := New(g, 100, nil)
	q.WaitForRoom(context.Background())
	const all = 1000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range all {
			q.Write([]byte("123456789\n"))
		}
	}()
	time.Sleep(20 * time.Millisecond)
	select {
	case <-done:
		t.Fatal("Write does not wait")
	default:
	}
	close(g.open)
	<-done
	if err := q.Close(context.Background()); err != nil || q.Lost() != 0 || g.buf.Len() != all*10 {
		t.Fatal(err, q.Lost(), g.buf.Len())
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	defer close(g.open)
	q := New(g, 100, nil)
	q.WaitForRoom(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			q.Write([]byte("123456789\n"))
		}
	}()
	time.Sleep(20 * time.Millisecond) // it now waits forever
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	q.WaitForRoom(ctx)
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Write waits beyond its context")
	}
	if err := q.Close(ctx); !errors.Is(err, ErrStuck) {
		t.Errorf("Close returned %v, want ErrStuck", err)
	}
	if q.Lost() != 1000 {
		t.Errorf("%d records are lost, want all 1000: nothing was written", q.Lost())
	}
}

// TestCloseLate closes a queue when there is no more time: that is no error if all was
// written.
func TestCloseLate(t *testing.T) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for range 200 {
		var b bytes.Buffer
		q := New(&b, 1<<20, nil)
		for _, s := range []string{"a", "b"} {
			if _, err := q.Write([]byte(s)); err != nil {
				t.Fatal(err)
			}
		}
		for q.pendingOrInFlight() {
			time.Sleep(time.Millisecond)
		}
		if err := q.Close(over); err != nil || q.Lost() != 0 || b.String() != "ab" {
			t.Fatalf("%v, %d lost, %q written", err, q.Lost(), b.String())
		}
	}
}

func (q *Queue) pendingOrInFlight() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ends)+q.inFlight > 0
}
