package tls_test

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/imap"
	"github.com/exspan/exspan/classify/observe/observetest"
	"github.com/exspan/exspan/classify/observe/pop3"
	"github.com/exspan/exspan/classify/observe/smtp"
	"github.com/exspan/exspan/classify/observe/tls"
)

// truth is the expected result for a recorded flow, from the recording script and from
// tshark.
type truth struct {
	Proto, Client, Server, Step string
	Expect                      map[string]string
	Tshark                      map[string][]string
}

// TestRecordedMail reads the recorded sessions of SMTP, IMAP4 and POP3, in clear and with
// TLS, and compares them with the recording scripts and with tshark.
func TestRecordedMail(t *testing.T) {
	const capture = "../../../testdata/mail.pcapng"
	b, err := os.ReadFile("../../../testdata/mail.truth.json")
	if err != nil {
		t.Skip(err)
	}
	observetest.NeedTshark(t)
	var doc struct{ Flows []truth }
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	flows := map[string]*observetest.Flow{}
	for _, f := range observetest.Flows(t, capture, "tcp") {
		flows[f.Client.String()+" "+f.Server.String()] = f
	}
	compared := 0
	for _, want := range doc.Flows {
		p, ok := protocols[want.Server[strings.LastIndexByte(want.Server, ':')+1:]]
		if want.Proto != "tcp" || !ok {
			continue
		}
		compared++
		t.Run(want.Step+" "+want.Client, func(t *testing.T) {
			f := flows[want.Client+" "+want.Server]
			if f == nil {
				t.Fatal("no such flow")
			}
			lines, last := read(t, p, f)
			has := func(name string, value ...string) {
				t.Helper()
				for _, v := range value {
					if !slices.Contains(lines, name+"="+v) {
						t.Errorf("no %s=%s in\n\t%s", name, v, strings.Join(lines, "\n\t"))
					}
				}
				if n := len(values(lines, name)); n > len(value) {
					t.Errorf("%d values of %s in\n\t%s", n, name, strings.Join(lines, "\n\t"))
				}
			}
			for name, v := range want.Expect {
				switch name {
				case "auth":
					if want.Expect["protocol"] == "pop3" && v == "login" {
						v = "user-pass"
					}
					// If the server rejected the mechanism and accepted the mail all the
					// same, both values are correct.
					if got := values(lines, name); slices.Contains(got, "auth=none") && v != "none" {
						lines = slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return l == "auth=none" })
					}
					has(name, v)
				case "encryption":
					if v == "tls" && slices.Contains(lines, "auth=certificate") && want.Expect["tls.client_certificate"] != "given" &&
						len(want.Tshark["tls.client_certificate"]) == 0 {
						t.Errorf("a client certificate that tshark does not read")
					}
					has(name, v)
				case "smtp.tls", "tls.version", "tls.server_name":
					has(name, v)
				case "tls.client_certificate":
					has(name, "requested", "given")
					has("auth", "certificate")
				}
			}
			for _, v := range want.Tshark["tls.version"] {
				has(tls.Version, strings.TrimPrefix(v, "TLS "))
			}
			for _, v := range want.Tshark["tls.cipher"] {
				n, err := strconv.ParseUint(v, 0, 16)
				if err != nil {
					t.Fatal(err)
				}
				has(tls.Cipher, tls.CipherName(uint16(n)))
			}
			if v := want.Tshark["tls.server_name"]; len(v) > 0 {
				has(tls.ServerName, v...)
			}
			has(tls.Resumed, want.Tshark["tls.resumed"]...)
			if got, want := len(values(lines, tls.Subject)) > 0, len(want.Tshark["tls.server_certificate"]) > 0; got != want {
				t.Errorf("server certificate read: %v, by tshark: %v", got, want)
			}
			if len(want.Tshark["tls.version"]) > 0 && last != observe.ErrDone {
				t.Errorf("ended with %v", last)
			}
		})
	}
	if compared < 30 {
		t.Errorf("%d flows compared", compared)
	}
}

// protocols maps the ports of the recordings to protocols.
var protocols = map[string]observe.Protocol{
	"25": smtp.Protocol(), "587": smtp.Protocol(), "465": tls.Protocol(), "143": imap.Protocol(), "993": tls.Protocol(),
	"110": pop3.Protocol(),
	"995": tls.Protocol(),
}

func values(lines []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, name+"=") })
}

// read runs p over a flow, and tls after an upgrade.
func read(t *testing.T, p observe.Protocol, f *observetest.Flow) (lines []string, last error) {
	t.Helper()
	r := observetest.Check(t, p, f.Segments, f.Options())
	lines = r.Lines()
	if r.Err != observe.ErrUpgrade {
		return lines, r.Err
	}
	skip := r.NextAt
	var rest []observetest.Segment
	for _, s := range f.Segments {
		n := min(skip[s.Dir], len(s.Data))
		skip[s.Dir] -= n
		if s.Data = s.Data[n:]; len(s.Data) > 0 {
			rest = append(rest, s)
		}
	}
	r = observetest.Check(t, tls.Protocol(), rest, f.Options())
	return append(lines, r.Lines()...), r.Err
}
