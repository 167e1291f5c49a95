package ldap

import "strings"

// maxRDNs is the maximum number of parts of a name that are read.
const maxRDNs = 64

// namingContext reduces a distinguished name (RFC 4514) to the part that may be kept: the
// naming context and, within the configuration context, the container of Exchange
// ([MS-ADTS] section 3.1.1.1.5, CN=Microsoft Exchange under the services container). It
// writes attribute types in upper case, domain components in lower case, and known
// containers in the directory's spelling. It returns "…" for a name of any other form.
//
//	OU=Sales,DC=Example,DC=COM                  DC=example,DC=com
//	CN=x,CN=Schema,CN=Configuration,DC=e,DC=com CN=Schema,CN=Configuration,DC=e,DC=com
func namingContext(dn string) string {
	if after, ok := strings.CutPrefix(dn, "<"); ok {
		// <GUID=...>, <SID=...> and <WKGUID=...,name> ([MS-ADTS] section 3.1.1.3.1.2.4).
		if len(after) < 7 || !strings.EqualFold(after[:7], "WKGUID=") {
			return unknown
		}
		_, dn, _ = strings.Cut(strings.TrimSuffix(after, ">"), ",")
	}
	parts := split(dn)
	if len(parts) == 0 {
		return unknown
	}
	n := len(parts)
	var kept string
	for n > 0 && parts[n-1].typ == "DC" {
		n--
		kept = join("DC="+strings.ToLower(parts[n].value), kept)
	}
	if kept == "" {
		// X.500 names of the Exchange 5.5 directory, or partitions of AD LDS.
		for n > 0 && (parts[n-1].typ == "O" || parts[n-1].typ == "C") {
			n--
			kept = join(parts[n].typ+"="+parts[n].value, kept)
		}
	}
	if kept == "" && n > 0 {
		switch last := parts[n-1]; {
		case last.is("OU", "MSExchangeGateway"):
			return "OU=MSExchangeGateway"
		case n > 1 && last.typ == "CN" && strings.HasPrefix(last.value, "{") && parts[n-2].is("CN", "Configuration"):
			n--
			kept = "CN=" + last.value
		default:
			return unknown
		}
	}
	if n == 0 || !parts[n-1].is("CN", "Configuration") {
		return kept
	}
	kept = join("CN=Configuration", kept)
	switch {
	case n > 1 && parts[n-2].is("CN", "Schema"):
		return join("CN=Schema", kept)
	case n > 2 && parts[n-2].is("CN", "Services") && parts[n-3].is("CN", "Microsoft Exchange"):
		return join("CN=Microsoft Exchange,CN=Services", kept)
	}
	return kept
}

// unknown replaces names that are not kept.
const unknown = "…"

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + "," + b
}

// rdn is one part of a name.
type rdn struct{ typ, value string }

func (r rdn) is(typ, value string) bool { return r.typ == typ && strings.EqualFold(r.value, value) }

// split splits a name at its commas. Values remain escaped. It returns nil if dn is not a
// name.
func split(dn string) []rdn {
	var parts []rdn
	for start, i := 0, 0; i <= len(dn); i++ {
		if i < len(dn) {
			if dn[i] == '\\' {
				i++
				continue
			}
			if dn[i] != ',' && dn[i] != ';' {
				continue
			}
		}
		typ, value, ok := strings.Cut(dn[start:min(i, len(dn))], "=")
		if !ok || len(parts) == maxRDNs {
			return nil
		}
		parts = append(parts, rdn{strings.ToUpper(strings.TrimSpace(typ)), strings.TrimSpace(value)})
		start = i + 1
	}
	return parts
}
