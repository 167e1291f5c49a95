package line

import (
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/tls"
)

// Values of the facts smtp.tls, imap.tls, pop3.tls and nntp.tls.
const (
	Taken   = "starttls" // the command was accepted
	Refused = "refused"  // the client sent the command, and the server declined it
	Offered = "offered"  // the server offers it, and the client has not sent the command (yet)
	None    = "none"     // the server's list does not include it
)

// StartTLS tracks the start of TLS in a session that begins in clear. The zero value is a
// session in which TLS has not been mentioned.
type StartTLS struct {
	word     string
	accepted bool // TLS begins with the next bytes
	gapped   bool // bytes are missing since then
	// Decrypted reports that plaintext followed an accepted STARTTLS. The connection was
	// captured after decryption, and nothing in it is in clear on the wire.
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

// List processes a complete list of the server's capabilities. offers reports whether the
// list includes TLS. The list adds nothing once the client has sent the command.
func (s *StartTLS) List(r *observe.Report, name string, offers bool) {
	switch {
	case s.word != "" && s.word != Offered && s.word != None:
	case offers:
		s.Set(r, name, Offered)
	default:
		s.Set(r, name, None)
	}
}

// Accept records that the server accepted TLS. word is Taken or a value specific to the
// protocol. It is empty if the command is unknown.
func (s *StartTLS) Accept(r *observe.Report, name, word string) {
	s.Set(r, name, word)
	s.accepted, s.gapped = true, false
}

// Unasked accepts TLS if b, which the server sends at the beginning of a line, is the
// handshake record of its hello. It is for sessions of which only the server's side was
// seen: no answer begins with that byte. lines is what splits its lines.
func (s *StartTLS) Unasked(b []byte, lines *Splitter, r *observe.Report, name string) {
	if b[0] == 0x16 && !lines.Skipping() && !s.accepted {
		s.Accept(r, name, "")
	}
}

// Accepted reports whether TLS was accepted and has not begun. All bytes must then be
// passed to Begins.
func (s *StartTLS) Accepted() bool { return s.accepted }

// Gap records that bytes are missing.
func (s *StartTLS) Gap() { s.gapped = true }

// Begins examines the first bytes after an accepted TLS command. b must not be empty. If
// the bytes are TLS, Begins returns observe.ErrUpgrade. If they are plaintext, it sets
// Decrypted and returns nil, and the caller continues. If bytes are missing and b is from
// the middle of a TLS record, it reports the encryption and returns observe.ErrDone. more
// reports that more bytes are needed.
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

// textual reports whether all bytes of b can occur in a line of text.
func textual(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\r' && c != '\n' && c != '\t' || c > '~' {
			return false
		}
	}
	return true
}
