package capturetest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Frame is one frame of a capture.
type Frame struct {
	Time time.Time
	Data []byte // as captured
	Wire int    // length before truncation to the snap length
}

// Capture is a compiled text.
type Capture struct {
	LinkType int // LINKTYPE_ value
	Frames   []Frame
}

// Compile compiles text to a pcap file with nanosecond time stamps. The error joins all
// mistakes. Each of them begins with name:line.
func Compile(name string, text []byte) ([]byte, error) {
	return CompileFS(name, text, nil)
}

// CompileFS is like Compile. @file in the text refers to a file in files.
func CompileFS(name string, text []byte, files fs.FS) ([]byte, error) {
	c, err := Parse(name, text, files)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = WritePcap(&b, c)
	return b.Bytes(), err
}

// Parse compiles text to frames. files may be nil.
func Parse(name string, text []byte, files fs.FS) (*Capture, error) {
	p := parser{
		files: files, start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), link: linkEthernet,
		hosts: map[string]netip.Addr{}, flows: map[[2]netip.AddrPort]*side{},
	}
	p.now = p.start.Add(-time.Millisecond)
	var errs []error
	lines := strings.Split(string(text), "\n")
	for i := 0; i < len(lines); {
		first, line := i, strings.TrimRight(lines[i], "\r")
		for i++; i < len(lines) && continues(lines[i]); i++ {
			line += "\n" + strings.TrimRight(lines[i], "\r")
		}
		words, err := split(line)
		if err == nil && len(words) > 0 {
			err = p.statement(words)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", name, first+1, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &Capture{LinkType: p.link, Frames: p.frames}, nil
}

// continues reports whether a line continues the previous statement.
func continues(line string) bool {
	return line != "" && (line[0] == ' ' || line[0] == '\t') && strings.TrimSpace(line) != ""
}

// split splits a statement into words. A quoted string or a call with parentheses is one
// word.
func split(s string) (words []string, err error) {
	for {
		s = strings.TrimLeft(s, " \t\n")
		if s == "" {
			return words, nil
		}
		var n int
		switch i := strings.IndexAny(s, " \t\n(#"); {
		case s[0] == '#':
			n = strings.IndexByte(s, '\n')
			if n < 0 {
				return words, nil
			}
			s = s[n:]
			continue
		case s[0] == '"':
			q, err := strconv.QuotedPrefix(s)
			if err != nil {
				return nil, fmt.Errorf("a string without end, or with a wrong escape: %s", s)
			}
			n = len(q)
		case i >= 0 && s[i] == '(':
			n = strings.IndexByte(s, ')') + 1
			if n == 0 {
				return nil, fmt.Errorf("a parenthesis without end: %s", s)
			}
		case i >= 0:
			n = i
		default:
			n = len(s)
		}
		words = append(words, s[:n])
		s = s[n:]
	}
}

// side is one direction of a TCP flow.
type side struct {
	isn, next uint32
	begun     bool
}

type parser struct {
	files  fs.FS
	start  time.Time
	now    time.Time
	link   int
	snap   int
	ipID   uint16
	begun  bool // a packet already has a time
	hosts  map[string]netip.Addr
	flows  map[[2]netip.AddrPort]*side
	frames []Frame
}

// options holds the values of the options (name=value) of one statement.
type options struct {
	seq, ack, win, mss, frag, snap, times, ttl, id *uint32
	vlan                                           []uint16
	lost                                           bool
}

// statement executes one line of the language. It is long because it has a short case for
// each verb.
func (p *parser) statement(words []string) error {
	verb := words[0]
	args := words[1:]
	switch verb {
	case "start":
		if len(args) != 1 {
			return errors.New("start wants a time such as 2026-01-02T09:14:03Z")
		}
		t, err := time.Parse(time.RFC3339Nano, args[0])
		if err != nil {
			return fmt.Errorf("start wants a time such as 2026-01-02T09:14:03Z, not %q", args[0])
		}
		p.start, p.now = t, t.Add(-time.Millisecond)
		return nil
	case "link":
		if len(args) == 1 {
			if l, ok := links[args[0]]; ok {
				if len(p.frames) > 0 {
					return errors.New("link comes before the first packet")
				}
				p.link = l
				return nil
			}
		}
		return errors.New("link wants one of ethernet, raw, sll, sll2, null, loop")
	case "snap":
		if len(args) == 1 {
			if n, err := strconv.ParseUint(args[0], 10, 18); err == nil {
				p.snap = int(n)
				return nil
			}
		}
		return errors.New("snap wants a number of bytes")
	case "host":
		if len(args) != 2 || strings.ContainsAny(args[0], ":[]>=\"@") {
			return errors.New("host wants a name and an address")
		}
		a, err := netip.ParseAddr(args[1])
		if err != nil {
			return fmt.Errorf("host wants an address, not %q", args[1])
		}
		p.hosts[args[0]] = a
		return nil
	}
	t := p.now.Add(time.Millisecond)
	if verb[0] == '+' || verb[0] == '@' {
		d, err := duration(verb[1:])
		if err != nil {
			return fmt.Errorf("%q is not a time such as +0.010, +10ms or @2.5", verb)
		}
		t = p.now.Add(d)
		if verb[0] == '@' {
			t = p.start.Add(d)
		} else if !p.begun {
			t = p.start.Add(d)
		}
		if len(args) == 0 {
			return errors.New("a time without a statement")
		}
		verb, args = args[0], args[1:]
	}
	var o options
	if verb == "lost" {
		if len(args) == 0 {
			return errors.New("lost wants a statement")
		}
		o.lost = true
		verb, args = args[0], args[1:]
	}
	args, err := p.options(args, &o)
	if err != nil {
		return err
	}
	times := 1
	if o.times != nil {
		times = int(*o.times)
	}
	p.now, p.begun = t, true
	for i := range times {
		if i > 0 {
			p.tick()
		}
		if err := p.packet(verb, args, &o); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) packet(verb string, args []string, o *options) error {
	switch verb {
	case "raw":
		b, err := p.payload(args)
		if err != nil {
			return err
		}
		p.write(b, o)
		return nil
	case "tcp", "udp", "handshake", "fin":
		src, dst, rest, err := p.ends(args)
		if err != nil {
			return err
		}
		switch verb {
		case "handshake", "fin":
			if len(rest) > 0 {
				return fmt.Errorf("%s wants nothing after the two ends but options, not %q", verb, rest[0])
			}
			if verb == "handshake" {
				return p.three(src, dst, o, [3]uint8{syn, syn | ack, ack})
			}
			return p.three(src, dst, o, [3]uint8{fin | ack, fin | ack, ack})
		case "udp":
			b, err := p.payload(rest)
			if err != nil {
				return err
			}
			return p.ip(src.Addr(), dst.Addr(), protoUDP, udp(src, dst, b), o)
		}
		return p.tcp(src, dst, rest, o)
	case "icmp":
		return p.icmp(args, o)
	}
	return fmt.Errorf("unknown statement %q", verb)
}

func duration(s string) (time.Duration, error) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return time.Duration(f*1e9 + 0.5), nil
	}
	return time.ParseDuration(s)
}

