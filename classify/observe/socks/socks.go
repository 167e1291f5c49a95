// Package socks reads a client's request to a SOCKS proxy for a connection: SOCKS 4 and
// 4A, and SOCKS 5 (RFC 1928, RFC 1929). Package tls reads TLS in the connection.
//
// https://www.openssh.org/txt/socks4.protocol,
// https://www.openssh.org/txt/socks4a.protocol
package socks

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
)

// Facts of this protocol.
const (
	Version = "socks.version" // "4", "4a" or "5"
	Reply   = "socks.reply"   // the proxy's answer to the request: "granted" or "refused"
)

const (
	version4, version5 = 4, 5

	maxName = 255 // maximum length of a user name or host name of version 4 in bytes

	granted4, refused4 = 90, 93 // the first and the last code of a reply of version 4

	noMethods = 0xff // in a reply of version 5: none of the methods is acceptable
	userPass  = 2    // method of RFC 1929
)

// Protocol returns the description of SOCKS.
func Protocol() observe.Protocol {
	return observe.Protocol{Name: "socks", TCP: []uint16{1080, 1081}, Stream: true, Detect: detect,
		New: func() observe.Observer { return new(observer) }}
}

// detect recognises the first message of a client. On ports other than those of SOCKS it
// also requires the answer, because a few bytes prove little.
func detect(f *observe.First) observe.Match {
	b := f.ToServer
	if f.Late {
		return observe.No
	}
	if len(b) == 0 {
		if len(f.ToClient) > 0 {
			return observe.No // the client speaks first
		}
		return observe.More
	}
	var m observe.Match
	switch b[0] {
	case version5:
		m = greeting(b)
	case version4:
		_, _, m = request4(b)
	}
	if m != observe.Yes || f.OnPort {
		return m
	}
	switch a := f.ToClient; {
	case len(a) == 0:
		return observe.More
	case b[0] == version5 && a[0] == version5:
		if len(a) == 1 {
			return observe.More
		}
		if a[1] == noMethods || bytes.IndexByte(b[2:2+b[1]], a[1]) >= 0 {
			return observe.Yes
		}
	case b[0] == version4 && a[0] == 0:
		if len(a) == 1 {
			return observe.More
		}
		if a[1] >= granted4 && a[1] <= refused4 {
			return observe.Yes
		}
	}
	return observe.No
}

// greeting reports whether b is the first message of version 5: the authentication
// methods that the client supports (RFC 1928 section 3).
func greeting(b []byte) observe.Match {
	if len(b) < 2 {
		return observe.More
	}
	n := int(b[1])
	if n == 0 {
		return observe.No
	}
	for i, m := range b[2:min(len(b), 2+n)] {
		if m > 9 && m < 0x80 || m == noMethods || bytes.IndexByte(b[2:2+i], m) >= 0 {
			return observe.No // unassigned, or listed twice
		}
	}
	if len(b) < 2+n {
		return observe.More
	}
	return observe.Yes
}

// request4 parses a request of version 4. It returns its length, and whether it contains
// a host name, as in version 4A.
func request4(b []byte) (n int, named bool, m observe.Match) {
	const fixed = 8 // version, command, port and address
	switch {
	case len(b) > 1 && b[1] != 1 && b[1] != 2, len(b) > 3 && b[2] == 0 && b[3] == 0:
		return 0, false, observe.No
	case len(b) < fixed:
		return 0, false, observe.More
	}
	n, m = name(b, fixed)
	if m == observe.Yes && b[4] == 0 && b[5] == 0 && b[6] == 0 && b[7] != 0 {
		named = true
		n, m = name(b, n)
	}
	return n, named, m
}

// name skips a text that ends with a zero byte and returns the offset of its end.
func name(b []byte, at int) (end int, m observe.Match) {
	for i, c := range b[at:] {
		switch {
		case c == 0:
			return at + i + 1, observe.Yes
		case c < ' ' || c == 0x7f || i == maxName:
			return 0, observe.No
		}
	}
	return 0, observe.More
}

// stage is the next expected message.
type stage uint8

