package rtp

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// packet builds an RTP packet with a payload of n bytes.
func packet(pt uint8, seq uint16, ts, ssrc uint32, n int) []byte {
	b := []byte{0x80, pt}
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, ts)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	return append(b, make([]byte, n)...)
}

// flow passes datagrams to an observer.
type flow struct {
	o   *observer
	r   observe.Report
	in  observe.Input
	err error
}

func newFlow(announced string) *flow {
	return &flow{o: &observer{}, in: observe.Input{Datagram: true, Announced: announced,
		Flow: observetest.Between(netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("10.0.0.2:5000"))}}
}

func (f *flow) send(dir observe.Direction, at time.Duration, b []byte) {
	f.in.Dir, f.in.Time, f.in.Data = dir, 1_600_000_000e9+int64(at), b
	n, err := f.o.Observe(&f.in, &f.r)
	if err != nil {
		f.err = err
	} else if n != len(b) {
		f.err = fmt.Errorf("used %d of %d", n, len(b))
	}
}

func (f *flow) streams() []observe.Stream {
	f.o.Finish(&f.r)
	f.o.Finish(&f.r)
	return f.r.Streams
}

// voice sends packets of 20 ms with the given sequence numbers. The sequence number
// determines the time of each packet.
func voice(seqs ...int) *flow {
	f := newFlow("rtp")
	for i, s := range seqs {
		f.send(observe.ToServer, time.Duration(i)*20*time.Millisecond, packet(0, uint16(s), uint32(s*160), 7, 160))
	}
	return f
}

func sequence(from, to int) (s []int) {
	for ; from <= to; from++ {
		s = append(s, from)
	}
	return s
}

func join(parts ...[]int) (s []int) {
	for _, p := range parts {
		s = append(s, p...)
	}
	return s
}

// TestSequence compares the counts with RFC 3550 appendix A.3, on sequences counted by
// hand.
func TestSequence(t *testing.T) {
	one := func(n ...int) []int { return n }
	for _, tt := range []struct {
		name                                               string
		seqs                                               []int
		expected, lost, bursts, duplicates, late, restarts uint64
	}{
		{"one packet", one(5), 1, 0, 0, 0, 0, 0},
		{"all there", sequence(1, 100), 100, 0, 0, 0, 0, 0},
		{"wraps around", sequence(65500, 65600), 101, 0, 0, 0, 0, 0},
		{"one lost", join(sequence(1, 9), sequence(11, 20)), 20, 1, 1, 0, 0, 0},
		{"one lost long ago", join(sequence(1, 9), sequence(11, 200)), 200, 1, 1, 0, 0, 0},
		{"three bursts", join(sequence(1, 9), sequence(12, 20), sequence(22, 30), sequence(35, 40)), 40, 7, 3, 0, 0, 0},
		{"more lost than the window holds", join(sequence(1, 10), sequence(511, 520)), 520, 500, 1, 0, 0, 0},
		{"the first only, then a burst", one(1, 101, 102), 102, 99, 1, 0, 0, 0},
		{"late by one", one(1, 3, 2, 4), 4, 0, 0, 0, 1, 0},
		{"late by much", join(sequence(1, 9), sequence(11, 60), one(10), sequence(61, 70)), 70, 0, 0, 0, 1, 0},
		{"twice", one(1, 2, 2, 3, 1, 4), 4, 0, 0, 2, 0, 0},
		{"duplicates do not offset losses", one(1, 2, 2, 4), 4, 1, 1, 1, 0, 0},
		{"late before the first", one(10, 9, 11), 3, 0, 0, 0, 1, 0},
		{"late before the first with a hole", one(10, 7, 11), 5, 2, 1, 0, 1, 0},
		{"a stray number", join(sequence(1, 10), one(40000), sequence(11, 20)), 20, 0, 0, 0, 0, 0},
		{"a restart", join(sequence(1, 10), sequence(40000, 40009)), 20, 0, 0, 0, 0, 1},
		{"a restart with loss on both sides", join(one(1, 2, 4), one(40000, 40001, 40003)), 8, 2, 2, 0, 0, 1},
	} {
		f := voice(tt.seqs...)
		s := f.streams()
		if f.err != nil || len(s) != 1 {
			t.Errorf("%s: %v, %d streams", tt.name, f.err, len(s))
			continue
		}
		got := [...]uint64{s[0].Expected, s[0].Lost, s[0].Bursts, s[0].Duplicates, s[0].Reordered, s[0].Restarts}
		if want := [...]uint64{tt.expected, tt.lost, tt.bursts, tt.duplicates, tt.late, tt.restarts}; got != want {
			t.Errorf("%s: expected, lost, bursts, duplicates, late, restarts %v, want %v", tt.name, got, want)
		}
		if s[0].Packets != uint64(len(tt.seqs)) {
			t.Errorf("%s: %d packets", tt.name, s[0].Packets)
		}
	}
}

