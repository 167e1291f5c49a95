package capture

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/exspan/exspan/capture/capturetest"
)

// file writes capture files for tests, in either byte order.
type file struct {
	binary.AppendByteOrder
	b []byte
}

func little() *file { return &file{AppendByteOrder: binary.LittleEndian} }
func big() *file    { return &file{AppendByteOrder: binary.BigEndian} }

func (f *file) u16(v ...uint16) *file {
	for _, v := range v {
		f.b = f.AppendUint16(f.b, v)
	}
	return f
}

func (f *file) u32(v ...uint32) *file {
	for _, v := range v {
		f.b = f.AppendUint32(f.b, v)
	}
	return f
}

func (f *file) u64(v uint64) *file {
	f.b = f.AppendUint64(f.b, v)
	return f
}

func (f *file) raw(b []byte) *file {
	f.b = append(f.b, b...)
	return f
}

func (f *file) head(magic uint32, link uint32) *file {
	return f.u32(magic).u16(2, 4).u32(0, 0, 65535, link)
}

func (f *file) record(sec, frac uint32, data []byte) *file {
	return f.u32(sec, frac, uint32(len(data)), uint32(len(data))).raw(data)
}

func (f *file) option(code uint16, value []byte) *file {
	return f.u16(code, uint16(len(value))).raw(value).raw(make([]byte, -len(value)&3))
}

// block adds a pcapng block with the body that fill writes.
func (f *file) block(kind uint32, fill func(*file)) *file {
	body := &file{AppendByteOrder: f.AppendByteOrder}
	fill(body)
	for len(body.b)%4 != 0 {
		body.b = append(body.b, 0)
	}
	n := uint32(len(body.b) + 12)
	return f.u32(kind, n).raw(body.b).u32(n)
}

func (f *file) section() *file {
	return f.block(magicSection, func(b *file) {
		b.u32(magicByteOrder).u16(1, 0).u64(math.MaxUint64).option(1, []byte("a comment")).u32(0)
	})
}

func (f *file) iface(link uint16, options func(*file)) *file {
	return f.block(1, func(b *file) {
		b.u16(link, 0).u32(0)
		if options != nil {
			options(b)
		}
	})
}

func (f *file) enhanced(id uint32, ts uint64, data []byte) *file {
	return f.block(6, func(b *file) {
		b.u32(id, uint32(ts>>32), uint32(ts), uint32(len(data)), uint32(len(data))).raw(data)
	})
}

