package observe

import (
	"slices"
	"strings"
)

// The names of facts that several protocols report or that rules judge. A protocol's
// package names the facts that only it reports.
const (
	// Auth is the mechanism that authenticated the client: none, anonymous, basic, login,
	// plain, digest, forms, ntlm, kerberos, negotiate, certificate ...
	Auth = "auth"
	// Encryption is the protection of the payload: none, tls, rpc-privacy, rpc-integrity,
	// sasl-sealed, sasl-signed, smb3, srtp, net.tcp ...
	Encryption = "encryption"

	RPCUUID       = "rpc.uuid"       // interface that the server accepted: "a4f1db00-ca47-1067-b31f-00dd010662da v0.81"
	RPCBanner     = "rpc.banner"     // greeting of RPC over HTTP: "ncacn_http/1.0"
	RPCInterface  = "rpc.interface"  // its short name, which the engine adds: "emsmdb"
	RPCAnnotation = "rpc.annotation" // the endpoint mapper's text for a service; used only in rules
	RPCAuthLevel  = "rpc.auth_level" // authentication level of calls: none, connect, call, packet, integrity, privacy
	NTLMVersion   = "ntlm.version"   // NTLM version: "1" (with or without session security), "2"
	TLSVersion    = "tls.version"    // negotiated version: "1.2"
	TLSCipher     = "tls.cipher"     // IANA name of the negotiated cipher suite
	SMBVersion    = "smb.version"    // dialect: "1", "2.0.2", "2.1", "3.0", "3.0.2", "3.1.1"

	// DNSService is what rules call HostName.Service. It is a fact of the host named, and
	// no flow has it.
	DNSService = "dns.service"

	// ExchangeVersion is the build number that a server states. It has the form of
	// Microsoft's list: "15.1.2507.6", never "15.01.2507.006". See Build.
	ExchangeVersion = "exchange.version"
	// ClientVersion is the build number that a client states. The client is Outlook, or
	// an Exchange server that calls another one.
	ClientVersion = "mapi.client_version"
)

// Build returns the build number b, of two to four parts, without leading zeros
// ("15.02.2562.037" becomes "15.2.2562.37"). It returns "" if b is not a build number.
func Build(b []byte) string { return string(AppendBuild(nil, b)) }

// AppendBuild appends the result of Build for b to dst.
func AppendBuild(dst, b []byte) []byte {
	if len(b) > 24 {
		return dst
	}
	out := dst
	dots, digits := 0, 0
	for i, c := range b {
		switch {
		case c == '.':
			if digits == 0 {
				return dst
			}
			dots, digits = dots+1, 0
		case c < '0' || c > '9':
			return dst
		case c == '0' && digits == 0 && i+1 < len(b) && b[i+1] != '.':
			continue // a leading zero
		default:
			digits++
		}
		out = append(out, c)
	}
	if digits == 0 || dots == 0 || dots > 3 {
		return dst
	}
	return out
}

// Limits of the facts of one flow.
const (
	MaxFactValues = 64  // values of all attributes
	MaxFactLength = 200 // bytes of one value
)

// Fact is one value of one attribute.
type Fact struct {
	Name, Value string
}

// Facts is a small set of values per attribute, in the order in which they were added.
// The zero value is an empty set. A copy is independent of the original.
type Facts struct {
	list *List // nil for none
	// Dropped counts the values that a limit refused.
	Dropped uint32
	// Changed is set when Add adds a new fact. The owner clears it.
	Changed bool
}

// Add adds value to the set of name unless it is already there. It cuts value to
// MaxFactLength bytes and replaces control characters by spaces. It ignores empty values.
func (f *Facts) Add(name, value string) {
	if value != "" {
		f.addNext(name, value)
	}
}

func (f *Facts) addNext(name, value string) {
	if f.list != nil {
		// Most flows report what the flow before them reported.
		if next := f.list.next; next != nil && next.last.Value == value && next.last.Name == name {
			f.list, f.Changed = next, true
			return
		}
	}
	f.add(name, value)
}

