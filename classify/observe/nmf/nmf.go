// Package nmf reads .NET message framing ([MC-NMF]), which carries net.tcp. It reports
// the service address, the encoding of messages, and their protection. It does not read
// messages.
package nmf

import (
	"net/url"
	"strings"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/nns"
)

// Facts of this protocol. observe.Encryption is "net.tcp" if NegotiateStream protects the
// stream, and "none" once a message was sent in clear.
const (
	URI      = "nmf.uri"      // the Via record without user, query and fragment: "net.tcp://mb1.example.com/Service"
	Via      = "nmf.via"      // the whole Via record; only with Report.Identities
	Mode     = "nmf.mode"     // "singleton", "duplex", "simplex", "singleton-sized"
	Encoding = "nmf.encoding" // "soap11-utf8", "binary", "binary-dictionary" ..., or a media type
	Upgrade  = "nmf.upgrade"  // "application/negotiate", "application/ssl-tls"
	Fault    = "nmf.fault"    // last part of a fault's URI: "EndpointNotFound"
)

// Record types ([MC-NMF] section 2.2.1).
const (
	recordVersion         = 0x00
	recordMode            = 0x01
	recordVia             = 0x02
	recordKnownEncoding   = 0x03
	recordEncoding        = 0x04
	recordUnsized         = 0x05
	recordSized           = 0x06
	recordEnd             = 0x07
	recordFault           = 0x08
	recordUpgrade         = 0x09
	recordUpgradeResponse = 0x0a
	recordPreambleAck     = 0x0b
	recordPreambleEnd     = 0x0c
)

// Limits.
const (
	maxText = 2 << 10  // bytes of a text in the preamble
	maxHold = 16 << 10 // bytes that await the server's answer to an upgrade
)

var modes = [...]string{1: "singleton", 2: "duplex", 3: "simplex", 4: "singleton-sized"}

// encodings are the known encodings ([MC-NMF] section 2.2.3.4.1).
var encodings = [...]string{"soap11-utf8", "soap11-utf16", "soap11-unicode-le", "soap12-utf8", "soap12-utf16", "soap12-unicode-le",
	"mtom", "binary", "binary-dictionary"}

// The possible upgrades of a stream ([MC-NMF] section 2.2.3.5).
const (
	negotiate = "application/negotiate"
	tls       = "application/ssl-tls"
)

// Protocol describes .NET message framing. Its ports are those of mailbox replication,
// and others on which servers with Exchange were seen to answer.
func Protocol() observe.Protocol {
	return observe.Protocol{Name: "nmf", TCP: []uint16{808, 890, 64337, 9710}, Stream: true, Detect: detect, New: New}
}

// New returns an observer of a TCP flow.
func New() observe.Observer { return &observer{} }

func detect(f *observe.First) observe.Match {
	m := observe.No // the client speaks first
	if len(f.ToServer) > 0 || len(f.ToClient) == 0 {
		m = preamble(f.ToServer)
	}
	if m != observe.No || !f.OnPort {
		return m
	}
	// If the beginning was not seen, the handshake of an upgrade can come first.
	return nns.Detect(f)
}

// preamble reports whether b starts with a client's preamble: version 1.0, the mode, and
// a Via record ([MC-NMF] section 2.2.3).
func preamble(b []byte) observe.Match {
	want := [...]byte{recordVersion, 1, 0, recordMode, 0, recordVia}
	for i, c := range b[:min(len(b), len(want))] {
		if i == 4 && (c == 0 || int(c) >= len(modes)) || i != 4 && c != want[i] {
			return observe.No
		}
	}
	if len(b) < len(want) {
		return observe.More
	}
	return observe.Yes
}

type observer struct {
	seen bool
	late bool // the preamble was not seen
	// upgrade is the upgrade that the client requested and that has not begun. agreed
	// reports that the server accepted it.
	upgrade string
	agreed  bool
	session nns.Session
}

// Observe reads records up to the first message, or the upgrade.
func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Gap > 0 {
		return 0, observe.ErrDone // nothing marks the start of a record
	}
	n := 0
	for n < len(in.Data) {
		used, err := o.step(in, in.Data[n:], r)
		if err != nil {
			return n, err
		}
		if used == 0 {
			break
		}
		n += used
	}
	return n, nil
}

