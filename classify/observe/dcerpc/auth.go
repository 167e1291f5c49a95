package dcerpc

import (
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// auth_type of a sec_trailer ([MS-RPCE] section 2.2.1.1.7).
const (
	authNone      = 0
	authNegotiate = 9
	authNTLM      = 10
	authTLS       = 14
	authKerberos  = 16
	authNetlogon  = 68
	authDefault   = 255
)

// auth_level of a sec_trailer ([MS-RPCE] section 2.2.1.1.8).
const (
	levelDefault   = 0
	levelNone      = 1
	levelConnect   = 2
	levelIntegrity = 5
	levelPrivacy   = 6
)

var levels = [...]string{"connect", "none", "connect", "call", "packet", "integrity", "privacy"}

// signerLength is the number of bytes of a per-message token that spnego.Signer receives.
const signerLength = 16

// security is a security context: the tokens exchanged under one auth_context_id.
type security struct {
	id         uint32
	typ, level byte
	tokens     spnego.Context
}

// callKey is the content of a call's sec_trailer. The zero value means that there is
// none.
type callKey struct {
	id         uint32
	typ, level byte
	trailer    bool
	certain    bool // without a sec_trailer: there is certainly no security context
}

// mechanism returns the name of an auth_type's mechanism, as in observe.Auth, or "" if it
// is unknown. token is the beginning of a per-message token.
func (s *security) mechanism(token []byte, length int) string {
	switch s.typ {
	case authNone:
		return "none"
	case authNegotiate:
		if m := s.tokens.Mechanism; m != "" && m != spnego.Negotiate {
			return string(m)
		}
		if m := spnego.Signer(token, length); m != "" {
			return string(m)
		}
		return string(spnego.Negotiate)
	case authNTLM, authDefault:
		return string(spnego.NTLM)
	case authTLS:
		return "tls"
	case authKerberos:
		return string(spnego.Kerberos)
	case authNetlogon:
		return "netlogon"
	}
	return ""
}

// encryption returns the protection of a level, as in observe.Encryption.
func encryption(level byte) string {
	switch level {
	case levelPrivacy:
		return "rpc-privacy"
	case levelIntegrity:
		return "rpc-integrity"
	}
	return "none"
}

// token reads the sec_trailer of a PDU that establishes a security context. p can end
// before it.
func (o *observer) token(h *header, p []byte, in *observe.Input, r *observe.Report) {
	if h.ptype == bind || h.ptype == bindAck {
		o.dirs[in.Dir].whole = true
	}
	at := h.frag - h.auth - 8
	if h.auth == 0 || at+8 > len(p) || int(p[at+1]) >= len(levels) {
		return
	}
	s := o.security(h.u32(p[at+4:]))
	if s == nil {
		return
	}
	s.typ, s.level = p[at], p[at+1]
	switch s.typ {
	case authNegotiate, authNTLM, authKerberos, authDefault:
		s.tokens.Add(p[at+8:min(at+8+h.auth, len(p))], in.Dir == observe.ToClient, r)
	}
	if !o.called {
		o.reportBinds(r)
	}
}

// security returns the security context with the given id. It creates one if necessary,
// and returns nil if there are too many.
func (o *observer) security(id uint32) *security {
	for i := range o.secured {
		if o.secured[i].id == id {
			return &o.secured[i]
		}
	}
	if len(o.secured) == maxSecurity {
		return nil
	}
	o.secured = append(o.secured, security{id: id})
	return &o.secured[len(o.secured)-1]
}

// reportBinds reports the security contexts until a call is seen. A bind without
// authentication does not determine the protection of later calls.
func (o *observer) reportBinds(r *observe.Report) {
	o.retractBinds(r)
	add := func(name, value string) {
		if value != "" && !r.Has(name, value) {
			r.Add(name, value)
			o.fromBind = append(o.fromBind, observe.Fact{Name: name, Value: value})
		}
	}
	for i := range o.secured {
		s := &o.secured[i]
		add(observe.Auth, s.mechanism(nil, 0))
		add(AuthLevel, levels[s.level])
		if s.level >= levelIntegrity {
			add(observe.Encryption, encryption(s.level))
		}
	}
}

func (o *observer) retractBinds(r *observe.Report) {
	r.RemoveAll(o.fromBind)
	o.fromBind = o.fromBind[:0]
}

// protection reports how a call is authenticated and protected, according to its
// sec_trailer, given with the beginning of its token. Responses count only if no request
// is seen, because faults need not have the protection of their calls.
//
// A call without a sec_trailer is not protected. It is not authenticated either, unless
// there is a security context of level connect, for which implementations other than
// Windows send no sec_trailer. The absence of such a context is certain only if the
// beginning of the connection was seen.
func (o *observer) protection(h *header, in *observe.Input, trailer []byte, r *observe.Report) {
	if h.ptype == request {
		o.asked = true
	} else if o.asked {
		return
	}
	var k callKey
	if trailer != nil {
		k = callKey{trailer: true, typ: trailer[0], level: trailer[1], id: h.u32(trailer[4:])}
		if int(k.level) >= len(levels) {
			return
		}
	} else {
		k.certain = o.dirs[in.Dir].whole
		for i := range o.secured {
			if s := &o.secured[i]; s.level == levelConnect || s.level == levelDefault {
				k = callKey{trailer: true, typ: s.typ, level: s.level, id: s.id}
			}
		}
	}
	if o.called && k == o.last {
		return
	}
	if !o.called {
		o.retractBinds(r)
	}
	o.called, o.last = true, k
	if !k.trailer {
		r.Add(observe.Encryption, "none")
		if k.certain {
			r.Add(observe.Auth, "none")
			r.Add(AuthLevel, levels[levelNone])
		}
		return
	}
	s := &security{typ: k.typ}
	for i := range o.secured {
		if o.secured[i].id == k.id && o.secured[i].typ == k.typ {
			s = &o.secured[i]
		}
	}
	var token []byte
	if trailer != nil {
		token = trailer[8:]
	}
	r.Add(observe.Auth, s.mechanism(token, h.auth))
	r.Add(AuthLevel, levels[k.level])
	r.Add(observe.Encryption, encryption(k.level))
}
