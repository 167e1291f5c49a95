package etw

import (
	"bytes"
	"testing"
)

// whole decompresses src at once.
func whole(src []byte, want int) ([]byte, error) {
	var z lz77
	out, _, err := z.decode(make([]byte, 0, want), src, want, true)
	return out, err
}

// TestLZ77Specified decodes the examples of [MS-XCA] section 3.1.
func TestLZ77Specified(t *testing.T) {
	for _, c := range []struct {
		packed []byte
		want   string
	}{
		{[]byte("\x3f\x00\x00\x00abcdefghijklmnopqrstuvwxyz"), "abcdefghijklmnopqrstuvwxyz"},
		{[]byte("\xff\xff\xff\x1fabc\x17\x00\x0f\xff\x26\x01"), string(bytes.Repeat([]byte("abc"), 100))},
	} {
		got, err := whole(c.packed, len(c.want))
		if err != nil || string(got) != c.want {
			t.Errorf("%q, %v; want %q", got, err, c.want)
		}
	}
}

func TestLZ77Bad(t *testing.T) {
	for _, c := range []struct {
		packed string
		want   error
	}{
		{"\xff\xff\xff", errShort},
		{"\x00\x00\x00\x00ab", errShort},
		{"\xff\xff\xff\xff\x00\x00", errMatch},
		{"\xff\xff\xff\x7fa\x07\x00\x0f\xff\x05\x00", errLength},
		{"\xff\xff\xff\x7fa\x07\x00\x0f\xff\x00\x00\xff\xff\xff\xff", errLength},
	} {
		if _, err := whole([]byte(c.packed), 100); err != c.want {
			t.Errorf("%q: %v, want %v", c.packed, err, c.want)
		}
	}
}

// FuzzLZ77 verifies that the result is the same if input and output are split into parts.
func FuzzLZ77(f *testing.F) {
	f.Add([]byte("\xff\xff\xff\x1fabc\x17\x00\x0f\xff\x26\x01"), uint8(3))
	f.Add([]byte("\x3f\x00\x00\x00abcdefghijklmnopqrstuvwxyz"), uint8(1))
	f.Fuzz(func(t *testing.T, src []byte, step uint8) {
		const want = 20_000
		once, err := whole(src, want)
		var z lz77
		out := make([]byte, 0, want)
		used, have := 0, 0
		var partly error
		for have = 0; len(out) < want && partly == nil; {
			have = min(len(src), max(have, used+lzGroup)+int(step))
			limit := min(want, len(out)+1+int(step))
			var n int
			before := len(out)
			out, n, partly = z.decode(out, src[used:have], limit, have == len(src))
			if used += n; n == 0 && len(out) == before && have == len(src) && partly == nil {
				t.Fatal("no progress")
			}
		}
		if partly != err || !bytes.Equal(out, once) {
			t.Errorf("in parts %d bytes, %v; at once %d, %v", len(out), partly, len(once), err)
		}
	})
}
