package pop3

import (
	"testing"

	"github.com/exspan/exspan/classify/observe"
	. "github.com/exspan/exspan/classify/observe/observetest"
)

const greeting2010 = "+OK The Microsoft Exchange POP3 service is ready.\r\n"

var facts2010 = []string{"pop3.banner=The Microsoft Exchange POP3 service is ready.", "pop3.capability=TOP", "pop3.capability=UIDL",
	"pop3.capability=SASL", "pop3.capability=USER", "pop3.capability=STLS", "pop3.mechanisms=NTLM", "pop3.mechanisms=GSSAPI",
	"pop3.mechanisms=PLAIN"}

func with(facts []string, more ...string) []string {
	return append(append([]string(nil), facts...), more...)
}

func after(s ...Segment) []Segment {
	return append([]Segment{ToClient(greeting2010), ToServer("CAPA\r\n"),
		ToClient("+OK\r\nTOP\r\nUIDL\r\nSASL NTLM GSSAPI PLAIN\r\nUSER\r\nSTLS\r\n.\r\n")}, s...)
}

var conversations = []Conversation{
	{Name: "STLS", Conv: after(ToServer("STLS\r\n"), ToClient("+OK Begin TLS negotiation.\r\n"), ToServer("\x16\x03\x01")),
		Want: with(facts2010, "pop3.tls=starttls"), Err: observe.ErrUpgrade},
	{Name: "STLS refused", Conv: after(ToServer("STLS\r\n"), ToClient("-ERR no\r\n"), ToServer("QUIT\r\n"), ToClient("+OK bye\r\n")),
		Want: with(facts2010, "pop3.tls=refused")},
	{Name: "USER and PASS", Conv: after(ToServer("USER user\r\n"), ToClient("+OK\r\n"), ToServer("PASS pass word\r\n"),
		ToClient("+OK User successfully logged on.\r\n"),
		ToServer("STLS\r\n")), Want: with(facts2010, "pop3.tls=offered", "auth=user-pass", "encryption=none"), Err: observe.ErrDone},
	{Name: "USER refused", Conv: after(ToServer("USER user\r\n"), ToClient("-ERR Command is not valid in this state.\r\n")),
		Want: with(facts2010, "pop3.tls=offered")},
	{Name: "APOP, pipelined", Conv: []Segment{ToClient("+OK POP3 server ready <1896.697170952@mail.example.com>\r\n"),
		ToServer("APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\nSTAT\r\n"), ToClient("+OK\r\n+OK 1 369\r\n")},
		Want: []string{"pop3.banner=POP3 server ready", "auth=digest", "encryption=none"}, Err: observe.ErrDone},
	{Name: "AUTH NTLM", Conv: after(ToServer("AUTH\r\n"), ToClient("+OK\r\nNTLM\r\nGSSAPI\r\n.\r\n"), ToServer("AUTH NTLM\r\n"),
		ToClient("+ \r\n"),
		ToServer("TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAGAbEdAAAADw==\r\n"),
		ToClient("+ TlRMTVNTUAACAAAAAAAAAAAAAAAFAoqiMTIzNDU2NzgAAAAAAAAAAAAAAAAAAAAABgGxHQAAAA8=\r\n"), ToServer("AAAA\r\n"),
		ToClient("+OK\r\n")),
		Want: with(facts2010, "pop3.tls=offered", "auth=ntlm", "encryption=none", "ntlm.windows=6.1.7601"), Err: observe.ErrDone},
	{Name: "AUTH PLAIN refused", Conv: after(ToServer("AUTH PLAIN\r\n"), ToClient("-ERR no\r\n"), ToServer("QUIT\r\n")),
		Want: with(facts2010, "pop3.tls=offered")},
	{Name: "late", Conv: []Segment{ToServer("RETR 1\r\n"), ToClient("+OK\r\nCAPA\r\nSTLS\r\n.\r\n")}, Options: Options{Midstream: true},
		Want: []string{"encryption=none"}, Err: observe.ErrDone},
	{Name: "late, in a message", Conv: []Segment{ToClient("some text\r\n+OK really\r\n.\r\n"), ToServer("what\r\nPASS pass\r\n")},
		Options: Options{Midstream: true}, Want: []string{"auth=user-pass", "encryption=none"}},
	{Name: "gap", Conv: after(Lost(observe.ToClient, 9), ToServer("PASS pass\r\n"), ToClient("+OK\r\n"), ToServer("QUIT\r\n")),
		Want: with(facts2010, "pop3.tls=offered", "auth=user-pass", "encryption=none"), Err: observe.ErrDone},
	{Name: "USER lost", Conv: after(Lost(observe.ToServer, 11), ToClient("+OK\r\n"), ToServer("PASS word\r\n"), ToClient("+OK\r\n")),
		Want: with(facts2010, "pop3.tls=offered", "auth=user-pass", "encryption=none"), Err: observe.ErrDone},
	{Name: "answers in a message that was lost in part", Conv: after(ToServer("RETR 1\r\n"), Lost(observe.ToClient, 20),
		ToClient("+OK this is text\r\n-ERR\r\nSTLS\r\n.\r\n"), ToServer("CAPA\r\n"), ToClient("+OK\r\nEXPIRE\r\n.\r\n")),
		Want: with(facts2010, "pop3.capability=EXPIRE", "pop3.tls=none")},
	{Name: "answer to STLS lost", Conv: after(ToServer("STLS\r\n"), Lost(observe.ToClient, 20), ToServer("\x16\x03\x01")),
		Want: with(facts2010, "pop3.tls=starttls"), Err: observe.ErrUpgrade},
	{Name: "decrypted", Conv: after(ToServer("STLS\r\n"), ToClient("+OK\r\n"), ToServer("USER user\r\n"), ToClient("+OK\r\n"),
		ToServer("PASS word\r\n"), ToClient("+OK\r\n")),
		Want: with(facts2010, "pop3.tls=starttls", "tls.decrypted=yes", "auth=user-pass"), Err: observe.ErrDone},
	{Name: "client only", Conv: []Segment{ToServer("AUTH PLAIN\r\n"), ToServer("AHVzZXIAcGFzcw==\r\n"), ToServer("STAT\r\n")},
		Want: []string{"auth=plain", "encryption=none"}},
	{Name: "Exchange 2000", Conv: []Segment{ToClient("+OK Microsoft Exchange 2000 POP3 server version 6.0.6249.0 (mb1.example.com) ready.\r\n")},
		Want: []string{"pop3.banner=Microsoft Exchange 2000 POP3 server version 6.0.6249.0 ready.", "exchange.version=6.0.6249.0"}},
	{Name: "not POP3", Conv: []Segment{ToClient("220 mail ESMTP\r\n")}, Err: observe.ErrViolation},
}

