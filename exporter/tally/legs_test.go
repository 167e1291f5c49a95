package tally

import (
	"net/netip"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/record"
)

// Legs come in any order. A flow whose other leg never comes counts nothing.
func TestJoined(t *testing.T) {
	var x Tally
	add := func(conversation, client, server string, first int64) {
		c, s := netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)
		x.Add(&record.Record{State: "ended", Conversation: conversation, First: time.Unix(first, 0),
			Client: record.Host{Addr: c.Addr(), Port: c.Port()}, Server: record.Host{Addr: s.Addr(), Port: s.Port()}})
	}
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
