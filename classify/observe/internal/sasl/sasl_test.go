package sasl

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
)

func TestNames(t *testing.T) {
	for in, want := range map[string]string{"ntlm": "NTLM", "X-GOOGLE_TOKEN": "X-GOOGLE_TOKEN", "": "", "a b": "",
		"AVERYLONGMECHANISMNAME": "",
		"user@example.com":       ""} {
		if got := Mechanism([]byte(in)); got != want {
			t.Errorf("mechanism %q is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"PLAIN": "plain", "LOGIN": "login", "NTLM": "ntlm", "GSSAPI": "negotiate",
		"GSS-SPNEGO": "negotiate",
		"CRAM-MD5":   "digest", "DIGEST-MD5": "digest", "XOAUTH2": "oauth", "EXTERNAL": "certificate", "ANONYMOUS": "anonymous"} {
		if got := Word(in); got != want {
			t.Errorf("%s is %q, want %q", in, got, want)
		}
	}
}

// TestExchange reads exchanges given by the client's lines.
func TestExchange(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	ntlm := b64([]byte("NTLMSSP\x00\x01\x00\x00\x00\x07\x82\x08\xa2" + strings.Repeat("\x00", 24)))
	// An initial context token of Kerberos (RFC 4121 section 4.1) whose AP-REQ is cut
	// short.
	kerberos := b64([]byte("\x60\x82\x05\x00\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01\x00\x6e\x82\x04\xf0\x30\x82\x04\xec"))
	tests := []struct {
		name, mechanism string
		before          string
		lines           []string
		want            []string
	}{
		{"nothing sent", "NTLM", "", nil, nil},
		{"cancelled", "NTLM", "", []string{"*"}, nil},
		{"plain", "PLAIN", "", []string{"AHVzZXIAcGFzcw=="}, []string{"plain"}},
		{"empty first response", "EXTERNAL", "", []string{"="}, []string{"certificate"}},
		{"ntlm", "NTLM", "", []string{ntlm}, []string{"ntlm"}},
		{"ntlm in negotiate", "GSSAPI", "", []string{ntlm}, []string{"ntlm"}},
		{"kerberos in negotiate", "GSSAPI", "", []string{kerberos}, []string{"kerberos"}},
		{"unknown token", "GSSAPI", "", []string{"AAAAAAAAAAAAAAAAAAAAAAAA"}, []string{"negotiate"}},
		{"another exchange before", "GSSAPI", "negotiate", []string{kerberos}, []string{"negotiate", "kerberos"}},
		{"no base64", "NTLM", "", []string{strings.Repeat("!", 100)}, []string{"ntlm"}},
	}
	for _, tt := range tests {
		var r observe.Report
		r.Add(observe.Auth, tt.before)
		var e Exchange
		e.Start(tt.mechanism)
		for _, l := range tt.lines {
			e.Client([]byte(l), &r)
		}
		e.End()
		if got := r.Values(observe.Auth); !slices.Equal(got, tt.want) || e.Active {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