// AddBytes is like Add, but does not allocate a string if a similar flow reported the
// same value before.
func (f *Facts) AddBytes(name string, value []byte) {
	if f.AddAgain(name, value) {
		return
	}
	if f.list != nil && len(value) > 0 {
		if l := f.list.knownBytes(name, value); l != nil {
			f.list, f.Changed = l, true
			return
		}
	}
	f.add(name, string(value))
}

// AddAgain adds value if the last flow with the same facts so far added it next. It
// reports whether it added value. If so, the observer need not check the value.
func (f *Facts) AddAgain(name string, value []byte) bool {
	if f.list == nil {
		return false
	}
	next := f.list.next
	if next == nil || string(value) != next.last.Value || next.last.Name != name {
		return false
	}
	f.list, f.Changed = next, true
	return true
}

func (f *Facts) add(name, value string) {
	if value == "" || f.Has(name, value) {
		return
	}
	if f.list != nil {
		if l := f.list.known(Fact{name, value}); l != nil {
			f.list, f.Changed = l, true
			return
		}
	}
	if !isClean(value) {
		if value = clean(value); f.Has(name, value) {
			return
		}
	}
	if f.Len() >= MaxFactValues {
		f.Dropped, f.Changed = f.Dropped+1, true
		return
	}
	f.list, f.Changed = f.list.with(Fact{name, value}), true
}

// Has reports whether value is in the set of name.
func (f *Facts) Has(name, value string) bool { return f.list.Has(name, value) }

// Any reports whether name has any value.
func (f *Facts) Any(name string) bool { return f.list.Any(name) }

// Values returns the values of name in the order in which they were added.
func (f *Facts) Values(name string) []string {
	var v []string
	for _, x := range f.All() {
		if x.Name == name {
			v = append(v, x.Value)
		}
	}
	return v
}

// Remove removes value from the set of name. An observer calls it when later bytes are
// more precise: auth "negotiate" turns out to be "kerberos".
func (f *Facts) Remove(name, value string) {
	if f.Has(name, value) {
		f.list, f.Changed = f.list.without(Fact{name, value}), true
	}
}

// RemoveAll removes several facts.
func (f *Facts) RemoveAll(facts []Fact) {
	if slices.ContainsFunc(facts, func(x Fact) bool { return f.Has(x.Name, x.Value) }) {
		f.list, f.Changed = f.list.without(facts...), true
	}
}

// All returns all facts in the order in which they were added. The caller must not change
// the slice.
func (f *Facts) All() []Fact { return f.list.All() }

// Len returns the number of values.
func (f *Facts) Len() int { return len(f.All()) }

// Keep notes that the owner keeps the facts, and returns how many bytes are held for
// that which were not: none if another flow keeps the same list.
func (f *Facts) Keep() int {
	if f.Len() == 0 {
		return 0
	}
	if f.list.kept++; f.list.kept > 1 {
		return 0
	}
	return int(f.list.size)
}

// Drop notes that the owner of facts that Keep was called for does not keep them any
// more, and returns how many bytes are held no longer.
func (f *Facts) Drop() int {
	if f.Len() == 0 {
		return 0
	}
	if f.list.kept--; f.list.kept > 0 {
		return 0
	}
	return int(f.list.size)
}

// Size returns about how many bytes the facts take. Flows with equal facts can share
// them.
func (f *Facts) Size() int {
	if f.Len() == 0 {
		return 0
	}
	return int(f.list.size)
}

// List returns the list of all facts, or nil if there are none. Equal lists hold equal
// facts. Equal facts usually, but not always, have equal lists.
func (f *Facts) List() *List {
	if f.Len() == 0 {
		return nil
	}
	return f.list
}

// isClean reports whether clean would leave s unchanged, as it does with nearly all
// values.
func isClean(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return len(s) <= MaxFactLength
}

// clean returns s as valid UTF-8 of at most MaxFactLength bytes without control
// characters, so that it fits on a line of output.
func clean(s string) string {
	if len(s) > MaxFactLength {
		s = s[:MaxFactLength]
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s), "?")
}
