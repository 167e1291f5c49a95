package tls

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/netip"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/observe"
)

// certificate holds the outer fields of RFC 5280 section 4.1. It is parsed with
// encoding/asn1 instead of crypto/x509 because few fields are needed, and because
// certificates with unusual keys or extensions must be reported too.
type certificate struct {
	TBS struct {
		Version      int `asn1:"optional,explicit,default:0,tag:0"`
		Serial       asn1.RawValue
		Algorithm    asn1.RawValue
		Issuer       asn1.RawValue
		Validity     asn1.RawValue
		Subject      asn1.RawValue
		PublicKey    asn1.RawValue
		IssuerUnique asn1.BitString   `asn1:"optional,tag:1"`
		Unique       asn1.BitString   `asn1:"optional,tag:2"`
		Extensions   []pkix.Extension `asn1:"optional,explicit,tag:3"`
	}
	Algorithm asn1.RawValue
	Signature asn1.RawValue
}

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// reportCertificate reports the names in a server certificate. It omits what it cannot
// parse.
func reportCertificate(der []byte, r *observe.Report) {
	var c certificate
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		return
	}
	self := c.selfIssued()
	if self {
		r.Add(SelfSigned, "yes")
	}
	var rdn pkix.RDNSequence
	var name pkix.Name
	if _, err := asn1.Unmarshal(c.TBS.Subject.FullBytes, &rdn); err == nil {
		name.FillFromRDNSequence(&rdn)
		if name.CommonName != "" && !strings.Contains(name.CommonName, "@") {
			r.Add(Subject, "CN="+name.CommonName)
		}
		if r.Identities {
			r.Add(SubjectDN, rdn.String())
		}
	}
	names := c.names()
	for _, n := range names {
		r.Add(SAN, n)
	}
	if self && len(rdn) == 1 && c.years() == 5 && isHost(name.CommonName, names) {
		r.Add(Certificate, "host")
	}
}

// selfIssued reports whether subject and issuer are the same.
func (c *certificate) selfIssued() bool {
	return bytes.Equal(c.TBS.Subject.FullBytes, c.TBS.Issuer.FullBytes)
}

// years returns the number of years, at most 20, for which the certificate is valid, or 0
// if it differs from a whole number by two days or more.
func (c *certificate) years() int {
	var valid struct{ From, To time.Time }
	if _, err := asn1.Unmarshal(c.TBS.Validity.FullBytes, &valid); err != nil {
		return 0
	}
	for n := 1; n <= 20; n++ {
		if d := valid.To.Sub(valid.From.AddDate(n, 0, 0)); d > -48*time.Hour && d < 48*time.Hour {
			return n
		}
	}
	return 0
}

// isHost reports whether a certificate belongs to one host: its common name has no
// domain, and its alternative names are that name with and without a domain.
func isHost(common string, names []string) bool {
	if common == "" || strings.ContainsAny(common, ". @*") {
		return false
	}
	short, full := false, false
	for _, n := range names {
		switch {
		case strings.EqualFold(n, common):
			short = true
		case len(n) > len(common) && strings.EqualFold(n[:len(common)], common) && n[len(common)] == '.':
			full = true
		default:
			return false
		}
	}
	return short && full
}

// names returns the DNS names and addresses of the subject alternative name, at
// most maxNames.
func (c *certificate) names() (list []string) {
	for _, e := range c.TBS.Extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names asn1.RawValue
		if _, err := asn1.Unmarshal(e.Value, &names); err != nil || !names.IsCompound {
			return list
		}
		for rest := names.Bytes; len(list) < maxNames && len(rest) > 0; {
			var n asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &n); err != nil {
				return list
			}
			if n.Class != asn1.ClassContextSpecific {
				continue
			}
			switch n.Tag { // GeneralName, RFC 5280 section 4.2.1.6
			case 2:
				if printable(n.Bytes) {
					list = append(list, string(n.Bytes))
				}
			case 7:
				if a, ok := netip.AddrFromSlice(n.Bytes); ok {
					list = append(list, a.String())
				}
			}
		}
		return list
	}
	return list
}

// reportClient reports whether a client certificate is self-issued, as those of direct
// trust are. It does not report names, which can be those of people.
func reportClient(der []byte, r *observe.Report) {
	var c certificate
	if _, err := asn1.Unmarshal(der, &c); err == nil && c.selfIssued() {
		r.Add(ClientSelfSigned, "yes")
	}
}
