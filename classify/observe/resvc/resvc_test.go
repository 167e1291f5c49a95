package resvc

import (
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// hello has the form in the service probes of Nmap.
const hello = "{0000004c} NODEINFO (5) {38}Version: 6.5.6940.0 Microsoft Routing Server ready\r\n  "

func TestGreeting(t *testing.T) {
	c, s := observetest.ToServer, observetest.ToClient
	for _, test := range []struct {
		name string
		conv []observetest.Segment
		want []string
		err  error
	}{
		{"version", []observetest.Segment{s(hello)}, []string{"resvc.version=6.5.6940.0", "exchange.version=6.5.6940.0"}, observe.ErrDone},
		{"the client first", []observetest.Segment{c("{00000010} NODEINFO ("), s(hello)}, []string{"resvc.version=6.5.6940.0", "exchange.version=6.5.6940.0"}, observe.ErrDone},
		{"no version", []observetest.Segment{s("{4c} NODEINFO (5) {38}Hello\r\n")}, nil, observe.ErrDone},
		{"no end", []observetest.Segment{s("{4c} NODEINFO (5) {38}", strings.Repeat("x", 600))}, nil, observe.ErrDone},
		{"not it", []observetest.Segment{s("{\"json\": 1}")}, nil, observe.ErrViolation},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), test.conv, observetest.Options{})
			observetest.Expect(t, r, test.want...)
			if r.Err != test.err {
				t.Errorf("ends with %v, want %v", r.Err, test.err)
			}
		})
	}
}

func TestDetect(t *testing.T) {
	for in, want := range map[string]observe.Match{
		"": observe.More, "{": observe.More, "{0000004c} NODE": observe.More, hello: observe.Yes, "{}": observe.No, "{0000004c}\r\n": observe.No,
		"{0000004cc": observe.No, "220 mail": observe.No,
	} {
		if got := detect(&observe.First{ToClient: []byte(in)}); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

func FuzzObserve(f *testing.F) {
	observetest.Fuzz(f, Protocol(), []observetest.Segment{observetest.ToClient(hello)})
}
