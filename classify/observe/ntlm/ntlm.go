// Package ntlm reads the messages of NTLMSSP ([MS-NLMP] section 2.2.1) that other
// protocols carry. It reports the server's names, the client's intended service, and the
// version of NTLM in the response to the challenge. It never reads users, workstations or
// the responses themselves.
package ntlm

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/exspan/exspan/classify/observe"
)

// Facts of this package.
const (
	Server  = "ntlm.server"       // the server's DNS name, or its NetBIOS name if it has no other
	Domain  = "ntlm.domain"       // the server's domain, in the same form
	Forest  = "ntlm.forest"       // DNS name of the server's forest
	Windows = "ntlm.windows"      // the server's Windows version: "10.0.17763"
	Version = observe.NTLMVersion // of the protocol: "1" (with or without session security), "2"
	Service = "ntlm.service"      // service principal that the client intended: "exchangeMDB/mb1.example.com"
)

// Message types ([MS-NLMP] section 2.2.1).
const (
	Negotiate    = 1
	Challenge    = 2
	Authenticate = 3
)

// The negotiate flags that are used ([MS-NLMP] section 2.2.2.5).
const (
	flagUnicode = 1 << 0
	flagVersion = 1 << 25
)

// AV pair identifiers ([MS-NLMP] section 2.2.2.1).
const (
	avEOL             = 0
	avNBComputerName  = 1
	avNBDomainName    = 2
	avDNSComputerName = 3
	avDNSDomainName   = 4
	avDNSTreeName     = 5
	avTargetName      = 9
)

// Signature begins every message.
const Signature = "NTLMSSP\x00"

// headerLength is the length of the signature and the message type.
const headerLength = 12

// maxPairs is the maximum number of AV pairs that are read. The specification defines
// eleven.
const maxPairs = 32

// Info is the content of one message. Strings are empty if the message does not contain
// them.
type Info struct {
	// Type is Negotiate, Challenge or Authenticate.
	Type uint32
	// The server's names, from a challenge or from the copy of its target information in
	// an NTLMv2 response.
	ComputerName, DomainName          string // NetBIOS
	DNSComputer, DNSDomain, DNSForest string
	// Service is the service principal name of the target in the client's NTLMv2 response
	// (MsvAvTargetName).
	Service string
	// Windows is the server's version in a challenge: "6.1.7601".
	Windows string
	// Version is 1 or 2 for an authenticate message with an NT response, according to the
	// length of the response ([MS-NLMP] sections 2.2.2.6 and 2.2.2.8), and 0 otherwise.
	Version int
}

// Is reports whether b begins with an NTLMSSP message.
func Is(b []byte) bool {
	return len(b) >= len(Signature) && string(b[:len(Signature)]) == Signature
}

// Parse parses the message at the beginning of b. It omits fields that lie beyond the end
// of b or are inconsistent. ok is false if b is not an NTLMSSP message.
func Parse(b []byte) (m Info, ok bool) {
	if !Is(b) || len(b) < headerLength {
		return m, false
	}
	m.Type = binary.LittleEndian.Uint32(b[8:])
	switch m.Type {
	case Negotiate:
	case Challenge:
		m.challenge(b)
	case Authenticate:
		m.authenticate(b)
	default:
		return m, false
	}
	return m, true
}

// challenge parses a CHALLENGE_MESSAGE ([MS-NLMP] section 2.2.1.2).
func (m *Info) challenge(b []byte) {
	if len(b) < 32 {
		return
	}
	flags := binary.LittleEndian.Uint32(b[20:])
	payload := len(b)
	for _, at := range []int{12, 40} {
		if v, off := field(b, at); len(v) > 0 {
			payload = min(payload, off)
		}
	}
	if info, _ := field(b, 40); info != nil {
		m.pairs(info)
	}
	// Servers before Windows 2000 send only a target name. It is ignored because the
	// flags do not reliably state what kind of name it is.
	if flags&flagVersion != 0 && payload >= 56 && len(b) >= 56 && b[48] != 0 {
		m.Windows = strconv.Itoa(int(b[48])) + "." + strconv.Itoa(int(b[49])) + "." + strconv.Itoa(int(binary.LittleEndian.Uint16(b[50:])))
	}
}

// authenticate parses an AUTHENTICATE_MESSAGE ([MS-NLMP] section 2.2.1.3).
func (m *Info) authenticate(b []byte) {
	nt, _ := field(b, 20)
	switch {
	case len(nt) == 24:
		m.Version = 1
	case len(nt) >= 16+28:
		// NTProofStr is followed by the client challenge structure with its versions 1, 1
		// ([MS-NLMP] section 2.2.2.7). The AV pairs begin 28 bytes into that structure.
		if nt[16] != 1 || nt[17] != 1 {
			return
		}
		m.Version = 2
		m.pairs(nt[16+28:])
	}
}

// field returns the payload that the length and offset fields at position at describe,
// and its offset. It returns nil if the payload is not within b.
func field(b []byte, at int) ([]byte, int) {
	if len(b) < at+8 {
		return nil, 0
	}
	n := int(binary.LittleEndian.Uint16(b[at:]))
	off := int64(binary.LittleEndian.Uint32(b[at+4:]))
	if off < int64(at+8) || off+int64(n) > int64(len(b)) {
		return nil, 0
	}
	return b[off : off+int64(n)], int(off)
}

// pairs parses a sequence of AV_PAIR structures ([MS-NLMP] section 2.2.2.1).
func (m *Info) pairs(b []byte) {
	for range maxPairs {
		if len(b) < 4 {
			return
		}
		id, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if b = b[4:]; n > len(b) {
			return
		}
		v := b[:n]
		b = b[n:]
		switch id {
		case avEOL:
			return
		case avNBComputerName:
			m.ComputerName = text(v)
		case avNBDomainName:
			m.DomainName = text(v)
		case avDNSComputerName:
			m.DNSComputer = text(v)
		case avDNSDomainName:
			m.DNSDomain = text(v)
		case avDNSTreeName:
			m.DNSForest = text(v)
		case avTargetName:
			m.Service = text(v)
		}
	}
}

// text decodes UTF-16LE of at most 255 characters. It returns "" for anything else and
// for text with control characters, because that is not a name.
func text(b []byte) string {
	if len(b)%2 != 0 || len(b) > 510 {
		return ""
	}
	var room [255]byte
	for i := range len(b) / 2 { // nearly all names are ASCII
		c := b[2*i]
		if b[2*i+1] != 0 || c >= 0x80 {
			return wide(b)
		}
		if c < ' ' {
			return ""
		}
		room[i] = c
	}
	return string(room[:len(b)/2])
}

// wide does what text does with names that are not ASCII.
func wide(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
		if u[i] < ' ' {
			return ""
		}
	}
	return string(utf16.Decode(u))
}

// Report parses the message at the beginning of b and adds its facts to r. It returns the
// message and whether b starts with one. It leaves observe.Auth to the caller, which
// knows the purpose of the message.
func Report(b []byte, r *observe.Report) (m Info, ok bool) {
	m, ok = Parse(b)
	if !ok {
		return m, false
	}
	r.Add(Server, first(m.DNSComputer, m.ComputerName))
	r.Add(Domain, first(m.DNSDomain, m.DomainName))
	r.Add(Forest, m.DNSForest)
	r.Add(Windows, m.Windows)
	if m.Version > 0 {
		r.Add(Version, strconv.Itoa(m.Version))
	}
	// A service principal has at least two components. A name of one component is that of
	// an account.
	if strings.Contains(m.Service, "/") || r.Identities {
		r.Add(Service, m.Service)
	}
	return m, true
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
