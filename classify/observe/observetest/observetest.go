// Package observetest runs an observer as the engine's stream layer does, with whole and
// with split segments, and checks the guarantees of package observe.
//
// A test of an observer consists of a conversation and the expected report. Check runs it
// with several ways of splitting the stream and fails if the results differ. Fuzz does
// the same with arbitrary bytes.
package observetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
)

// MaxHeld is the number of bytes of one direction that an observer may leave unused at
// any time. The engine gives up at twice that number.
const MaxHeld = 32 << 10

// Segment is a part of a conversation: bytes in one direction, or a gap of Gap bytes. On
// datagram flows it is one datagram.
type Segment struct {
	Dir  observe.Direction
	Data []byte
	Gap  int
}

// ToServer returns a segment sent by the client.
func ToServer(data ...string) Segment {
	return Segment{Dir: observe.ToServer, Data: []byte(strings.Join(data, ""))}
}

// ToClient returns a segment sent by the server.
func ToClient(data ...string) Segment {
	return Segment{Dir: observe.ToClient, Data: []byte(strings.Join(data, ""))}
}

// Lost returns a segment of n missing bytes.
func Lost(dir observe.Direction, n int) Segment { return Segment{Dir: dir, Gap: n} }

// Options describes a flow to an observer. The zero value is a TCP flow to the protocol's
// first port that was captured in both directions from its handshake on.
type Options struct {
	// Client and Server are the flow's ends. The default is 192.0.2.10:49152 and
	// 192.0.2.1 with the protocol's first port.
	Client, Server netip.AddrPort
	// Datagram makes each segment one datagram.
	Datagram bool
	// Cut reports to the observer that the snap length cut off the end of each datagram.
	Cut bool
	// Midstream reports to the observer that the handshake was not seen.
	Midstream bool
	// Unacknowledged reports to the observer that no segment acknowledges the other
	// direction.
	Unacknowledged bool
	// Announced is the service that a learned endpoint promised.
	Announced string
	// Identities requests principals and full names.
	Identities bool
	// Time is the packet time of the first segment in nanoseconds since the Unix epoch.
	// Each segment follows 10 ms after the previous one.
	Time int64
}

// Result is the result of observing a conversation.
type Result struct {
	Facts     observe.Facts
	Endpoints []observe.Endpoint
	Rejected  []string
	Names     []observe.HostName
	Ties      []uint64
	// Err is the error that ended the observation early: ErrDone, ErrViolation,
	// ErrReversed or ErrUpgrade. It is nil if the observer read to the end.
	Err error
	// Next is the protocol after ErrUpgrade. NextAt is the offset of the first byte for
	// that protocol, by direction.
	Next   string
	NextAt [2]int
	// Held is the largest number of bytes left unused in one direction.
	Held int
	// Calls is the number of calls of Observe.
	Calls int
}

// Lines returns everything reported as sorted lines, for comparison: "name=value",
// "endpoint ...", "rejected ...", "host ADDRESS NAME".
func (r *Result) Lines() []string {
	var l []string
	for _, f := range r.Facts.All() {
		l = append(l, f.Name+"="+f.Value)
	}
	for _, e := range r.Endpoints {
		l = append(l, "endpoint "+EndpointLine(e))
	}
	for _, s := range r.Rejected {
		l = append(l, "rejected "+s)
	}
	for _, n := range r.Names {
		host := "host " + n.Addr.String() + " " + n.Name
		if n.Service != "" {
			host += " service=" + n.Service
		}
		l = append(l, host)
	}
	slices.Sort(l)
	return slices.Compact(l)
}

