package ldap

import (
	"bytes"
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/der"
)

// wantedEntry returns the number of bytes of a SearchResultEntry to read. They end with
// its name, except that the root DSE, which has no name, is read completely. The message
// has minOp bytes or is complete.
func (o *observer) wantedEntry(m *message) int {
	_, head, n, err := der.Header(m.body)
	want := int(ops[opEntry].wanted)
	switch {
	case err != nil:
	case n == 0 && o.nRoots < maxRoots:
		want = maxRoot
	case n > 0 && n <= maxBase && o.nEntries < maxEntries:
		want = max(want, m.at+head+n)
	}
	return min(m.size, want)
}

// entry reads the name of a SearchResultEntry (RFC 4511 section 4.5.2), and the
// attributes of the root DSE that describe the server.
func (o *observer) entry(b []byte, r *observe.Report) {
	tag, head, length, err := der.Header(b)
	if err != nil || tag != der.OctetString {
		return
	}
	b = b[head:]
	if length > 0 {
		if o.nEntries < maxEntries && length <= len(b) && length <= maxBase {
			o.nEntries++
			if nc := namingContext(string(b[:length])); nc != unknown {
				r.Add(Entry, nc)
			}
		}
		return
	}
	if o.nRoots == maxRoots {
		return // wantedEntry does not wait for its attributes
	}
	o.nRoots++
	attributes, _, _ := der.Next(b)
	for rest := attributes.Body; ; {
		var attribute der.Element
		var ok bool
		if attribute, rest, ok = der.Next(rest); !ok {
			return
		}
		typ, vals, ok := der.Next(attribute.Body)
		if !ok {
			return
		}
		if n := len(typ.Body); n != len("supportedCapabilities") && n != len("isGlobalCatalogReady") && n != len("netlogon") {
			continue // most attributes
		}
		set, _, _ := der.Next(vals)
		for values := set.Body; ; {
			var v der.Element
			if v, values, ok = der.Next(values); !ok {
				break
			}
			root(typ.Body, v.Body, r)
		}
	}
}

// root reads one value of an attribute of the root DSE.
func root(typ, value []byte, r *observe.Report) {
	switch {
	case bytes.EqualFold(typ, []byte("supportedCapabilities")):
		switch string(value) {
		case "1.2.840.113556.1.4.800": // LDAP_CAP_ACTIVE_DIRECTORY_OID
			r.Add(Capability, "active-directory")
		case "1.2.840.113556.1.4.1851": // LDAP_CAP_ACTIVE_DIRECTORY_ADAM_OID
			r.Add(Capability, "ad-lds")
		}
	case bytes.EqualFold(typ, []byte("isGlobalCatalogReady")):
		if string(value) == "TRUE" {
			r.Add(GlobalCatalog, "ready")
		}
	case bytes.EqualFold(typ, []byte("netlogon")):
		// NETLOGON_SAM_LOGON_RESPONSE_EX: Opcode, Sbz, Flags ([MS-ADTS] section 6.3.1.9).
		// The opcodes are those of a response, of a response from a paused server, and of
		// a response to an unknown user.
		if len(value) < 8 || value[0] < 23 || value[0] > 25 || value[1] != 0 {
			return
		}
		flags := binary.LittleEndian.Uint32(value[4:])
		for _, f := range [...]struct {
			bit  uint32
			name string
		}{{1, "pdc"}, {4, "gc"}, {8, "ldap"}, {0x10, "ds"}, {0x20, "kdc"}} {
			if flags&f.bit != 0 {
				r.Add(Netlogon, f.name)
			}
		}
	}
}
