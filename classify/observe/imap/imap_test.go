package imap

import (
	"strings"
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

var conversations = []struct {
	name string
	conv []Segment
	o    Options
	want []string
	err  error
}{
	{name: "STARTTLS", conv: after(ToServer("A2 STARTTLS\r\n"), ToClient("A2 OK Begin TLS negotiation now.\r\n"), ToServer("\x16\x03\x01")),
		want: with(facts2010, "imap.tls=starttls"), err: observe.ErrUpgrade},
	{name: "STARTTLS refused", conv: after(ToServer("A2 STARTTLS\r\n"), ToClient("A2 BAD no\r\n"), ToServer("A3 LOGOUT\r\n"),
		ToClient("* BYE\r\nA3 OK\r\n")),
		want: with(facts2010, "imap.tls=refused")},
	{name: "LOGIN", conv: after(ToServer("A2 LOGIN user pass\r\n"), ToClient("A2 OK LOGIN completed.\r\n"), ToServer("A3 SELECT INBOX\r\n")),
		want: with(facts2010, "imap.tls=offered", "auth=login", "encryption=none"), err: observe.ErrDone},
	{name: "LOGIN by literals", conv: after(ToServer("A2 LOGIN {4}\r\n"), ToClient("+ go\r\n"), ToServer("us\r\n {13}\r\n"),
		ToClient("+ go\r\n"),
		ToServer("A3 STARTTLS\r\n\r\n"), ToClient("A2 NO failed\r\n"), ToServer("A4 STARTTLS\r\n"), ToClient("A4 OK begin\r\n")),
		want: with(facts2010, "imap.tls=starttls", "auth=login", "encryption=none"), err: observe.ErrUpgrade},
	{name: "LOGIN by literals at once", conv: after(ToServer("A2 LOGIN {4+}\r\nuser {4+}\r\npass\r\n"), ToClient("A2 OK\r\n")),
		want: with(facts2010, "imap.tls=offered", "auth=login", "encryption=none"), err: observe.ErrDone},
	{name: "literal refused", conv: after(ToServer("A2 LOGIN {4}\r\n"), ToClient("A2 BAD LOGINDISABLED\r\n"), ToServer("A3 STARTTLS\r\n"),
		ToClient("A3 OK go\r\n")), want: with(facts2010, "imap.tls=starttls"), err: observe.ErrUpgrade},
	{name: "AUTHENTICATE PLAIN", conv: after(ToServer("A2 AUTHENTICATE PLAIN\r\n"), ToClient("+\r\n"), ToServer("AHVzZXIAcGFzcw==\r\n"),
		ToClient("A2 OK done\r\n")), want: with(facts2010, "imap.tls=offered", "auth=plain", "encryption=none"), err: observe.ErrDone},
	{name: "AUTHENTICATE refused before anything was sent", conv: after(ToServer("A2 AUTHENTICATE PLAIN\r\n"), ToClient("A2 NO\r\n"),
		ToServer("A3 LOGOUT\r\n")), want: with(facts2010, "imap.tls=offered")},
	{name: "AUTHENTICATE NTLM", conv: after(ToServer("A2 AUTHENTICATE NTLM\r\n"), ToClient("+\r\n"),
		ToServer("TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAGAbEdAAAADw==\r\n"),
		ToClient("+ TlRMTVNTUAACAAAAAAAAAAAAAAAFAoqiMTIzNDU2NzgAAAAAAAAAAAAAAAAAAAAABgGxHQAAAA8=\r\n"), ToServer("*\r\n"),
		ToClient("A2 BAD cancelled\r\n")),
		want: with(facts2010, "imap.tls=offered", "auth=ntlm", "encryption=none", "ntlm.windows=6.1.7601")},
	{name: "capabilities in the greeting",
		conv: []Segment{ToClient("* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] Dovecot (Ubuntu) ready.\r\n")},
		want: []string{"imap.banner=Dovecot (Ubuntu) ready.", "imap.capability=IMAP4REV1", "imap.capability=LOGINDISABLED", "imap.tls=none"}},
	{name: "late", conv: []Segment{ToServer("A7 UID FETCH 1:* (BODY[])\r\n"),
		ToClient("* 1 FETCH (BODY[] {30}\r\nA7 OK\r\n* CAPABILITY STARTTLS\r\n\r\n)\r\nA7 OK done\r\n")},
		o: Options{Midstream: true}, want: []string{"encryption=none"}, err: observe.ErrDone},
	{name: "late, in a message", conv: []Segment{ToServer("some text\r\nA1 LOGIN user pass\r\n"),
		ToClient("* CAPABILITY IMAP4\r\n* 1 FETCH (BODY[] {5}\r\n")},
		o: Options{Midstream: true}},
	{name: "gap", conv: after(Lost(observe.ToServer, 9), ToServer("A2 LOGIN user pass\r\n")), want: with(facts2010, "imap.tls=offered"),
		err: observe.ErrDone},
	{name: "not IMAP", conv: []Segment{ToClient("220 mail ESMTP\r\n")}, err: observe.ErrViolation},
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
				if strings.Contains(l, "user") || strings.Contains(l, "pass") {
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

// TestCorpus: the capability list is the text of the frame as tshark shows it.
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

func FuzzObserve(f *testing.F) {
	var seeds [][]Segment
	for _, c := range conversations {
		seeds = append(seeds, c.conv)
	}
	Fuzz(f, Protocol(), seeds...)
}