// EndpointLine returns e as one line without empty fields.
func EndpointLine(e observe.Endpoint) string {
	var b strings.Builder
	proto := "tcp"
	if e.UDP {
		proto = "udp"
	}
	if e.End {
		return "end scope=" + e.Scope
	}
	fmt.Fprintf(&b, "%s/%s %s source=%s from=%s", e.Server, proto, e.Service, e.Source, e.From)
	if e.Annotation != "" {
		fmt.Fprintf(&b, " annotation=%q", e.Annotation)
	}
	if e.Announced.IsValid() {
		fmt.Fprintf(&b, " announced=%s", e.Announced)
	}
	if e.Scope != "" {
		b.WriteString(" scope=" + e.Scope)
	}
	if e.Weak {
		b.WriteString(" weak")
	}
	if e.Idle != 0 {
		fmt.Fprintf(&b, " idle=%d", e.Idle)
	}
	return b.String()
}

// Run passes conv to a new observer of p and returns the result. It works like the
// engine. It offers unused bytes again, followed by more, immediately if some were used.
// It never offers skipped bytes. A gap drops the unused bytes and is reported, unless it
// lies within skipped bytes. Run panics if the observer breaks its contract; Check turns
// that into a failure.
func Run(p observe.Protocol, conv []Segment, o Options) Result {
	return run(p, conv, o, nil)
}

// stream is one direction of the flow.
type stream struct {
	held []byte
	skip int
	off  int // offset in the stream of the first byte of held
}

// run is like Run, with a function that returns how many bytes of data to deliver next.
// If cut is nil, segments are delivered unsplit.
func run(p observe.Protocol, conv []Segment, o Options, cut func(left int) int) Result {
	o = o.defaults(p)
	d := driver{o: o, obs: p.New()}
	d.report.Identities = o.Identities
	for i, s := range conv {
		d.number = uint64(i + 1)
		d.time = o.Time + int64(i)*10e6
		if o.Datagram {
			if s.Gap > 0 {
				continue
			}
			d.datagram(s)
		} else if s.Gap > 0 {
			d.gap(s.Dir, s.Gap)
		} else {
			for data := s.Data; len(data) > 0 && d.res.Err == nil; {
				n := len(data)
				if cut != nil {
					n = min(max(cut(n), 1), n)
				}
				d.bytes(s.Dir, data[:n])
				data = data[n:]
			}
		}
		if d.res.Err != nil {
			break
		}
	}
	if h, ok := d.obs.(observe.Holder); ok {
		if n := h.Held(); n < 0 || n > 2*observe.MaxHeld {
			panic(fmt.Sprintf("observer holds %d bytes", n))
		}
	}
	if f, ok := d.obs.(observe.Finisher); ok {
		for range 2 {
			f.Finish(&d.report)
			d.take()
		}
	}
	d.res.Facts = d.report.Facts
	d.res.Next = d.report.Next
	return d.res
}

func (o Options) defaults(p observe.Protocol) Options {
	if !o.Client.IsValid() {
		o.Client = netip.MustParseAddrPort("192.0.2.10:49152")
	}
	if !o.Server.IsValid() {
		port := uint16(40000)
		if o.Datagram && len(p.UDP) > 0 {
			port = p.UDP[0]
		} else if !o.Datagram && len(p.TCP) > 0 {
			port = p.TCP[0]
		}
		o.Server = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)
	}
	if o.Time == 0 {
		o.Time = 1_600_000_000e9
	}
	return o
}

type driver struct {
	o       Options
	obs     observe.Observer
	report  observe.Report
	streams [2]stream
	number  uint64
	time    int64
	res     Result
	in      observe.Input
	scratch []byte
}

// Between returns the function for Input.Flow that returns the given ends.
func Between(client, server netip.AddrPort) func() (netip.AddrPort, netip.AddrPort) {
	return func() (netip.AddrPort, netip.AddrPort) { return client, server }
}

func (d *driver) input(dir observe.Direction) *observe.Input {
	d.in = observe.Input{
		Dir: dir, Time: d.time, Number: d.number,
		Datagram: d.o.Datagram, Cut: d.o.Cut, Handshake: !d.o.Midstream && !d.o.Datagram,
		Continues: !d.o.Unacknowledged && !d.o.Datagram, Announced: d.o.Announced,
		Flow: Between(d.o.Client, d.o.Server),
	}
	return &d.in
}

