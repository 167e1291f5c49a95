package imap

import (
	"testing"

	"github.com/exspan/exspan/classify/observe"
	. "github.com/exspan/exspan/classify/observe/observetest"
)

const (
	greeting2010 = "* OK The Microsoft Exchange IMAP4 service is ready.\r\n"
	caps         = "* CAPABILITY IMAP4 IMAP4rev1 AUTH=NTLM AUTH=GSSAPI AUTH=PLAIN STARTTLS CHILDREN IDLE NAMESPACE LITERAL+\r\n" +
		"A1 OK CAPABILITY completed.\r\n"
)

var facts2010 = []string{"imap.banner=The Microsoft Exchange IMAP4 service is ready.", "imap.capability=IMAP4",
	"imap.capability=IMAP4REV1",
	"imap.capability=AUTH=NTLM", "imap.capability=AUTH=GSSAPI", "imap.capability=AUTH=PLAIN", "imap.capability=STARTTLS",
	"imap.capability=CHILDREN", "imap.capability=IDLE", "imap.capability=NAMESPACE", "imap.capability=LITERAL+"}

func with(facts []string, more ...string) []string {
	return append(append([]string(nil), facts...), more...)
}

var begin = []Segment{ToClient(greeting2010), ToServer("A1 CAPABILITY\r\n"), ToClient(caps)}

func after(s ...Segment) []Segment { return append(append([]Segment(nil), begin...), s...) }