func frames(t testing.TB, text string) [][]byte {
	t.Helper()
	c, err := capturetest.Parse("test", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, f := range c.Frames {
		all = append(all, f.Data)
	}
	return all
}

func gzipped(b []byte) []byte {
	var o bytes.Buffer
	w := gzip.NewWriter(&o)
	w.Write(b)
	w.Close()
	return o.Bytes()
}

func zstandard(t testing.TB, b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// lines prints packets with their times, to compare.
func lines(ps []Packet) string {
	var b strings.Builder
	for i := range ps {
		fmt.Fprintf(&b, "%d at %d if %d: %s\n", ps[i].Number, ps[i].Time, ps[i].Interface, describe(&ps[i]))
	}
	return b.String()
}

func readAll(t testing.TB, names []string, o Options) ([]Packet, Stats, []error) {
	t.Helper()
	s, err := OpenFiles(names, o)
	if err != nil {
		t.Fatal(err)
	}
	ps, st := packets(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return ps, st, s.Errors()
}

// TestFormats reads the same two packets from every form a file can have.
func TestFormats(t *testing.T) {
	fs := frames(t, "udp 10.0.0.1:1 > 10.0.0.2:53 \"one\"\nudp 10.0.0.2:53 > 10.0.0.1:1 \"two\"")
	a, b := fs[0], fs[1]
	const sec = 1_600_000_000
	micro := func(f *file, magic uint32) []byte {
		return f.head(magic, 1).record(sec, 123456, a).record(sec+1, 7, b).b
	}
	ng := func(f *file, opt func(*file), t1, t2 uint64) []byte {
		return f.section().iface(1, opt).enhanced(0, t1, a).enhanced(0, t2, b).b
	}
	resol := func(r byte) func(*file) {
		return func(b *file) { b.option(2, []byte("eth0")).option(9, []byte{r}).u32(0) }
	}
	kuznetzov := func(f *file) []byte {
		f.head(magicPcapKuzn, 1)
		for i, d := range fs {
			f.u32(sec, uint32(i), uint32(len(d)), uint32(len(d))).raw(make([]byte, 8)).raw(d)
		}
		return f.b
	}
	const m1, m2 = sec*1_000_000 + 123456, (sec+1)*1_000_000 + 7
	at := func(t1, t2 int64) string { return fmt.Sprint(t1, " ", t2) }
	usual := at(sec*1e9+123456000, (sec+1)*1e9+7000)
	for _, c := range []struct {
		name  string
		data  []byte
		times string
	}{
		{"pcap", micro(little(), magicPcap), usual},
		{"pcap big-endian", micro(big(), magicPcap), usual},
		{"pcap ns", micro(little(), magicPcapNano), at(sec*1e9+123456, (sec+1)*1e9+7)},
		{"pcap ns big-endian", micro(big(), magicPcapNano), at(sec*1e9+123456, (sec+1)*1e9+7)},
		{"pcap fraction of more than a second", little().head(magicPcap, 1).record(sec, 4e9, a).record(sec, 1e6, b).b, at((sec+4000)*1e9, (sec+1)*1e9)},
		{"pcap modified", kuznetzov(little()), at(sec*1e9, sec*1e9+1000)},
		{"pcap modified big-endian", kuznetzov(big()), at(sec*1e9, sec*1e9+1000)},
		{"pcap 2.3, lengths exchanged", little().u32(magicPcap).u16(2, 3).u32(0, 0, 65535, 1).
			u32(sec, 0, uint32(len(a))+9, uint32(len(a))).raw(a).u32(sec, 0, uint32(len(b))+9, uint32(len(b))).raw(b).b, at(sec*1e9, sec*1e9)},
		{"pcapng", ng(little(), nil, m1, m2), usual},
		{"pcapng big-endian", ng(big(), nil, m1, m2), usual},
		{"pcapng ns", ng(little(), resol(9), m1*1000, m2*1000), usual},
		{"pcapng seconds", ng(big(), resol(0), sec, sec+1), at(sec*1e9, (sec+1)*1e9)},
		{"pcapng ms", ng(little(), resol(3), sec*1000+5, sec*1000+6), at(sec*1e9+5e6, sec*1e9+6e6)},
		{"pcapng ps", ng(little(), resol(12), 5_000_001_999, 5_000_002_000), at(5_000_001, 5_000_002)},
		{"pcapng 2^-10", ng(little(), resol(0x80|10), sec<<10|512, sec<<10|1), at(sec*1e9+5e8, sec*1e9+976562)},
		{"pcapng 2^-32", ng(little(), resol(0x80|32), sec<<32|1<<31, sec<<32), at(sec*1e9+5e8, sec*1e9)},
		{"pcapng 10^-40", ng(little(), resol(40), 1, 2), at(0, 0)},
		{"pcapng times beyond int64", ng(little(), resol(0), math.MaxUint64, 1), at(math.MaxInt64, 1e9)},
		{"pcapng offset", ng(little(), func(b *file) { b.option(14, b.AppendUint64(nil, 100)) }, m1, m2),
			at((sec+100)*1e9+123456000, (sec+101)*1e9+7000)},
		{"pcapng negative offset", ng(big(), func(b *file) { b.option(14, b.AppendUint64(nil, math.MaxUint64-sec+1)) }, m1, m2), at(123456000, 1e9+7000)},
		{"pcapng two sections of different byte order", append(little().section().iface(1, nil).enhanced(0, m1, a).b,
			big().section().iface(1, resol(9)).enhanced(0, m2*1000, b).b...), usual},
		{"pcapng other blocks between", little().section().block(0x80000001, func(b *file) { b.raw(make([]byte, 40)) }).iface(1, nil).
			block(5, func(b *file) { b.u32(0, 0, 0) }).enhanced(0, m1, a).block(4, func(b *file) { b.u32(0) }).enhanced(0, m2, b).b, usual},
		{"pcapng simple blocks", little().section().iface(1, nil).enhanced(0, m1, a).
			block(3, func(f *file) { f.u32(uint32(len(b))).raw(b) }).b, at(sec*1e9+123456000, sec*1e9+123456000)},
		{"pcapng obsolete blocks", big().section().iface(1, nil).
			block(2, func(f *file) {
				f.u16(0, 0).u32(uint32(m1>>32), uint32(m1&0xffffffff), uint32(len(a)), uint32(len(a))).raw(a)
			}).enhanced(0, m2, b).b, usual},
		{"pcapng interfaces of different link types", little().section().iface(101, nil).iface(1, resol(9)).
			enhanced(0, m1, a[14:14+31]).enhanced(1, m2*1000, b).b, usual},
	} {
		for form, data := range map[string][]byte{"plain": c.data, "gzip": gzipped(c.data), "gzip members": append(gzipped(c.data[:30]), gzipped(c.data[30:])...), "zstd": zstandard(t, c.data)} {
			for _, o := range []Options{{}, {Parallel: true}, {Stdin: bytes.NewReader(data)}} {
				name := "-"
				if o.Stdin == nil {
					name = written(t, "x.pcap", data)
				}
				ps, st, errs := readAll(t, []string{name}, o)
				if len(errs) > 0 || len(ps) != 2 {
					t.Errorf("%s, %s: %d packets, %v", c.name, form, len(ps), errs)
					continue
				}
				if got := at(ps[0].Time, ps[1].Time); got != c.times {
					t.Errorf("%s, %s: times %s, want %s", c.name, form, got, c.times)
				}
				if string(ps[0].Payload) != "one" || string(ps[1].Payload) != "two" || ps[1].Number != 2 || st.Frames != 2 || st.Packets != 2 || ps[0].Length+ps[1].Length != 62 {
					t.Errorf("%s, %s: %s %+v", c.name, form, lines(ps), st)
				}
			}
		}
	}
}

// TestDamaged holds each kind of damage against its error; the packet before
// it is always delivered.
func TestDamaged(t *testing.T) {
	a := frames(t, `udp 10.0.0.1:1 > 10.0.0.2:53 "one"`)[0]                          // 60 bytes
	pcap := func() *file { return little().head(magicPcap, 1).record(1, 2, a) }      // 24 + 16 + 60
	ng := func() *file { return little().section().iface(1, nil).enhanced(0, 1, a) } // 48 + 20 + 92
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"cut in a frame", "byte 100: the file ends inside a frame: 59 of 60 bytes", pcap().record(1, 3, a).b[:175]},
		{"cut in a frame's header", "byte 100: the file ends inside a frame's header: 1 of 16 bytes", pcap().record(1, 3, a).b[:101]},
		{"a length that cannot be", "byte 100: a frame of 4294967295 bytes, more than the limit of 262144", pcap().u32(1, 2, math.MaxUint32, 60).raw(a).b},
		{"cut in a block", "byte 160: the file ends inside a block: 91 of 92 bytes", ng().enhanced(0, 2, a).b[:251]},
		{"cut in a block's header", "byte 160: the file ends inside a block: 5 of 12 bytes", ng().enhanced(0, 2, a).b[:165]},
		{"block too short", "byte 164: a block of type 0x6 with the impossible length 8", ng().u32(6, 8, 8).b},
		{"block length odd", "byte 192: a block of type 0x6 begins with length 33 and ends with 0", ng().u32(6, 33, 8).raw(make([]byte, 40)).b},
		{"block too long", "byte 164: a block of type 0x6 with the impossible length 16777220", ng().u32(6, 16<<20+4, 8).b},
		{"two lengths", "byte 172: a block of type 0x5 begins with length 16 and ends with 20", ng().u32(5, 16, 0, 20).b},
		{"no such interface", "byte 160: a frame of interface 1, which is not described", ng().enhanced(1, 2, a).b},
		{"no interface in the second section", "byte 208: a frame of interface 0, which is not described", ng().section().enhanced(0, 2, a).b},
		{"simple block without interface", "byte 208: a frame of interface 0, which is not described", ng().section().block(3, func(b *file) { b.u32(0) }).b},
		{"frame longer than its block", "byte 160: a frame of 61 bytes in a block of 60", ng().block(6, func(b *file) { b.u32(0, 0, 0, 61, 61).raw(a) }).b},
		{"simple frame longer than its block", "byte 160: a frame of 61 bytes in a block of 60", ng().block(3, func(b *file) { b.u32(61).raw(a) }).b},
		{"enhanced block without fields", "byte 160: a block of type 0x6 is too short: 16 bytes of body", ng().block(6, func(b *file) { b.u32(0, 0, 0, 0) }).b},
		{"obsolete block without fields", "byte 160: a block of type 0x2 is too short: 16 bytes of body", ng().block(2, func(b *file) { b.u32(0, 0, 0, 0) }).b},
		{"simple block without fields", "byte 160: a block of type 0x3 is too short: 0 bytes of body", ng().block(3, func(*file) {}).b},
		{"interface block without fields", "byte 160: a block of type 0x1 is too short: 4 bytes of body", ng().block(1, func(b *file) { b.u32(1) }).b},
		{"section without fields", "byte 160: a block of type 0xa0d0d0a is too short: 8 bytes of body", ng().block(magicSection, func(b *file) { b.u32(magicByteOrder, 1) }).b},
		{"section without magic", "byte 168: a section header without byte-order magic", ng().u32(magicSection, 28, 1).b},
		{"section of version 2", "byte 172: pcapng version 2.0 is not known", ng().block(magicSection, func(b *file) { b.u32(magicByteOrder, 2).u64(0) }).b},
		{"gzip cut", "byte 100: decompressing: unexpected EOF", gzipped(pcap().b)[:len(gzipped(pcap().b))-8]},
	} {
		for _, parallel := range []bool{false, true} {
			name := written(t, "x.pcap", c.data)
			ps, _, errs := readAll(t, []string{name}, Options{Parallel: parallel})
			var fe *FileError
			if len(ps) != 1 || len(errs) != 1 || errs[0].Error() != name+": "+c.want || !errors.As(errs[0], &fe) || fe.File != name {
				t.Errorf("%s: %d packets, errors %v\nwant %s", c.name, len(ps), errs, c.want)
			}
		}
	}
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"empty", "byte 0: the file is empty", nil},
		{"one byte", "byte 0: the file ends inside its header: 1 of 4 bytes", []byte{0xd4}},
		{"head cut", "byte 0: the file ends inside its header: 20 of 24 bytes", pcap().b[:20]},
		{"text", "byte 0: not a capture file (pcap, pcapng, .etl or .cap of Windows): it begins with 68 65 6c 6c", []byte("hello, world")},
		{"pcap of version 1", "byte 4: pcap version 1.4 is not known", little().u32(magicPcap).u16(1, 4).raw(make([]byte, 16)).b},
		{"no gzip", "byte 0: decompressing: gzip: invalid header", []byte{0x1f, 0x8b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"no zstd", "byte 0: decompressing: ", append([]byte{0x28, 0xb5, 0x2f, 0xfd}, bytes.Repeat([]byte{0xff}, 20)...)},
		{"xz", "byte 0: compressed with xz, which is not read; use xz -dc first", []byte("\xfd7zXZ\x00")},
		{"bzip2", "byte 0: compressed with bzip2, which is not read; use bzip2 -dc first", []byte("BZh91AY")},
		{"lz4", "byte 0: compressed with lz4, which is not read; use lz4 -d first", []byte("\x04\x22\x4d\x18")},
	} {
		name := written(t, "x.pcap", c.data)
		ps, _, errs := readAll(t, []string{name}, Options{})
		if len(ps) != 0 || len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), name+": "+c.want) {
			t.Errorf("%s: %d packets, errors %v\nwant %s", c.name, len(ps), errs, c.want)
		}
	}
}