// TestJitter compares the jitter with the estimator of RFC 3550 appendix A.8, in units of
// the clock.
func TestJitter(t *testing.T) {
	for _, tt := range []struct {
		pt   uint8
		rate int
	}{{0, 8000}, {96, 16000}, {97, 48000}, {98, 90000}, {14, 90000}} {
		f := newFlow("rtp")
		var transit, jitter, sum, largest float64
		for i := range 500 {
			at := time.Duration(i)*20*time.Millisecond + time.Duration(i*i*7919%5000)*time.Microsecond
			ts := uint32(i * tt.rate / 50)
			f.send(observe.ToClient, at, packet(tt.pt, uint16(i), ts+4294960000, 7, 100))
			now := at.Seconds()*float64(tt.rate) - float64(ts)
			if i > 0 {
				jitter += (math.Abs(now-transit) - jitter) / 16
				sum += jitter
				largest = max(largest, jitter)
			}
			transit = now
		}
		s := f.streams()[0]
		for _, j := range s.Payloads[0].Jitter {
			if j.Rate != tt.rate {
				continue
			}
			toTime := func(v float64) time.Duration { return time.Duration(v / float64(tt.rate) * 1e9) }
			for i, want := range []time.Duration{toTime(jitter), toTime(sum / 499), toTime(largest)} {
				if got := []time.Duration{j.Last, j.Mean, j.Max}[i]; (got - want).Abs() > 2*time.Microsecond {
					t.Errorf("type %d value %d: %v, want %v", tt.pt, i, got, want)
				}
			}
			if s.Src.Port() != 5000 || s.Dst.Port() != 4000 {
				t.Errorf("stream from %s to %s", s.Src, s.Dst)
			}
			largest = -1
		}
		if largest >= 0 {
			t.Errorf("no jitter for %d Hz", tt.rate)
		}
	}
}

func TestTalkAndGap(t *testing.T) {
	f := newFlow("rtp")
	at := time.Duration(0)
	seq := uint16(0)
	send := func(pt uint8, n int, step time.Duration) {
		f.send(observe.ToServer, at, packet(pt, seq, uint32(at.Milliseconds()*8), 7, n))
		seq++
		at += step
	}
	for range 50 {
		send(8, 160, 20*time.Millisecond) // 1 s of talk, 980 ms between its packets
	}
	for range 10 {
		send(13, 1, 100*time.Millisecond) // comfort noise
	}
	send(101, 4, 50*time.Millisecond) // an event
	at += 2 * time.Second
	for range 10 {
		send(8, 160, 20*time.Millisecond)
	}
	s := f.streams()[0]
	if s.Talk != 980*time.Millisecond+180*time.Millisecond || s.LargestGap != 2050*time.Millisecond {
		t.Errorf("talk %v, largest gap %v", s.Talk, s.LargestGap)
	}
	if len(s.Payloads) != 3 || s.Payloads[0].Packets != 60 || s.Payloads[0].Name != "PCMA" || s.Bytes != 60*160+10+4 {
		t.Errorf("%+v", s)
	}
}

