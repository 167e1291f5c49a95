package tls

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/netip"
	"strings"

	"github.com/exspan/exspan/classify/observe"
)

// certificate holds the outer fields of RFC 5280 section 4.1. It is read with
// encoding/asn1 instead of crypto/x509 because what is wanted is small, and a
// certificate with an odd key or extension is still to be named.
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

// reportCertificate reports the names in a server certificate. What cannot be
// read is left out.
func reportCertificate(der []byte, r *observe.Report) {
	var c certificate
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		return
	}
	if bytes.Equal(c.TBS.Subject.FullBytes, c.TBS.Issuer.FullBytes) {
		r.Add(SelfSigned, "yes")
	}
	var rdn pkix.RDNSequence
	if _, err := asn1.Unmarshal(c.TBS.Subject.FullBytes, &rdn); err == nil {
		var name pkix.Name
		name.FillFromRDNSequence(&rdn)
		switch {
		case r.Identities:
			r.Add(Subject, rdn.String())
		case name.CommonName != "" && !strings.Contains(name.CommonName, "@"):
			r.Add(Subject, "CN="+name.CommonName)
		}
	}
	for _, e := range c.TBS.Extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names asn1.RawValue
		if _, err := asn1.Unmarshal(e.Value, &names); err != nil || !names.IsCompound {
			return
		}
		rest := names.Bytes
		for i := 0; i < maxNames && len(rest) > 0; {
			var n asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &n); err != nil {
				return
			}
			if n.Class != asn1.ClassContextSpecific {
				continue
			}
			switch n.Tag { // GeneralName, RFC 5280 section 4.2.1.6
			case 2:
				if printable(n.Bytes) {
					r.Add(SAN, string(n.Bytes))
					i++
				}
			case 7:
				if a, ok := netip.AddrFromSlice(n.Bytes); ok {
					r.Add(SAN, a.String())
					i++
				}
			}
		}
		return
	}
}
