package line

import (
	"bytes"
	"encoding/binary"
	"unicode"
)

// Banner returns the wording of a server's greeting in a form that is the same
// for every server of a kind and every session: without brackets' contents,
// host names, mail addresses, session identifiers and dates.
//
// That is: what stands in <> or [] is left out; so is a word in () behind a
// version number (old Exchange servers put their name there), and a word that
// is a host name, a mail address, or letters and digits mixed in a way that no
// version is. The text ends before "ready at" or "at", the name of a day, or a
// semicolon, whatever of them comes first, and is at most 120 bytes long.
func Banner(b []byte) string {
	s, _ := banner(b)
	return s
}

// Banners has the last greetings: those of a server differ in the date alone.
// It is used by one goroutine. The zero value is empty.
type Banners struct {
	recent [8]struct{ read, banner string }
	next   int
}

// Banner is like the function Banner.
func (m *Banners) Banner(b []byte) string {
	for i := range m.recent {
		// Behind what was read of that greeting, a word ended.
		e := &m.recent[i]
		if n := len(e.read); n > 0 && len(b) > n && string(b[:n]) == e.read && classes[b[n]] == 0 {
			return e.banner
		}
	}
	s, n := banner(b)
	if n > 0 {
		m.recent[m.next].read, m.recent[m.next].banner = string(b[:n]), s
		m.next = (m.next + 1) % len(m.recent)
	}
	return s
}

// banner also returns how much of b decided it, up to the end of a word; 0 for
// all of it.
func banner(b []byte) (s string, read int) {
	b = b[:min(len(b), 512)]
	all := len(b)
	if !ascii(b) {
		b = plainSpaces(b)
		all = 0
	}
	var words [16][]byte // more than most have
	out := words[:0]
	var version bool
	depth := 0
	for {
		w, has := word(b)
		if len(w) == 0 {
			if len(b) == 0 {
				break
			}
			b = b[1:] // a space
			continue
		}
		b = b[len(w):]
		if depth > 0 || w[0] == '<' || w[0] == '[' {
			depth = 0
			if !bytes.ContainsAny(w, ">]") {
				depth = 1
			}
			continue
		}
		plain := trimPunctuation(w)
		if len(plain) < len(w) {
			_, has = word(plain)
		}
		if day(plain, has) {
			read = max(all-len(b), 0)
			break
		}
		if w[0] == '(' && version {
			version = false
			continue
		}
		last := w[len(w)-1] == ';'
		version = has&^digit == dot // numbers with dots
		if has&at == 0 && !hostName(plain, has) && !identifier(plain, has) {
			if last {
				w = w[:len(w)-1]
			}
			out = append(out, w)
		}
		if last {
			break
		}
	}
	for i, w := range out {
		if string(w) == "at" && (i > 0 && string(out[i-1]) == "ready" || i == len(out)-1) {
			out = out[:i]
			if i > 0 && string(out[i-1]) == "ready" {
				out = out[:i-1]
			}
			break
		}
	}
	var room [128]byte
	text := room[:0]
	for i, w := range out {
		if i > 0 {
			text = append(text, ' ')
		}
		text = append(text, w...)
	}
	if len(text) > 120 {
		text = bytes.ToValidUTF8(text[:120], nil)
	}
	return string(bytes.TrimRight(text, " ,-")), read
}

// ascii says whether all of b is, eight bytes at a time.
func ascii(b []byte) bool {
	var all uint64
	for ; len(b) >= 8; b = b[8:] {
		all |= binary.LittleEndian.Uint64(b)
	}
	for _, c := range b {
		all |= uint64(c)
	}
	return all&0x8080808080808080 == 0
}

// plainSpaces makes b valid UTF-8 and all white space in it that of ASCII.
func plainSpaces(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, bytes.ToValidUTF8(b, []byte{'?'}))
}

// class is a set of kinds of bytes; a space has none.
type class uint8

const (
	letter class = 1 << iota
	digit
	dot
	dash
	underscore
	slash
	at
	other
)

var classes = func() (t [256]class) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			t[c] = letter
		case c >= '0' && c <= '9':
			t[c] = digit
		case c == ' ' || c >= '\t' && c <= '\r':
		default:
			t[c] = other
		}
	}
	t['.'], t['-'], t['_'], t['/'], t['@'] = dot, dash, underscore, slash, at
	return t
}()

// word returns the word that b begins with, empty before a space, and the kinds
// of bytes in it.
func word(b []byte) (w []byte, has class) {
	for i, c := range b {
		k := classes[c]
		if k == 0 {
			return b[:i], has
		}
		has |= k
	}
	return b, has
}

// trimPunctuation cuts brackets and the like off both ends of w.
func trimPunctuation(w []byte) []byte {
	for len(w) > 0 && punctuation(w[0]) {
		w = w[1:]
	}
	for len(w) > 0 && punctuation(w[len(w)-1]) {
		w = w[:len(w)-1]
	}
	return w
}

func punctuation(c byte) bool {
	switch c {
	case '(', ')', '.', ',', ';', ':', '!':
		return true
	}
	return false
}

func day(w []byte, has class) bool {
	if has == letter {
		switch string(w) {
		case "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday":
			return true
		}
		return false
	}
	// 2026-11-21, 21/11/2026, 21.11.2026
	if has&^(digit|dash|slash) != 0 || has&(dash|slash) == 0 {
		return false
	}
	digits := 0
	for _, c := range w {
		if c >= '0' && c <= '9' {
			digits++
		}
	}
	return digits >= 6 && digits <= 8
}

// hostName says whether w is a name of several labels, or an IP address in
// brackets: dots, no version, and a last label of two letters or more.
func hostName(w []byte, has class) bool {
	if has&dot == 0 || has&^(letter|digit|dot|dash|underscore) != 0 {
		return false
	}
	i := bytes.LastIndexByte(w, '.')
	if i < 1 || len(w)-i < 3 {
		return false
	}
	_, has = word(w[i+1:])
	return has == letter
}

// identifier says whether letters and digits change places four times or more,
// as in "s4si9696358qcc.63"; "IMAP4rev1" has three.
func identifier(w []byte, has class) bool {
	if len(w) > 40 || has&letter == 0 || has&digit == 0 {
		return len(w) > 40
	}
	changes, last := 0, class(0)
	for _, c := range w {
		if k := classes[c] & (letter | digit); k != 0 {
			if last != 0 && k != last {
				changes++
			}
			last = k
		}
	}
	return changes >= 4
}
