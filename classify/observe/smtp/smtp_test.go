package smtp

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	. "github.com/exspan/exspan/classify/observe/observetest"
)

const (
	greeting = "220 hub1.example.com Microsoft ESMTP MAIL Service ready at Sat, 21 Nov 2026 20:31:04 +0000\r\n"
	// The keywords that an Exchange 2010 Hub Transport server offers on port 25.
	ehlo2010 = "250-hub1.example.com Hello [192.0.2.10]\r\n250-SIZE\r\n250-PIPELINING\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n" +
		"250-STARTTLS\r\n250-X-ANONYMOUSTLS\r\n250-AUTH NTLM\r\n250-X-EXPS GSSAPI NTLM\r\n250-8BITMIME\r\n250-BINARYMIME\r\n" +
		"250-CHUNKING\r\n250-XEXCH50\r\n250-XRDST\r\n250 XSHADOW\r\n"
	// A server of Exchange 2003. Microsoft KB 812455 lists the verbs.
	greeting2003 = "220 mb1.example.com Microsoft ESMTP MAIL Service, Version: 6.0.3790.1830 ready at  Sat, 21 Nov 2026 20:31:04 +0000\r\n"
	ehlo2003     = "250-mb1.example.com Hello [192.0.2.10]\r\n250-TURN\r\n250-X-EXPS GSSAPI NTLM LOGIN\r\n250-X-EXPS=LOGIN\r\n" +
		"250-AUTH GSSAPI NTLM LOGIN\r\n250-AUTH=LOGIN\r\n250-X-LINK2STATE\r\n250-XEXCH50\r\n250 OK\r\n"
	plain     = "250-relay.example.com\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME\r\n"
	plainOnly = "220 relay.example.com ESMTP Postfix (Debian/GNU)\r\n"
)

var facts2010 = []string{"smtp.banner=Microsoft ESMTP MAIL Service ready", "smtp.keywords=SIZE", "smtp.keywords=PIPELINING",
	"smtp.keywords=DSN",
	"smtp.keywords=ENHANCEDSTATUSCODES", "smtp.keywords=STARTTLS", "smtp.keywords=X-ANONYMOUSTLS", "smtp.keywords=AUTH",
	"smtp.keywords=X-EXPS", "smtp.keywords=8BITMIME", "smtp.keywords=BINARYMIME", "smtp.keywords=CHUNKING", "smtp.keywords=XEXCH50",
	"smtp.keywords=XRDST", "smtp.keywords=XSHADOW", "smtp.mechanisms=NTLM", "smtp.mechanisms=GSSAPI", "smtp.list=complete"}

var facts2003 = []string{"smtp.banner=Microsoft ESMTP MAIL Service, Version: 6.0.3790.1830 ready", "smtp.keywords=TURN", "smtp.keywords=X-EXPS",
	"smtp.keywords=X-EXPS=LOGIN", "smtp.keywords=AUTH", "smtp.keywords=AUTH=LOGIN", "smtp.keywords=X-LINK2STATE", "smtp.keywords=XEXCH50",
	"smtp.mechanisms=GSSAPI", "smtp.mechanisms=NTLM", "smtp.mechanisms=LOGIN", "smtp.tls=none", "smtp.list=complete"}

var factsPlain = []string{"smtp.banner=ESMTP Postfix (Debian/GNU)", "smtp.keywords=PIPELINING", "smtp.keywords=CHUNKING",
	"smtp.keywords=AUTH",
	"smtp.keywords=8BITMIME", "smtp.mechanisms=PLAIN", "smtp.mechanisms=LOGIN", "smtp.tls=none", "smtp.list=complete"}

func with(facts []string, more ...string) []string { return append(slices.Clip(facts), more...) }

// ntlm1 is a negotiate message ([MS-NLMP] section 4.2.2). ntlm2 is a challenge without
// target information.
var (
	ntlm1 = base64.StdEncoding.EncodeToString([]byte("NTLMSSP\x00\x01\x00\x00\x00\x07\x82\x08\xa2" + strings.Repeat("\x00", 16) +
		"\x06\x01\xb1\x1d\x00\x00\x00\x0f"))
	ntlm2 = base64.StdEncoding.EncodeToString([]byte("NTLMSSP\x00\x02\x00\x00\x00" + strings.Repeat("\x00", 8) + "\x05\x02\x8a\xa2" +
		"12345678" + strings.Repeat("\x00", 16) + "\x06\x01\xb1\x1d\x00\x00\x00\x0f"))
)

