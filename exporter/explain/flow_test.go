package explain

import (
	"net/netip"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
)

func flowOf(proto uint8, client, server string, vlans ...string) *Flow {
	c, s := netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)
	return NewFlow(&record.Record{
		Number: 3, Proto: proto, First: time.Unix(10, 0), Last: time.Unix(20, 0), VLANs: vlans,
		Client: record.Host{Addr: c.Addr(), Port: c.Port()}, Server: record.Host{Addr: s.Addr(), Port: s.Port()},
	})
}

func TestFilter(t *testing.T) {
	keyed := flowOf(capture.TCP, "10.0.0.9:1050", "10.0.0.5:25", "10.20")
	keyed.KeyVLAN = true
	bare := flowOf(capture.TCP, "10.0.0.9:1050", "10.0.0.5:25")
	bare.KeyVLAN = true
	const ends = "((ip.src==10.0.0.9 && ip.dst==10.0.0.5 && tcp.srcport==1050 && tcp.dstport==25) || (ip.src==10.0.0.5 && ip.dst==10.0.0.9 && tcp.srcport==25 && tcp.dstport==1050)) && !icmp && !icmpv6"
	for _, x := range []struct {
		flow *Flow
		want string
	}{
		{flowOf(capture.TCP, "10.0.0.9:1050", "10.0.0.5:25", "7"), ends},
		{flowOf(capture.TCP, "[::ffff:10.0.0.9]:1050", "10.0.0.5:25"), ends},
		{keyed, ends + " && ((!ieee8021ad && count(vlan.id)==2 && vlan.id#1==10 && vlan.id#2==20) || (ieee8021ad.id==10 && count(vlan.id)==1 && vlan.id#1==20))"},
		{bare, ends + " && !vlan && !ieee8021ad"},
		{flowOf(capture.UDP, "[2001:db8::9]:1050", "[2001:db8::5]:53"), "((ipv6.src==2001:db8::9 && ipv6.dst==2001:db8::5 && udp.srcport==1050 && udp.dstport==53) || " +
			"(ipv6.src==2001:db8::5 && ipv6.dst==2001:db8::9 && udp.srcport==53 && udp.dstport==1050)) && !icmp && !icmpv6"},
		{flowOf(capture.ESP, "10.0.0.9:0", "10.0.0.5:0"), "((ip.src==10.0.0.9 && ip.dst==10.0.0.5 && esp) || (ip.src==10.0.0.5 && ip.dst==10.0.0.9 && esp)) && !icmp && !icmpv6"},
	} {
		if got := x.flow.Filter(); got != x.want {
			t.Errorf("got  %s\nwant %s", got, x.want)
		}
	}
}

// TestPacket verifies that packets between the same ends before and after the flow are
// not counted as its own.
func TestPacket(t *testing.T) {
	f := flowOf(capture.TCP, "10.0.0.9:1050", "10.0.0.5:25")
	packet := func(number uint64, at int64, proto uint8, src, dst string) bool {
		p := &capture.Packet{Number: number, Time: at * int64(time.Second), Proto: proto,
			Src: capture.EndpointFrom(netip.MustParseAddrPort(src)), Dst: capture.EndpointFrom(netip.MustParseAddrPort(dst))}
		return f.Packet(p)
	}
	const client, server = "10.0.0.9:1050", "10.0.0.5:25"
	if packet(1, 10, capture.UDP, client, server) || packet(2, 10, capture.TCP, "10.0.0.9:1051", server) {
		t.Error("another flow's packet was taken")
	}
	packet(2, 10, capture.TCP, client, server) // at the time of the first packet, but before it
	packet(3, 10, capture.TCP, client, server)
	packet(4, 20, capture.TCP, server, client)
	packet(5, 21, capture.TCP, client, server)
	if f.First != 3 || f.Last != 4 || f.Frames != 2 || f.Others != 2 {
		t.Errorf("frames %d to %d, %d, and %d others", f.First, f.Last, f.Frames, f.Others)
	}
}
