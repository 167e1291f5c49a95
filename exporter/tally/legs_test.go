package tally

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/record"
)

// addLeg counts a flow that begins at a time, in seconds.
func (t *Tally) addLeg(conversation, client, server string, first int64) {
	c, s := netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)
	t.Add(&record.Record{State: "ended", Conversation: conversation, First: time.Unix(first, 0),
		Client: record.Host{Addr: c.Addr(), Port: c.Port()}, Server: record.Host{Addr: s.Addr(), Port: s.Port()}})
}

// Legs come in any order. A flow whose other leg never comes counts nothing.
func TestJoined(t *testing.T) {
	var x Tally
	add := x.addLeg
	add("a", "10.0.0.100:3001", "10.0.0.11:80", 2) // the inner leg first
	add("a", "10.0.9.1:2001", "10.0.0.100:443", 1)
	add("b", "10.0.9.2:2002", "10.0.0.100:443", 1)
	add("b", "10.0.0.100:3002", "10.0.0.11:80", 2)
	add("c", "10.0.9.3:2003", "10.0.0.100:443", 1)
	add("", "10.0.0.100:3003", "10.0.0.11:80", 2)
	key := JoinedKey{netip.MustParseAddrPort("10.0.0.100:443"), netip.MustParseAddrPort("10.0.0.11:80")}
	j := x.Joined.Get(key)
	if x.Joined.Len() != 1 || j == nil {
		t.Fatalf("joined %v", x.Joined.All())
	}
	if j.Conversations != 2 || !j.Clients || j.From != netip.MustParseAddr("10.0.0.100") || j.Client != netip.MustParseAddr("10.0.9.1") {
		t.Errorf("got %+v", *j)
	}
}

// A client that uses its port again begins another conversation, which has the same
// Community ID: its legs are not those of the one before.
func TestJoinedAgain(t *testing.T) {
	var x Tally
	for i := range int64(3) {
		x.addLeg("a", "10.0.9.1:2001", "10.0.0.100:443", 100*i)
	}
	if x.Joined.Len() != 0 {
		t.Errorf("joined %v", x.Joined.All())
	}
	x.addLeg("a", "10.0.0.100:3001", "10.0.0.11:80", 201)
	x.addLeg("a", "10.0.0.100:3002", "10.0.0.11:80", 301) // the inner leg first
	x.addLeg("a", "10.0.9.1:2001", "10.0.0.100:443", 300)
	j := x.Joined.Get(JoinedKey{netip.MustParseAddrPort("10.0.0.100:443"), netip.MustParseAddrPort("10.0.0.11:80")})
	if x.Joined.Len() != 1 || j == nil || j.Conversations != 2 {
		t.Errorf("joined %v", x.Joined.All())
	}
}

// However many conversations show one leg alone, those to come are joined, and memory
// is bounded.
func TestJoinedLater(t *testing.T) {
	var x Tally
	for i := range 10 * maxWaiting {
		x.addLeg(fmt.Sprint("lone ", i), "10.0.9.1:2001", "10.0.0.100:443", int64(i))
	}
	x.addLeg("a", "10.0.9.1:2001", "10.0.0.100:443", 1)
	for i := range maxWaiting / 2 {
		x.addLeg(fmt.Sprint("between ", i), "10.0.9.1:2001", "10.0.0.100:443", int64(i))
	}
	x.addLeg("a", "10.0.0.100:3001", "10.0.0.11:80", 2)
	if x.Joined.Len() != 1 || x.Joined.More != 0 {
		t.Errorf("joined %v", x.Joined.All())
	}
	if n := len(x.waiting.young) + len(x.waiting.old); n > 2*maxWaiting {
		t.Errorf("%d legs wait", n)
	}
}
