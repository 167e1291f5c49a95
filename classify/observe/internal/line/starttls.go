package line

import (
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/tls"
)

// Words of the facts smtp.tls, imap.tls, pop3.tls and nntp.tls.
const (
	Taken   = "starttls" // the command was accepted
	Refused = "refused"  // the client asked, and the server declined
	Offered = "offered"  // the server offers it, and the client did not ask (yet)
	None    = "none"     // the server's list does not offer it
)

// StartTLS follows what becomes of TLS in a session that begins in clear. The
// zero value is a session in which nothing has been said about TLS.
type StartTLS struct {
	word     string
	accepted bool // TLS begins with the next bytes
	gapped   bool // bytes are missing since it was accepted
	// Decrypted reports that plaintext followed an accepted STARTTLS: the
	// capture shows a connection behind its decryption, and nothing in it is in
	// clear on the wire.
	Decrypted bool
}

// Set makes word the only value of the fact name.
func (s *StartTLS) Set(r *observe.Report, name, word string) {
	if word == s.word {
		return
	}
	if s.word != "" {
		r.Remove(name, s.word)
	}
	if word != "" {
		r.Add(name, word)
	}
	s.word = word
}

// List takes in a complete list of the server's capabilities, which offers TLS
// or does not. It says nothing new once the client has asked.
func (s *StartTLS) List(r *observe.Report, name string, offers bool) {
	switch {
	case s.word != "" && s.word != Offered && s.word != None:
	case offers:
		s.Set(r, name, Offered)
	default:
		s.Set(r, name, None)
	}
}

// Accept takes in that the server accepted TLS. The word is Taken or one of the
// protocol's own; it is empty if the command is not known.
func (s *StartTLS) Accept(r *observe.Report, name, word string) {
	s.Set(r, name, word)
	s.accepted, s.gapped = true, false
}

// Accepted reports whether TLS was accepted and has not begun yet. All bytes
// then go to Begins.
func (s *StartTLS) Accepted() bool { return s.accepted }

// Gap takes in that bytes are missing.
func (s *StartTLS) Gap() { s.gapped = true }

// Begins looks at the first bytes after an accepted TLS command, which are not
// empty. It returns observe.ErrUpgrade if they are TLS. If they are plaintext it
// sets Decrypted and returns nil, and the caller goes on reading. If they are
// from the middle of a TLS record, because bytes are missing, it reports the
// encryption and returns observe.ErrDone. more reports that it takes more bytes
// to tell.
func (s *StartTLS) Begins(b []byte, r *observe.Report) (more bool, err error) {
	head := b[:min(len(b), 4)]
	switch c := b[0]; {
	case !s.gapped:
		if c >= 0x80 || c >= 0x14 && c <= 0x17 { // SSL 2.0, or a record
			r.Next = tls.Name
			return false, observe.ErrUpgrade
		}
	case c == 0x16 && len(b) < 3:
		return true, nil
	case c == 0x16 && b[1] == 3 && b[2] <= 4:
		r.Next = tls.Name
		return false, observe.ErrUpgrade
	case !textual(head):
		r.Add(observe.Encryption, "tls")
		return false, observe.ErrDone
	case len(head) < 4:
		return true, nil
	}
	s.accepted, s.Decrypted = false, true
	r.Add(tls.Decrypted, "yes")
	return false, nil
}

// textual reports whether all bytes of b can stand in a line of text.
func textual(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\r' && c != '\n' && c != '\t' || c > '~' {
			return false
		}
	}
	return true
}
