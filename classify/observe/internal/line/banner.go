package line

import (
	"bytes"
	"encoding/binary"
	"unicode"
)

// Banner returns the text of a server's greeting in a form that is the same for all
// servers of a kind and all sessions, without host names, mail addresses, session
// identifiers and dates.
//
// Banner drops anything in <> or []; a word in () after a version number, where old
// Exchange servers put their name; and any word that is a host name, a mail address, or a
// mixture of letters and digits other than a version number. The text ends before the
// name of a day, before a date, before the word "at" in front of either, or after a
// semicolon. It is at most 120 bytes long. A word of base64 in [] at the very end becomes
// "[...]": only Exchange Online puts the name of its front end there.
func Banner(b []byte) string {
	s, _ := banner(b)
	return s
}

// Banners caches recent greetings, because the greetings of one server differ only in the
// date. It is not safe for concurrent use. The zero value is empty.
type Banners struct {
	recent [8]struct{ read, banner string }
	next   int
}

// Banner returns the result of the function Banner for b.
func (m *Banners) Banner(b []byte) string {
	for i := range m.recent {
		// The part of that greeting that was read must have ended with a word.
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

// banner returns the text and the number of bytes of b that determined it. That number is
// the end of a word, or 0 if all of b mattered.
func banner(b []byte) (s string, read int) {
	b = b[:min(len(b), 512)]
	all := len(b)
	if !ascii(b) {
		b = plainSpaces(b)
		all = 0
	}
	var words [16][]byte // enough for most greetings
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
			} else if len(trim(b)) == 0 && isOnlineName(w) {
				out = append(out, []byte("[...]"))
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
		if line := string(w); (line == "at" || line == "AT") && (i == len(out)-1 || i > 0 && Is(out[i-1], "READY")) {
			out = out[:i]
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

// isOnlineName reports whether w is a word of base64 in [] that is at least as long as
// the shortest name of a front end in UTF-16.
func isOnlineName(w []byte) bool {
	if len(w) < 14 || w[0] != '[' || w[len(w)-1] != ']' {
		return false
	}
	w = bytes.TrimRight(w[1:len(w)-1], "=")
	for _, c := range w {
		if classes[c]&(letter|digit|slash) == 0 && c != '+' {
			return false
		}
	}
	return true
}

// trim returns b without white space and full stops at its ends.
func trim(b []byte) []byte { return bytes.Trim(b, " \t\r\n.") }

// ascii reports whether all bytes of b are ASCII. It tests eight bytes at a time.
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

// plainSpaces returns b as valid UTF-8 in which all white space is ASCII.
func plainSpaces(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, bytes.ToValidUTF8(b, []byte{'?'}))
}

// class is a set of byte classes. A space belongs to none.
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

// word returns the word at the start of b and the classes of its bytes. The word is empty
// if b starts with a space.
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

// trimPunctuation returns w without brackets and punctuation at its ends.
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

// day reports whether w is the name of a day or a numeric date.
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

// hostName reports whether w is a name of several labels: it contains dots, and its last
// label has two or more letters, unlike that of a version number.
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

// identifier reports whether letters and digits alternate at least four times, as in
// "s4si9696358qcc.63". "IMAP4rev1" alternates three times. Suffixes that some languages
// append to it do not count.
func identifier(w []byte, has class) bool {
	if HasPrefix(w, "IMAP4REV1") {
		return false
	}
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