var conversations = []Conversation{
	{Name: "STARTTLS", Conv: after(ToServer("A2 STARTTLS\r\n"), ToClient("A2 OK Begin TLS negotiation now.\r\n"), ToServer("\x16\x03\x01")),
		Want: with(facts2010, "imap.tls=starttls"), Err: observe.ErrUpgrade},
	{Name: "STARTTLS refused", Conv: after(ToServer("A2 STARTTLS\r\n"), ToClient("A2 BAD no\r\n"), ToServer("A3 LOGOUT\r\n"),
		ToClient("* BYE\r\nA3 OK\r\n")),
		Want: with(facts2010, "imap.tls=refused")},
	{Name: "LOGIN", Conv: after(ToServer("A2 LOGIN user pass\r\n"), ToClient("A2 OK LOGIN completed.\r\n"), ToServer("A3 SELECT INBOX\r\n")),
		Want: with(facts2010, "imap.tls=offered", "auth=login", "encryption=none"), Err: observe.ErrDone},
	{Name: "LOGIN by literals", Conv: after(ToServer("A2 LOGIN {4}\r\n"), ToClient("+ go\r\n"), ToServer("us\r\n {13}\r\n"),
		ToClient("+ go\r\n"),
		ToServer("A3 STARTTLS\r\n\r\n"), ToClient("A2 NO failed\r\n"), ToServer("A4 STARTTLS\r\n"), ToClient("A4 OK begin\r\n"), ToServer("\x16\x03")),
		Want: with(facts2010, "imap.tls=starttls", "auth=login", "encryption=none"), Err: observe.ErrUpgrade},
	{Name: "LOGIN by literals at once", Conv: after(ToServer("A2 LOGIN {4+}\r\nuser {4+}\r\npass\r\n"), ToClient("A2 OK\r\n")),
		Want: with(facts2010, "imap.tls=offered", "auth=login", "encryption=none"), Err: observe.ErrDone},
	{Name: "literal refused", Conv: after(ToServer("A2 LOGIN {4}\r\n"), ToClient("A2 BAD LOGINDISABLED\r\n"), ToServer("A3 STARTTLS\r\n"),
		ToClient("A3 OK go\r\n"), ToServer("\x16\x03")), Want: with(facts2010, "imap.tls=starttls"), Err: observe.ErrUpgrade},
	{Name: "AUTHENTICATE PLAIN", Conv: after(ToServer("A2 AUTHENTICATE PLAIN\r\n"), ToClient("+\r\n"), ToServer("AHVzZXIAcGFzcw==\r\n"),
		ToClient("A2 OK done\r\n")), Want: with(facts2010, "imap.tls=offered", "auth=plain", "encryption=none"), Err: observe.ErrDone},
	{Name: "AUTHENTICATE refused before anything was sent", Conv: after(ToServer("A2 AUTHENTICATE PLAIN\r\n"), ToClient("A2 NO\r\n"),
		ToServer("A3 LOGOUT\r\n")), Want: with(facts2010, "imap.tls=offered")},
	{Name: "AUTHENTICATE NTLM", Conv: after(ToServer("A2 AUTHENTICATE NTLM\r\n"), ToClient("+\r\n"),
		ToServer("TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAGAbEdAAAADw==\r\n"),
		ToClient("+ TlRMTVNTUAACAAAAAAAAAAAAAAAFAoqiMTIzNDU2NzgAAAAAAAAAAAAAAAAAAAAABgGxHQAAAA8=\r\n"), ToServer("*\r\n"),
		ToClient("A2 BAD cancelled\r\n")),
		Want: with(facts2010, "imap.tls=offered", "auth=ntlm", "encryption=none", "ntlm.windows=6.1.7601")},
	{Name: "capabilities in the greeting",
		Conv: []Segment{ToClient("* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] Dovecot (Ubuntu) ready.\r\n")},
		Want: []string{"imap.banner=Dovecot (Ubuntu) ready.", "imap.capability=IMAP4REV1", "imap.capability=LOGINDISABLED", "imap.tls=none"}},
	{Name: "late", Conv: []Segment{ToServer("A7 UID FETCH 1:* (BODY[])\r\n"),
		ToClient("* 1 FETCH (BODY[] {30}\r\nA7 OK\r\n* CAPABILITY STARTTLS\r\n\r\n)\r\nA7 OK done\r\n")},
		Options: Options{Midstream: true}, Want: []string{"encryption=none"}, Err: observe.ErrDone},
	{Name: "late, in a message", Conv: []Segment{ToServer("some text\r\nA1 LOGIN user pass\r\n"),
		ToClient("* CAPABILITY IMAP4\r\n* 1 FETCH (BODY[] {5}\r\n")},
		Options: Options{Midstream: true}},
	{Name: "gap", Conv: after(Lost(observe.ToServer, 9), ToServer("A2 LOGIN user pass\r\n")), Want: with(facts2010, "imap.tls=offered")},
	{Name: "gap, then a turn", Conv: []Segment{ToClient(greeting2010), Lost(observe.ToServer, 9), ToClient(caps),
		ToServer("A2 LOGIN user pass\r\n"), ToClient("A2 OK LOGIN completed.\r\n")},
		Want: with(facts2010, "imap.tls=offered", "auth=login", "encryption=none"), Err: observe.ErrDone},
	{Name: "gap, which shows late", Conv: []Segment{ToClient(greeting2010), ToClient(caps), Lost(observe.ToServer, 9),
		ToServer("A2 LOGIN user pass\r\n"), ToClient("A2 OK LOGIN completed.\r\n")},
		Want: with(facts2010, "imap.tls=offered", "auth=login", "encryption=none"), Err: observe.ErrDone},
	{Name: "banner lost", Conv: []Segment{Lost(observe.ToClient, len(greeting2010)), ToServer("A1 LOGIN user pass\r\n"),
		ToClient("A1 OK LOGIN completed.\r\n")}, Want: []string{"auth=login", "encryption=none"}, Err: observe.ErrDone},
	{Name: "answer to STARTTLS lost", Conv: after(ToServer("A2 STARTTLS\r\n"), Lost(observe.ToClient, 20), ToServer("\x16\x03\x01")),
		Want: with(facts2010, "imap.tls=starttls"), Err: observe.ErrUpgrade},
	{Name: "decrypted", Conv: after(ToServer("A2 STARTTLS\r\n"), ToClient("A2 OK go\r\n"), ToServer("A3 LOGIN user pass\r\n"),
		ToClient("A3 OK LOGIN completed.\r\n")),
		Want: with(facts2010, "imap.tls=starttls", "tls.decrypted=yes", "auth=login"), Err: observe.ErrDone},
	{Name: "client only", Conv: []Segment{ToServer("A1 AUTHENTICATE PLAIN\r\n"), ToServer("AHVzZXIAcGFzcw==\r\n"),
		ToServer("A2 SELECT INBOX\r\n")}, Want: []string{"auth=plain", "encryption=none"}},
	{Name: "client only, literals", Conv: []Segment{ToServer("A1 LOGIN {4}\r\n"), ToServer("user {4}\r\n"), ToServer("pass\r\n")},
		Want: []string{"auth=login", "encryption=none"}},
	{Name: "Exchange Online", Conv: []Segment{ToClient("* OK The Microsoft Exchange IMAP4 service is ready. [TQBOADIAUABSADAAMQBDAEEA]\r\n")},
		Want: []string{"imap.banner=The Microsoft Exchange IMAP4 service is ready. [...]"}},
	{Name: "Exchange 2003, in German", Conv: []Segment{
		ToClient("* OK Microsoft Exchange Server 2003 IMAP4rev1-Server, Version 6.5.7638.1 (mb1.example.com), steht zur Verf\xfcgung.\r\n")},
		Want: []string{"imap.banner=Microsoft Exchange Server 2003 IMAP4rev1-Server, Version 6.5.7638.1 steht zur Verf?gung.",
			"exchange.version=6.5.7638.1"}},
	{Name: "not IMAP", Conv: []Segment{ToClient("220 mail ESMTP\r\n")}, Err: observe.ErrViolation},
}

