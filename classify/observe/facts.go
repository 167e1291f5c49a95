package observe

import "strings"

// Names of facts that several protocols report, or that are judged. Other facts
// of one protocol are named in its package.
const (
	// Auth is the mechanism that authenticated the client: none, anonymous, basic,
	// login, plain, digest, forms, ntlm, kerberos, negotiate, certificate ...
	Auth = "auth"
	// Encryption is what protects the payload: none, tls, rpc-privacy,
	// rpc-integrity, sasl-sealed, sasl-signed, smb3, srtp, net.tcp ...
	Encryption = "encryption"

	RPCUUID       = "rpc.uuid"       // interfaces that the server accepted: "a4f1db00-ca47-1067-b31f-00dd010662da v0.81"
	RPCInterface  = "rpc.interface"  // the same by short name, given by the engine: "emsmdb"
	RPCAnnotation = "rpc.annotation" // the endpoint mapper's text for a service, in rules only
	RPCAuthLevel  = "rpc.auth_level" // of calls: none, connect, call, packet, integrity, privacy
	NTLMVersion   = "ntlm.version"   // of the protocol: "1" (with or without session security), "2"
	TLSVersion    = "tls.version"    // as negotiated: "1.2"
	TLSCipher     = "tls.cipher"     // as negotiated, by its IANA name
	SMBVersion    = "smb.version"    // dialect: "1", "2.0.2", "2.1", "3.0", "3.0.2", "3.1.1"

	// ExchangeVersion is the build number that a server gives itself, in the form
	// of Microsoft's list: "15.1.2507.6", never "15.01.2507.006". See Build.
	ExchangeVersion = "exchange.version"
	// ClientVersion is the build number that a client gives itself: Outlook's, or
	// that of an Exchange server that calls another.
	ClientVersion = "mapi.client_version"
)

// Build returns a build number of two to four parts without leading zeros in
// them ("15.02.2562.037" becomes "15.2.2562.37"), or "" if b is none.
func Build(b []byte) string { return string(AppendBuild(nil, b)) }

// AppendBuild appends what Build returns to dst.
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

// Limits of what one flow's facts can hold.
const (
	MaxFactValues = 64  // values of all attributes in one flow
	MaxFactLength = 200 // bytes of one value
)

// Fact is one value of one attribute.
type Fact struct {
	Name, Value string
}

// Facts is a small set of values per attribute, in the order they were added.
// The zero value is empty. A copy is a set of its own.
type Facts struct {
	list *List // nil for none
	// Dropped counts the values refused by a limit.
	Dropped uint32
	// Changed is set by every Add of something new and cleared by the owner. The owner
	// of a copy needs a new one only then.
	Changed bool
}

// Add puts value into the set of name, once. Values are cut to MaxFactLength
// bytes, control characters in them become spaces, and empty values are
// ignored.
func (f *Facts) Add(name, value string) {
	if value != "" {
		f.addNext(name, value)
	}
}

func (f *Facts) addNext(name, value string) {
	if f.list != nil {
		// Most flows report what the one before them reported.
		if next := f.list.next; next != nil && next.last.Name == name && next.last.Value == value {
			f.list, f.Changed = next, true
			return
		}
	}
	f.add(name, value)
}

// AddBytes is like Add, but does not allocate a string for a value that a flow like
// this one reported before.
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

// AddAgain adds value if the last flow with the same facts so far added it next, and
// reports whether it did. An observer then need not check the value.
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

// Any reports whether there is any value of name.
func (f *Facts) Any(name string) bool { return f.list.Any(name) }

// Values returns the values of name in the order they were added.
func (f *Facts) Values(name string) []string {
	var v []string
	for _, x := range f.All() {
		if x.Name == name {
			v = append(v, x.Value)
		}
	}
	return v
}

// Remove takes value out of the set of name. Observers use it when they learn
// better: auth "negotiate" turns out to be "kerberos".
func (f *Facts) Remove(name, value string) {
	if f.Has(name, value) {
		f.list, f.Changed = f.list.without(Fact{name, value}), true
	}
}

// All returns every fact in the order added. The slice must not be changed.
func (f *Facts) All() []Fact { return f.list.All() }

// Len returns the number of values.
func (f *Facts) Len() int { return len(f.All()) }

// List returns the list of all facts, or nil if there are none. Equal lists mean
// equal facts; equal facts mostly have equal lists.
func (f *Facts) List() *List {
	if f.Len() == 0 {
		return nil
	}
	return f.list
}

// isClean reports whether clean would not change s. That holds for nearly all values.
func isClean(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return len(s) <= MaxFactLength
}

// clean returns s as valid UTF-8 without control characters, of at most
// MaxFactLength bytes, so that it fits a line of output.
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
