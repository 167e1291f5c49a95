// Package resvc recognises the routing engine of Exchange 2000 and 2003 by its greeting.
// Its servers exchange the state of links on port 691. There is no public specification
// of the rest of the protocol.
package resvc

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
)

// Version is the routing engine's version: "6.5.6940.0". It equals the version of
// Exchange and is also reported as observe.ExchangeVersion.
const Version = "resvc.version"

// maxGreeting is the number of bytes that are searched for the version.
const maxGreeting = 512

// Protocol describes the routing engine.
func Protocol() observe.Protocol {
	return observe.Protocol{Name: "resvc", TCP: []uint16{691}, Stream: true, Detect: detect,
		New: func() observe.Observer { return observer{} }}
}

func detect(f *observe.First) observe.Match {
	b := f.ToClient
	if len(b) == 0 {
		b = f.ToServer
	}
	return greeting(b)
}

// greeting reports whether b begins with "{0000004c} NODEINFO (": the length of the rest
// in hexadecimal digits, and the command. Scanners recognise the service by this form.
func greeting(b []byte) observe.Match {
	const command = "} NODEINFO ("
	if len(b) == 0 {
		return observe.More
	}
	if b[0] != '{' {
		return observe.No
	}
	digits := 0
	for digits < 8 && 1+digits < len(b) && hexadecimal(b[1+digits]) {
		digits++
	}
	rest := b[1+digits:]
	n := min(len(rest), len(command))
	switch {
	case string(rest[:n]) != command[:n] || n > 0 && digits == 0:
		return observe.No
	case n < len(command):
		return observe.More
	}
	return observe.Yes
}

func hexadecimal(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

type observer struct{}

// Observe reads the version in the server's greeting:
// "{38}Version: 6.5.6940.0 Microsoft Routing Server ready".
func (observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Gap > 0 {
		return 0, observe.ErrDone
	}
	if in.Dir == observe.ToServer {
		return len(in.Data), nil
	}
	switch greeting(in.Data) {
	case observe.No:
		return 0, observe.ErrViolation
	case observe.More:
		return 0, nil
	}
	b := in.Data[:min(len(in.Data), maxGreeting)]
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) < maxGreeting {
			return 0, nil
		}
		return 0, observe.ErrDone
	}
	if _, v, ok := bytes.Cut(b[:end], []byte("Version: ")); ok {
		n := 0
		for n < len(v) && n < 32 && (v[n] == '.' || v[n] >= '0' && v[n] <= '9') {
			n++
		}
		r.Add(Version, string(v[:n]))
		r.Add(observe.ExchangeVersion, observe.Build(v[:n]))
	}
	return 0, observe.ErrDone
}
