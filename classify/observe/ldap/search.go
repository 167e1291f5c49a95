package ldap

import (
	"bytes"
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/der"
)

// search reads a SearchRequest (RFC 4511 section 4.5.1) up to its scope and reports
// whether it requests data. The root DSE is not data; it describes the server.
func (o *observer) search(b []byte, r *observe.Report) (data bool) {
	tag, head, length, err := der.Header(b)
	if err != nil || tag != der.OctetString {
		return false
	}
	b = b[head:]
	if length == 0 {
		if o.clear {
			return true // it makes no difference
		}
		scope, _, ok := der.Int(b)
		return ok && scope != 0
	}
	if length > maxBase || length > len(b) {
		return true
	}
	base := b[:length]
	h := hash(base)
	for _, known := range o.bases[:o.nBases] {
		if known == h {
			return true
		}
	}
	if o.nBases < maxBases {
		o.bases[o.nBases] = h
		o.nBases++
		r.Add(Base, namingContext(string(base)))
		if r.Identities {
			r.Add(DN, string(base))
		}
	}
	return true
}

// hash returns a hash that distinguishes the search bases of a flow.
func hash(b []byte) uint64 {
	h := uint64(len(b))
	for ; len(b) >= 8; b = b[8:] {
		h = (h ^ binary.LittleEndian.Uint64(b)) * 0x9e3779b97f4a7c15
		h ^= h >> 32
	}
	for _, c := range b {
		h = (h ^ uint64(c)) * 0x9e3779b97f4a7c15
	}
	return h
}

// fills reports whether b holds exactly the message m, which may be incomplete,
// optionally followed by one more message: the end of the results, which servers send
// along.
func fills(m *message, b []byte) bool {
	if m.size >= len(b) {
		return true
	}
	var next message
	next.look(b[m.size:], false)
	return next.kind == plain && next.size >= len(b)-m.size
}

// datagram reads a CLDAP message.
func (o *observer) datagram(in *observe.Input, r *observe.Report) error {
	var m message
	m.look(in.Data, false)
	switch {
	case m.kind != plain || !fills(&m, in.Data) || m.size > len(in.Data) && !in.Cut:
		if o.seen || in.Cut {
			return nil
		}
		return observe.ErrViolation
	case request(m.op) != (in.Dir == observe.ToServer):
		if o.seen {
			return nil
		}
		return observe.ErrReversed
	}
	o.seen = true
	if m.op == opEntry {
		o.entry(m.body, r)
	}
	if m.op != opSearch {
		return nil
	}
	b := m.body
	// Skip base, scope, aliases, size limit, time limit, types only and filter. The
	// attributes follow.
	for range 7 {
		_, rest, ok := der.Next(b)
		if !ok {
			return nil
		}
		b = rest
	}
	attrs, _, ok := der.Open(b, der.Sequence)
	if !ok {
		return nil
	}
	for len(attrs) > 0 {
		var e der.Element
		if e, attrs, ok = der.Next(attrs); !ok {
			break
		}
		if bytes.EqualFold(e.Body, []byte("netlogon")) {
			r.Add(CLDAP, "netlogon")
			return nil
		}
	}
	r.Add(CLDAP, "rootdse")
	return nil
}
