package capture

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// agree holds common against a Decoder, which knows nothing of it, and returns
// whether it took the frame.
func agree(t testing.TB, frame []byte) bool {
	t.Helper()
	var d Decoder
	var p, q Packet
	if !d.done(common(frame, &q), &q) {
		return false
	}
	if s := d.Decode(LinkEthernet, frame, uint32(len(frame)), &p); s != SkipNone {
		t.Fatalf("%x: common reads %s, the decoder skips it as %v", frame, describe(&q), s)
	}
	if !bytes.Equal(p.Payload, q.Payload) || int(q.PayloadLength) != len(q.Payload) {
		t.Fatalf("%x: %q and %q", frame, p.Payload, q.Payload)
	}
	if network := lenEther + lenTag*int(q.VLANs&0xf); len(frame)-network != len(d.network) {
		t.Fatalf("%x: the IP header begins at %d, the decoder has %d bytes from there", frame, network, len(d.network))
	}
	p.Payload, q.Payload = nil, nil
	if !reflect.DeepEqual(p, q) {
		t.Fatalf("%x:\n common %+v\ndecoder %+v", frame, q, p)
	}
	return true
}

// TestCommon holds common against the decoder on what it is for, on frames that
// are nearly that, and on damaged ones.
func TestCommon(t *testing.T) {
	hi := gopacket.Payload("a payload of some length")
	options := tcpLayer()
	options.Options = []layers.TCPOption{{OptionType: 8, OptionLength: 10, OptionData: make([]byte, 8)}, {OptionType: 1}, {OptionType: 1}}
	ipOptions := inner4()
	ipOptions.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	fragment := inner4()
	fragment.Flags = layers.IPv4MoreFragments
	udp4, udp6 := ip4(17), ip6(17)
	var frames [][]byte
	for _, c := range []struct {
		name string
		want bool
		ls   []gopacket.SerializableLayer
	}{
		{"tcp4", true, []gopacket.SerializableLayer{eth(0x0800), inner4(), tcpLayer(), hi}},
		{"without payload", true, []gopacket.SerializableLayer{eth(0x0800), inner4(), tcpLayer()}},
		{"options of tcp", true, []gopacket.SerializableLayer{eth(0x0800), inner4(), options, hi}},
		{"tcp6", true, []gopacket.SerializableLayer{eth(0x86dd), ip6(6), tcpLayer(), hi}},
		{"udp4", true, []gopacket.SerializableLayer{eth(0x0800), udp4, udpPort(53), hi}},
		{"udp6", true, []gopacket.SerializableLayer{eth(0x86dd), udp6, udpPort(53), hi}},
		{"a tag", true, []gopacket.SerializableLayer{eth(0x8100), tag(10, 0x0800), inner4(), tcpLayer()}},
		{"another tag", true, []gopacket.SerializableLayer{eth(0x88a8), tag(4095, 0x86dd), ip6(6), tcpLayer(), hi}},
		{"two tags", true, []gopacket.SerializableLayer{eth(0x88a8), tag(10, 0x8100), tag(20, 0x0800), inner4(), tcpLayer()}},
		{"three tags", false, []gopacket.SerializableLayer{eth(0x8100), tag(10, 0x8100), tag(20, 0x8100), tag(30, 0x0800), inner4(), tcpLayer(), hi}},
		{"options of ip", false, []gopacket.SerializableLayer{eth(0x0800), ipOptions, tcpLayer(), hi}},
		{"fragment", false, []gopacket.SerializableLayer{eth(0x0800), fragment, tcpLayer(), hi}},
		{"tunnel", false, []gopacket.SerializableLayer{eth(0x0800), udp4, udpPort(portVXLAN), hi}},
		{"gre", false, []gopacket.SerializableLayer{eth(0x0800), ip4(47), &layers.GRE{Protocol: 0x0800}, inner4(), tcpLayer(), hi}},
		{"arp", false, []gopacket.SerializableLayer{eth(0x0806), hi, hi}},
	} {
		frame := build(t, c.ls...)
		frames = append(frames, frame)
		if got := agree(t, frame); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if c.want && !agree(t, append(slices.Clone(frame), "padding"...)) {
			t.Errorf("%s, padded: false", c.name)
		}
		for n := range frame {
			agree(t, frame[:n])
		}
	}
	taken := 0
	for range 200_000 {
		b := slices.Clone(frames[rand.IntN(len(frames))])
		for range 1 + rand.IntN(3) {
			b[rand.IntN(len(b))] = [...]byte{0, 1, 0x45, 0x50, 0xff, byte(rand.Uint32())}[rand.IntN(6)]
		}
		if agree(t, append(b, make([]byte, rand.IntN(40))...)) {
			taken++
		}
	}
	if taken < 50_000 {
		t.Errorf("common takes %d of 200,000 frames with a byte or three changed", taken)
	}
}