// TestCut cuts a file of each format at every byte: what is whole is
// delivered, and an error tells of the rest.
func TestCut(t *testing.T) {
	a := frames(t, `udp 10.0.0.1:1 > 10.0.0.2:53 "one"`)[0]
	for _, c := range []struct {
		data []byte
		head int
		step int
	}{
		{big().head(magicPcap, 1).record(1, 2, a).record(1, 3, a).record(1, 3, a).b, 24, 76},
		{little().section().iface(1, nil).enhanced(0, 1, a).enhanced(0, 1, a).enhanced(0, 1, a).b, 68, 92},
	} {
		for n := range len(c.data) + 1 {
			s, err := OpenFiles([]string{"-"}, Options{Stdin: bytes.NewReader(c.data[:n])})
			if err != nil {
				t.Fatal(err)
			}
			ps, _ := packets(t, s)
			whole := n >= c.head && (n-c.head)%c.step == 0 || c.step == 92 && n == 48
			if want := max(0, (n-c.head)/c.step); len(ps) != want || (len(s.Errors()) == 0) != whole {
				t.Errorf("%d bytes: %d packets, want %d; errors %v", n, len(ps), want, s.Errors())
			}
		}
	}
}

// TestMerge reads several files as one.
func TestMerge(t *testing.T) {
	one := compiled(t, `
udp 10.0.0.1:1 > 10.0.0.2:1
@1 udp 10.0.0.1:1 > 10.0.0.2:2
raw hex(ffffffffffff 020000000001 0806 0001)
@3 udp 10.0.0.1:1 > 10.0.0.2:6
`)
	two := compiled(t, `
@1 udp 10.0.0.1:1 > 10.0.0.2:3
@2 udp 10.0.0.1:1 > 10.0.0.2:4 frag=8 zero(16)
`)
	three := compiled(t, `
@2.5 udp 10.0.0.1:1 > 10.0.0.2:5
@2.4 udp 10.0.0.1:1 > 10.0.0.2:55
`)
	cut, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	damaged := written(t, "damaged.pcap", cut[:len(cut)-1])
	missing := filepath.Join(t.TempDir(), "missing.pcap")
	for _, parallel := range []bool{false, true} {
		ps, st, errs := readAll(t, []string{missing, one, two, three}, Options{Parallel: parallel})
		const start = 1767225600
		want := fmt.Sprintf("1 at %d000000000 if 1: 17 10.0.0.1:1 > 10.0.0.2:1 len 28 payload 0\n"+
			"2 at %d000000000 if 1: 17 10.0.0.1:1 > 10.0.0.2:2 len 28 payload 0\n"+
			"3 at %d000000000 if 2: 17 10.0.0.1:1 > 10.0.0.2:3 len 28 payload 0\n"+
			"7 at %d000000000 if 2: 17 10.0.0.1:1 > 10.0.0.2:4 len 84 payload 16 %q frames 3\n"+
			"8 at %d500000000 if 3: 17 10.0.0.1:1 > 10.0.0.2:5 len 28 payload 0\n"+
			"9 at %d400000000 if 3: 17 10.0.0.1:1 > 10.0.0.2:55 len 28 payload 0\n"+
			"10 at %d000000000 if 1: 17 10.0.0.1:1 > 10.0.0.2:6 len 28 payload 0\n",
			start, start+1, start+1, start+2, make([]byte, 16), start+2, start+2, start+3)
		if got := lines(ps); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		if len(errs) != 1 || errs[0].Error() != "open "+missing+": no such file or directory" {
			t.Errorf("errors %v", errs)
		}
		if st.Frames != 10 || st.Packets != 7 || st.Skipped[SkipNotIP] != 1 || st.Skipped[SkipFragment] != 2 || st.Fragments.Reassembled != 1 {
			t.Errorf("%+v", st)
		}
		ps, _, errs = readAll(t, []string{damaged, three}, Options{Parallel: parallel})
		if len(ps) != 4 || len(errs) != 1 || !strings.HasSuffix(errs[0].Error(), "the file ends inside a frame: 59 of 60 bytes") {
			t.Errorf("%d packets, errors %v\n%s", len(ps), errs, lines(ps))
		}
	}
}

