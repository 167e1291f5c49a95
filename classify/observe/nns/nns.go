// Package nns reads .NET NegotiateStream ([MS-NNS]). It reports the authentication
// mechanism and whether the data after the handshake are protected. Log shipping of
// Exchange uses it directly on TCP, and .NET message framing can upgrade to it.
package nns

import (
	"encoding/binary"
	"fmt"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/der"
	"github.com/exspan/exspan/classify/observe/ntlm"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// Error is the HRESULT of a failed handshake, "0x8009030c" (SEC_E_LOGON_DENIED).
const Error = "nns.error"

// encrypted is the value of observe.Encryption for protected data. On the wire,
// signed data cannot be distinguished from sealed data.
const encrypted = "nns-protected"

// Messages of the handshake ([MS-NNS] section 2.2.1).
const (
	handshakeDone       = 0x14
	handshakeError      = 0x15
	handshakeInProgress = 0x16

	headerLength = 5
	errorLength  = 8
)

// Limits.
const (
	maxPayload = 0xfc30   // bytes of a data message ([MS-NNS] section 2.2.2)
	maxToken   = 12 << 10 // bytes of a token to wait for
	maxWait    = 16 << 10 // bytes that may wait for the answer of the server
	signature  = 16       // bytes of a data message to inspect
)

// Protocol returns the description of NegotiateStream directly on TCP. Its port is that
// of log shipping of Exchange.
func Protocol() observe.Protocol {
	return observe.Protocol{Name: "nns", TCP: []uint16{64327}, Stream: true, Detect: Detect, New: New}
}

// New returns an observer for a TCP flow.
func New() observe.Observer { return new(observer) }

// Detect looks for a handshake message.
func Detect(f *observe.First) observe.Match {
	b := f.ToServer
	if len(b) == 0 {
		b = f.ToClient
	}
	return handshake(b)
}

// handshake reports whether b begins with a handshake message. TLS begins with
// the same byte, but its version is 3.
func handshake(b []byte) observe.Match {
	head := b[:min(len(b), 3)]
	switch {
	case len(head) > 0 && (head[0] < handshakeDone || head[0] > handshakeInProgress), len(head) > 1 && head[1] != 1,
		len(head) > 2 && head[2] != 0:
		return observe.No
	case len(b) < headerLength:
		return observe.More
	}
	size := int(binary.BigEndian.Uint16(b[3:]))
	if size == 0 {
		if b[0] == handshakeDone {
			return observe.Yes
		}
		return observe.No
	}
	if b[0] == handshakeError && size != errorLength {
		return observe.No
	}
	if len(b) == headerLength {
		return observe.More
	}
	token := b[headerLength:]
	switch {
	case b[0] == handshakeError:
		if token[0] == 0 {
			return observe.Yes
		}
	case token[0] == ntlm.Signature[0]:
		n := min(len(token), len(ntlm.Signature))
		if string(token[:n]) != ntlm.Signature[:n] {
			return observe.No
		}
		if n < len(ntlm.Signature) {
			return observe.More
		}
		return observe.Yes
	case token[0] == der.Application(0), token[0] == der.Context(0), token[0] == der.Context(1):
		return observe.Yes
	}
	return observe.No
}

// Protection is the protection of the data after a handshake.
type Protection uint8

// The kinds of protection.
const (
	// Undecided means that the handshake continues, or that no data have followed it.
	Undecided Protection = iota
	// Protected means that the data are signed or sealed.
	Protected
	// Plain means that the data are neither protected nor framed.
	Plain
	// Unknown means that the mechanism has no known form of protected data.
	Unknown
)

// A Session reads one NegotiateStream. The zero value is ready to use.
type Session struct {
	tokens   spnego.Context
	seen     bool
	accepted bool // the server has ended the handshake
}

// Read reads the beginning of b, which was sent in direction dir. It returns the number
// of bytes used, which can exceed len(b), or 0 if it needs more bytes. When it returns
// a Protection other than Undecided, b begins with data, and none of them was used.
// Errors are those of package observe.
func (s *Session) Read(dir observe.Direction, b []byte, r *observe.Report) (n int, p Protection, err error) {
	switch handshake(b) {
	case observe.More:
		return 0, Undecided, nil
	case observe.Yes:
		n, err = s.message(dir, b, r)
		return n, Undecided, err
	}
	if !s.seen {
		return 0, Undecided, observe.ErrViolation
	}
	if !s.accepted {
		// The answer that ends the handshake can be captured late.
		if len(b) > maxWait {
			return 0, Undecided, observe.ErrDone
		}
		return 0, Undecided, nil
	}
	return 0, s.judge(b), nil
}

// message reads a handshake message.
func (s *Session) message(dir observe.Direction, b []byte, r *observe.Report) (int, error) {
	size := int(binary.BigEndian.Uint16(b[3:]))
	need := headerLength + min(size, maxToken)
	if len(b) < need {
		return 0, nil
	}
	token := b[headerLength:need]
	fromServer := dir == observe.ToClient
	if b[0] == handshakeError {
		s.seen = true
		r.Add(Error, fmt.Sprintf("0x%08x", binary.BigEndian.Uint32(token[4:])))
		return headerLength + size, nil
	}
	if !s.seen && size > 0 && b[0] == handshakeInProgress && fromServer == initial(token) {
		return 0, observe.ErrReversed
	}
	s.seen = true
	if size > 0 {
		s.tokens.Add(token, fromServer, r)
	}
	if fromServer && b[0] == handshakeDone {
		s.accepted = true
		r.Add(observe.Auth, string(s.tokens.Mechanism))
	}
	return headerLength + size, nil
}

// initial reports whether a token can only be the first token of a client.
func initial(token []byte) bool {
	if m, ok := ntlm.Parse(token); ok {
		return m.Type != ntlm.Challenge
	}
	return token[0] == der.Application(0) || token[0] == der.Context(0)
}

// judge examines the beginning of the data. Protected data come in messages, each after
// its little-endian length ([MS-NNS] section 2.2.2), and begin with a token of the
// mechanism. Other data are sent unframed.
func (s *Session) judge(b []byte) Protection {
	if len(b) < 4 {
		return Undecided
	}
	size := binary.LittleEndian.Uint32(b)
	if size == 0 || size > maxPayload {
		return Plain
	}
	known := s.tokens.Mechanism == spnego.NTLM || s.tokens.Mechanism == spnego.Kerberos
	if size >= signature {
		if len(b) < 4+signature {
			return Undecided
		}
		token := b[4 : 4+signature]
		if spnego.Signer(token, signature) == spnego.NTLM || spnego.Signer(token, int(size)) == spnego.Kerberos {
			return Protected
		}
	}
	if known {
		return Plain
	}
	return Unknown
}

type observer struct{ session Session }

// Observe reads the handshake and the beginning of the data.
func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Gap > 0 {
		// The end of the handshake was lost.
		return 0, observe.ErrDone
	}
	n := 0
	for n < len(in.Data) {
		used, p, err := o.session.Read(in.Dir, in.Data[n:], r)
		if err != nil {
			return 0, err
		}
		switch p {
		case Protected:
			r.Add(observe.Encryption, encrypted)
			return 0, observe.ErrDone
		case Plain:
			r.Add(observe.Encryption, "none")
			return 0, observe.ErrDone
		case Unknown:
			return 0, observe.ErrDone
		}
		if used == 0 {
			break
		}
		n += used
	}
	return n, nil
}
