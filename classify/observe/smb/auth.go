package smb

import (
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/ntlm"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// authentication tracks the tokens of a session set-up.
type authentication struct {
	tokens    spnego.Context
	logon     bool // an NTLM AUTHENTICATE message was read
	anonymous bool // it had no response to the challenge
	fixed     string
}

// token reads the next token.
func (a *authentication) token(b []byte, fromServer bool, r *observe.Report) {
	if len(b) == 0 {
		return
	}
	i := a.tokens.Add(b, fromServer, r)
	if m := i.NTLM; len(m) >= 24 && binary.LittleEndian.Uint32(m[8:]) == ntlm.Authenticate {
		// An anonymous logon has no response ([MS-NLMP] section 3.2.5.1.2).
		a.logon = true
		a.anonymous = binary.LittleEndian.Uint16(m[20:]) == 0
	}
}

// mechanism returns the mechanism as in observe.Auth, or "" if it is unknown. NTLM may be
// an anonymous logon until its last message is read.
func (a *authentication) mechanism() string {
	switch {
	case a.fixed != "":
		return a.fixed
	case a.tokens.Mechanism == spnego.NTLM && !a.logon:
		return ""
	case a.tokens.Mechanism == spnego.NTLM && a.anonymous:
		return "anonymous"
	}
	return string(a.tokens.Mechanism)
}
