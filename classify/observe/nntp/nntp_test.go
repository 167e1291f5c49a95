package nntp

import (
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	. "github.com/exspan/exspan/classify/observe/observetest"
)

const greeting2003 = "200 NNTP Service 6.0.3790.3959 Version: 6.0.3790.3959 Posting Allowed \r\n"

const banner2003 = "nntp.banner=NNTP Service 6.0.3790.3959 Version: 6.0.3790.3959 Posting Allowed"

const (
	ntlm1 = "TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAGAbEdAAAADw=="
	ntlm2 = "TlRMTVNTUAACAAAAAAAAAAAAAAAFAoqiMTIzNDU2NzgAAAAAAAAAAAAAAAAAAAAABgGxHQAAAA8="
)

var conversations = []Conversation{
	{Name: "AUTHINFO GENERIC NTLM", Conv: []Segment{ToClient(greeting2003), ToServer("MODE READER\r\n"), ToClient(greeting2003),
		ToServer("AUTHINFO GENERIC NTLM\r\n"), ToClient("381 NTLM supported\r\n"), ToServer("AUTHINFO GENERIC ", ntlm1, "\r\n"),
		ToClient("381 ", ntlm2, "\r\n"), ToServer("AUTHINFO GENERIC AAAA\r\n"), ToClient("281 Authentication ok\r\n")},
		Want: []string{banner2003, "auth=ntlm", "encryption=none", "ntlm.windows=6.1.7601"}, Err: observe.ErrDone},
	{Name: "GENERIC not supported", Conv: []Segment{ToClient(greeting2003), ToServer("AUTHINFO GENERIC NTLM\r\n"), ToClient("500 what\r\n"),
		ToServer("QUIT\r\n"), ToClient("205 bye\r\n")}, Want: []string{banner2003}},
	{Name: "USER and PASS", Conv: []Segment{ToClient(greeting2003), ToServer("GROUP private\r\n"), ToClient("480 Logon Required\r\n"),
		ToServer("AUTHINFO USER user\r\n"), ToClient("381 Waiting for password\r\n"), ToServer("AUTHINFO PASS word\r\n"),
		ToClient("281 ok\r\n")},
		Want: []string{banner2003, "auth=user-pass", "encryption=none"}, Err: observe.ErrDone},
	{Name: "SASL", Conv: []Segment{ToClient("201 news.example.com InterNetNews ready (no posting)\r\n"), ToServer("CAPABILITIES\r\n"),
		ToClient("101 Capability list:\r\nVERSION 2\r\nREADER\r\nSTARTTLS\r\nSASL PLAIN CRAM-MD5\r\nAUTHINFO SASL\r\n.\r\n"),
		ToServer("AUTHINFO SASL CRAM-MD5\r\n"), ToClient("383 PDE+\r\n"), ToServer("dXNlcg==\r\n"), ToClient("481 no\r\n"),
		ToServer("STARTTLS\r\n"), ToClient("382 go\r\n"), ToServer("\x16\x03")},
		Want: []string{"nntp.banner=InterNetNews ready (no posting)", "nntp.capability=VERSION", "nntp.capability=READER",
			"nntp.capability=STARTTLS",
			"nntp.capability=SASL", "nntp.capability=AUTHINFO", "nntp.mechanisms=PLAIN", "nntp.mechanisms=CRAM-MD5", "nntp.tls=starttls",
			"auth=digest", "encryption=none"}, Err: observe.ErrUpgrade},
	{Name: "STARTTLS refused", Conv: []Segment{ToClient(greeting2003), ToServer("STARTTLS\r\n"), ToClient("580 no\r\n")},
		Want: []string{banner2003, "nntp.tls=refused"}},
	{Name: "read and post in clear", Conv: []Segment{ToClient(greeting2003), ToServer("LISTGROUP x\r\nGROUP y\r\n"),
		ToClient("211 3 1 3 x\r\n1\r\n2\r\n.\r\n211 3 1 3 y\r\n"), ToServer("ARTICLE 1\r\n"),
		ToClient("220 1 <a@b>\r\n382 go\r\n281 ok\r\n101 list\r\nSTARTTLS\r\n..\r\n.\r\n"), ToServer("POST\r\n"), ToClient("340 go on\r\n"),
		ToServer("Subject: x\r\n\r\nSTARTTLS\r\nAUTHINFO PASS x\r\n.\r\n"), ToClient("240 ok\r\n"), ToServer("POST\r\n"),
		ToClient("440 no\r\n"),
		ToServer("CAPABILITIES\r\n"), ToClient("500 what\r\n")},
		Want: []string{banner2003, "auth=none", "encryption=none"}},
	{Name: "late", Conv: []Segment{ToServer("ARTICLE 5\r\n"), ToClient("220 5 <a@b>\r\ntext\r\n.\r\n")}, Options: Options{Midstream: true},
		Want: []string{"encryption=none"}},
	{Name: "late, in an article", Conv: []Segment{ToServer("text\r\nAUTHINFO PASS x\r\n"), ToClient("some text\r\n")},
		Options: Options{Midstream: true}},
	{Name: "gap", Conv: []Segment{ToClient(greeting2003), Lost(observe.ToServer, 5), ToServer("AUTHINFO PASS x\r\n")},
		Want: []string{banner2003}},
	{Name: "gap, then a turn", Conv: []Segment{ToClient(greeting2003), Lost(observe.ToServer, 5), ToClient("381 more\r\n"),
		ToServer("AUTHINFO PASS word\r\n"), ToClient("281 ok\r\n")},
		Want: []string{banner2003, "auth=user-pass", "encryption=none"}, Err: observe.ErrDone},
	{Name: "end of an article lost", Conv: []Segment{ToClient(greeting2003), ToServer("ARTICLE 1\r\n"), ToClient("220 1 <a@b>\r\nSubject"),
		Lost(observe.ToClient, 100), ToServer("CAPABILITIES\r\n"), ToClient("101 list\r\nSTARTTLS\r\n.\r\n")},
		Want: []string{banner2003, "auth=none", "encryption=none", "nntp.capability=STARTTLS", "nntp.tls=offered"}},
	{Name: "Exchange 5.5", Conv: []Segment{ToClient("200 Microsoft Exchange Internet News Service Version 5.5.2653.23 (posting allowed)\r\n")},
		Want: []string{"nntp.banner=Microsoft Exchange Internet News Service Version 5.5.2653.23 allowed)", "exchange.version=5.5.2653.23"}},
	{Name: "not NNTP", Conv: []Segment{ToClient("* OK\r\n")}, Err: observe.ErrViolation},
}

func TestConversations(t *testing.T) {
	CheckAll(t, Protocol(), conversations, "word", "private")
}

func TestDetect(t *testing.T) {
	tests := []struct {
		toServer, toClient string
		onPort             bool
		want               observe.Match
	}{
		{"", greeting2003, false, observe.Yes},
		{"", "200 OK\r\n", false, observe.No},
		{"", "200 hello\r\n", true, observe.Yes},
		{"MODE READER\r\n", "", true, observe.Yes},
		{"MODE READER\r\n", "", false, observe.More},
		{"GET / HTTP/1.1\r\n", "", true, observe.No},
		{"\x16\x03\x01", "", true, observe.No},
		{"", "HTTP/1.1 200 OK\r\n", true, observe.No},
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
	say(ToClient(greeting2003))
	say(ToServer("ARTICLE 1\r\n"))
	say(ToClient("220 1 <a@b>\r\n"))
	text := ToClient(strings.Repeat("a line of an article\r\n", 60))
	if n := testing.AllocsPerRun(100, func() { say(text) }); n != 0 {
		t.Errorf("%v allocations per packet of an article", n)
	}
}

func FuzzObserve(f *testing.F) { Fuzz(f, Protocol(), Seeds(conversations)...) }
