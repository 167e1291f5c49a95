package http_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/dns"
	"github.com/exspan/exspan/classify/observe/http"
	"github.com/exspan/exspan/classify/observe/kerberos"
	"github.com/exspan/exspan/classify/observe/ldap"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// TestRecorded reads the recorded sessions of HTTP, Kerberos, LDAP and DNS. It compares
// the facts with the recording scripts and with tshark.
func TestRecorded(t *testing.T) {
	protocols := map[string]observe.Protocol{
		"http": http.Protocol(), "kerberos": kerberos.Protocol(), "ldap": ldap.Protocol(), "cldap": ldap.Protocol(), "dns": dns.Protocol(),
	}
	// The values according to the recording scripts and tshark, by fact.
	done := []string{
		observe.Auth, observe.Encryption, http.Path, http.Status, ldap.Bind, ldap.TLS, ldap.Base,
	}
	read := map[string]string{
		"http.method": http.Method, "http.host": http.Host, "http.server": http.Server, "kerberos.realm": kerberos.Realm,
		"kerberos.service": kerberos.Service, "ldap.mechanism": ldap.Bind, "ldap.base": ldap.Base,
	}
	files, err := filepath.Glob("../../../testdata/*.truth.json")
	if err != nil || len(files) == 0 {
		t.Skip("no recordings")
	}
	for _, file := range files {
		capture := strings.TrimSuffix(file, ".truth.json") + ".pcapng"
		t.Run(filepath.Base(capture), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var truth struct {
				Flows []struct {
					Proto, Client, Server, Step string
					Expect                      map[string]string
					Tshark                      map[string][]string
				}
			}
			if err := json.Unmarshal(b, &truth); err != nil {
				t.Fatal(err)
			}
			flows := map[string]*observetest.Flow{}
			for _, f := range observetest.Flows(t, capture, "") {
				proto := "tcp "
				if f.UDP {
					proto = "udp "
				}
				flows[proto+f.Client.String()+" "+f.Server.String()] = f
			}
			n := 0
			for _, want := range truth.Flows {
				p, ok := protocols[want.Expect["protocol"]]
				f := flows[want.Proto+" "+want.Client+" "+want.Server]
				if !ok || f == nil || len(f.Segments) == 0 {
					continue
				}
				n++
				r := observetest.Check(t, p, f.Segments, f.Options())
				lines := r.Lines()
				has := func(who, name, value string) {
					t.Helper()
					for _, v := range r.Facts.Values(name) {
						v = strings.TrimSuffix(strings.TrimSuffix(v, "…"), "/")
						value := strings.TrimSuffix(value, "/")
						if strings.EqualFold(v, value) || strings.HasPrefix(v, value+":") && name == ldap.Bind ||
							name == ldap.Base && strings.HasSuffix(strings.ToLower(value), strings.ToLower(v)) {
							return
						}
					}
					t.Errorf("%s (%s > %s): %s has %s=%s, observer reads\n\t%s", want.Step, want.Client, want.Server, who, name, value,
						strings.Join(lines, "\n\t"))
				}
				for _, name := range done {
					v := want.Expect[name]
					switch {
					case v == "":
					case name == observe.Auth && v == "basic" && p.Name == "ldap":
						has("the script", name, "simple") // the name in the script
					case name == observe.Auth && v == "anonymous" || name == ldap.Bind && v == "simple":
						// An anonymous bind to read the root DSE is not authentication:
						// the root DSE is public.
						if !r.Facts.Has(ldap.Bind, "anonymous") {
							has("the script", name, v)
						}
					case name == observe.Encryption && v == "tls":
						if r.Next != "tls" {
							t.Errorf("%s: ended with %v, want an upgrade to TLS", want.Step, r.Err)
						}
					default:
						has("the script", name, v)
					}
				}
				// The protection that the client was configured to use. A client
				// configured to sign also negotiates sealing.
				if v := map[string]string{"seal": "sasl-sealed", "plain": "none"}[want.Expect["wrapping"]]; v != "" {
					has("the script", observe.Encryption, v)
				}
				for field, name := range read {
					for _, v := range want.Tshark[field] {
						switch name {
						case http.Host:
							v, _, _ = strings.Cut(v, ":")
						case ldap.Bind:
							v = "sasl:" + v
						case kerberos.Service:
							// An account, or the ticket in a request for another ticket.
							if !strings.Contains(v, "/") || strings.HasPrefix(v, "krbtgt/") && r.Facts.Has(kerberos.Message, "tgs-req") {
								continue
							}
						}
						if v != "" {
							has("tshark", name, v)
						}
					}
				}
				if want.Expect["finding"] == "none" && slices.Contains(lines, "encryption=none") {
					t.Errorf("%s: expected no findings, observer reads\n\t%s", want.Step, strings.Join(lines, "\n\t"))
				}
			}
			t.Logf("%d flows compared", n)
		})
	}
}
