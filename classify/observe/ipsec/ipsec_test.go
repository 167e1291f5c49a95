package ipsec

import (
	"encoding/binary"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// message returns an IKE message with a body of n bytes.
func message(version, exchange byte, n int) []byte {
	b := make([]byte, lenHeader+n)
	b[0], b[17], b[18] = 1, version, exchange
	binary.BigEndian.PutUint32(b[24:], uint32(len(b)))
	return b
}

func TestDetect(t *testing.T) {
	esp := make([]byte, 60)
	binary.BigEndian.PutUint32(esp, 0x12345678)
	cut := message(0x20, 34, 20)
	for _, c := range []struct {
		name     string
		data     []byte
		ike, esp observe.Match
	}{
		{"IKE version 1", message(0x10, 2, 20), observe.Yes, observe.No},
		{"IKE version 2", message(0x20, 34, 20), observe.Yes, observe.No},
		{"behind zeros", append(make([]byte, 4), message(0x20, 35, 20)...), observe.Yes, observe.No},
		{"another length", cut[:len(cut)-1], observe.No, observe.No},
		{"another version", message(0x30, 34, 20), observe.No, observe.No},
		{"another exchange", message(0x20, 4, 20), observe.No, observe.No},
		{"ESP", esp, observe.No, observe.Yes},
		{"nothing", nil, observe.No, observe.No},
		{"it keeps alive", []byte{0xff}, observe.No, observe.No},
	} {
		first := &observe.First{ToServer: c.data, Datagram: true}
		if got := detectIKE(first); got != c.ike {
			t.Errorf("%s: IKE %v, want %v", c.name, got, c.ike)
		}
		if len(c.data) > 1 && c.data[0] == 1 {
			continue // the initiator's SPI can look like an SPI of ESP
		}
		first.OnPort = true
		if got := detectESP(first); got != c.esp {
			t.Errorf("%s: ESP %v, want %v", c.name, got, c.esp)
		}
	}
}

// TestESP verifies that one datagram proves nothing, and that a second one in sequence
// does.
func TestESP(t *testing.T) {
	datagram := func(spi, seq uint32) []byte {
		b := make([]byte, 60)
		binary.BigEndian.PutUint32(b, spi)
		binary.BigEndian.PutUint32(b[4:], seq)
		return b
	}
	for _, c := range []struct {
		name   string
		second []byte
		want   error
		facts  int
	}{
		{"the next one", datagram(0x1000, 8), observe.ErrDone, 1},
		{"some were lost", datagram(0x1000, 80), observe.ErrDone, 1},
		{"the same again", datagram(0x1000, 7), nil, 0},
		{"another SPI", datagram(0x2000, 8), observe.ErrViolation, 0},
		{"it keeps alive", []byte{0xff}, nil, 0},
	} {
		o, r := ESP().New(), &observe.Report{}
		for i, data := range [][]byte{datagram(0x1000, 7), c.second} {
			_, err := o.Observe(&observe.Input{Data: data, Datagram: true}, r)
			if i == 0 && (err != nil || r.Facts.Len() != 0) {
				t.Errorf("%s: the first datagram: %v, %d facts", c.name, err, r.Facts.Len())
			}
			if i == 1 && (err != c.want || r.Facts.Len() != c.facts) {
				t.Errorf("%s: %v, %d facts", c.name, err, r.Facts.Len())
			}
		}
	}
}

func TestIKE(t *testing.T) {
	r := &observe.Report{}
	for _, version := range []byte{0x10, 0x20} {
		if _, err := (ike{}).Observe(&observe.Input{Data: message(version, 2+version/0x20*32, 8), Datagram: true}, r); err != nil {
			t.Error(err)
		}
	}
	if !r.Facts.Has("ike.version", "1") || !r.Facts.Has("ike.version", "2") {
		t.Errorf("facts %v", r.Facts.All())
	}
}

func FuzzIKE(f *testing.F) {
	c, s := observetest.ToServer, observetest.ToClient
	observetest.Fuzz(f, IKE(), []observetest.Segment{c(string(message(0x20, 34, 20))), s(string(message(0x20, 34, 40)))},
		[]observetest.Segment{c(string(append(make([]byte, 4), message(0x10, 2, 20)...)))})
}

func FuzzESP(f *testing.F) {
	c, s := observetest.ToServer, observetest.ToClient
	datagram := func(spi, seq uint32) string {
		b := make([]byte, 60)
		binary.BigEndian.PutUint32(b, spi)
		binary.BigEndian.PutUint32(b[4:], seq)
		return string(b)
	}
	observetest.Fuzz(f, ESP(), []observetest.Segment{c(datagram(0x12345678, 1)), c(datagram(0x12345678, 2)), s(datagram(0x87654321, 1)), s(datagram(0x87654321, 9))})
}
