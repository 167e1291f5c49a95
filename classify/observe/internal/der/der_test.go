package der

import (
	"bytes"
	"encoding/asn1"
	"math/rand"
	"testing"
)

func TestHeader(t *testing.T) {
	for _, c := range []struct {
		name         string
		in           []byte
		tag          byte
		head, length int
		err          error
	}{
		{"empty", nil, 0, 0, 0, ErrShort},
		{"identifier alone", []byte{0x30}, 0, 0, 0, ErrShort},
		{"short form", []byte{0x30, 0x05}, 0x30, 2, 5, nil},
		{"long form, one octet", []byte{0x6e, 0x81, 0x80}, 0x6e, 3, 128, nil},
		{"long form, not the shortest", []byte{0x30, 0x84, 0, 0, 0, 0x24}, 0x30, 6, 36, nil},
		{"long form, cut", []byte{0x30, 0x84, 0, 0, 0}, 0, 0, 0, ErrShort},
		{"indefinite", []byte{0x30, 0x80}, 0, 0, 0, ErrForm},
		{"five octets of length", []byte{0x30, 0x85, 0, 0, 0, 0, 1}, 0, 0, 0, ErrForm},
		{"2 GiB", []byte{0x30, 0x84, 0x80, 0, 0, 0}, 0, 0, 0, ErrForm},
		{"tag number in more octets", []byte{0x3f, 0x81, 0x01}, 0, 0, 0, ErrForm},
	} {
		tag, head, length, err := Header(c.in)
		if tag != c.tag || head != c.head || length != c.length || err != c.err {
			t.Errorf("%s: Header = %#x, %d, %d, %v; want %#x, %d, %d, %v", c.name, tag, head, length, err, c.tag, c.head, c.length, c.err)
		}
	}
}

func TestNextCut(t *testing.T) {
	e, rest, ok := Next([]byte{0x04, 0x03, 'a', 'b'})
	if !ok || e.Whole() || e.Len != 3 || string(e.Body) != "ab" || len(rest) != 0 {
		t.Errorf("Next = %+v, %v, %v; want the two bytes that are there", e, rest, ok)
	}
	e, rest, ok = Next([]byte{0x04, 0x01, 'a', 0x05, 0x00})
	if !ok || !e.Whole() || string(e.Body) != "a" || !bytes.Equal(rest, []byte{0x05, 0x00}) {
		t.Errorf("Next = %+v, %v, %v; want a and the rest", e, rest, ok)
	}
}

// TestInt compares Int with encoding/asn1.
func TestInt(t *testing.T) {
	for _, v := range []int64{0, 1, 127, 128, 255, 256, -1, -128, -129, 1 << 40, -(1 << 62)} {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got, rest, ok := Int(b); !ok || got != v || len(rest) != 0 {
			t.Errorf("Int(% x) = %d, %v; want %d", b, got, ok, v)
		}
	}
	for _, b := range [][]byte{nil, {0x02, 0x00}, {0x02, 0x02, 0x01}, {0x04, 0x01, 0x01}, {0x02, 0x09, 1, 2, 3, 4, 5, 6, 7, 8, 9}} {
		if v, _, ok := Int(b); ok {
			t.Errorf("Int(% x) = %d; want none", b, v)
		}
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte{0x30, 0x84, 0, 0, 0, 3, 2, 1, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for rest := b; ; {
			e, r, ok := Next(rest)
			if !ok {
				break
			}
			if len(e.Body) > e.Len || len(r) >= len(rest) {
				t.Fatalf("element %+v of % x", e, rest)
			}
			if total += len(rest) - len(r); total > len(b) {
				t.Fatal("read more than there is")
			}
			rest = r
		}
	})
}

// TestHeaderShort compares the fast path of Header with header.
func TestHeaderShort(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for range 100000 {
		b := make([]byte, rnd.Intn(8))
		for i := range b {
			b[i] = byte(rnd.Intn(256))
		}
		if len(b) > 1 && rnd.Intn(2) == 0 {
			b[1] = byte(0x80 + rnd.Intn(6))
		}
		tag, head, length, err := Header(b)
		if tag2, head2, length2, err2 := header(b); tag != tag2 || head != head2 || length != length2 || err != err2 {
			t.Fatalf("% x: %x, %d, %d, %v, header %x, %d, %d, %v", b, tag, head, length, err, tag2, head2, length2, err2)
		}
	}
}
