// Package ssh recognises SSH (RFC 4253) by its identification string, on any port. It
// reads nothing beyond that.
package ssh

import "github.com/exspan/exspan/classify/observe"

// identification is the start of each side's first line (RFC 4253 section 4.2), also in
// version 1.
const identification = "SSH-"

// Protocol describes SSH.
func Protocol() observe.Protocol {
	return observe.Protocol{Name: "ssh", TCP: []uint16{22}, Stream: true, Detect: detect, New: func() observe.Observer { return observer{} }}
}

func detect(f *observe.First) observe.Match {
	b := f.ToClient
	if len(b) == 0 {
		b = f.ToServer
	}
	n := min(len(b), len(identification))
	switch {
	case string(b[:n]) != identification[:n]:
		return observe.No
	case len(b) <= n:
		return observe.More
	case b[n] == '1' || b[n] == '2':
		return observe.Yes
	}
	return observe.No
}

type observer struct{}

// Observe reads nothing. The name of the protocol is all that is reported.
func (observer) Observe(*observe.Input, *observe.Report) (int, error) { return 0, observe.ErrDone }