var conversations = []Conversation{
	{Name: "STARTTLS taken", Conv: []Segment{ToClient(greeting), ToServer("EHLO c.example.com\r\n"), ToClient(ehlo2010),
		ToServer("STARTTLS\r\n"), ToClient("220 2.0.0 SMTP server ready\r\n"), ToServer("\x16\x03\x01")},
		Want: with(facts2010, "smtp.tls=starttls"), Err: observe.ErrUpgrade},
	{Name: "X-ANONYMOUSTLS taken", Conv: []Segment{ToClient(greeting), ToServer("EHLO c.example.com\r\n"), ToClient(ehlo2010),
		ToServer("X-ANONYMOUSTLS\r\n"), ToClient("220 2.0.0 SMTP server ready\r\n"), ToServer("\x16\x03\x01")},
		Want: with(facts2010, "smtp.tls=x-anonymoustls", "smtp.verb=X-ANONYMOUSTLS"), Err: observe.ErrUpgrade},
	{Name: "STARTTLS refused, mail sent nevertheless", Conv: []Segment{ToClient(greeting), ToServer("EHLO c.example.com\r\n"), ToClient(ehlo2010),
		ToServer("STARTTLS\r\n"), ToClient("454 4.7.0 TLS not available\r\n"), ToServer("MAIL FROM:<a@example.com>\r\n"),
		ToClient("250 2.1.0 Sender OK\r\n")},
		Want: with(facts2010, "smtp.tls=refused", "smtp.mail=yes", "encryption=none", "auth=none")},
	{Name: "offered and not used", Conv: []Segment{ToClient(greeting), ToServer("EHLO c.example.com\r\n"), ToClient(ehlo2010),
		ToServer("QUIT\r\n"), ToClient("221 2.0.0 Service closing transmission channel\r\n")}, Want: with(facts2010, "smtp.tls=offered")},
	{Name: "mail refused", Conv: []Segment{ToClient(greeting), ToServer("EHLO c.example.com\r\n"), ToClient(ehlo2010),
		ToServer("MAIL FROM:<a@example.com>\r\n"), ToClient("530 5.7.0 Must issue a STARTTLS command first\r\n")},
		Want: with(facts2010, "smtp.tls=offered", "smtp.mail=yes")},
	{Name: "HELO only", Conv: []Segment{ToClient(greeting2003), ToServer("HELO c\r\n"),
		ToClient("250 mb1.example.com Hello [192.0.2.10]\r\n"),
		ToServer("MAIL FROM: a@example.com\r\n"), ToClient("250 2.1.0  a@example.com....Sender OK\r\n"), ToServer("RCPT TO: b@example.com\r\n"),
		ToClient("250 2.1.5  b@example.com\r\n"), ToServer("DATA\r\n"), ToClient("354 Start mail input; end with <CRLF>.<CRLF>\r\n"),
		ToServer("Subject: x\r\n\r\nSTARTTLS\r\nEHLO x\r\n..\r\nAUTH LOGIN\r\n.\r\n"), ToClient("250 2.6.0 Queued mail for delivery\r\n"),
		ToServer("XEXCH50 10 2\r\n"), ToClient("504 Need to authenticate first\r\n"), ToServer("QUIT\r\n"), ToClient("221 bye\r\n")},
		Want: []string{"smtp.banner=Microsoft ESMTP MAIL Service, Version: 6.0.3790.1830 ready", "smtp.mail=yes", "auth=none", "encryption=none",
			"smtp.verb=XEXCH50"}},
	{Name: "2003 to 2003", Conv: []Segment{ToClient(greeting2003), ToServer("EHLO mb2.example.com\r\n"), ToClient(ehlo2003),
		ToServer("X-EXPS GSSAPI\r\n"), ToClient("334 GSSAPI supported\r\n"), ToServer(ntlm1, "\r\n"), ToClient("334 ", ntlm2, "\r\n"),
		ToServer("X", strings.Repeat("A", 20000), "\r\n"), ToClient("235 2.7.0 Authentication successful\r\n"),
		ToServer("X-LINK2STATE LAST CHUNK={0000006d} MULTI (5) ({00000000051} 0)\r\n"), ToClient("200 LAST_CHUNK={0000002a} MULTI (5)\r\n"),
		ToServer("MAIL FROM:<a@example.com>\r\n"), ToClient("250 2.1.0 ok\r\n"), ToServer("XEXCH50 2104 2\r\n"),
		ToClient("354 Send binary data\r\n"), ToServer(strings.Repeat("STARTTLS\r\nQUIT\r\n", 200)[:2104], "STARTTLS\r\n"),
		ToClient("250 XEXCH50 OK\r\n"), ToClient("220 ready\r\n"), ToServer("\x16\x03\x01")},
		Want: with(slices.DeleteFunc(slices.Clone(facts2003), func(s string) bool { return s == "smtp.tls=none" }),
			"smtp.verb=X-EXPS", "smtp.exps=GSSAPI", "smtp.verb=X-LINK2STATE", "smtp.verb=XEXCH50", "smtp.mail=yes", "auth=ntlm", "encryption=none",
			"ntlm.windows=6.1.7601", "smtp.tls=starttls"), Err: observe.ErrUpgrade},
	{Name: "AUTH LOGIN", Conv: []Segment{ToClient(plainOnly), ToServer("EHLO c\r\n"), ToClient(plain), ToServer("AUTH LOGIN\r\n"),
		ToClient("334 VXNlcm5hbWU6\r\n"), ToServer("dXNlcg==\r\n"), ToClient("334 UGFzc3dvcmQ6\r\n"), ToServer("cGFzcw==\r\n"),
		ToClient("235 2.7.0 Authentication successful\r\n"), ToServer("MAIL FROM:<a@example.com>\r\n"), ToClient("250 ok\r\n")},
		Want: with(factsPlain, "auth=login", "encryption=none", "smtp.mail=yes")},
	{Name: "AUTH PLAIN with initial response", Conv: []Segment{ToClient(plainOnly), ToServer("EHLO c\r\n"), ToClient(plain),
		ToServer("AUTH PLAIN AHVzZXIAcGFzcw==\r\n"), ToClient("535 5.7.8 Error\r\n")}, Want: with(factsPlain, "auth=plain", "encryption=none")},
	{Name: "AUTH not supported", Conv: []Segment{ToClient(plainOnly), ToServer("EHLO c\r\n"), ToClient(plain), ToServer("AUTH NTLM\r\n"),
		ToClient("504 5.5.4 Unrecognized authentication type\r\n"), ToServer("MAIL FROM:<>\r\n"), ToClient("250 ok\r\n")},
		Want: with(factsPlain, "auth=none", "encryption=none", "smtp.mail=yes")},
	{Name: "pipelining and BDAT", Conv: []Segment{ToClient(plainOnly), ToServer("EHLO c\r\n"), ToClient(plain),
		ToServer("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nBDAT 12\r\n",
			"STARTTLS\r\n\r\nBDAT 8 LAST\r\nAUTH x\r\n",
			"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"),
		ToClient("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go on\r\n"),
		ToServer(strings.Repeat("STARTTLS\r\n", 3000), ".\r\nQUIT\r\n"), ToClient("250 queued\r\n221 bye\r\n")},
		Want: with(factsPlain, "auth=none", "encryption=none", "smtp.mail=yes")},
	{Name: "server only", Conv: []Segment{ToClient(plainOnly), ToClient(plain), ToClient("250 ok\r\n"), ToClient("250 ok\r\n"),
		ToClient("354 go on\r\n"),
		ToClient("250-someone <someone@example.com>\r\n250 other\r\n")},
		Want: with(factsPlain, "encryption=none")},
	{Name: "client only", Conv: []Segment{ToServer("EHLO c\r\n"), ToServer("MAIL FROM:<a@example.com>\r\n"),
		ToServer("RCPT TO:<b@example.com>\r\n"),
		ToServer("DATA\r\n"), ToServer(strings.Repeat("STARTTLS\r\n", 2000))}, Want: []string{"smtp.mail=yes", "auth=none", "encryption=none"}},
	{Name: "client only, AUTH LOGIN", Conv: []Segment{ToServer("EHLO c\r\n"), ToServer("AUTH LOGIN\r\n"), ToServer("dXNlcg==\r\n"),
		ToServer("cGFzcw==\r\n"), ToServer("MAIL FROM:<a@example.com>\r\n"), ToServer("DATA\r\n"), ToServer("RSET\r\n"),
		ToServer("QUIT\r\n")}, Want: []string{"smtp.mail=yes", "auth=login", "encryption=none"}},
	{Name: "client only, AUTH refused", Conv: []Segment{ToServer("EHLO c\r\n"), ToServer("AUTH LOGIN\r\n"), ToServer("QUIT\r\n")}},
	{Name: "client only, TLS", Conv: []Segment{ToServer("EHLO c\r\n"), ToServer("STARTTLS\r\n"), ToServer("\x16\x03\x01\x00\x05xxxxx")},
		Want: []string{"smtp.tls=starttls"}, Err: observe.ErrUpgrade},
	{Name: "server only, AUTH LOGIN", Conv: []Segment{ToClient(plainOnly), ToClient(plain), ToClient("334 VXNlcm5hbWU6\r\n"),
		ToClient("334 UGFzc3dvcmQ6\r\n"), ToClient("235 2.7.0 Authentication successful\r\n")},
		Want: with(factsPlain, "auth=login", "encryption=none")},
	{Name: "decrypted", Conv: []Segment{ToClient(greeting), ToServer("EHLO c\r\n"), ToClient(ehlo2010), ToServer("STARTTLS\r\n"),
		ToClient("220 2.0.0 SMTP server ready\r\n"), ToServer("EHLO c\r\n"), ToClient(plain), ToServer("AUTH LOGIN\r\n"),
		ToClient("334 VXNlcm5hbWU6\r\n"), ToServer("dXNlcg==\r\n"), ToClient("334 UGFzc3dvcmQ6\r\n"), ToServer("cGFzcw==\r\n"),
		ToClient("235 ok\r\n"), ToServer("MAIL FROM:<a@example.com>\r\n"), ToClient("250 ok\r\n"), ToServer("DATA\r\n"),
		ToClient("354 go on\r\n"), ToServer("text\r\n.\r\n")},
		Want: with(facts2010, "smtp.mechanisms=PLAIN", "smtp.mechanisms=LOGIN", "smtp.tls=starttls", "tls.decrypted=yes", "auth=login",
			"smtp.mail=yes")},
	{Name: "late, in a message", Conv: []Segment{ToServer("some text\r\nMAIL FROM:<a@example.com>\r\nSTARTTLS\r\n"),
		ToClient("250 queued\r\n")},
		Options: Options{Midstream: true}},
	{Name: "late, at a command", Conv: []Segment{ToServer("MAIL FROM:<a@example.com>\r\n"), ToClient("250 2.1.0 ok\r\n")},
		Options: Options{Midstream: true}, Want: []string{"smtp.mail=yes", "encryption=none"}},
	{Name: "gap before mail", Conv: []Segment{ToClient(plainOnly), ToServer("EHLO c\r\n"), ToClient(plain), Lost(observe.ToServer, 100),
		ToServer("MAIL FROM:<a@example.com>\r\n"), ToClient("250 ok\r\n")}, Want: factsPlain},
	{Name: "gap in a message", Conv: []Segment{ToClient(plainOnly), ToServer("MAIL FROM:<a@example.com>\r\n"), ToClient("250 ok\r\n"),
		ToServer("DATA\r\n"), ToClient("354 go on\r\n"), Lost(observe.ToServer, 100), ToServer("STARTTLS\r\n")},
		Want: []string{"smtp.banner=ESMTP Postfix (Debian/GNU)", "smtp.mail=yes", "auth=none", "encryption=none"}},
	{Name: "end of a message lost", Conv: []Segment{ToClient(plainOnly), ToServer("MAIL FROM:<a@example.com>\r\n"), ToClient("250 ok\r\n"),
		ToServer("DATA\r\n"), ToClient("354 go on\r\n"), ToServer("text"), Lost(observe.ToServer, 100), ToClient("250 queued\r\n"),
		ToServer("X-LINK2STATE\r\n"), ToClient("500 no\r\n")},
		Want: []string{"smtp.banner=ESMTP Postfix (Debian/GNU)", "smtp.mail=yes", "auth=none", "encryption=none", "smtp.verb=X-LINK2STATE"}},
	{Name: "banner lost", Conv: []Segment{Lost(observe.ToClient, len(greeting)), ToServer("EHLO c.example.com\r\n"), ToClient(ehlo2010),
		ToServer("MAIL FROM:<a@example.com>\r\n"), ToClient("250 ok\r\n")},
		Want: append(with(facts2010[1:]), "smtp.tls=offered", "smtp.mail=yes", "encryption=none")},
	{Name: "EHLO lost", Conv: []Segment{ToClient(greeting), Lost(observe.ToServer, 20), ToClient(ehlo2010),
		ToServer("MAIL FROM:<a@example.com>\r\n"), ToClient("250 ok\r\n")},
		Want: with(facts2010, "smtp.tls=offered", "smtp.mail=yes", "encryption=none", "auth=none")},
	{Name: "EHLO lost, which shows late", Conv: []Segment{ToClient(greeting), ToClient(ehlo2010), Lost(observe.ToServer, 20),
		ToServer("MAIL FROM:<a@example.com>\r\n"), ToClient("250 ok\r\n")},
		Want: with(facts2010, "smtp.tls=offered", "smtp.mail=yes", "encryption=none", "auth=none")},
	{Name: "half of a list lost", Conv: []Segment{ToClient(greeting), ToServer("EHLO c\r\n"), Lost(observe.ToClient, 200),
		ToClient("-CHUNKING\r\n250-XEXCH50\r\n250-X-ANONYMOUSTLS\r\n250 XRDST\r\n"), ToServer("QUIT\r\n")},
		Want: []string{"smtp.banner=Microsoft ESMTP MAIL Service ready", "smtp.keywords=XEXCH50", "smtp.keywords=X-ANONYMOUSTLS",
			"smtp.keywords=XRDST"}},
	{Name: "names in an answer to a lost command", Conv: []Segment{ToClient(plainOnly), Lost(observe.ToServer, 20),
		ToClient("250-Jane Doe <jane@example.com>\r\n250-jane\r\n250 john\r\n")},
		Want: []string{"smtp.banner=ESMTP Postfix (Debian/GNU)"}},
	{Name: "AUTH lost, then mail", Conv: []Segment{ToClient(plainOnly), ToServer("EHLO c\r\n"), ToClient(plain), Lost(observe.ToServer, 30),
		Lost(observe.ToClient, 30), ToServer("x\r\n"), ToClient("250 ok\r\n"), ToServer("MAIL FROM:<a@example.com>\r\n"),
		ToClient("250 ok\r\n")}, Want: with(factsPlain, "smtp.mail=yes", "encryption=none")},
	{Name: "answer to EHLO lost, then TLS", Conv: []Segment{ToClient(plainOnly), ToServer("EHLO c\r\n"), Lost(observe.ToClient, 100),
		ToClient("50-SIZE\r\n250 OK\r\n"), ToServer("STARTTLS\r\n"), ToClient("220 go\r\n"), ToServer("\x16\x03\x01")},
		Want: []string{"smtp.banner=ESMTP Postfix (Debian/GNU)", "smtp.tls=starttls"}, Err: observe.ErrUpgrade},
	{Name: "STARTTLS lost", Conv: []Segment{ToClient(greeting), ToServer("EHLO c\r\n"), ToClient(ehlo2010), Lost(observe.ToServer, 10),
		ToClient("220 go\r\n"), ToServer("\x16\x03\x01")}, Want: facts2010, Err: observe.ErrUpgrade},
	{Name: "greeting lost in part, TLS refused", Conv: []Segment{ToClient("220 x"), Lost(observe.ToClient, 20), ToClient("ESMTP\r\n"),
		ToServer("STARTTLS\r\n"),
		ToClient("502 no\r\n"), ToServer("QUIT\r\n"), ToClient("221 bye\r\n")}, Want: []string{"smtp.tls=refused"}},
	{Name: "not SMTP", Conv: []Segment{ToClient("SSH-2.0-OpenSSH_9\r\n")}, Err: observe.ErrViolation},
	{Name: "names on request", Conv: []Segment{ToClient(plainOnly)}, Options: Options{Identities: true},
		Want: []string{"smtp.banner=ESMTP Postfix (Debian/GNU)", "smtp.greeting=relay.example.com ESMTP Postfix (Debian/GNU)"}},
	{Name: "keyword with an underscore", Conv: []Segment{ToClient(plainOnly), ToServer("EHLO c\r\n"),
		ToClient("250-relay.example.com\r\n250-X_PROXY\r\n250 SIZE\r\n")},
		Want: []string{"smtp.banner=ESMTP Postfix (Debian/GNU)", "smtp.keywords=X_PROXY", "smtp.keywords=SIZE", "smtp.list=complete",
			"smtp.tls=none"}},
	{Name: "Exchange 5.5", Conv: []Segment{ToClient("220 mb1.example.com ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2653.13) ready\r\n")},
		Want: []string{"smtp.banner=ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2653.13) ready", "exchange.version=5.5.2653.13"}},
	{Name: "a command directly behind a token that is too long", Conv: []Segment{ToClient(greeting2003), ToServer("EHLO c\r\n"), ToClient(ehlo2003),
		ToServer("X-EXPS GSSAPI\r\n"), ToClient("334 GSSAPI supported\r\n"), ToServer(strings.Repeat("A", 12<<10), "\r\nX-LINK2STATE LAST CHUNK={0}\r\n"),
		ToClient("235 2.7.0 Authentication successful\r\n200 LAST CHUNK={0}\r\n"), ToServer("QUIT\r\n")},
		Want: with(facts2003, "smtp.exps=GSSAPI", "smtp.verb=X-EXPS", "auth=negotiate", "encryption=none", "smtp.verb=X-LINK2STATE")},
	{Name: "masked by a firewall", Conv: []Segment{ToClient("220 ********************************\r\n"), ToServer("EHLO c\r\n")}},
}

