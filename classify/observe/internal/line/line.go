// Package line splits the text of SMTP, IMAP, POP3 and NNTP into lines, and skips texts
// that end with a line of one dot. It reports what these protocols have in common. It
// keeps none of the text.
package line

import "bytes"

// Max is the number of bytes of a line that are read. A Kerberos token in base64 is
// longer, but its beginning identifies it.
const Max = 8 << 10

// Splitter splits a stream into lines. The zero value is ready to use.
type Splitter struct {
	skip bool // in the rest of a line that was already returned
}

// Next returns the next line of b without its end (LF, or CR LF), and the number of bytes
// used. If a line is longer than Max, Next returns its first Max bytes before its end is
// there. The next calls skip the rest: ok is then false and n greater than 0. Both are
// false and 0 if b holds no line. A call never uses more than one line, so that the
// caller's state is the right one for each.
func (s *Splitter) Next(b []byte) (l []byte, n int, ok bool) {
	if s.skip {
		n = bytes.IndexByte(b, '\n') + 1
		if s.skip = n == 0; s.skip {
			n = len(b)
		}
		return nil, n, false
	}
	i := bytes.IndexByte(b[:min(len(b), Max+1)], '\n')
	switch {
	case i < 0 && len(b) <= Max:
		return nil, 0, false
	case i < 0:
		s.skip = true
		return b[:Max], Max, true
	}
	n = i + 1
	if i > 0 && b[i-1] == '\r' {
		i--
	}
	return b[:i], n, true
}

// Skipping reports whether the rest of a long line is still expected.
func (s *Splitter) Skipping() bool { return s.skip }

// end is the end of a text: CR LF, a dot, CR LF (RFC 5321 section 4.1.1.4, RFC 3977
// section 3.1.1, RFC 1939 section 3).
const end = "\r\n.\r\n"

// Text skips a text that ends with a line of one dot.
type Text struct {
	k uint8 // number of bytes of end that were just seen
}

// Start begins a text directly after a line end, so the first line can be the dot.
func (t *Text) Start() { t.k = 2 }

// Skip returns the number of bytes of b that belong to the text, and whether they include
// its end.
func (t *Text) Skip(b []byte) (n int, done bool) {
	for t.k > 0 && n < len(b) {
		for t.k > 0 && end[t.k] != b[n] {
			// The bytes seen end with the first k bytes of end.
			if t.k == 4 {
				t.k = 1
			} else {
				t.k = 0
			}
		}
		if end[t.k] == b[n] {
			t.k++
		}
		n++
		if int(t.k) == len(end) {
			t.k = 0
			return n, true
		}
	}
	if n == len(b) {
		return n, false
	}
	// Dots are rarer than line ends, and encoded attachments contain none.
	for at := n + 2; at < len(b); at++ {
		i := bytes.IndexByte(b[at:], '.')
		if i < 0 {
			break
		}
		if at += i; b[at-1] == '\n' && at+2 < len(b) && string(b[at-2:at+3]) == end {
			return at + 3, true
		}
	}
	switch b[len(b)-1] {
	case '\r', '\n', '.':
		for k := min(len(end)-1, len(b)-n); k > 0; k-- {
			if string(b[len(b)-k:]) == end[:k] {
				t.k = uint8(k)
				break
			}
		}
	}
	return len(b), false
}

// Fields iterates over the words of a line without allocating.
type Fields struct{ b []byte }

// Words returns an iterator over the words of l, which spaces or tabs separate.
func Words(l []byte) Fields { return Fields{l} }

// Next returns the next word, or an empty slice after the last one.
func (f *Fields) Next() []byte {
	b := f.Rest()
	for i, c := range b {
		if c <= ' ' && (c == ' ' || c == '\t') {
			f.b = b[i:]
			return b[:i]
		}
	}
	f.b = nil
	return b
}

// Rest returns what follows the last word that Next returned.
func (f *Fields) Rest() []byte {
	b := f.b
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// First returns the first word of l.
func First(l []byte) []byte {
	w := Words(l)
	return w.Next()
}

// Is reports whether w equals upper, ignoring ASCII case. upper is in upper case.
func Is(w []byte, upper string) bool {
	if len(w) != len(upper) {
		return false
	}
	for i, c := range w {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

// Upper returns b in upper case (ASCII). If the result is one of the expected words, it
// returns that word, without allocating, and its index; otherwise the index is -1.
func Upper(b []byte, expected []string) (string, int) {
	for i, w := range expected {
		if Is(b, w) {
			return w, i
		}
	}
	return string(bytes.ToUpper(b)), -1
}

// HasPrefix reports whether b starts with upper, ignoring ASCII case. upper is in upper
// case.
func HasPrefix(b []byte, upper string) bool {
	return len(b) >= len(upper) && Is(b[:len(upper)], upper)
}

// CanBegin reports whether b, which may be incomplete, can start with upper, ignoring
// ASCII case. upper is in upper case.
func CanBegin(b []byte, upper string) bool {
	n := min(len(b), len(upper))
	return Is(b[:n], upper[:n])
}