// TestPlainRecords reads the same records by the short loop and by the general
// one, which a big-endian file needs: frames of all kinds in random order.
func TestPlainRecords(t *testing.T) {
	kinds := [][]byte{
		build(t, eth(0x0800), inner4(), tcpLayer(), gopacket.Payload("payload")),
		build(t, eth(0x8100), tag(7, 0x0800), ip4(17), udpPort(53), gopacket.Payload("longer payload")),
		build(t, eth(0x86dd), ip6(6), tcpLayer()),
		build(t, eth(0x0800), ip4(17), udpPort(53)), // too short to be common
		build(t, eth(0x0806), gopacket.Payload("nothing of ours")),
		{},
	}
	kinds = append(kinds, kinds[0][:60], kinds[0][:30]) // cut
	le, be := little().head(magicPcap, LinkEthernet), big().head(magicPcap, LinkEthernet)
	for i := range 5000 {
		b := kinds[rand.IntN(len(kinds))]
		for _, f := range []*file{le, be} {
			f.u32(uint32(i), uint32(i%1000), uint32(len(b)), uint32(len(b)+i%2)).raw(b)
		}
	}
	got, stats, errs := readAll(t, []string{written(t, "le.pcap", le.b)}, Options{})
	want, wantStats, _ := readAll(t, []string{written(t, "be.pcap", be.b)}, Options{})
	if len(errs) > 0 || digest(got) != digest(want) || stats != wantStats {
		t.Errorf("not the same: %v %+v %+v", errs, stats, wantStats)
	}
}

// TestHashSpread counts collisions among flows as they come in practice, and as
// somebody would choose them. Good hashes of 32 bits collide n²/2³³ times; of 16
// bits, they fill a table evenly.
func TestHashSpread(t *testing.T) {
	const n = 1 << 18
	end := func(ip, port uint32) Endpoint {
		var e Endpoint
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], ip)
		setMapped(&e.Addr, b[:])
		e.Port = uint16(port)
		return e
	}
	end6 := func(hi, lo uint64, port uint32) Endpoint {
		var a [16]byte
		binary.BigEndian.PutUint64(a[:8], 0x20010db8<<32|hi)
		binary.BigEndian.PutUint64(a[8:], lo)
		return Endpoint{AddrFrom(netip.AddrFrom16(a)), uint16(port)}
	}
	const ten = 10 << 24
	for name, flow := range map[string]func(i uint32) (a, b Endpoint){
		"ports of hosts":     func(i uint32) (a, b Endpoint) { return end(ten+i%64, 1024+i/64), end(ten<<1, 443) },
		"hosts":              func(i uint32) (a, b Endpoint) { return end(ten+i, 50000), end(ten<<1, 443) },
		"hosts of a byte":    func(i uint32) (a, b Endpoint) { return end(i<<14, 443), end(ten<<1, 443) },
		"ports of both":      func(i uint32) (a, b Endpoint) { return end(ten, i%512), end(ten+1, 512+i/512) },
		"ports of one":       func(i uint32) (a, b Endpoint) { return end(ten, i%512), end(ten, 512+i/512) },
		"pairs":              func(i uint32) (a, b Endpoint) { return end(ten+i%512, 443), end(ten+512+i/512, 443) },
		"constant sum":       func(i uint32) (a, b Endpoint) { return end(ten+i, 1), end(ten<<1-i, 1) },
		"constant xor":       func(i uint32) (a, b Endpoint) { return end(ten+i, 1), end(ten<<1^i, 1) },
		"ipv6 hosts":         func(i uint32) (a, b Endpoint) { return end6(0, uint64(i), 443), end6(1, 1, 443) },
		"ipv6 networks":      func(i uint32) (a, b Endpoint) { return end6(uint64(i), 1, 443), end6(1<<30, 1, 443) },
		"ipv6 ports of both": func(i uint32) (a, b Endpoint) { return end6(0, 1, i%512), end6(0, 2, i/512) },
	} {
		seen := make(map[uint32]bool, n)
		var low, high [1 << 16]int
		collisions, fullest := 0, 0
		for i := range uint32(n) {
			a, b := flow(i)
			h := Hash(a, b, TCP)
			if h != Hash(b, a, TCP) || h == Hash(a, b, UDP) {
				t.Fatalf("%s: %v and %v", name, a, b)
			}
			if seen[uint32(h)] {
				collisions++
			}
			seen[uint32(h)] = true
			low[uint16(h)]++
			high[uint16(h>>16)]++
			fullest = max(fullest, low[uint16(h)], high[uint16(h>>16)])
		}
		if collisions > 40 || fullest > 25 { // 8 and 17 are usual
			t.Errorf("%s: %d collisions, %d in one slot", name, collisions, fullest)
		}
	}
}

// TestShortWay has a block that is larger than any frame may be, as the pieces of a file
// are that two goroutines share: the usual frames of it have to take the short way, too.
func TestShortWay(t *testing.T) {
	udp := make([]byte, 100)
	binary.BigEndian.PutUint16(udp[12:], etherIPv4)
	copy(udp[14:], []byte{0x45, 0, 0, 86, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0xc0, 0, 0xc0, 1, 0, 66})
	var data []byte
	for len(data) <= 2*maxFrame {
		var h [pcapFrameHeader]byte
		binary.LittleEndian.PutUint32(h[8:], uint32(len(udp)))
		binary.LittleEndian.PutUint32(h[12:], uint32(len(udp)))
		data = append(append(data, h[:]...), udp...)
	}
	k := sink{pool: newPool(len(data)), copies: newCopies(0)}
	r := newReader("a.pcap", nil, &k, k.pool)
	r.format, r.header, r.limit = formatPcap, pcapFrameHeader, maxFrame
	r.describe(iface{link: LinkEthernet, scale: microseconds})
	r.blk = k.pool.block(len(data))
	r.end = copy(r.blk.buf, data)
	bt := k.pool.batch()
	if !r.scanPlain(bt) {
		t.Errorf("%d of %d packets", bt.n, batchSize)
	}
	// A frame above the limit is left to what reports it.
	binary.LittleEndian.PutUint32(r.blk.buf[r.off+8:], maxFrame+1)
	if bt = k.pool.batch(); r.scanPlain(bt) || bt.n != 0 {
		t.Errorf("a frame above the limit: %d packets", bt.n)
	}
}
