package irc

import (
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

func TestDetect(t *testing.T) {
	const no, more, yes = observe.No, observe.More, observe.Yes
	for _, test := range []struct {
		in           string
		server       bool
		on, anywhere observe.Match
	}{
		{"", false, more, more},
		{"NI", false, more, more},
		{"NICK alice", false, more, more},
		{"NICK alice\r\n", false, yes, yes},
		{"nick alice\n", false, yes, yes},
		{"MODE ISIRCX\r\n", false, yes, yes},
		{"IRCX\r\n", false, yes, yes},
		{"CAP LS 302\r\n", false, yes, yes},
		{"PASS secret\r\n", false, yes, no},
		{"USER alice 0 * :Alice\r\n", false, yes, yes},
		{"USER alice\r\n", false, no, no}, // POP3
		{"GET / HTTP/1.1\r\n", false, no, no},
		{"NICK " + strings.Repeat("x", 600), false, no, no},
		{"NOTICE AUTH :*** Looking up your hostname...\r\n", true, yes, yes},
		{":chat.example.com 001 alice :Welcome\r\n", true, yes, yes},
		{":chat.example.com 800 * 0 0 NTLM,ANON 512 *\r\n", true, yes, yes}, // the answer to IRCX
		{":chat.example.com", true, more, more},
		{":-)\r\n", true, no, no},
		{"220 mail\r\n", true, no, no},
	} {
		for _, on := range []bool{true, false} {
			f := observe.First{ToServer: []byte(test.in), OnPort: on}
			if test.server {
				f = observe.First{ToClient: []byte(test.in), OnPort: on}
			}
			want := test.anywhere
			if on {
				want = test.on
			}
			if got := detect(&f); got != want {
				t.Errorf("%q, on its port %v: %v, want %v", test.in, on, got, want)
			}
		}
	}
}

func TestServer(t *testing.T) {
	for _, c := range [][2]string{
		{":Default-Chat-Community 421 guest IRCX :Unknown command\r\n", "irc.server=Default-Chat-Community"},
		{":irc.example.com 001 alice :Welcome\r\n", ""},
		{":alice!a@example.com NOTICE x :y\r\n", ""},
		{"NOTICE AUTH :*** hello\r\n", ""},
	} {
		r := observetest.Check(t, Protocol(), []observetest.Segment{observetest.ToServer("NICK alice\r\nUSER alice 0 * :Alice\r\n"),
			observetest.ToClient(c[0])}, observetest.Options{})
		var want []string
		if c[1] != "" {
			want = []string{c[1]}
		}
		observetest.Expect(t, r, want...)
	}
}

func FuzzObserve(f *testing.F) {
	observetest.Fuzz(f, Protocol(), []observetest.Segment{observetest.ToServer("NICK alice\r\nUSER alice 0 * :Alice\r\n")},
		[]observetest.Segment{observetest.ToClient("NOTICE AUTH :*** hello\r\n")},
		[]observetest.Segment{observetest.ToClient(":chat.example.com 001 alice :Welcome\r\n")})
}
