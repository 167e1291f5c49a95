package h323

import (
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// frame builds a TPKT frame with a Q.931 message (RFC 1006 section 6, H.225.0
// section 7.2): discriminator 8, call reference of two bytes, type.
func frame(kind byte, rest int) string {
	n := headerSize + rest
	return string([]byte{3, 0, byte(n >> 8), byte(n), 8, 2, 0x12, 0x34, kind}) + strings.Repeat("\x00", rest)
}

const keepAlive = "\x03\x00\x00\x04"

func TestCall(t *testing.T) {
	conv := []observetest.Segment{observetest.ToServer(frame(5, 300)), observetest.ToClient(frame(2, 20), keepAlive, frame(1, 20)),
		observetest.ToClient(frame(7, 2000)), observetest.ToServer(keepAlive, frame(0x62, 10)), observetest.ToServer(frame(0x5a, 5))}
	res := observetest.Check(t, Protocol(), conv, observetest.Options{})
	observetest.Expect(t, res, "encryption=none", "h323.message=setup", "h323.message=call-proceeding", "h323.message=alerting",
		"h323.message=connect", "h323.message=facility", "h323.message=release-complete")
	// After a gap nothing more is read in that direction.
	conv[4] = observetest.Lost(observe.ToServer, 3)
	res = observetest.Check(t, Protocol(), append(conv, observetest.ToServer(frame(0x7b, 0))), observetest.Options{})
	if res.Facts.Has(Message, "information") {
		t.Error("read after a gap")
	}
}

func TestDetect(t *testing.T) {
	for text, want := range map[string]observe.Match{
		"":                             observe.More,
		"\x03\x00":                     observe.More,
		frame(5, 10):                   observe.Yes,
		frame(5, 10)[:7]:               observe.More,
		keepAlive:                      observe.More,
		keepAlive + frame(0x5a, 0):     observe.Yes,
		frame(0x44, 10):                observe.No,
		"\x03\x00\x00\x13\x0e\xe0\x00": observe.No, // X.224, with which Remote Desktop begins
		"\x03\x01":                     observe.No,
		"\x03\x00\x00\x05\x08":         observe.No,
		"GET / HTTP/1.1\r\n":           observe.No,
	} {
		if got := detect(&observe.First{ToServer: []byte(text)}); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// TestCorpus reads the call of a third-party capture and compares its message names with
// tshark's.
func TestCorpus(t *testing.T) {
	file := observetest.Corpus(t, "sip-rtp/1filtered.cap")
	for _, f := range observetest.Flows(t, file, "tcp.port == 1720") {
		res := observetest.Check(t, Protocol(), f.Segments, f.Options())
		for _, want := range []string{"call-proceeding", "alerting", "progress", "facility", "connect", "release-complete"} {
			if !res.Facts.Has(Message, want) {
				t.Errorf("no %s in %v", want, res.Facts.All())
			}
		}
	}
}

func FuzzH323(f *testing.F) {
	observetest.Fuzz(f, Protocol(), []observetest.Segment{observetest.ToServer(frame(5, 30)), observetest.ToClient(frame(2, 20), keepAlive,
		"\x03\x01")})
}