func TestConversations(t *testing.T) {
	CheckAll(t, Protocol(), conversations, "mrose", "word")
}

// TestSameEvidence verifies that evidence of a role does not depend on Report.Identities.
func TestSameEvidence(t *testing.T) {
	SameEvidence(t, Protocol(), after(), Options{}, Banner, Capability)
}

func TestDetect(t *testing.T) {
	tests := []struct {
		toServer, toClient string
		onPort             bool
		want               observe.Match
	}{
		{"", greeting2010, false, observe.Yes},
		{"", "+O", true, observe.More},
		{"RETR 1\r\n", "", true, observe.Yes},
		{"RETR 1\r\n", "", false, observe.More},
		{"GET / HTTP/1.1\r\n", "", true, observe.No},
		{"HELLO\r\n", "", true, observe.No},
		{"", "* OK\r\n", true, observe.No},
		{"", "+PONG\r\n", true, observe.No},
		{"\x16\x03\x01", "", true, observe.No},
		{"", "+OK\r\n", false, observe.More},
		{"", "+OK Dovecot ready.\r\n", false, observe.More},
		{"CAPA\r\n", "+OK Dovecot ready.\r\n", false, observe.Yes},
		{"", "+OK <1896.697170952@mail.example.com>\r\n", false, observe.Yes},
		{"*1\r\n$4\r\nPING\r\n", "+OK\r\n", false, observe.No},
	}
	for _, tt := range tests {
		if got := Detect(&observe.First{ToServer: []byte(tt.toServer), ToClient: []byte(tt.toClient), OnPort: tt.onPort}); got != tt.want {
			t.Errorf("%q %q on port %v: %d, want %d", tt.toServer, tt.toClient, tt.onPort, got, tt.want)
		}
	}
}

func TestCorpus(t *testing.T) {
	file := Corpus(t, "pop-imap/pop-ssl.pcapng")
	rows := Tshark(t, file, "pop.request.command == \"STLS\"", []string{"tcp.stream"})
	if len(rows) != 1 {
		t.Fatalf("tshark reads %d STLS", len(rows))
	}
	for _, f := range Flows(t, file, "tcp.port == 110") {
		r := Check(t, Protocol(), f.Segments, f.Options())
		Expect(t, r, "pop3.banner=Dovecot (Ubuntu) ready.", "pop3.tls=starttls")
		if r.Err != observe.ErrUpgrade || r.NextAt[observe.ToClient] != 29+32 { // the lengths of both answers
			t.Errorf("ended with %v at %v", r.Err, r.NextAt)
		}
	}
}

func FuzzObserve(f *testing.F) { Fuzz(f, Protocol(), Seeds(conversations)...) }