// TestManyFiles reads more files, one after the other in time, than could be
// open at once.
func TestManyFiles(t *testing.T) {
	a := frames(t, `udp 10.0.0.1:1 > 10.0.0.2:53 "one"`)[0]
	dir := t.TempDir()
	var names []string
	for i := range 3000 {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, little().head(magicPcap, 1).record(uint32(i), 0, a).record(uint32(i), 9, a).b, 0o666); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	s, err := OpenFiles(names, Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, last := 0, int64(-1)
	for {
		bt, err := s.Read()
		if err != nil {
			break
		}
		for _, p := range bt.Packets {
			if p.Time < last {
				t.Fatal("not in order")
			}
			last = p.Time
			n++
		}
		if len(s.open) > 2 {
			t.Fatalf("%d files open", len(s.open))
		}
		bt.Release()
	}
	if n != 6000 || len(s.Errors()) > 0 {
		t.Errorf("%d packets, errors %v", n, s.Errors())
	}
}

// large is a capture of n frames of different sizes, some larger than a block
// leaves room for.
func large(t testing.TB, n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	base := frames(t, "udp 10.0.0.1:1 > 10.0.0.2:53 zero(60000)\ntcp 10.0.0.1:1 > 10.0.0.2:80 zero(1400)")
	f := little().head(magicPcapNano, 1)
	for i := range n {
		b := base[1]
		if rng.IntN(50) == 0 {
			b = base[0]
		}
		b = b[:54+rng.IntN(len(b)-54)]
		f.record(uint32(i), 0, b)
	}
	return f.b
}

// TestParallelSame holds what is delivered in parallel, inline, merged and in
// other sizes of reads against each other, batches released late.
func TestParallelSame(t *testing.T) {
	data := large(t, 5000)
	name := written(t, "large.pcap", data)
	whole, _, _ := readAll(t, []string{name}, Options{})
	if len(whole) != 5000 {
		t.Fatal(len(whole))
	}
	want := digest(whole)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for i, o := range []Options{{Parallel: true}, {Parallel: true}, {Parallel: true, KeepFrames: true}, {Stdin: iotestReader{bytes.NewReader(data)}}} {
		runtime.GOMAXPROCS(2 + i%2)
		names := []string{name}
		if o.Stdin != nil {
			names[0] = "-"
		}
		s, err := OpenFiles(names, o)
		if err != nil {
			t.Fatal(err)
		}
		var held []*Batch
		var got []Packet
		release := func(n int) {
			for len(held) > n {
				k := rand.IntN(len(held))
				got = append(got, held[k].Packets...)
				for i := range held[k].Packets {
					p := &got[len(got)-1-i]
					p.Payload = bytes.Clone(p.Payload)
					p.Frame = nil
				}
				held[k].Release()
				held = append(held[:k], held[k+1:]...)
			}
		}
		for {
			bt, err := s.Read()
			if err == io.EOF {
				break
			}
			held = append(held, bt)
			release(5)
		}
		release(0)
		sorted := make([]Packet, len(got))
		for _, p := range got {
			sorted[p.Number-1] = p
		}
		if digest(sorted) != want {
			t.Errorf("%+v: not the same", o)
		}
	}
	// Merged with itself every packet comes twice.
	twice, _, _ := readAll(t, []string{name, name}, Options{})
	var half []Packet
	for i, p := range twice {
		if int(p.Number) != i+1 || int(p.Interface) != i%2 {
			t.Fatalf("packet %d: number %d interface %d", i, p.Number, p.Interface)
		}
		if i%2 == 1 {
			p.Number, p.Interface = uint64(i/2+1), 0
			half = append(half, p)
		}
	}
	if digest(half) != want {
		t.Error("merged: not the same")
	}
}

// digest stands for all that packets say.
func digest(ps []Packet) string {
	var b strings.Builder
	for _, p := range ps {
		h := uint64(14695981039346656037)
		for _, c := range p.Payload {
			h = (h ^ uint64(c)) * 1099511628211
		}
		h += uint64(len(p.Payload))
		p.Payload, p.Frame = nil, nil // valid with frames only
		fmt.Fprintf(&b, "%v %x\n", p, h)
	}
	return b.String()
}

// iotestReader gives a few bytes at a time.
type iotestReader struct{ r io.Reader }

func (r iotestReader) Read(b []byte) (int, error) {
	return r.r.Read(b[:min(len(b), 1+rand.IntN(5000))])
}

// TestFilesAllocs holds reading to what its blocks and batches take.
func TestFilesAllocs(t *testing.T) {
	a := frames(t, "tcp 10.0.0.1:1 > 10.0.0.2:80 zero(400)")[0]
	f := little().head(magicPcap, 1)
	for i := range 200_000 {
		f.record(uint32(i), 0, a)
	}
	name := written(t, "large.pcap", f.b)
	for _, c := range []struct {
		names    []string
		parallel bool
		mib      uint64
	}{
		{[]string{name}, false, 1},
		{[]string{name}, true, 3},
		{[]string{name, name}, false, 2},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, err := OpenFiles(c.names, Options{Parallel: c.parallel})
		if err != nil {
			t.Fatal(err)
		}
		var st Stats
		for {
			bt, err := s.Read()
			if err != nil {
				break
			}
			st = bt.Stats
			bt.Release()
		}
		runtime.ReadMemStats(&after)
		if st.Packets != uint64(len(c.names))*200_000 {
			t.Fatal(st.Packets)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > c.mib<<20 {
			t.Errorf("%d files, parallel %v: %d bytes allocated", len(c.names), c.parallel, n)
		}
		if n := after.Mallocs - before.Mallocs; n > 500 {
			t.Errorf("%d files, parallel %v: %d allocations", len(c.names), c.parallel, n)
		}
	}
}

func TestProgressAndClose(t *testing.T) {
	data := large(t, 3000)
	name := written(t, "large.pcap.gz", gzipped(data))
	st, _ := os.Stat(name)
	for _, parallel := range []bool{false, true} {
		var last, total int64
		_, _, errs := readAll(t, []string{name}, Options{Parallel: parallel, Progress: func(n, all int64) {
			if n <= last {
				t.Errorf("progress from %d to %d", last, n)
			}
			last, total = n, all
		}})
		if last != st.Size() || total != st.Size() || len(errs) > 0 {
			t.Errorf("%d of %d, size %d, errors %v", last, total, st.Size(), errs)
		}
		s, err := OpenFiles([]string{name, name}, Options{Parallel: parallel})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for range 1000 {
			if _, err = s.Read(); err == io.EOF {
				break
			}
		}
		if err != io.EOF || len(s.Errors()) > 0 {
			t.Errorf("after Close: %v, %v", err, s.Errors())
		}
	}
	// With Parallel a Read that waits for standard input ends with Close.
	r, _ := io.Pipe()
	s, err := OpenFiles([]string{"-"}, Options{Stdin: r, Parallel: true})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := s.Read()
		done <- err
	}()
	s.Close()
	if err := <-done; err != io.EOF {
		t.Error(err)
	}
}

// What a pipe has delivered is handed over, however little it is.
func TestSlowPipe(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	s, err := OpenFiles([]string{"-"}, Options{Parallel: true, Stdin: r})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	data := frames(t, "tcp 10.0.0.1:1000 > 10.0.0.2:25 S")[0]
	file := little().head(magicPcap, LinkEthernet)
	for i := range 3 {
		file.record(uint32(i), 0, data)
		if _, err := w.Write(file.b); err != nil {
			t.Fatal(err)
		}
		file.b = nil
		bt, err := s.Read()
		if err != nil || len(bt.Packets) != 1 || bt.Stats.Frames != uint64(i+1) {
			t.Fatalf("after frame %d: %v, %v", i+1, bt, err)
		}
		bt.Release()
	}
}

// What a reader holds at once and releases at once is used again, and first what
// came back last.
func TestPoolKeeps(t *testing.T) {
	p := newPool(blockSize)
	var held [poolSize]*fileBatch
	use := func() {
		for i := range held {
			held[i] = p.batch()
			k := p.block(0)
			held[i].refer(k)
			k.release()
		}
		for _, b := range held {
			b.done()
		}
	}
	use()
	if n := testing.AllocsPerRun(10, use); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if b := p.batch(); b != held[poolSize-1] {
		t.Error("not the batch that came back last")
	}
}

func TestKeepFrames(t *testing.T) {
	name := compiled(t, conversation)
	ps, _, _ := readAll(t, []string{name}, Options{KeepFrames: true})
	for _, p := range ps {
		var d Decoder
		f := *p.Frame
		q := Packet{Number: p.Number, Time: p.Time, Frame: &f}
		s := d.Decode(f.LinkType, f.Data, f.WireLength, &q)
		q.Payload = append([]byte(nil), q.Payload...)
		if p.Frames == 1 && (s != SkipNone || !reflect.DeepEqual(p, q)) {
			t.Errorf("%v\n got %+v\nwant %+v", s, q, p)
		}
		if p.Frames == 3+1 && len(f.Earlier) != 3 {
			t.Errorf("%d frames before", len(f.Earlier))
		}
	}
}

// TestCorpusFiles reads every file of the corpus: no panic, at most one error,
// and the same with Parallel.
func TestCorpusFiles(t *testing.T) {
	_, files := corpus(t)
	for _, name := range files {
		a, st, errs := readAll(t, []string{name}, Options{})
		if len(errs) > 1 || st.Skipped[SkipPanic] > 0 {
			t.Errorf("%s: %v, %d panics", name, errs, st.Skipped[SkipPanic])
		}
		b, st2, errs2 := readAll(t, []string{name}, Options{Parallel: true})
		if digest(a) != digest(b) || st != st2 || fmt.Sprint(errs) != fmt.Sprint(errs2) {
			t.Errorf("%s: not the same in parallel", name)
		}
	}
}

func fuzzFile(f *testing.F, seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := OpenFiles([]string{"-"}, Options{Stdin: bytes.NewReader(data)})
		if err != nil {
			t.Fatal(err)
		}
		ps, st := packets(t, s)
		if st.Bytes > uint64(len(data)) || st.Packets != uint64(len(ps)) || len(s.Errors()) > 1 {
			t.Fatalf("%+v %v", st, s.Errors())
		}
		for _, e := range s.Errors() {
			var fe *FileError
			if !errors.As(e, &fe) || fe.Offset < 0 || fe.Offset > int64(len(data)) && data[0] != 0x1f && data[0] != 0x28 {
				t.Fatalf("%v", e)
			}
		}
		again, err := OpenFiles([]string{"-"}, Options{Stdin: iotestReader{bytes.NewReader(data)}})
		if err != nil {
			t.Fatal(err)
		}
		qs, st2 := packets(t, again)
		if st != st2 || digest(ps) != digest(qs) || fmt.Sprint(s.Errors()) != fmt.Sprint(again.Errors()) {
			t.Fatal("not the same in pieces")
		}
	})
}