// TestUnannounced verifies that, without SDP, only an increasing sequence of one SSRC is
// RTP.
func TestUnannounced(t *testing.T) {
	run := func(packets ...[]byte) *flow {
		f := newFlow("")
		for i, b := range packets {
			if f.err == nil {
				f.send(observe.ToServer, time.Duration(i)*20*time.Millisecond, b)
			}
		}
		return f
	}
	grow := func(n int) (p [][]byte) {
		for i := range n {
			p = append(p, packet(8, uint16(65533+i), uint32(i*160), 7, 160))
		}
		return p
	}
	f := run(grow(4)...)
	if f.err != nil || f.r.Len() != 0 || len(f.streams()) != 0 {
		t.Errorf("four packets: %v %v", f.err, f.r.All())
	}
	f = run(grow(5)...)
	if f.err != nil || !f.r.Has(Content, "rtp") || !f.r.Has(Codec, "PCMA") || f.r.Any(observe.Encryption) {
		t.Errorf("five packets: %v %v", f.err, f.r.All())
	}
	if s := f.streams(); len(s) != 1 || s[0].Packets != 5 || s[0].Expected != 5 || s[0].Announced {
		t.Errorf("five packets: %+v", s)
	}
	same := make([][]byte, 100)
	random := make([][]byte, 100)
	for i := range same {
		same[i] = packet(8, 1, 1, 7, 10)
		random[i] = packet(8, uint16(i*40503), uint32(i*100), uint32(i/20), 10)
	}
	for name, p := range map[string][][]byte{"the same packet again": same, "random numbers": random,
		"a type that nobody uses": {packet(77, 1, 1, 7, 10)}, "something else": {[]byte("\x01\x02\x03\x04 hello world")}} {
		if f := run(p...); f.err != observe.ErrViolation || f.r.Len() != 0 {
			t.Errorf("%s: %v %v", name, f.err, f.r.All())
		}
	}
	// After the proof, a stray datagram changes nothing, and a stream of few packets is
	// not reported.
	f = run(append(grow(10), packet(8, 1, 1, 8, 10), []byte("x"))...)
	if s := f.streams(); f.err != nil || len(s) != 1 {
		t.Errorf("%v %+v", f.err, s)
	}
}

// TestUnannouncedRTCP reads single datagrams that nothing announced. The packets are
// those of RFC 3550 section 6 and RFC 3711 section 3.4.
func TestUnannouncedRTCP(t *testing.T) {
	sr := "80c80006" + "00000009" + "0000000000000000" + "00000000" + "000003e8" + "00000000"
	sdes := "81ca0003" + "00000009" + "0103612e62" + "000000"
	for _, tt := range []struct {
		name, packet string
		cut, want    bool
	}{
		{"a report and a description", sr + sdes, false, true},
		{"a report alone", sr, false, true},
		{"a report that counts a block that is not there", "81" + sr[2:], false, false},
		{"more than the parts", sr + sdes + "00", false, false},
		{"the length of more than there is", "80c80007" + sr[8:], false, false},
		{"an empty report", "80c90001" + "00000009", false, false},
		{"an application's packet", "80cc0003" + "00000009" + "50494e47" + "504f4e47", false, true},
		{"one without a name", "80cc0003" + "00000009" + "00000000" + "504f4e47", false, false},
		{"the end of a source with a reason", "81cb0003" + "00000009" + "0461646a" + "6f000000", false, true},
		{"encrypted", "80cc0003" + "00000009" + "8899aabbccddeeff" + "80000001" + strings.Repeat("5a", 10), false, true},
		{"encrypted, short tag", "80cc0003" + "00000009" + "8899aabbccddeeff" + "80000001" + strings.Repeat("5a", 4), false, true},
		{"encrypted, no index", "80cc0003" + "00000009" + "8899aabbccddeeff" + "00000001" + strings.Repeat("5a", 10), false, false},
		{"cut in the second part", sr + sdes[:20], true, true},
		{"cut in the first part", sr[:40], true, false},
	} {
		b, err := hex.DecodeString(tt.packet)
		if err != nil {
			t.Fatal(err)
		}
		f := newFlow("")
		f.in.Cut = tt.cut
		f.send(observe.ToServer, 0, b)
		if got := f.r.Has(Content, "rtcp"); got != tt.want || f.r.Any(observe.Encryption) {
			t.Errorf("%s: %v, facts %v", tt.name, got, f.r.All())
		}
	}
}

