package pop3

import (
	"strings"
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

var conversations = []struct {
	name string
	conv []Segment
	o    Options
	want []string
	err  error
}{
	{name: "STLS", conv: after(ToServer("STLS\r\n"), ToClient("+OK Begin TLS negotiation.\r\n"), ToServer("\x16\x03\x01")),
		want: with(facts2010, "pop3.tls=starttls"), err: observe.ErrUpgrade},
	{name: "STLS refused", conv: after(ToServer("STLS\r\n"), ToClient("-ERR no\r\n"), ToServer("QUIT\r\n"), ToClient("+OK bye\r\n")),
		want: with(facts2010, "pop3.tls=refused")},
	{name: "USER and PASS", conv: after(ToServer("USER user\r\n"), ToClient("+OK\r\n"), ToServer("PASS pass word\r\n"),
		ToClient("+OK User successfully logged on.\r\n"),
		ToServer("STLS\r\n")), want: with(facts2010, "pop3.tls=offered", "auth=user-pass", "encryption=none"), err: observe.ErrDone},
	{name: "USER refused", conv: after(ToServer("USER user\r\n"), ToClient("-ERR Command is not valid in this state.\r\n")),
		want: with(facts2010, "pop3.tls=offered")},
	{name: "APOP, pipelined", conv: []Segment{ToClient("+OK POP3 server ready <1896.697170952@mail.example.com>\r\n"),
		ToServer("APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\nSTAT\r\n"), ToClient("+OK\r\n+OK 1 369\r\n")},
		want: []string{"pop3.banner=POP3 server ready", "auth=digest", "encryption=none"}, err: observe.ErrDone},
	{name: "AUTH NTLM", conv: after(ToServer("AUTH\r\n"), ToClient("+OK\r\nNTLM\r\nGSSAPI\r\n.\r\n"), ToServer("AUTH NTLM\r\n"),
		ToClient("+ \r\n"),
		ToServer("TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAGAbEdAAAADw==\r\n"),
		ToClient("+ TlRMTVNTUAACAAAAAAAAAAAAAAAFAoqiMTIzNDU2NzgAAAAAAAAAAAAAAAAAAAAABgGxHQAAAA8=\r\n"), ToServer("AAAA\r\n"),
		ToClient("+OK\r\n")),
		want: with(facts2010, "pop3.tls=offered", "auth=ntlm", "encryption=none", "ntlm.windows=6.1.7601"), err: observe.ErrDone},
	{name: "AUTH PLAIN refused", conv: after(ToServer("AUTH PLAIN\r\n"), ToClient("-ERR no\r\n"), ToServer("QUIT\r\n")),
		want: with(facts2010, "pop3.tls=offered")},
	{name: "late", conv: []Segment{ToServer("RETR 1\r\n"), ToClient("+OK\r\nCAPA\r\nSTLS\r\n.\r\n")}, o: Options{Midstream: true},
		want: []string{"encryption=none"}, err: observe.ErrDone},
	{name: "late, in a message", conv: []Segment{ToClient("some text\r\n+OK really\r\n.\r\n"), ToServer("what\r\nPASS pass\r\n")},
		o: Options{Midstream: true}},
	{name: "gap", conv: after(Lost(observe.ToClient, 9), ToServer("PASS pass\r\n")), want: with(facts2010, "pop3.tls=offered"),
		err: observe.ErrDone},
	{name: "not POP3", conv: []Segment{ToClient("220 mail ESMTP\r\n")}, err: observe.ErrViolation},
}

func TestConversations(t *testing.T) {
	for _, tt := range conversations {
		t.Run(tt.name, func(t *testing.T) {
			r := Check(t, Protocol(), tt.conv, tt.o)
			Expect(t, r, tt.want...)
			if r.Err != tt.err {
				t.Errorf("ended with %v, want %v", r.Err, tt.err)
			}
			for _, l := range r.Lines() {
				if strings.Contains(l, "mrose") || strings.Contains(l, "word") {
					t.Errorf("%s was kept", l)
				}
			}
		})
	}
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
		if r.Err != observe.ErrUpgrade || r.NextAt != 29+32 { // the lengths of both answers
			t.Errorf("ended with %v at %d", r.Err, r.NextAt)
		}
	}
}

func FuzzObserve(f *testing.F) {
	var seeds [][]Segment
	for _, c := range conversations {
		seeds = append(seeds, c.conv)
	}
	Fuzz(f, Protocol(), seeds...)
}