func TestConversations(t *testing.T) {
	CheckAll(t, Protocol(), conversations, "@", "dXNlcg")
}

// TestUpgradeOffset verifies that TLS begins directly after the answer.
func TestUpgradeOffset(t *testing.T) {
	answer := "220 2.0.0 Ready to start TLS\r\n"
	r := Check(t, Protocol(), []Segment{ToClient(greeting), ToServer("EHLO c\r\n"), ToClient(ehlo2010), ToServer("STARTTLS\r\n"),
		ToClient(answer, "\x16\x03\x03\x00\x05")}, Options{})
	if want := len(greeting) + len(ehlo2010) + len(answer); r.Next != "tls" || r.NextAt[observe.ToClient] != want {
		t.Errorf("next is %q at %v, want tls at %d", r.Next, r.NextAt, want)
	}
}

// TestSameEvidence verifies that evidence of a role does not depend on Report.Identities.
func TestSameEvidence(t *testing.T) {
	SameEvidence(t, Protocol(), []Segment{ToClient(greeting), ToServer("EHLO c\r\n"), ToClient(ehlo2010)}, Options{}, Banner, Keywords, List, TLS)
}

func TestDetect(t *testing.T) {
	tests := []struct {
		toServer, toClient string
		onPort             bool
		want               observe.Match
	}{
		{"", greeting, false, observe.Yes},
		{"", "220 hub1 ESM", false, observe.More},
		{"", "220 ProFTPD Server\r\n", false, observe.More},
		{"USER x\r\n", "220 ProFTPD Server\r\n", false, observe.No},
		{"EHLO x\r\n", "220 welcome\r\n", false, observe.Yes},
		{"HELO x\r\n", "", false, observe.Yes},
		{"EH", "", false, observe.More},
		{"", "554 no\r\n", true, observe.Yes},
		{"", "554 no\r\n", false, observe.No},
		{"", "SSH-2.0\r\n", true, observe.No},
		{"\x16\x03\x01", "", true, observe.No},
		{"DATA\r\n", "", true, observe.Yes},
		{"DATA\r\n", "", false, observe.No},
		{"GET / HTTP/1.1\r\n", "", true, observe.No},
		{"GET / HTTP/1.1\r\n", greeting, true, observe.Yes},
	}
	for _, tt := range tests {
		if got := Detect(&observe.First{ToServer: []byte(tt.toServer), ToClient: []byte(tt.toClient), OnPort: tt.onPort}); got != tt.want {
			t.Errorf("%q %q on port %v: %d, want %d", tt.toServer, tt.toClient, tt.onPort, got, tt.want)
		}
	}
}