// poison overwrites an observer's input after the call.
var poison = bytes.Repeat([]byte{0xdb}, 64<<10)

// offer calls the observer with a copy of data and overwrites the copy afterwards, which
// exposes an observer that retains the slice.
func (d *driver) offer(in *observe.Input, data []byte) int {
	d.scratch = append(d.scratch[:0], data...)
	in.Data = d.scratch[:len(data):len(data)]
	n, err := d.obs.Observe(in, &d.report)
	d.res.Calls++
	if !bytes.Equal(d.scratch, data) {
		panic("observer changed its input")
	}
	copy(d.scratch, poison)
	if n < 0 {
		panic(fmt.Sprintf("observer used %d bytes", n))
	}
	d.take()
	switch err {
	case nil, observe.ErrDone, observe.ErrViolation, observe.ErrReversed:
	case observe.ErrUpgrade:
		if n > len(data) {
			panic("upgrade beyond the bytes offered")
		}
		if d.report.Next == "" {
			panic("upgrade without Next")
		}
	default:
		panic(fmt.Sprintf("observer returned an error outside its contract: %v", err))
	}
	d.res.Err = err
	return n
}

func (d *driver) take() {
	d.res.Endpoints = append(d.res.Endpoints, d.report.Endpoints...)
	d.res.Rejected = append(d.res.Rejected, d.report.Rejected...)
	d.res.Names = append(d.res.Names, d.report.Names...)
	d.res.Ties = append(d.res.Ties, d.report.Ties...)
	d.report.Ties = d.report.Ties[:0]
	d.report.Endpoints, d.report.Rejected, d.report.Names = d.report.Endpoints[:0], d.report.Rejected[:0], d.report.Names[:0]
}

func (d *driver) datagram(s Segment) { d.offer(d.input(s.Dir), s.Data) }

func (d *driver) bytes(dir observe.Direction, data []byte) {
	s := &d.streams[dir]
	k := min(s.skip, len(data))
	s.skip -= k
	s.off += k
	s.held = append(s.held, data[k:]...)
	for len(s.held) > 0 {
		n := d.offer(d.input(dir), s.held)
		if d.res.Err == observe.ErrUpgrade {
			d.res.NextAt[dir] = s.off + n
			d.res.NextAt[dir.Reverse()] = d.streams[dir.Reverse()].off
		}
		if d.res.Err != nil {
			return
		}
		if n > len(s.held) {
			s.skip = n - len(s.held)
			n = len(s.held)
		}
		s.held = append(s.held[:0], s.held[n:]...)
		s.off += n
		if n == 0 {
			break
		}
	}
	d.res.Held = max(d.res.Held, len(s.held))
}

func (d *driver) gap(dir observe.Direction, n int) {
	s := &d.streams[dir]
	k := min(s.skip, n)
	s.skip -= k
	s.off += len(s.held) + n
	n -= k
	in := d.input(dir)
	in.Gap = n
	in.Data = slices.Clone(s.held)
	s.held = s.held[:0]
	if n == 0 {
		return
	}
	d.res.Calls++
	used, err := d.obs.Observe(in, &d.report)
	if used < 0 {
		panic(fmt.Sprintf("observer used %d bytes of a gap", used))
	}
	d.take()
	d.res.Err = err
}

