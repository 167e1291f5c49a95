package rotate

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/exporter/queue"
)

// TestReaderUnderLoad reads a file as fast as it can while records of up to 10 kB are
// written as fast as possible: the file only grows, and what ends with a newline is a
// whole record. One write takes many records, and the reader may see part of it.
func TestReaderUnderLoad(t *testing.T) {
	name := filepath.Join(t.TempDir(), "records")
	f, err := Open(name, Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	q := queue.New(writer(func(p []byte) (int, error) {
		calls++
		if p[len(p)-1] != '\n' {
			t.Error("a call writes part of a record")
		}
		return f.Write(p)
	}), 1<<20, nil)
	q.WaitForRoom(context.Background())
	const records = 10_000
	record := func(i int) string { return fmt.Sprintf("%d %s\n", i, strings.Repeat("x", i*7919%10_000)) }
	written := make(chan bool)
	go func() {
		defer close(written)
		for i := range records {
			_, _ = io.WriteString(q, record(i))
		}
		_ = q.Close(context.Background())
	}()
	r, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	seen, reads, done := 0, 0, false
	var rest []byte
	buf := make([]byte, 100_000)
	for {
		n, err := r.Read(buf)
		rest = append(rest, buf[:n]...)
		reads++
		for {
			line, more, ok := bytes.Cut(rest, []byte("\n"))
			if !ok {
				break
			}
			if string(line)+"\n" != record(seen) {
				t.Fatalf("line %d is %.30q with %d bytes", seen, line, len(line))
			}
			seen, rest = seen+1, more
		}
		if n > 0 {
			continue
		}
		if err != io.EOF {
			t.Fatal(err)
		}
		if done {
			break
		}
		select {
		case <-written:
			done = true
		default:
		}
	}
	if seen != records || len(rest) > 0 || calls*2 > records {
		t.Errorf("%d records seen of %d, %d calls, %d bytes left", seen, records, calls, len(rest))
	}
	t.Logf("%d calls, %d reads", calls, reads)
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
