package socks

import (
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// Captured messages of curl 7.88 through microsocks 1.0 and Dante 1.4.
const (
	hello5      = "\x05\x02\x00\x01"
	helloUser5  = "\x05\x03\x00\x01\x02"
	connect5    = "\x05\x01\x00\x01\x7f\x00\x00\x01\x20\xfb"
	connectTo5  = "\x05\x01\x00\x03\x09localhost\x20\xfb"
	granted5    = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	notAllowed5 = "\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"
	connect4    = "\x04\x01\x20\xfb\x7f\x00\x00\x01\x00"
	connectTo4  = "\x04\x01\x20\xfb\x00\x00\x00\x01\x00localhost\x00"
	given4      = "\x00\x5a\x20\xfb\x7f\x00\x00\x01"
	notGiven4   = "\x00\x5b\x00\x00\x00\x00\x00\x00"
	clientHello = "\x16\x03\x01\x02\x00"
)

func TestConversations(t *testing.T) {
	c, s := observetest.ToServer, observetest.ToClient
	long := strings.Repeat("n", 255)
	for _, test := range []struct {
		name string
		conv []observetest.Segment
		want []string
		err  error
	}{
		{"version 5", []observetest.Segment{c(hello5), s("\x05\x00"), c(connect5), s(granted5), c(clientHello)},
			[]string{"socks.reply=granted", "socks.version=5"}, observe.ErrUpgrade},
		{"version 5 to a name, not TLS", []observetest.Segment{c(hello5), s("\x05\x00"), c(connectTo5), s(granted5), c("GET / HTTP/1.1\r\n")},
			[]string{"socks.reply=granted", "socks.version=5"}, observe.ErrDone},
		{"the server behind the proxy speaks first", []observetest.Segment{c(hello5), s("\x05\x00"), c(connect5), s(granted5 + "220 mail\r\n")},
			[]string{"socks.reply=granted", "socks.version=5"}, observe.ErrDone},
		{"a password", []observetest.Segment{c(helloUser5), s("\x05\x02"), c("\x01\x03bob\x06secret"), s("\x01\x00"), c(connect5), s(granted5), c(clientHello)},
			[]string{"auth=user-pass", "socks.reply=granted", "socks.version=5"}, observe.ErrUpgrade},
		{"a wrong password", []observetest.Segment{c(helloUser5), s("\x05\x02"), c("\x01\x03bob\x05wrong"), s("\x01\x01")}, []string{"socks.version=5"}, observe.ErrDone},
		{"the longest name and password", []observetest.Segment{c(helloUser5), s("\x05\x02"), c("\x01\xff" + long + "\xff" + long), s("\x01\x00")},
			[]string{"auth=user-pass", "socks.version=5"}, nil},
		{"no method", []observetest.Segment{c(hello5), s("\x05\xff")}, []string{"socks.version=5"}, observe.ErrDone},
		{"refused", []observetest.Segment{c(hello5), s("\x05\x00"), c(connect5), s(notAllowed5)}, []string{"socks.reply=refused", "socks.version=5"}, observe.ErrDone},
		{"version 4", []observetest.Segment{c(connect4), s(given4), c(clientHello)}, []string{"socks.reply=granted", "socks.version=4"}, observe.ErrUpgrade},
		{"version 4A, refused", []observetest.Segment{c(connectTo4), s(notGiven4)}, []string{"socks.reply=refused", "socks.version=4a"}, observe.ErrDone},
		{"another protocol answers", []observetest.Segment{c(hello5), s("220 mail\r\n")}, []string{"socks.version=5"}, observe.ErrViolation},
		{"an address of an unknown kind", []observetest.Segment{c(hello5), s("\x05\x00"), c("\x05\x01\x00\x02\x00\x00\x00\x00")}, []string{"socks.version=5"}, observe.ErrViolation},
		{"a lost segment", []observetest.Segment{c(hello5), observetest.Lost(observe.ToClient, 2), c(connect5)}, []string{"socks.version=5"}, observe.ErrDone},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), test.conv, observetest.Options{})
			observetest.Expect(t, r, test.want...)
			if r.Err != test.err {
				t.Errorf("error %v, want %v", r.Err, test.err)
			}
			if test.err == observe.ErrUpgrade && r.Next != "tls" {
				t.Errorf("next is %q", r.Next)
			}
		})
	}
}

func TestDetect(t *testing.T) {
	const no, more, yes = observe.No, observe.More, observe.Yes
	for _, c := range []struct {
		client, proxy string
		on, off       observe.Match
	}{
		{"", "", more, more},
		{hello5[:1], "", more, more},
		{hello5[:3], "", more, more},
		{hello5, "", yes, more},
		{hello5, "\x05", yes, more},
		{hello5, "\x05\x00", yes, yes},
		{hello5, "\x05\xff", yes, yes},
		{hello5, "\x05\x02", yes, no},      // not offered
		{hello5 + connect5, "", yes, more}, // the request does not wait for the answer
		{"\x05\x00\x0b\x03", "", no, no},   // DCE/RPC
		{"\x05\x02\x00\x00", "", no, no},   // the same method twice
		{"\x05\x01\x40", "", no, no},       // an unassigned method
		{connect4, "", yes, more},
		{connect4, given4, yes, yes},
		{connect4, "\x00\x00", yes, no},
		{connectTo4[:12], "", more, more},
		{"\x04\x03\x00\x50\x7f\x00\x00\x01\x00", "", no, no},
		{"\x04\x01\x00\x00\x7f\x00\x00\x01\x00", "", no, no},  // port 0
		{"\x04\x01\x00\x50\x7f\x00\x00\x01\x01x", "", no, no}, // a control character
		{connect4[:8] + strings.Repeat("x", 300), "", no, no}, // a user name that never ends
		{"", "\x05\x00", no, no},
	} {
		for _, on := range []bool{true, false} {
			want := c.off
			if on {
				want = c.on
			}
			f := observe.First{ToServer: []byte(c.client), ToClient: []byte(c.proxy), OnPort: on}
			if got := detect(&f); got != want {
				t.Errorf("%q, %q, on port %t: %d, want %d", c.client, c.proxy, on, got, want)
			}
		}
	}
	if detect(&observe.First{ToServer: []byte(hello5), OnPort: true, Late: true}) != no {
		t.Error("found in the middle of a flow")
	}
}

func FuzzObserve(f *testing.F) {
	c, s := observetest.ToServer, observetest.ToClient
	observetest.Fuzz(f, Protocol(),
		[]observetest.Segment{c(helloUser5), s("\x05\x02"), c("\x01\x03bob\x06secret"), s("\x01\x00"), c(connect5), s(granted5), c(clientHello)},
		[]observetest.Segment{c(connectTo4), s(given4), c(clientHello)})
}