func FuzzPcap(f *testing.F) {
	a := frames(f, conversation)
	l, b := little().head(magicPcap, 1), big().head(magicPcapNano, 1)
	for i, d := range a {
		l.record(uint32(i), 1, d)
		b.record(uint32(i), 1, d)
	}
	fuzzFile(f, l.b, b.b, little().head(magicPcapKuzn, 1).b)
}

func FuzzPcapng(f *testing.F) {
	a := frames(f, conversation)
	l, b := little().section().iface(1, nil), big().section().iface(1, func(f *file) { f.option(9, []byte{0x8a}).option(14, make([]byte, 8)) })
	for i, d := range a {
		l.enhanced(0, uint64(i), d)
		b.enhanced(0, uint64(i), d)
	}
	b.block(3, func(f *file) { f.u32(uint32(len(a[0]))).raw(a[0]) })
	fuzzFile(f, l.b, b.b, append(l.b, b.b...))
}

// TestPieces reads frames of all sizes in pieces and not, whole files and such as
// end anywhere: frames and errors are the same.
func TestPieces(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	base := frames(t, "udp 10.0.0.1:1 > 10.0.0.2:53 zero(60)")[0]
	f := little().head(magicPcapNano, 1)
	for i := range 120 {
		size := len(base) + rng.IntN(1400)
		switch rng.IntN(10) {
		case 0:
			size = headroom - 50 + rng.IntN(100)
		case 1:
			size = pieceSize/4 - 50 + rng.IntN(100)
		case 2:
			size = maxFrame - rng.IntN(1000)
		}
		b := make([]byte, size)
		for j := copy(b, base); j < len(b); j++ {
			b[j] = byte(rng.Uint32())
		}
		f.record(uint32(i), 0, b)
	}
	if len(f.b) < 4*pieceSize {
		t.Fatal("only", len(f.b), "bytes")
	}
	// read reads a file, fetching so many pieces ahead, or none at all; or by Read.
	read := func(name string, ahead int) (sum string) {
		s, err := OpenFiles([]string{name}, Options{Pieces: ahead >= 0, KeepFrames: true})
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		n := 0
		var list []*Batch
		for piece := 0; err == nil; piece++ {
			if ahead < 0 {
				var bt *Batch
				if bt, err = s.Read(); err != nil {
					break
				}
				list = append(list[:0], bt)
			} else {
				if ahead > 0 && piece%ahead == 0 {
					var wg sync.WaitGroup
					for i := range ahead {
						wg.Go(func() { s.Fetch(piece + i) })
					}
					wg.Wait()
				}
				list, err = s.Decode(list[:0])
			}
			for _, bt := range list {
				for i := range bt.Packets {
					h.Write(bt.Packets[i].Frame.Data)
					n++
				}
				bt.Release()
			}
		}
		if err != io.EOF {
			t.Error(err)
		}
		if list, err = s.Decode(nil); len(list) > 0 || err != io.EOF {
			t.Errorf("after the end: %d batches, %v", len(list), err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		sum = fmt.Sprintf("%d packets, %x", n, h.Sum(nil))
		for _, err := range s.Errors() {
			var f *FileError
			if !errors.As(err, &f) {
				t.Fatal(err)
			}
			sum += fmt.Sprintf(", byte %d: %s", f.Offset, f.Reason)
		}
		return sum
	}
	for n := range 25 {
		data := f.b
		if n > 0 {
			data = data[:rng.IntN(len(data))]
		}
		name := written(t, "some.pcap", data)
		want := read(name, -1)
		for _, ahead := range []int{0, 1, 2, maxFetched} {
			if got := read(name, ahead); got != want {
				t.Errorf("%d bytes, %d pieces ahead:\n%s\n%s", len(data), ahead, got, want)
			}
		}
	}
}

// TestUnpadded reads blocks of writers that leave the padding of the packet out, or
// out of the length alone.
func TestUnpadded(t *testing.T) {
	frame := append(build(t, eth(0x0800), inner4(), tcpLayer()), 0) // 61 bytes
	n := uint32(len(frame))
	f := little().section().iface(1, nil).u32(6, 32+n, 0, 0, 0, n, n).raw(frame).u32(32 + n) // no padding
	f = f.u32(6, 32+n, 0, 0, 0, n, n).raw(frame).raw(make([]byte, 3)).u32(32 + n)            // padding that is not counted
	f = f.u32(6, 35+n, 0, 0, 0, n, n).raw(frame).raw(make([]byte, 3)).u32(35 + n)            // as it should be
	got, _, errs := readAll(t, []string{written(t, "x.pcapng", f.b)}, Options{})
	if len(got) != 3 || len(errs) > 0 {
		t.Errorf("%d packets, %v", len(got), errs)
	}
}
