// Package h323 observes the call signalling of H.323 (ITU-T H.225.0): Q.931
// messages in TPKT frames (RFC 1006, RFC 2126). It names the messages and ignores
// their content.
package h323

import (
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
)

// Message is the fact for the Q.931 messages seen: setup, connect ...
const Message = "h323.message"

// Protocol returns the description of H.323 call signalling.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name:   "h323",
		TCP:    []uint16{1720},
		Detect: detect,
		Stream: true,
		New:    func() observe.Observer { return &observer{} },
	}
}

// headerSize is a TPKT header and the fixed part of a Q.931 message: protocol
// discriminator, call reference and message type.
const headerSize = 9

// message returns the name of a Q.931 message type (ITU-T H.225.0 table 1), or "" if
// it is unknown.
func message(b byte) string {
	switch b {
	case 0x01:
		return "alerting"
	case 0x02:
		return "call-proceeding"
	case 0x03:
		return "progress"
	case 0x05:
		return "setup"
	case 0x07:
		return "connect"
	case 0x0d:
		return "setup-acknowledge"
	case 0x0f:
		return "connect-acknowledge"
	case 0x5a:
		return "release-complete"
	case 0x62:
		return "facility"
	case 0x6e:
		return "notify"
	case 0x75:
		return "status-inquiry"
	case 0x7b:
		return "information"
	case 0x7d:
		return "status"
	}
	return ""
}

// check inspects the beginning of a frame. It returns the name of the message, which is
// empty for a frame without one (a keep-alive), and the length of the frame.
func check(b []byte) (name string, size int, m observe.Match) {
	for i, want := range [...]byte{3, 0} {
		if len(b) > i && b[i] != want {
			return "", 0, observe.No
		}
	}
	if len(b) < 4 {
		return "", 0, observe.More
	}
	size = int(binary.BigEndian.Uint16(b[2:]))
	if size == 4 {
		return "", size, observe.More
	}
	if size < headerSize || len(b) > 4 && b[4] != 8 || len(b) > 5 && b[5] != 2 {
		return "", 0, observe.No
	}
	if len(b) < headerSize {
		return "", 0, observe.More
	}
	if name = message(b[8]); name == "" {
		return "", 0, observe.No
	}
	return name, size, observe.Yes
}

func detect(f *observe.First) observe.Match {
	got := observe.More
	for _, b := range [...][]byte{f.ToServer, f.ToClient} {
		for {
			_, size, m := check(b)
			if m == observe.More && size > 0 && len(b) > size {
				b = b[size:]
				continue
			}
			if m == observe.Yes || m == observe.No {
				if m == observe.Yes || got == observe.More {
					got = m
				}
			}
			break
		}
		if got == observe.Yes {
			return got
		}
	}
	return got
}

type observer struct {
	found bool
	lost  [2]bool // the frame boundary is unknown, by direction
}

func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Gap > 0 {
		return 0, o.lose(in.Dir)
	}
	if o.lost[in.Dir] {
		return len(in.Data), nil
	}
	b := in.Data
	if len(b) < 4 {
		return 0, nil
	}
	name, size, m := check(b)
	switch m {
	case observe.More:
		if size == 4 {
			return size, nil
		}
		return 0, nil
	case observe.No:
		if !o.found && in.Handshake {
			return 0, observe.ErrViolation
		}
		return len(b), o.lose(in.Dir)
	}
	o.found = true
	r.Add(Message, name)
	r.Add(observe.Encryption, "none")
	return size, nil
}

// lose stops reading a direction. It ends the observer once both directions are lost.
func (o *observer) lose(d observe.Direction) error {
	o.lost[d] = true
	if o.lost[d.Reverse()] {
		return observe.ErrDone
	}
	return nil
}
