package judge

import (
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// TestBlind judges flows that were seen whole and the same flows where something kept
// content from being seen.
func TestBlind(t *testing.T) {
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	j, err := New(packs, nil, match.DefaultVersion)
	if err != nil {
		t.Fatal(err)
	}
	set := func(roles ...rules.Role) *match.RoleSet {
		r := match.NewRoleSet(packs.Policy(), match.Certain, [][]rules.Role{roles})
		return &r
	}
	lists := observe.NewFactLists()
	for _, tt := range []struct {
		name           string
		client, server rules.Role
		port           uint16
		protocol       string
		facts          string // pairs of name and value
		blind          Blind
		want           record.Status
		reason         record.Reason
		why            string
	}{
		{"POP3, whole", rules.Client, rules.CAS, 110, "pop3", "", Whole, record.Expected, "", ""},
		{"POP3, cut", rules.Client, rules.CAS, 110, "pop3", "", Truncated, record.Undetermined, record.Truncated, "whether it is encrypted"},
		{"POP3 with TLS, cut", rules.Client, rules.CAS, 110, "pop3", "encryption tls tls.version 1.2", Truncated, record.Expected, "", ""},
		{"POP3, the client's commands", rules.Client, rules.CAS, 110, "pop3", "encryption none auth user-pass", ClientAlone, record.Deviating, "", ""},
		{"POP3, the server's answers", rules.Client, rules.CAS, 110, "pop3", "encryption none", ServerAlone, record.Deviating, "", ""},
		{"a port that nothing was read on, from the middle", rules.Client, rules.CAS, 110, "", "", LateStart, record.Expected, "", ""},
		{"a pipe that was not seen", rules.Admin, rules.Mailbox, 445, "smb", "auth ntlm", ServerAlone, record.Undetermined, record.OneDirection, "2010.mailbox.remote-registry"},
		{"a pipe that was seen", rules.Admin, rules.Mailbox, 445, "smb", "auth ntlm smb.pipe winreg", ServerAlone, record.Expected, "", ""},
		{"junk, whole", rules.Client, rules.Mailbox, 4444, "", "", Whole, record.Unexpected, record.NoPath, ""},
		{"junk, one direction", rules.Client, rules.Mailbox, 4444, "", "", ClientAlone, record.Unexpected, record.NoPath, ""},
		{"junk, cut", rules.Client, rules.Mailbox, 4444, "", "", Truncated, record.Undetermined, record.Truncated, "4444/tcp"},
		{"SSH, cut", rules.Client, rules.Mailbox, 4444, "ssh", "", Truncated, record.Unexpected, record.NoPath, ""},
		{"RPC without its bind, cut", rules.Client, rules.Mailbox, 49155, "dcerpc", "", Truncated, record.Undetermined, record.Truncated, ""},
	} {
		f := lists.Empty()
		words := strings.Fields(tt.facts)
		for i := 0; i < len(words); i += 2 {
			f.Add(words[i], words[i+1])
		}
		v := j.Verdict(&Subject{Client: set(tt.client), Server: set(tt.server), Proto: capture.TCP, Port: tt.port, Protocol: tt.protocol,
			Outcome: record.Answered, Payload: true, Begun: tt.blind != LateStart, Facts: f.List(), Blind: tt.blind})
		if v.Status != tt.want || v.Reason != tt.reason || !strings.Contains(v.Why, tt.why) {
			t.Errorf("%s: %s %s (%s), want %s %s (%s)", tt.name, v.Status, v.Reason, v.Why, tt.want, tt.reason, tt.why)
		}
	}
}