const (
	hello  stage = iota // sent by the client
	method              // the method that the proxy chose
	password
	passwordAnswer
	request
	reply
	tunnel
)

type observer struct {
	stage   stage
	version byte
}

// fromServer reports whether the proxy sends the message of a stage.
func (s stage) fromServer() bool { return s == method || s == passwordAnswer || s == reply }

func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Gap > 0 {
		return 0, observe.ErrDone
	}
	if o.stage == tunnel {
		return 0, r.Tunnelled(in.Data)
	}
	if o.stage.fromServer() != (in.Dir == observe.ToClient) {
		return 0, nil // not its turn
	}
	n, err := o.read(in.Data, r)
	if err == nil && n > 0 && o.stage == tunnel && n < len(in.Data) {
		err = r.Tunnelled(in.Data[n:])
	}
	return n, err
}

// read reads the message of the current stage. It returns its length, or 0 if it needs
// more bytes.
func (o *observer) read(b []byte, r *observe.Report) (int, error) {
	switch o.stage {
	case hello:
		return o.hello(b, r)
	case method:
		switch {
		case b[0] != version5:
			return 0, observe.ErrViolation
		case len(b) < 2:
			return 0, nil
		}
		switch b[1] {
		case 0:
			o.stage = request
		case userPass:
			o.stage = password
		default:
			return 0, observe.ErrDone // refused, or a method that protects the following messages
		}
		return 2, nil
	case password: // RFC 1929 section 2: version, name, password
		if b[0] != 1 {
			return 0, observe.ErrViolation
		}
		if len(b) < 2 || len(b) < 3+int(b[1]) || len(b) < 3+int(b[1])+int(b[2+b[1]]) {
			return 0, nil
		}
		o.stage = passwordAnswer
		return 3 + int(b[1]) + int(b[2+b[1]]), nil
	case passwordAnswer:
		if len(b) < 2 {
			return 0, nil
		}
		if b[1] != 0 {
			return 0, observe.ErrDone
		}
		r.Add(observe.Auth, "user-pass")
		o.stage = request
		return 2, nil
	case request:
		n, err := message5(b)
		if n > 0 {
			o.stage = reply
		}
		return n, err
	}
	return o.reply(b, r)
}

// hello reads the client's first message.
func (o *observer) hello(b []byte, r *observe.Report) (int, error) {
	o.version = b[0]
	if o.version == version5 {
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return 0, nil
		}
		o.stage = method
		r.Add(Version, "5")
		return 2 + int(b[1]), nil
	}
	n, named, m := request4(b)
	switch {
	case m == observe.No || b[0] != version4:
		return 0, observe.ErrViolation
	case m == observe.More:
		return 0, nil
	case named:
		r.Add(Version, "4a")
	default:
		r.Add(Version, "4")
	}
	o.stage = reply
	return n, nil
}

// reply reads the answer to a request.
func (o *observer) reply(b []byte, r *observe.Report) (n int, err error) {
	ok := false
	if o.version == version4 {
		if n = 8; len(b) < n {
			return 0, nil
		}
		ok = b[1] == granted4
	} else {
		if n, err = message5(b); n == 0 {
			return n, err
		}
		ok = b[1] == 0
	}
	if !ok {
		r.Add(Reply, "refused")
		return 0, observe.ErrDone
	}
	r.Add(Reply, "granted")
	o.stage = tunnel
	return n, nil
}

// message5 returns the length of a request or reply of version 5, or 0 if more bytes are
// needed (RFC 1928 sections 4 and 6).
func message5(b []byte) (int, error) {
	if b[0] != version5 {
		return 0, observe.ErrViolation
	}
	if len(b) < 5 {
		return 0, nil
	}
	var n int
	switch b[3] {
	case 1: // IPv4
		n = 4 + 4 + 2
	case 3: // host name, with its length
		n = 4 + 1 + int(b[4]) + 2
	case 4: // IPv6
		n = 4 + 16 + 2
	default:
		return 0, observe.ErrViolation
	}
	if len(b) < n {
		return 0, nil
	}
	return n, nil
}