func TestConversations(t *testing.T) {
	CheckAll(t, Protocol(), conversations, "user", "pass")
}

// TestSameEvidence verifies that evidence of a role does not depend on Report.Identities.
func TestSameEvidence(t *testing.T) {
	SameEvidence(t, Protocol(), begin, Options{}, Banner, Capability)
}

func TestDetect(t *testing.T) {
	tests := []struct {
		toServer, toClient string
		onPort             bool
		want               observe.Match
	}{
		{"", greeting2010, false, observe.Yes},
		{"", "* ", true, observe.More},
		{"", "* 12 EXISTS\r\n", true, observe.Yes},
		{"", "* 12 EXISTS\r\n", false, observe.No},
		{"a LOGIN x y\r\n", "", true, observe.Yes},
		{"a LOGIN x y\r\n", "", false, observe.More},
		{"a LOGIN x y\r\n", "* OK hi\r\n", false, observe.Yes},
		{"GET / HTTP/1.1\r\n", "", true, observe.No},
		{"a001 SELECT INBOX\r\n", "", true, observe.Yes},
		{"\x16\x03\x01", "", true, observe.No},
		{"", "+OK ready\r\n", true, observe.No},
	}
	for _, tt := range tests {
		if got := Detect(&observe.First{ToServer: []byte(tt.toServer), ToClient: []byte(tt.toClient), OnPort: tt.onPort}); got != tt.want {
			t.Errorf("%q %q on port %v: %d, want %d", tt.toServer, tt.toClient, tt.onPort, got, tt.want)
		}
	}
}

// TestCorpus compares the capability list with the text of the frame in tshark.
func TestCorpus(t *testing.T) {
	file := Corpus(t, "pop-imap/imap-starttls.pcap")
	rows := Tshark(t, file, "imap.request.command == \"STARTTLS\" or imap.response.command == \"CAPABILITY\"", []string{"frame.number"})
	for _, f := range Flows(t, file, "tcp.port == 143") {
		r := Check(t, Protocol(), f.Segments, f.Options())
		if r.Err != observe.ErrUpgrade || !r.Facts.Has(TLS, "starttls") || !r.Facts.Has(Capability, "SASL-IR") || len(rows) < 2 {
			t.Errorf("%q, %v", r.Lines(), r.Err)
		}
		tlsRows := Tshark(t, file, "tls", []string{"frame.number"})
		if len(tlsRows) == 0 {
			t.Error("tshark reads no TLS")
		}
	}
}

func FuzzObserve(f *testing.F) { Fuzz(f, Protocol(), Seeds(conversations)...) }
