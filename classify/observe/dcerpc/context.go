package dcerpc

import (
	"bytes"
	"slices"

	"github.com/exspan/exspan/classify/observe"
)

// context is an accepted presentation context: the interface of a p_cont_id.
type context struct {
	id     uint16
	iface  Interface
	wide   bool // stubs are in NDR64
	strong bool // a bind_ack announced its endpoint
	push   bool // clients register for notifications on it
}

// pending is a context that was proposed and not yet answered.
type pending struct {
	call    uint32
	index   uint8 // position in the PDU, by which results refer to it
	id      uint16
	iface   Interface
	wide    bool
	feature bool // bind-time feature negotiation instead of an interface
}

// known returns the context with the given id, or nil.
func (o *observer) known(id uint16) *context {
	for i := range o.contexts {
		if o.contexts[i].id == id {
			return &o.contexts[i]
		}
	}
	return nil
}

// bind reads the proposals of a bind or alter_context ([C706] sections 12.6.4.1
// and 12.6.4.3).
func (o *observer) bind(h *header, p []byte) {
	o.dropProposals(h.call)
	b := p[28:]
	for i := range int(p[24]) {
		if len(b) < 4+syntaxLength {
			return
		}
		c := pending{call: h.call, index: uint8(i), id: h.u16(b), iface: syntax(b[4:], h.big)}
		n := int(b[2])
		if b = b[4+syntaxLength:]; len(b) < n*syntaxLength {
			return
		}
		for j := range n {
			s := syntax(b[j*syntaxLength:], h.big)
			c.feature = c.feature || feature(s)
			c.wide = c.wide || s == ndr64 && n == 1
		}
		b = b[n*syntaxLength:]
		if o.pending == nil {
			o.pending = o.few[:0]
		}
		if len(o.pending) == maxContexts {
			o.pending = slices.Delete(o.pending, 0, 1)
		}
		o.pending = append(o.pending, c)
	}
}

// dropProposals discards the proposals of a call.
func (o *observer) dropProposals(call uint32) {
	if len(o.pending) == 0 {
		return
	}
	o.pending = slices.DeleteFunc(o.pending, func(p pending) bool { return p.call == call })
	if len(o.pending) == 0 {
		o.pending = nil // most connections bind once
	}
}

// Results of presentation contexts, and the reason that a server gives for an unknown
// interface ([C706] section 12.6.3.1).
const (
	acceptance            = 0
	providerRejection     = 2
	abstractNotSupported  = 1
	resultLength          = 4 + syntaxLength
	maxSecondaryAddr      = 128 // bytes of sec_addr that are kept
	afterSecondaryAddress = 26
)

// ack reads a bind_ack or alter_context_response ([C706] sections 12.6.4.2 and 12.6.4.4).
func (o *observer) ack(h *header, p []byte, r *observe.Report) {
	if o.results(h, p, r) {
		o.dropProposals(h.call)
	}
}

// results reads the results in p, which may be the beginning of the answer alone. It
// reports whether the list of results begins in p.
func (o *observer) results(h *header, p []byte, r *observe.Report) bool {
	n := int(h.u16(p[24:]))
	at := (afterSecondaryAddress + n + 3) &^ 3
	if at+4 > len(p) {
		return false
	}
	if addr := bytes.TrimRight(p[afterSecondaryAddress:afterSecondaryAddress+n], "\x00"); h.ptype == bindAck && len(addr) <= maxSecondaryAddr {
		r.AddBytes(SecAddr, addr)
	}
	results := p[at+4:]
	var refused []Interface
	for i := range int(p[at]) {
		if len(results) < resultLength {
			break
		}
		result, reason, syn := h.u16(results), h.u16(results[2:]), syntax(results[4:], h.big)
		results = results[resultLength:]
		k := slices.IndexFunc(o.pending, func(p pending) bool { return p.call == h.call && int(p.index) == i })
		if k < 0 || o.pending[k].feature {
			continue
		}
		switch c := o.pending[k]; {
		case result == acceptance:
			o.accept(c.id, c.iface, syn == ndr64, false, r)
		case result == providerRejection && reason == abstractNotSupported:
			refused = append(refused, c.iface)
		}
	}
	for i, f := range refused {
		if !o.uses(f) && !slices.Contains(refused[:i], f) && !o.nested {
			r.Rejected = append(r.Rejected, f.String())
		}
	}
	return true
}

// uses reports whether a context of this flow has interface i.
func (o *observer) uses(i Interface) bool {
	return slices.ContainsFunc(o.contexts, func(c context) bool { return c.iface == i })
}

// accept adds a context that the server acknowledged, or a weak one, for which only its
// use is evidence.
func (o *observer) accept(id uint16, i Interface, wide, weak bool, r *observe.Report) {
	name := i.String()
	r.Add(UUID, name)
	announced := slices.ContainsFunc(o.contexts, func(c context) bool { return c.iface == i && (c.strong || weak) })
	if !announced {
		o.learn(i, name, false, weak, r)
	}
	c := o.known(id)
	if c == nil {
		if len(o.contexts) == maxContexts {
			return
		}
		o.contexts = append(o.contexts, context{})
		c = &o.contexts[len(o.contexts)-1]
	}
	*c = context{id, i, wide, !weak, i == emsmdb && !wide}
}

// confirms reports whether the use of a context id implies the acceptance of a proposal.
// Clients do not call on a context before the server has accepted it.
func (o *observer) confirms(id uint16) bool {
	return slices.ContainsFunc(o.pending, func(p pending) bool { return p.id == id && !p.feature })
}

// confirm adds a context whose acknowledgement was not seen.
func (o *observer) confirm(id uint16, r *observe.Report) *context {
	for i := len(o.pending) - 1; i >= 0; i-- {
		if p := o.pending[i]; p.id == id && !p.feature {
			o.accept(id, p.iface, p.wide, true, r)
			break
		}
	}
	return o.known(id)
}