// Check runs conv unsplit, byte by byte (in small pieces if it is long), coalesced, and
// randomly split. If the protocol has Renew, all runs after the first use a renewed
// observer. Check fails t if the observer breaks its contract or if its report depends on
// the splitting. It returns the result of the unsplit run.
func Check(t testing.TB, p observe.Protocol, conv []Segment, o Options) Result {
	t.Helper()
	p = renewing(p)
	whole := Run(p, conv, o)
	if whole.Held > MaxHeld {
		t.Errorf("observer left %d bytes unused, more than %d", whole.Held, MaxHeld)
	}
	checkDetect(t, p, conv, o)
	compare := func(name string, r Result) {
		t.Helper()
		if a, b := whole.Lines(), r.Lines(); !slices.Equal(a, b) {
			t.Errorf("%s reports\n\t%s\nwhole segments report\n\t%s", name, strings.Join(b, "\n\t"), strings.Join(a, "\n\t"))
		}
		if !slices.Equal(r.Ties, whole.Ties) {
			t.Errorf("%s reports the ties %x, whole segments %x", name, r.Ties, whole.Ties)
		}
		if r.Err != whole.Err || r.Next != whole.Next || r.NextAt != whole.NextAt {
			t.Errorf("%s ends with %v (next %q at %v), whole segments with %v (next %q at %v)",
				name, r.Err, r.Next, r.NextAt, whole.Err, whole.Next, whole.NextAt)
		}
		if r.Held > MaxHeld {
			t.Errorf("%s: observer left %d bytes unused, more than %d", name, r.Held, MaxHeld)
		}
	}
	compare("a second run", Run(p, conv, o))
	if o.Datagram {
		return whole
	}
	// Each call copies the unused bytes, so long conversations are split more coarsely.
	step := 1 + size(conv)/(8<<10)
	compare(fmt.Sprintf("in cuts of %d", step), run(p, conv, o, func(int) int { return step }))
	compare("coalesced", Run(p, Coalesce(conv, 16<<10), o))
	for seed := range int64(3) {
		rnd := rand.New(rand.NewSource(seed))
		compare(fmt.Sprintf("cut at random, seed %d,", seed), run(p, Coalesce(conv, 16<<10), o, func(left int) int {
			if rnd.Intn(3) == 0 {
				return left
			}
			return 1 + rnd.Intn(min(left, 1500))
		}))
	}
	return whole
}

// renewing returns p with a function New that reuses the previous observer if the
// protocol has Renew.
func renewing(p observe.Protocol) observe.Protocol {
	if p.Renew == nil {
		return p
	}
	var given observe.Observer
	fresh := p.New
	p.New = func() observe.Observer {
		if given == nil {
			given = fresh()
		} else {
			p.Renew(given)
		}
		return given
	}
	return p
}

// checkDetect verifies that Detect is consistent: unless it returns More for a prefix, it
// must return the same for the whole beginning. It must recognise only datagrams that
// start with a byte of Begins.
func checkDetect(t testing.TB, p observe.Protocol, conv []Segment, o Options) {
	t.Helper()
	if p.Detect == nil || len(conv) == 0 || conv[0].Gap > 0 || o.Datagram && !p.Datagram || !o.Datagram && !p.Stream {
		return
	}
	o = o.defaults(p)
	ports := p.TCP
	if o.Datagram {
		ports = p.UDP
	}
	first := observe.First{OnPort: slices.Contains(ports, o.Server.Port()), Datagram: o.Datagram, Announced: o.Announced,
		ClientPort: o.Client.Port(), ServerPort: o.Server.Port()}
	ask := func(b []byte) observe.Match {
		if conv[0].Dir == observe.ToServer {
			first.ToServer = b
		} else {
			first.ToClient = b
		}
		return p.Detect(&first)
	}
	all := conv[0].Data
	want := ask(all)
	if o.Datagram {
		if want == observe.Yes && len(all) > 0 && p.Begins != "" && bytes.IndexByte([]byte(p.Begins), all[0]) < 0 {
			t.Errorf("Detect recognises a datagram that begins with %#x, which is not in Begins", all[0])
		}
		return
	}
	for n := 0; n <= min(len(all), 512); n++ {
		if got := ask(all[:n:n]); got != observe.More && got != want {
			t.Errorf("Detect returns %d for the first %d bytes and %d for all %d", got, n, want, len(all))
			return
		}
	}
}