// TestShortCall reads the end of a call: a few packets of each direction.
func TestShortCall(t *testing.T) {
	for n, want := range map[int]bool{2: false, 3: true} {
		f := newFlow("")
		for i := range n {
			at := time.Duration(i) * 20 * time.Millisecond
			f.send(observe.ToServer, at, packet(0, uint16(700+i), uint32(160*i), 7, 160))
			f.send(observe.ToClient, at, packet(0, uint16(90+i), uint32(160*i), 8, 160))
		}
		if got := f.r.Has(Content, "rtp"); got != want {
			t.Errorf("%d packets of each direction: %v", n, got)
		}
	}
}

var stun = "000100002112a442" + "000102030405060708090a0b"

func TestAnnounced(t *testing.T) {
	rr := "81c90007" + "00000001" + "00000007" + "40000005" + "0001ffff" + "00000050" + "00000000" + "00000000"
	sr := "80c80006" + "00000009" + "0000000000000000" + "00000000" + "000003e8" + "00000000"
	t38 := "0000" + "02" + "c001" + "00" + "00"
	dtls := "16feff0000000000000000" + "0002" + "0101"
	rtp := hex.EncodeToString(packet(0, 1, 1, 7, 20))
	padded := "a0" + rtp[2:len(rtp)-2] + "04"
	for _, tt := range []struct {
		name, service string
		packets       []string
		want          string
		err           error
	}{
		{"rtp", "rtp", []string{rtp}, "rtp.content=rtp encryption=none rtp.codec=PCMU", nil},
		{"padding", "rtp", []string{padded}, "rtp.content=rtp encryption=none rtp.codec=PCMU", nil},
		{"srtp", "srtp", []string{rtp}, "rtp.content=rtp encryption=srtp rtp.codec=PCMU", nil},
		{"rtp after a DTLS handshake", "srtp", []string{stun, dtls, rtp},
			"rtp.content=stun rtp.content=dtls rtp.content=rtp encryption=srtp rtp.codec=PCMU", nil},
		{"rtcp", "rtcp", []string{rr, sr}, "rtp.content=rtcp encryption=none", nil},
		{"t38", "t38", []string{t38}, "rtp.content=t38 encryption=none", nil},
		{"t38 after voice", "rtp", []string{rtp, t38}, "rtp.content=rtp encryption=none rtp.codec=PCMU rtp.content=t38", nil},
		{"stun alone, not announced", "", []string{stun, stun}, "", nil},
		{"junk first", "rtp", []string{"00", "ffffffff", rtp}, "rtp.content=rtp encryption=none rtp.codec=PCMU", nil},
		{"junk alone", "rtp", strings.Split(strings.Repeat("00 ", maxJunk+1), " ")[:maxJunk+1], "", observe.ErrViolation},
		{"another service", "sip", []string{"00"}, "", observe.ErrViolation},
	} {
		f := newFlow(tt.service)
		for i, p := range tt.packets {
			b, err := hex.DecodeString(p)
			if err != nil {
				t.Fatal(err)
			}
			f.send(observe.ToServer, time.Duration(i), b)
		}
		var got []string
		for _, v := range f.r.All() {
			got = append(got, v.Name+"="+v.Value)
		}
		if s := strings.Join(got, " "); s != tt.want || f.err != tt.err {
			t.Errorf("%s: %s (%v), want %s (%v)", tt.name, s, f.err, tt.want, tt.err)
		}
		if tt.name != "rtcp" {
			continue
		}
		// The report's fields are those of RFC 3550 section 6.4.1.
		s := f.streams()
		client, server := f.in.Ends()
		if len(s) != 2 || s[0].SSRC != 7 || s[0].Reports != 1 || s[0].ReportedShare != 64 ||
			s[0].ReportedLost != 5 || s[0].ReportedJitter != 80 ||
			s[0].Src != server || s[1].SSRC != 9 || s[1].SenderPackets != 1000 || s[1].Src != client {
			t.Errorf("%+v", s)
		}
	}
}