// step reads the record at the start of b. It returns the number of bytes used, or 0 if
// more are needed.
func (o *observer) step(in *observe.Input, b []byte, r *observe.Report) (int, error) {
	server := in.Dir == observe.ToClient
	if !o.seen && !in.Handshake && b[0] != recordVersion {
		// The upgrade is under way, or the flow is not message framing.
		o.seen, o.late, o.upgrade, o.agreed = true, true, negotiate, true
	}
	if !o.seen {
		if server {
			return 0, observe.ErrViolation
		}
		if m := preamble(b); m != observe.Yes {
			if m == observe.More {
				return 0, nil
			}
			return 0, observe.ErrViolation
		}
		o.seen = true
		return 3, nil // the version
	}
	if o.upgrade != "" {
		switch {
		case o.agreed:
			return o.upgraded(in, b, r)
		case !server && len(b) > maxHold:
			return 0, observe.ErrDone
		case !server:
			return 0, nil // the answer can be captured late
		}
	}
	switch b[0] {
	case recordVersion:
		return 3, nil
	case recordMode:
		if len(b) < 2 {
			return 0, nil
		}
		if int(b[1]) < len(modes) {
			r.Add(Mode, modes[b[1]])
		}
		return 2, nil
	case recordKnownEncoding:
		if len(b) < 2 {
			return 0, nil
		}
		if int(b[1]) < len(encodings) {
			r.Add(Encoding, encodings[b[1]])
		}
		return 2, nil
	case recordVia, recordEncoding, recordFault, recordUpgrade:
		s, n := text(b[1:])
		if n <= 0 {
			if n < 0 {
				return 0, observe.ErrDone
			}
			return 0, nil
		}
		o.text(b[0], string(s), r)
		return 1 + n, nil
	case recordUpgradeResponse:
		if o.upgrade == "" || !server {
			return 0, observe.ErrDone
		}
		o.agreed = true
		return 1, nil
	case recordPreambleAck, recordPreambleEnd:
		return 1, nil
	case recordUnsized, recordSized:
		r.Add(observe.Encryption, "none")
	}
	// Nothing more can be learned. The end of a connection is of no interest.
	return 0, observe.ErrDone
}

// text reads a text after its length, which has seven bits per byte, the low ones first
// ([MC-NMF] section 2.2.2.1). n is the size of both in bytes. It is 0 if more bytes are
// needed, and negative if the text is too long.
func text(b []byte) (s []byte, n int) {
	length := 0
	for i, c := range b {
		if i == 3 {
			return nil, -1
		}
		length |= int(c&0x7f) << (7 * i)
		if c >= 0x80 {
			continue
		}
		switch {
		case length > maxText:
			return nil, -1
		case len(b) < i+1+length:
			return nil, 0
		}
		return b[i+1 : i+1+length], i + 1 + length
	}
	return nil, 0
}

// text processes a record that consists of a text.
func (o *observer) text(record byte, s string, r *observe.Report) {
	switch record {
	case recordVia:
		r.Add(URI, address(s))
		if r.Identities {
			r.Add(Via, s)
		}
	case recordEncoding:
		r.Add(Encoding, s)
	case recordFault:
		r.Add(Fault, s[strings.LastIndexByte(s, '/')+1:])
	case recordUpgrade:
		r.Add(Upgrade, s)
		o.upgrade, o.agreed = s, false
	}
}

// address returns a Via without the parts that can identify a person.
func address(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" {
		return ""
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}

// upgraded reads the protocol to which the stream was upgraded.
func (o *observer) upgraded(in *observe.Input, b []byte, r *observe.Report) (int, error) {
	switch o.upgrade {
	case tls:
		r.Next = "tls"
		return 0, observe.ErrUpgrade
	case negotiate:
		n, p, err := o.session.Read(in.Dir, b, r)
		if err != nil && !o.late {
			err = observe.ErrDone // the flow is message framing all the same
		}
		if err != nil {
			return 0, err
		}
		switch p {
		case nns.Protected:
			r.Add(observe.Encryption, "net.tcp")
			return 0, observe.ErrDone
		case nns.Plain:
			// Records continue in the same stream.
			o.upgrade = ""
			return o.step(in, b, r)
		case nns.Unknown:
			return 0, observe.ErrDone
		}
		return n, nil
	}
	return 0, observe.ErrDone
}