func size(conv []Segment) int {
	n := 0
	for _, s := range conv {
		n += len(s.Data)
	}
	return n
}

// Coalesce joins adjacent segments of one direction, up to limit bytes each.
func Coalesce(conv []Segment, limit int) []Segment {
	var out []Segment
	for _, s := range conv {
		if l := len(out) - 1; l >= 0 && s.Gap == 0 && out[l].Gap == 0 && out[l].Dir == s.Dir && len(out[l].Data)+len(s.Data) <= limit {
			out[l].Data = append(slices.Clip(out[l].Data), s.Data...)
			continue
		}
		out = append(out, s)
	}
	return out
}

// Expect fails t unless r reports exactly want, lines in the form of Lines, in any order.
func Expect(t testing.TB, r Result, want ...string) {
	t.Helper()
	got := r.Lines()
	want = slices.Clone(want)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("reported\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// Fuzz adds seeds to f and fuzzes the property that Check verifies. It decodes arbitrary
// bytes as options and a conversation.
func Fuzz(f *testing.F, p observe.Protocol, seeds ...[]Segment) {
	f.Helper()
	for _, s := range seeds {
		f.Add(Encode(s, Options{}))
		f.Add(Encode(s, Options{Midstream: true, Unacknowledged: true}))
		if p.Datagram {
			f.Add(Encode(s, Options{Datagram: true}))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		conv, o := Decode(data)
		if o.Datagram && !p.Datagram || !o.Datagram && !p.Stream {
			return
		}
		Check(t, p, conv, o)
	})
}

// The first byte of an encoded conversation holds the options. Each segment then has a
// byte for its direction and kind and two bytes for its length.
const (
	encDatagram = 1 << iota
	encCut
	encMidstream
	encUnacknowledged
	encIdentities
	encOffPort
)

// Encode returns conv and the flags of o as bytes for Decode. It truncates segments to
// 65535 bytes.
func Encode(conv []Segment, o Options) []byte {
	var flags byte
	for i, set := range []bool{o.Datagram, o.Cut, o.Midstream, o.Unacknowledged, o.Identities, o.Server.IsValid()} {
		if set {
			flags |= 1 << i
		}
	}
	b := []byte{flags}
	for _, s := range conv {
		kind, n := byte(s.Dir), min(len(s.Data), 0xffff)
		if s.Gap > 0 {
			kind, n = kind|0x80, min(s.Gap, 0xffff)
		}
		b = append(b, kind)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		if s.Gap == 0 {
			b = append(b, s.Data[:n]...)
		}
	}
	return b
}

// Decode decodes arbitrary bytes as a conversation of at most 64 segments and 40 KiB.
func Decode(b []byte) ([]Segment, Options) {
	var o Options
	if len(b) == 0 {
		return nil, o
	}
	o.Datagram = b[0]&encDatagram != 0
	o.Cut = b[0]&encCut != 0 && o.Datagram
	o.Midstream = b[0]&encMidstream != 0
	o.Unacknowledged = b[0]&encUnacknowledged != 0
	o.Identities = b[0]&encIdentities != 0
	if b[0]&encOffPort != 0 {
		o.Server = netip.MustParseAddrPort("[2001:db8::1]:40000")
	}
	b = b[1:min(len(b), 40<<10)]
	var conv []Segment
	for len(b) >= 3 && len(conv) < 64 {
		s := Segment{Dir: observe.Direction(b[0] & 1)}
		n := int(binary.BigEndian.Uint16(b[1:]))
		gap := b[0]&0x80 != 0
		b = b[3:]
		if gap {
			s.Gap = max(n, 1)
		} else {
			n = min(n, len(b))
			s.Data, b = b[:n:n], b[n:]
		}
		conv = append(conv, s)
	}
	return conv, o
}
