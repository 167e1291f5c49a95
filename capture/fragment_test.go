package capture

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture/capturetest"
)

// fragmented returns the frames of one datagram of n bytes of payload, in
// fragments of size bytes.
func fragmented(t testing.TB, ends, options string) [][]byte {
	t.Helper()
	return frames(t, "link raw\nudp "+ends+" "+options)
}

const (
	ends4 = "10.0.0.1:1050 > 10.0.0.2:53"
	ends6 = "[2001:db8::1]:1050 > [2001:db8::2]:53"
)

// feed decodes frames one second apart and returns what they became: the
// reason of a skip, or a packet.
func feed(d *Decoder, fs ...[]byte) (out []string) {
	for i, f := range fs {
		p := Packet{Time: int64(i) * second}
		if s := d.Decode(LinkRaw, f, uint32(len(f)), &p); s != SkipNone {
			out = append(out, s.String())
		} else {
			out = append(out, describe(&p))
		}
	}
	return out
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func TestFragments(t *testing.T) {
	const whole4 = `17 10.0.0.1:1050 > 10.0.0.2:53 len 100 payload 12 "hello, world" frames 4`
	const whole6 = `17 [2001:db8::1]:1050 > [2001:db8::2]:53 len 164 payload 12 "hello, world" frames 3`
	a := fragmented(t, ends4, `"hello, world" frag=8 id=1`) // 20 bytes of UDP: 8, 8, 4
	b := fragmented(t, ends6, `"hello, world" frag=8 id=1`)
	if len(a) != 3 || len(b) != 3 {
		t.Fatal(len(a), len(b))
	}
	// Three IPv4 headers and 20 bytes are 80.
	is4 := strings.Replace(strings.Replace(whole4, "len 100", "len 80", 1), "frames 4", "frames 3", 1)
	// Three IPv6 headers, three fragment headers and 20 bytes are 164.
	t.Run("in order", func(t *testing.T) {
		want(t, feed(&Decoder{}, a...), "fragment", "fragment", is4)
		want(t, feed(&Decoder{}, b...), "fragment", "fragment", whole6)
	})
	t.Run("any order", func(t *testing.T) {
		for range 20 {
			for _, fs := range [][][]byte{bytesClone(a), bytesClone(b)} {
				rand.Shuffle(len(fs), func(i, j int) { fs[i], fs[j] = fs[j], fs[i] })
				var d Decoder
				got := feed(&d, fs...)
				if got[0] != "fragment" || got[1] != "fragment" || got[2] != is4 && got[2] != whole6 {
					t.Error(got)
				}
				if len(d.frags.table) != 0 || d.frags.bytes != 0 || d.frags.oldest != nil || d.frags.newest != nil {
					t.Errorf("something is left: %+v", d.frags)
				}
			}
		}
	})
	t.Run("seen twice", func(t *testing.T) {
		for _, c := range []struct {
			fs   [][]byte
			last string
		}{{a, is4}, {b, whole6}} {
			var d Decoder
			want(t, feed(&d, c.fs[0], c.fs[0], c.fs[2], c.fs[2], c.fs[1]), "fragment", "fragment", "fragment", "fragment", c.last)
			if d.FragmentStats() != (FragmentStats{Reassembled: 1}) {
				t.Errorf("%+v", d.FragmentStats())
			}
		}
	})
	t.Run("other datagrams between", func(t *testing.T) {
		c := fragmented(t, ends4, `"HELLO, WORLD" frag=8 id=2`)
		want(t, feed(&Decoder{}, a[0], c[0], c[1], a[1], a[2], c[2]), "fragment", "fragment", "fragment", "fragment", is4, strings.Replace(is4, "hello, world", "HELLO, WORLD", 1))
	})
	t.Run("too old", func(t *testing.T) {
		var d Decoder
		p := Packet{}
		for i, f := range a {
			p.Time = int64(i) * 16 * second // the last one 32 s after the first
			if s := d.Decode(LinkRaw, f, uint32(len(f)), &p); s != SkipFragment {
				t.Errorf("fragment %d: %v", i, s)
			}
		}
		if d.FragmentStats() != (FragmentStats{Expired: 1}) || len(d.frags.table) != 1 {
			t.Errorf("%+v", d.FragmentStats())
		}
	})
	t.Run("overlap, first bytes win", func(t *testing.T) {
		other := fragmented(t, ends4, `"XXXXXXXXXXXX" frag=16 id=1`)
		var d Decoder
		// 0-8 hello part, then 0-16 of the other, then the end: only 8-16 is new.
		want(t, feed(&d, a[1], other[0], a[2]), "fragment", "fragment",
			strings.Replace(strings.Replace(is4, "len 80", "len 88", 1), "hello, world", "hello, world", 1))
		if d.FragmentStats() != (FragmentStats{Reassembled: 1, Overlapping: 1}) {
			t.Errorf("%+v", d.FragmentStats())
		}
	})
	t.Run("overlap in IPv6", func(t *testing.T) {
		other := fragmented(t, ends6, `"XXXXXXXXXXXX" frag=16 id=1`)
		var d Decoder
		want(t, feed(&d, b[1], other[0], b[0], b[2]), "fragment", "malformed", "malformed", "malformed")
		if d.FragmentStats() != (FragmentStats{Overlapping: 1}) || d.frags.bytes != 0 {
			t.Errorf("%+v", d.FragmentStats())
		}
	})
	t.Run("two ends", func(t *testing.T) {
		other := fragmented(t, ends4, `"hello, world!!!!!!!!!!!!" frag=24 id=1`)
		want(t, feed(&Decoder{}, a[2], other[1], a[0], a[1]), "fragment", "malformed", "malformed", "malformed")
	})
	t.Run("cut by the snap length", func(t *testing.T) {
		p := Packet{}
		var d Decoder
		for i, f := range a {
			n := len(f)
			if i == 1 {
				n -= 5
			}
			s := d.Decode(LinkRaw, f[:n], uint32(len(f)), &p)
			if (s != SkipNone) != (i < 2) {
				t.Error(s)
			}
		}
		if got := describe(&p); got != strings.Replace(is4, "hello, world", "hel", 1) {
			t.Error(got)
		}
	})
	t.Run("impossible", func(t *testing.T) {
		far := append([]byte(nil), a[0]...)
		far[6], far[7] = 0x3f, 0xff // offset 65528 with 8 bytes more to come
		odd := append([]byte(nil), a[0][:27]...)
		odd[3] = 27 // 7 bytes and more to come
		none := append([]byte(nil), a[0][:20]...)
		none[3] = 20
		want(t, feed(&Decoder{}, far, odd, none), "malformed", "malformed", "malformed")
	})
}

func bytesClone(fs [][]byte) [][]byte { return append([][]byte(nil), fs...) }

func TestFragmentLimits(t *testing.T) {
	t.Run("datagrams", func(t *testing.T) {
		d := Decoder{Fragments: FragmentLimits{Datagrams: 2}}
		a := fragmented(t, ends4, `"hello, world" frag=16 id=1`)
		b := fragmented(t, ends4, `"hello, world" frag=16 id=2`)
		c := fragmented(t, ends4, `"hello, world" frag=16 id=3`)
		got := feed(&d, a[0], b[0], c[0], c[1], b[1], a[1])
		if got[3] == "fragment" || got[4] == "fragment" || got[5] != "fragment" {
			t.Error(got)
		}
		if d.FragmentStats() != (FragmentStats{Reassembled: 2, Evicted: 1}) {
			t.Errorf("%+v", d.FragmentStats())
		}
	})
	t.Run("fragments", func(t *testing.T) {
		d := Decoder{Fragments: FragmentLimits{Fragments: 2}}
		want(t, feed(&d, fragmented(t, ends4, `"hello, world" frag=8`)...), "fragment", "fragment", "limit")
		if d.FragmentStats() != (FragmentStats{Refused: 1}) || d.frags.bytes != 0 {
			t.Errorf("%+v", d.FragmentStats())
		}
	})
	t.Run("bytes", func(t *testing.T) {
		d := Decoder{Fragments: FragmentLimits{Bytes: 3000}}
		a := fragmented(t, ends4, `zero(2000) frag=1600 id=1`)
		b := fragmented(t, ends4, `zero(2000) frag=1600 id=2`)
		got := feed(&d, a[0], b[0], b[1], a[1])
		if got[2] == "fragment" || got[3] != "fragment" {
			t.Error(got)
		}
		if d.FragmentStats() != (FragmentStats{Reassembled: 1, Evicted: 1}) {
			t.Errorf("%+v", d.FragmentStats())
		}
	})
}

// TestFragmentFlood holds memory and time against fragments that never become
// datagrams.
func TestFragmentFlood(t *testing.T) {
	var d Decoder
	f := append([]byte(nil), fragmented(t, ends4, "zero(1400) frag=1200")[0]...)
	begin := time.Now()
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 300_000 {
		p := Packet{Time: int64(i)}
		f[4], f[5] = byte(rng.Uint32()), byte(rng.Uint32())
		f[7] = byte(rng.Uint32())
		f[12] = byte(rng.Uint32())
		d.Decode(LinkRaw, f, uint32(len(f)), &p)
		if d.frags.bytes > 4<<20 || len(d.frags.table) > 1024 {
			t.Fatalf("%d bytes in %d datagrams", d.frags.bytes, len(d.frags.table))
		}
	}
	if e := time.Since(begin); e > 20*time.Second {
		t.Errorf("%v", e)
	}
	total := 0
	for g := d.frags.oldest; g != nil; g = g.foll {
		for _, p := range g.parts {
			total += len(p.data)
		}
	}
	if total != d.frags.bytes {
		t.Errorf("%d bytes kept, %d counted", total, d.frags.bytes)
	}
}

// TestFragmentInTunnel reassembles inside and outside of an encapsulation.
func TestFragmentInTunnel(t *testing.T) {
	inner := fragmented(t, ends4, `"hello, world" frag=8`)
	var outer [][]byte
	for _, f := range inner {
		ip := append(append([]byte{}, bytesOf("45 00 0000 0001 0000 40 04 0000 c0000201 c0000202")...), f...)
		ip[3] = byte(len(ip))
		outer = append(outer, ip)
	}
	// The outer packet of the second fragment is in fragments itself.
	ip := outer[1]
	one, two := bytes.Clone(ip[:20+16]), append(bytes.Clone(ip[:20]), ip[36:]...)
	one[3], one[6] = 36, 0x20
	two[3], two[7] = byte(len(two)), 2
	got := feed(&Decoder{}, outer[0], one, two, outer[2])
	want(t, got, "fragment", "fragment", "fragment", `17 10.0.0.1:1050 > 10.0.0.2:53 len 80 payload 12 "hello, world" frames 3`)
}

// FuzzFragments sends pieces of one datagram that the input chooses: the
// memory stays bounded, and a datagram that is completed has the bytes that
// came first.
func FuzzFragments(f *testing.F) {
	c, err := capturetest.Parse("seed", []byte("link raw\nudp "+ends4+" zero(40) frag=16"), nil)
	if err != nil {
		f.Fatal(err)
	}
	head := c.Frames[0].Data[:20]
	f.Add([]byte{0, 0, 2, 1, 0, 2, 1, 0, 2, 0x81, 3, 1})
	f.Add([]byte{0, 0, 3, 0, 1, 3, 0, 4, 1, 0x81, 3, 1})
	f.Fuzz(func(t *testing.T, ops []byte) {
		d := Decoder{Fragments: FragmentLimits{Fragments: 16, Bytes: 1000, Datagrams: 4}}
		var model [512]int // fragment that came first for each byte, from 1
		for i := 0; i+2 < len(ops); i += 3 {
			off, n := int(ops[i+1])%32, int(ops[i+2])%8+1
			b := append([]byte(nil), head...)
			b[3] = byte(20 + 8*n)
			b[6], b[7] = 0x20, byte(off)
			if ops[i]&0x80 != 0 {
				b[6] = 0
			}
			b = append(b, bytes.Repeat([]byte{byte(i/3 + 1)}, 8*n)...)
			p := Packet{Time: int64(i)}
			s := d.Decode(LinkRaw, b, uint32(len(b)), &p)
			for k := off * 8; k < (off+n)*8; k++ {
				if model[k] == 0 {
					model[k] = i/3 + 1
				}
			}
			if d.frags.bytes > 1000 || len(d.frags.table) > 4 {
				t.Fatal("limits")
			}
			if s == SkipNone && p.Frames > 1 {
				for k, v := range p.Payload {
					if int(v) != model[8+k]&0xff {
						t.Fatalf("byte %d of %v", k, p.Payload)
					}
				}
			}
			if s != SkipFragment {
				return
			}
		}
	})
}

// TestFragmentFloodOwn holds that floods of fragments push out their own: a datagram of
// two fragments is completed although thousands of others come between them.
func TestFragmentFloodOwn(t *testing.T) {
	const flooded = 0x0a000002
	dst := uint32(flooded)
	part := func(src uint32, id uint16, offset, n int, more bool) []byte {
		b := make([]byte, 14+20+n)
		binary.BigEndian.PutUint16(b[12:], etherIPv4)
		ip := b[14:]
		ip[0], ip[8], ip[9] = 0x45, 64, UDP
		binary.BigEndian.PutUint16(ip[2:], uint16(20+n))
		binary.BigEndian.PutUint16(ip[4:], id)
		field := uint16(offset / 8)
		if more {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(ip[6:], field)
		binary.BigEndian.PutUint32(ip[12:], src)
		binary.BigEndian.PutUint32(ip[16:], dst)
		if offset == 0 {
			binary.BigEndian.PutUint16(ip[20:], 1050)
			binary.BigEndian.PutUint16(ip[22:], 53)
			binary.BigEndian.PutUint16(ip[24:], 1600)
		}
		return b
	}
	for name, flood := range map[string]func(i int) []byte{
		"tiny, of any source": func(i int) []byte { return part(0xc0000000+uint32(i), uint16(i), 0, 8, true) },
		"of one source":       func(i int) []byte { return part(0xc0000200, uint16(i), 0, 1480, true) },
		"full, of any source, but the source completed a datagram before": func(i int) []byte { return part(0xc0000000+uint32(i), uint16(i), 0, 1480, true) },
		"full, of any source, but two fragments came":                     func(i int) []byte { return part(0xc0000000+uint32(i), uint16(i), 0, 1480, true) },
		"full, of any source, to another host":                            func(i int) []byte { return part(0xc0000000+uint32(i), uint16(i), 0, 1480, true) },
	} {
		var d Decoder
		var p Packet
		decode := func(b []byte) Skip { return d.Decode(LinkEthernet, b, uint32(len(b)), &p) }
		for i := range 5000 { // the flood is there before
			decode(flood(i))
		}
		to := uint32(flooded)
		if strings.Contains(name, "another host") {
			to++
		}
		dst = to
		completed := uint64(1)
		if strings.Contains(name, "completed a datagram") {
			decode(part(0x0a000001, 6, 0, 1480, true))
			decode(part(0x0a000001, 6, 1480, 120, false))
			completed = 2
		}
		if strings.Contains(name, "two fragments") {
			decode(part(0x0a000001, 7, 0, 800, true))
			decode(part(0x0a000001, 7, 800, 680, true))
		} else if s := decode(part(0x0a000001, 7, 0, 1480, true)); s != SkipFragment {
			t.Fatalf("%s: the first fragment: %v", name, s)
		}
		dst = flooded
		for i := range 5000 {
			decode(flood(5000 + i))
		}
		dst = to
		if s := decode(part(0x0a000001, 7, 1480, 120, false)); s != SkipNone || p.PayloadLength != 1592 {
			t.Errorf("%s: the last fragment: %v, %d bytes", name, s, p.PayloadLength)
		}
		if st := d.FragmentStats(); st.Evicted < 8000 || st.Reassembled != completed {
			t.Errorf("%s: %+v", name, st)
		}
		dst = flooded
	}
}
