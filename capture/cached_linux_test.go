package capture

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFetchCold fetches a file of which the system has all, some and nothing in
// memory, and one that is closed.
func TestFetchCold(t *testing.T) {
	data := make([]byte, 3*pieceSize+pieceSize/2)
	rng := rand.NewChaCha8([32]byte{})
	_, _ = rng.Read(data)
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	whole := make([]byte, len(data))
	if n := readCached(conn, whole, 0); n == 0 {
		t.Log("this file system does not say what it has in memory")
	} else if !bytes.Equal(whole[:n], data[:n]) {
		t.Errorf("what is in memory is not what was written")
	}
	if n := readCached(conn, whole, int64(len(data))); n != 0 {
		t.Errorf("%d bytes behind the end", n)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	pool := &pool{size: headroom + pieceSize}
	for _, drop := range [][2]int64{{0, 0}, {pieceSize + pieceSize/2, 64 << 10}, {0, int64(len(data))}} {
		if drop[1] > 0 {
			if err := unix.Fadvise(int(f.Fd()), drop[0], drop[1], unix.FADV_DONTNEED); err != nil {
				t.Log(err)
			}
		}
		p := &pieces{in: f, conn: conn, pool: pool, read: new(atomic.Int64)}
		var got []byte
		for i := range 4 {
			p.fetch(i)
			next := p.take()
			got = append(got, next.blk.buf[headroom:headroom+next.n]...)
			if (next.err != nil) != (i == 3) {
				t.Errorf("piece %d: %v", i, next.err)
			}
		}
		if !bytes.Equal(got, data) || p.read.Load() != int64(len(data)) {
			t.Errorf("with %d bytes not in memory: %d fetched of %d, counted %d, or other ones", drop[1], len(got), len(data), p.read.Load())
		}
	}
	_ = f.Close()
	if n := readCached(conn, whole, 0); n != 0 {
		t.Errorf("%d bytes of a closed file", n)
	}
}