func TestAllocs(t *testing.T) {
	o := Protocol().New()
	var r observe.Report
	var in observe.Input
	say := func(s Segment) {
		in = observe.Input{Dir: s.Dir, Data: s.Data, Handshake: true}
		if n, err := o.Observe(&in, &r); err != nil || n != len(s.Data) {
			t.Fatal(n, err)
		}
	}
	for _, s := range []Segment{ToClient(plainOnly), ToServer("EHLO c\r\n"), ToClient(plain), ToServer("MAIL FROM:<>\r\n"),
		ToClient("250 ok\r\n"),
		ToServer("DATA\r\n"), ToClient("354 go on\r\n")} {
		say(s)
	}
	text := ToServer(strings.Repeat("a line of a message\r\n", 70))
	if n := testing.AllocsPerRun(100, func() { say(text) }); n != 0 {
		t.Errorf("%v allocations per packet of message text", n)
	}
}

// TestCorpus reads captures of real servers and compares keywords and commands with
// tshark's.
func TestCorpus(t *testing.T) {
	for name, want := range map[string][]string{
		"smtp/1flowB.pcap": {"smtp.banner=Microsoft ESMTP MAIL Service, Version: 6.0.3790.1830 ready", "smtp.mail=yes", "auth=none",
			"encryption=none"},
		"smtp/input.pcap": {"smtp.banner=Microsoft ESMTP MAIL Service, Version: 6.0.3790.1830", "smtp.list=complete", "smtp.mail=yes", "auth=none",
			"encryption=none", "smtp.tls=offered"},
		"smtp/smtp-multi-addr.pcap": {"smtp.list=complete", "smtp.banner=Microsoft ESMTP MAIL Service ready", "smtp.mail=yes", "auth=none", "encryption=none",
			"smtp.tls=offered"},
		"smtp/smtp-starttls.pcap": {"smtp.list=complete", "smtp.tls=starttls"},
	} {
		t.Run(name, func(t *testing.T) {
			file := Corpus(t, name)
			keywords := map[string][]string{}
			for _, row := range Tshark(t, file, "smtp.response.code == 250 and smtp.rsp.parameter", []string{"tcp.stream", "smtp.rsp.parameter"}) {
				if len(keywords[row[0]]) > 0 || !strings.Contains(row[1], ",") {
					continue // the answer to EHLO is the first with several lines
				}
				for _, p := range strings.Split(row[1], ",")[1:] {
					// The text of the first line can contain a comma.
					if w, _, _ := strings.Cut(p, " "); w != "OK" && w != "" {
						keywords[row[0]] = append(keywords[row[0]], "smtp.keywords="+w)
					}
				}
			}
			for _, f := range Flows(t, file, "tcp") {
				r := Check(t, Protocol(), f.Segments, f.Options())
				var got, words []string
				for _, l := range r.Lines() {
					switch {
					case strings.HasPrefix(l, "smtp.keywords="):
						words = append(words, l)
					case strings.HasPrefix(l, "smtp.mechanisms="), name == "smtp/smtp-starttls.pcap" && strings.HasPrefix(l, "smtp.banner="):
					default:
						got = append(got, l)
					}
				}
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("stream %d: %q, want %q", f.Stream, got, want)
				}
				expect := keywords[string('0'+byte(f.Stream))]
				slices.Sort(expect)
				if !slices.Equal(words, slices.Compact(expect)) {
					t.Errorf("stream %d: %q, tshark reads %q", f.Stream, words, expect)
				}
			}
		})
	}
}

func FuzzObserve(f *testing.F) { Fuzz(f, Protocol(), Seeds(conversations)...) }