// options removes the options from args.
func (p *parser) options(args []string, o *options) (rest []string, err error) {
	for _, w := range args {
		name, value, ok := strings.Cut(w, "=")
		if !ok || w[0] == '"' || w[0] == '@' || w[len(w)-1] == ')' {
			rest = append(rest, w)
			continue
		}
		var to **uint32
		switch name {
		case "vlan":
			for _, v := range strings.Split(value, ".") {
				id, err := strconv.ParseUint(v, 10, 12)
				if err != nil {
					return nil, fmt.Errorf("vlan= wants numbers up to 4095, not %q", value)
				}
				o.vlan = append(o.vlan, uint16(id))
			}
			continue
		case "seq":
			to = &o.seq
		case "ack":
			to = &o.ack
		case "win":
			to = &o.win
		case "mss":
			to = &o.mss
		case "frag":
			to = &o.frag
		case "snap":
			to = &o.snap
		case "times":
			to = &o.times
		case "ttl":
			to = &o.ttl
		case "id":
			to = &o.id
		default:
			return nil, fmt.Errorf("unknown option %q", name)
		}
		n, err := strconv.ParseUint(value, 0, 32)
		if err != nil {
			return nil, fmt.Errorf("%s= wants a number, not %q", name, value)
		}
		v := uint32(n)
		*to = &v
	}
	switch {
	case o.frag != nil && (*o.frag == 0 || *o.frag%8 != 0):
		return nil, errors.New("frag= wants a multiple of 8")
	case o.mss != nil && *o.mss == 0:
		return nil, errors.New("mss= wants more than 0")
	}
	return rest, nil
}

// ends parses "A > B".
func (p *parser) ends(args []string) (src, dst netip.AddrPort, rest []string, err error) {
	if len(args) < 3 || args[1] != ">" {
		return src, dst, nil, errors.New("want two ends: ADDRESS:PORT > ADDRESS:PORT")
	}
	if src, err = p.end(args[0]); err != nil {
		return src, dst, nil, err
	}
	if dst, err = p.end(args[2]); err != nil {
		return src, dst, nil, err
	}
	if src.Addr().Is4() != dst.Addr().Is4() {
		return src, dst, nil, errors.New("one end is IPv4, the other IPv6")
	}
	return src, dst, args[3:], nil
}

func (p *parser) end(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a, nil
	}
	if name, port, ok := strings.Cut(s, ":"); ok {
		a, known := p.hosts[name]
		n, err := strconv.ParseUint(port, 10, 16)
		if known && err == nil {
			return netip.AddrPortFrom(a, uint16(n)), nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("%q is not an address and port", s)
}

func (p *parser) addr(s string) (netip.Addr, error) {
	if a, ok := p.hosts[s]; ok {
		return a, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("%q is not an address", s)
	}
	return a, nil
}

func (p *parser) payload(words []string) ([]byte, error) {
	var b []byte
	for _, w := range words {
		switch {
		case w[0] == '"':
			s, err := strconv.Unquote(w)
			if err != nil {
				return nil, fmt.Errorf("wrong string %s", w)
			}
			b = append(b, s...)
		case strings.HasPrefix(w, "hex("):
			d, err := hex.DecodeString(strings.Join(strings.Fields(w[4:len(w)-1]), ""))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w, err)
			}
			b = append(b, d...)
		case strings.HasPrefix(w, "zero("):
			n, err := strconv.ParseUint(w[5:len(w)-1], 10, 20)
			if err != nil {
				return nil, fmt.Errorf("%s wants a number", w)
			}
			b = append(b, make([]byte, n)...)
		case w[0] == '@':
			if p.files == nil {
				return nil, fmt.Errorf("%s: no files here", w)
			}
			d, err := fs.ReadFile(p.files, w[1:])
			if err != nil {
				return nil, err
			}
			b = append(b, d...)
		case strings.HasSuffix(w, ")"):
			d, err := generate(w)
			if err != nil {
				return nil, err
			}
			b = append(b, d...)
		default:
			return nil, fmt.Errorf("%q is neither payload nor option", w)
		}
	}
	return b, nil
}
