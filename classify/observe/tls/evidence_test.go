package tls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// TestHostCertificate reads certificates like that of Exchange's setup, and others that
// each differ in one respect.
func TestHostCertificate(t *testing.T) {
	begin := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name    string
		subject pkix.Name
		names   []string
		years   int
		issuer  string
		want    bool
	}{
		{"as setup makes it", pkix.Name{CommonName: "EX1"}, []string{"EX1", "ex1.example.com"}, 5, "", true},
		{"for one year", pkix.Name{CommonName: "EX1"}, []string{"EX1", "ex1.example.com"}, 1, "", false},
		{"with an organisation", pkix.Name{CommonName: "EX1", Organization: []string{"x"}}, []string{"EX1", "ex1.example.com"}, 5, "", false},
		{"without the full name", pkix.Name{CommonName: "EX1"}, []string{"EX1"}, 5, "", false},
		{"with another name", pkix.Name{CommonName: "EX1"}, []string{"EX1", "ex1.example.com", "mail.example.com"}, 5, "", false},
		{"with a domain", pkix.Name{CommonName: "ex1.example.com"}, []string{"ex1.example.com"}, 5, "", false},
		{"of an authority", pkix.Name{CommonName: "EX1"}, []string{"EX1", "ex1.example.com"}, 5, "CA", false},
		{"that signs tokens", pkix.Name{CommonName: "Microsoft Exchange Server Auth Certificate"}, nil, 5, "", false},
	} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: c.subject, DNSNames: c.names, NotBefore: begin,
			NotAfter: begin.AddDate(c.years, 0, 0), IsCA: true, BasicConstraintsValid: true}
		parent := template
		if c.issuer != "" {
			parent = &x509.Certificate{Subject: pkix.Name{CommonName: c.issuer}}
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		for _, identities := range []bool{false, true} {
			r := observe.Report{Identities: identities}
			reportCertificate(der, &r)
			if got := r.Has(Certificate, "host"); got != c.want || !r.Has(Subject, "CN="+c.subject.CommonName) {
				t.Errorf("%s: %q", c.name, r.All())
			}
		}
	}
}

// TestNotRequested drops each record of the server's flight in turn. Only a complete
// flight shows that the server did not request a certificate. Two readings of the same
// bytes must have the same ties.
func TestNotRequested(t *testing.T) {
	self := newCertificate(t, pkix.Name{CommonName: "EX1"}, []string{"EX1", "ex1.example.com"}, nil, nil)
	for _, auth := range []tls.ClientAuthType{tls.NoClientCert, tls.RequestClientCert} {
		conv, _ := handshake(t, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12},
			&tls.Config{Certificates: []tls.Certificate{self}, MaxVersion: tls.VersionTLS12, ClientAuth: auth})
		whole := observetest.Check(t, Protocol(), conv, observetest.Options{})
		want := "not-requested"
		if auth == tls.RequestClientCert {
			want = "requested"
		}
		if got := whole.Facts.Values(ClientCertificate); !slices.Equal(got, []string{want}) {
			t.Errorf("%v: %q", auth, got)
		}
		again := observetest.Run(Protocol(), conv, observetest.Options{Midstream: true})
		randoms := slices.DeleteFunc(slices.Clone(whole.Ties), func(t uint64) bool { return t&observe.SessionTie != 0 })
		if len(randoms) != 2 || !slices.Equal(whole.Ties, again.Ties) || randoms[0] == randoms[1] {
			t.Errorf("ties %x and %x", whole.Ties, again.Ties)
		}
		for i, s := range conv {
			if s.Dir != observe.ToClient || i > 3 {
				continue
			}
			for at := 0; at < len(s.Data); at += 40 {
				n := min(40, len(s.Data)-at)
				cut := slices.Clone(conv[:i])
				if at > 0 {
					cut = append(cut, observetest.Segment{Dir: s.Dir, Data: s.Data[:at]})
				}
				cut = append(cut, observetest.Lost(s.Dir, n))
				if at+n < len(s.Data) {
					cut = append(cut, observetest.Segment{Dir: s.Dir, Data: s.Data[at+n:]})
				}
				cut = append(cut, conv[i+1:]...)
				r := observetest.Run(Protocol(), cut, observetest.Options{})
				for _, l := range r.Lines() {
					if !slices.Contains(whole.Lines(), l) {
						t.Errorf("%v: %d bytes lost at %d give %s", auth, n, at, l)
					}
				}
			}
		}
	}
}

// TestSessionTies resumes a session of TLS 1.2 by its ticket: both connections carry the
// same session tie. A session of TLS 1.3 has none, and another one not the same.
func TestSessionTies(t *testing.T) {
	self := newCertificate(t, pkix.Name{CommonName: "EX1"}, []string{"EX1"}, nil, nil)
	session := func(client, server *tls.Config) (ties []uint64) {
		conv, _ := handshake(t, client, server)
		for _, tie := range observetest.Check(t, Protocol(), conv, observetest.Options{}).Ties {
			if tie&observe.SessionTie != 0 {
				ties = append(ties, tie)
			}
		}
		return ties
	}
	configs := func(version uint16) (client, server *tls.Config) {
		return &tls.Config{InsecureSkipVerify: true, MaxVersion: version, ServerName: "ex1", ClientSessionCache: tls.NewLRUClientSessionCache(1)},
			&tls.Config{Certificates: []tls.Certificate{self}, MaxVersion: version}
	}
	client, server := configs(tls.VersionTLS12)
	first, resumed := session(client, server), session(client, server)
	if !slices.ContainsFunc(first, func(tie uint64) bool { return slices.Contains(resumed, tie) }) {
		t.Errorf("the first connection has the ties %x, the one that resumes it %x", first, resumed)
	}
	other, otherServer := configs(tls.VersionTLS12)
	if ties := session(other, otherServer); slices.ContainsFunc(ties, func(tie uint64) bool { return slices.Contains(first, tie) }) {
		t.Errorf("another session has the ties %x, the first %x", ties, first)
	}
	if ties := session(configs(tls.VersionTLS13)); len(ties) != 0 {
		t.Errorf("a session of TLS 1.3 has the ties %x", ties)
	}
}
