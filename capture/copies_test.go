package capture

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// TestCopies holds pairs of frames: which is a copy of the other, and which is a
// packet of its own.
func TestCopies(t *testing.T) {
	// Eight bits tell two ways apart, so with one key in 256 a pair looks alike.
	defer func(keys [4]uint64) { hashKeys = keys }(hashKeys)
	hashKeys = [4]uint64{0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xd6e8feb86659fd93}
	type seen struct {
		id             uint16
		ttl            uint8
		mac            byte
		vlan           uint16
		seq, ack       uint32
		payload        string
		ipv6, datagram bool
		after          time.Duration
	}
	frame := func(s seen) []byte {
		ether, ip := eth(0x0800), &layers.IPv4{Version: 4, TTL: 64 - s.ttl, Id: s.id, Protocol: 6, SrcIP: []byte{192, 0, 2, 1}, DstIP: []byte{192, 0, 2, 2}}
		ether.SrcMAC[5] = s.mac
		ls := []gopacket.SerializableLayer{ether}
		if s.vlan != 0 {
			ether.EthernetType = 0x8100
			ls = append(ls, tag(s.vlan, 0x0800))
		}
		if s.datagram {
			ip.Protocol = 17
		}
		if s.ipv6 {
			ether.EthernetType = 0x86dd
			ls = append(ls, ip6(ip.Protocol))
		} else {
			ls = append(ls, ip)
		}
		if s.datagram {
			ls = append(ls, udpPort(5004))
		} else {
			ls = append(ls, &layers.TCP{SrcPort: 1050, DstPort: 135, Seq: s.seq, Ack: s.ack, ACK: true, Window: 65535})
		}
		return build(t, append(ls, gopacket.Payload(s.payload))...)
	}
	for _, c := range []struct {
		name          string
		first, second seen
		want          bool
	}{
		{"the same", seen{id: 7, payload: "data"}, seen{id: 7, payload: "data"}, true},
		{"after 1 ms", seen{id: 7, payload: "data"}, seen{id: 7, payload: "data", after: time.Millisecond}, true},
		{"after 5 ms", seen{id: 7, payload: "data"}, seen{id: 7, payload: "data", after: 5 * time.Millisecond}, false},
		{"after routing", seen{id: 7, payload: "data"}, seen{id: 7, payload: "data", ttl: 1, mac: 9, vlan: 20}, true},
		{"sent again", seen{id: 7, payload: "data"}, seen{id: 8, payload: "data"}, false},
		{"another identification that stays the same", seen{id: 1, seq: 1, payload: "data"}, seen{id: 1, seq: 5, payload: "data"}, false},
		{"acknowledgement", seen{id: 7, ack: 5}, seen{id: 7, ack: 5}, true},
		{"acknowledgement repeated", seen{id: 7, ack: 5}, seen{id: 8, ack: 5}, false},
		{"without identification", seen{payload: "data"}, seen{payload: "data"}, true},
		{"without identification, other data", seen{payload: "data"}, seen{payload: "Data"}, false},
		{"ipv6", seen{ipv6: true, payload: "data"}, seen{ipv6: true, payload: "data"}, true},
		{"ipv6 acknowledgement repeated", seen{ipv6: true, ack: 5}, seen{ipv6: true, ack: 5}, false},
		{"ipv6 acknowledgement in another frame", seen{ipv6: true, ack: 5}, seen{ipv6: true, ack: 5, mac: 9}, true},
		{"acknowledgement without identification", seen{ack: 5}, seen{ack: 5}, false},
		{"the same, routed", seen{ack: 5}, seen{ack: 5, ttl: 1}, true},
		{"the same, in another VLAN", seen{ack: 5, vlan: 10}, seen{ack: 5, vlan: 20}, true},
		{"datagram", seen{datagram: true, id: 7, payload: "media"}, seen{datagram: true, id: 7, payload: "media"}, true},
		{"media with equal headers", seen{datagram: true, payload: "RTP header..media"}, seen{datagram: true, payload: "RTP header..Media"}, false},
		{"media with equal headers and identification", seen{datagram: true, id: 1, payload: "RTP header..media"}, seen{datagram: true, id: 1, payload: "RTP header..Media"}, false},
	} {
		k := sink{pool: newPool(blockSize), copies: newCopies(DuplicateWindow)}
		bt := k.pool.batch()
		for i, s := range []seen{c.first, c.second} {
			b := frame(s)
			k.frame(bt, &iface{link: LinkEthernet, plain: true}, b, uint32(len(b)), int64(i)*50_000+int64(s.after))
		}
		if got := k.stats.Skipped[SkipDuplicate] == 1; got != c.want || bt.n != 2-int(k.stats.Skipped[SkipDuplicate]) {
			t.Errorf("%s: a copy %v, want %v (%d packets)", c.name, got, c.want, bt.n)
		}
	}
}

// TestTwice reads recordings in which a mirror shows every frame twice, in different
// ways: the packets have to be those of the recording.
func TestTwice(t *testing.T) {
	files, err := filepath.Glob("../testdata/*.pcapng")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		in := recorded(t, file)
		want := played(in, 0)
		for _, c := range []struct {
			name   string
			after  time.Duration
			change func(frame []byte) []byte
		}{
			{"at once", 0, nil},
			{"after 50 us", 50 * time.Microsecond, nil},
			{"after 1 ms", time.Millisecond, nil},
			{"with another TTL", 50 * time.Microsecond, func(b []byte) []byte {
				if n := 14; binary.BigEndian.Uint16(b[12:]) == etherIPv4 {
					b[n+8]--
				}
				return b
			}},
			{"with other addresses", time.Millisecond, func(b []byte) []byte { b[5] ^= 1; b[11] ^= 3; return b }},
			{"with a tag", 0, func(b []byte) []byte {
				return slices.Concat(b[:12], []byte{0x81, 0, 0, 20}, b[12:])
			}},
		} {
			var twice []timed
			for _, f := range in {
				twice = append(twice, f)
				b := bytes.Clone(f.data)
				if c.change != nil {
					b = c.change(b)
				}
				twice = append(twice, timed{f.time + int64(c.after), b})
			}
			slices.SortStableFunc(twice, func(a, b timed) int { return int(a.time - b.time) })
			got := played(twice, DuplicateWindow)
			// Copies that cannot be told from repeated acknowledgements are left at the begin,
			// until the link is known.
			if extra := got - want; extra < 0 || extra > 4 {
				t.Errorf("%s %s: %d packets, want %d", filepath.Base(file), c.name, got, want)
			}
		}
		// What repeats itself in a good recording is no copy.
		if got := played(in, DuplicateWindow); got != want {
			t.Errorf("%s: %d packets, want %d", filepath.Base(file), got, want)
		}
	}
}

type timed struct {
	time int64
	data []byte
}

// recorded returns the frames of a file that become packets.
func recorded(t *testing.T, file string) []timed {
	ps, _, errs := readAll(t, []string{file}, Options{KeepFrames: true})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	var frames []timed
	for i := range ps {
		frames = append(frames, timed{ps[i].Time, bytes.Clone(ps[i].Frame.Data)})
	}
	return frames
}

// played returns how many packets frames of Ethernet become.
func played(frames []timed, window time.Duration) (packets int) {
	k := sink{pool: newPool(blockSize), copies: newCopies(window)}
	bt := k.pool.batch()
	for _, f := range frames {
		k.frame(bt, &iface{link: LinkEthernet, plain: true}, f.data, uint32(len(f.data)), f.time)
		packets += bt.n
		bt.n = 0
	}
	return packets
}