func TestUDPTL(t *testing.T) {
	for text, want := range map[string][2]bool{ // strict, loose
		"0000" + "02c001" + "0000":                           {true, true},
		"0005" + "02c001" + "0001" + "01c0":                  {true, true},
		"0005" + "02c001" + "0001" + "05c0":                  {false, true},
		"0005" + "02c001" + "80" + "0102" + "01" + "01ff":    {true, true},
		"0005" + "8081" + strings.Repeat("00", 129) + "0000": {true, true},
		"0005" + "00" + "0000":                               {false, false},
		"0005" + "c001":                                      {false, false},
		"0005" + "09c001":                                    {false, false},
		"00":                                                 {false, false},
		"":                                                   {false, false},
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if text == "0005"+"8081"+strings.Repeat("00", 129)+"0000" {
			want = [2]bool{b[2] != 0, b[2] != 0}
		}
		if got := [2]bool{isUDPTL(b, false), isUDPTL(b, true)}; got != want {
			t.Errorf("%.40s: %v, want %v", text, got, want)
		}
	}
}

func TestDetect(t *testing.T) {
	high, low := netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("10.0.0.1:53")
	s, _ := hex.DecodeString(stun)
	for _, tt := range []struct {
		name, announced string
		data            []byte
		server          netip.AddrPort
		want            observe.Match
	}{
		{"rtp", "", packet(0, 1, 1, 1, 10), high, observe.Yes},
		{"a low port", "", packet(0, 1, 1, 1, 10), low, observe.No},
		{"a low port, announced", "rtp", packet(0, 1, 1, 1, 10), low, observe.Yes},
		{"an unused type", "", packet(77, 1, 1, 1, 10), high, observe.No},
		{"an unused type, announced", "rtp", packet(77, 1, 1, 1, 10), high, observe.Yes},
		{"version 1", "", append([]byte{0x40}, packet(0, 1, 1, 1, 10)[1:]...), high, observe.No},
		{"too short", "", packet(0, 1, 1, 1, 10)[:11], high, observe.No},
		{"contributing sources beyond the end", "", append([]byte{0x8f}, packet(0, 1, 1, 1, 10)[1:]...), high, observe.No},
		{"stun", "", s, high, observe.Yes},
		{"keep-alive, announced", "rtp", []byte{0}, high, observe.More},
		{"keep-alive", "", []byte{0}, high, observe.No},
	} {
		if got := detect(&observe.First{ToServer: tt.data, Datagram: true, Announced: tt.announced, ClientPort: high.Port(),
			ServerPort: tt.server.Port()}); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestNoAllocations verifies that the packets of a known stream do not allocate.
func TestNoAllocations(t *testing.T) {
	f := voice(sequence(1, 10)...)
	b := packet(96, 11, 1760, 7, 160)
	for _, service := range []string{"rtp", ""} {
		f.in.Announced = service
		f.send(observe.ToServer, 0, b)
		seq := uint16(12)
		allocs := testing.AllocsPerRun(1000, func() {
			binary.BigEndian.PutUint16(b[2:], seq)
			binary.BigEndian.PutUint32(b[4:], uint32(seq)*160)
			f.send(observe.ToServer, time.Duration(seq)*20*time.Millisecond, b)
			seq++
		})
		if allocs != 0 || f.err != nil {
			t.Errorf("%v allocations per packet, %v", allocs, f.err)
		}
	}
}

// TestBounded verifies that any number of sources and types uses bounded memory and that
// the limit is reported.
func TestBounded(t *testing.T) {
	f := newFlow("rtp")
	for i := range 10_000 {
		f.send(observe.ToServer, time.Duration(i), packet(uint8(i%128), uint16(i), uint32(i), uint32(i), 10))
	}
	if len(f.o.streams) != maxStreams || len(f.streams()) != maxStreams || !f.r.Has(Limit, "streams") {
		t.Errorf("%d streams, %v", len(f.o.streams), f.r.All())
	}
	f = newFlow("rtp")
	for i := range 10_000 {
		f.send(observe.ToServer, time.Duration(i), packet(uint8(i%128), uint16(i), uint32(i), 7, 10))
	}
	if n := len(f.streams()[0].Payloads); n != maxPayloads {
		t.Errorf("%d payload types", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, pt := range []uint8{0, 96} {
		b.Run(codecName(pt), func(b *testing.B) {
			f := newFlow("rtp")
			p := packet(pt, 0, 0, 7, 160)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				binary.BigEndian.PutUint16(p[2:], uint16(i))
				binary.BigEndian.PutUint32(p[4:], uint32(i)*160)
				f.send(observe.ToServer, time.Duration(i)*20*time.Millisecond, p)
			}
		})
	}
}

func FuzzRTP(f *testing.F) {
	dec := func(s string) string {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		return string(b)
	}
	var conv []observetest.Segment
	for i := range 6 {
		conv = append(conv, observetest.ToServer(string(packet(8, uint16(i), uint32(i*160), 7, 4))), observetest.ToClient(string(packet(96,
			uint16(65533+i), 0, 7, 4))))
	}
	conv = append(conv, observetest.ToServer(dec(stun)),
		observetest.ToClient(dec("81c90007000000010000000740000005"+"0001ffff000000500000000000000000")),
		observetest.ToClient(dec("16feff000000000000000000020101")), observetest.ToServer(dec("000002c0010000")))
	f.Add("rtp", observetest.Encode(conv, observetest.Options{Datagram: true}))
	f.Add("", observetest.Encode(conv, observetest.Options{Datagram: true}))
	f.Add("t38", observetest.Encode(conv, observetest.Options{Datagram: true}))
	f.Fuzz(func(t *testing.T, service string, b []byte) {
		conv, o := observetest.Decode(b)
		o.Datagram, o.Announced = true, service
		observetest.Check(t, Protocol(), conv, o)
	})
}

// TestSecondSign reads datagrams whose headers look like those of RTP. Without an
// announcement, the media time must advance like the clock.
func TestSecondSign(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(i int) []byte
		want bool
	}{
		{"voice", func(i int) []byte { return packet(0, uint16(i), uint32(i*160), 7, 160) }, true},
		{"wide-band voice", func(i int) []byte { return packet(114, uint16(i), uint32(i*320), 7, 40) }, true},
		// BACnet/IP: the type, the function, the length, then the network layer.
		{"BACnet", func(i int) []byte {
			return append([]byte("\x81\x0a\x00"), byte(17+i), 1, 0x20, 0xff, 0xff, 0, 0xff, 0x10, 8, 0, 0, 0, 0, 0)
		}, false},
		{"a counter of milliseconds", func(i int) []byte { return packet(0, uint16(i), uint32(i*20), 7, 160) }, false},
		{"random times", func(i int) []byte { return packet(0, uint16(i), uint32(i)*77_000_000, 7, 160) }, false},
	} {
		f := newFlow("")
		for i := range 40 {
			f.send(observe.ToServer, time.Duration(i)*20*time.Millisecond, c.make(i))
		}
		if got := f.r.Has(Content, "rtp"); got != c.want {
			t.Errorf("%s: RTP %v", c.name, got)
		}
	}
}

// TestHeld sends to one flow everything that makes its observer hold memory.
func TestHeld(t *testing.T) {
	f := newFlow("rtp")
	for ssrc := range uint32(200) {
		for _, dir := range []observe.Direction{observe.ToServer, observe.ToClient} {
			for pt := range uint8(32) {
				for i := range 3 {
					f.send(dir, time.Duration(ssrc)*time.Second, packet(96+pt, uint16(40000*i), uint32(pt), ssrc, 160))
				}
			}
			rr := append([]byte("\x81\xc9\x00\x07"), make([]byte, 28)...)
			binary.BigEndian.PutUint32(rr[8:], ssrc)
			f.send(dir, 0, rr)
		}
	}
	n := f.o.Held()
	if n > observe.MaxHeld/2 {
		t.Errorf("one flow holds %d bytes", n)
	}
	// Compare the sum with the runtime's count.
	var many []*observer
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 50 {
		g := newFlow("rtp")
		for ssrc := range uint32(40) {
			for pt := range uint8(32) {
				g.send(observe.ToServer, 0, packet(96+pt, 1, 1, ssrc, 160))
			}
		}
		many = append(many, g.o)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	sum := 0
	for _, o := range many {
		sum += o.Held() + int(unsafe.Sizeof(*o))
	}
	if real := int(after.HeapAlloc - before.HeapAlloc); sum < real*6/10 || sum > real*14/10 {
		t.Errorf("Held returns %d bytes, the heap grew by %d", sum, real)
	}
}
