package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture/capturetest"
)

// transformation changes a good capture into one of the same traffic from a worse mirror
// port, with a worse clock, or at another place in the network.
type transformation struct {
	name string
	// lossless reports that nothing is removed: every verdict and all counts must stay
	// the same. After other transformations, a verdict may become undetermined.
	lossless bool
	apply    func(c *capturetest.Capture, server map[string]string) *capturetest.Capture
}

// keep keeps the frames for which f returns true.
func keep(f func(s *segment, frame *capturetest.Frame, i int) bool) func(*capturetest.Capture, map[string]string) *capturetest.Capture {
	return func(c *capturetest.Capture, _ map[string]string) *capturetest.Capture {
		out := &capturetest.Capture{LinkType: c.LinkType}
		for i := range c.Frames {
			s, ok := cutSegment(c.LinkType, c.Frames[i].Data)
			if !ok || f(&s, &c.Frames[i], i) {
				out.Frames = append(out.Frames, c.Frames[i])
			}
		}
		return out
	}
}

// oneDirection keeps only the packets to the servers, or only those from them.
func oneDirection(toServer bool) func(*capturetest.Capture, map[string]string) *capturetest.Capture {
	return func(c *capturetest.Capture, server map[string]string) *capturetest.Capture {
		return keep(func(s *segment, _ *capturetest.Frame, _ int) bool {
			return (server[s.flow()] == s.dst.String()) == toServer
		})(c, nil)
	}
}

// each replaces every frame by one or more frames.
func each(f func(frame capturetest.Frame, i int) []capturetest.Frame) func(*capturetest.Capture, map[string]string) *capturetest.Capture {
	return func(c *capturetest.Capture, _ map[string]string) *capturetest.Capture {
		out := &capturetest.Capture{LinkType: c.LinkType}
		for i := range c.Frames {
			out.Frames = append(out.Frames, f(c.Frames[i], i)...)
		}
		inOrder(out.Frames)
		return out
	}
}

func snapped(length int) func(*capturetest.Capture, map[string]string) *capturetest.Capture {
	return each(func(f capturetest.Frame, _ int) []capturetest.Frame {
		f.Data = f.Data[:min(len(f.Data), length)]
		return []capturetest.Frame{f}
	})
}

// copied repeats every frame after a delay, modified by change. If alike is set, it omits
// segments without payload and IP id, whose copies cannot be distinguished from other
// acknowledgements.
func copied(after time.Duration, alike bool, change func(link int, frame []byte) []byte) func(*capturetest.Capture, map[string]string) *capturetest.Capture {
	return func(c *capturetest.Capture, _ map[string]string) *capturetest.Capture {
		return each(func(f capturetest.Frame, _ int) []capturetest.Frame {
			s, ok := cutSegment(c.LinkType, f.Data)
			if ok && s.proto == "tcp" && len(s.payload) == 0 && f.Data[s.ip+4] == 0 && f.Data[s.ip+5] == 0 && alike {
				return []capturetest.Frame{f}
			}
			again := f
			again.Time = f.Time.Add(after)
			again.Data = change(c.LinkType, slices.Clone(f.Data))
			again.Wire += len(again.Data) - len(f.Data)
			return []capturetest.Frame{f, again}
		})(c, nil)
	}
}

func unchanged(_ int, frame []byte) []byte { return frame }

// routed returns the frame after a router: with a hop less and other MAC addresses.
func routed(link int, frame []byte) []byte {
	copy(frame, "\x02\x0a\x00\x00\x00\xfe\x02\x0a\x00\x00\x00\xff")
	if s, ok := cutSegment(link, frame); ok && frame[s.ip]>>4 == 4 {
		frame[s.ip+8]--
		fixIPv4(frame[s.ip:])
	}
	return frame
}

// tagged returns the frame in another VLAN.
func tagged(_ int, frame []byte) []byte { return between("8100 0009")(frame) }

// shuffled delays each frame by a reproducible random time of at most most.
func shuffled(most time.Duration) func(*capturetest.Capture, map[string]string) *capturetest.Capture {
	return func(c *capturetest.Capture, _ map[string]string) *capturetest.Capture {
		random := rand.New(rand.NewPCG(1, 2))
		return each(func(f capturetest.Frame, _ int) []capturetest.Frame {
			f.Time = f.Time.Add(time.Duration(random.Int64N(int64(most))))
			return []capturetest.Frame{f}
		})(c, nil)
	}
}

// late drops a share of the frames at the beginning.
func late(share float64) func(*capturetest.Capture, map[string]string) *capturetest.Capture {
	return func(c *capturetest.Capture, _ map[string]string) *capturetest.Capture {
		return &capturetest.Capture{LinkType: c.LinkType, Frames: c.Frames[int(share*float64(len(c.Frames))):]}
	}
}

// headless drops the first half of the packets of every TCP flow.
func headless(c *capturetest.Capture, _ map[string]string) *capturetest.Capture {
	count, seen := map[string]int{}, map[string]int{}
	for _, f := range c.Frames {
		if s, ok := cutSegment(c.LinkType, f.Data); ok {
			count[s.flow()]++
		}
	}
	return keep(func(s *segment, _ *capturetest.Frame, _ int) bool {
		seen[s.flow()]++
		return s.proto != "tcp" || seen[s.flow()] > count[s.flow()]/2
	})(c, nil)
}

// stepped sets the clock back by an hour in the middle of the capture.
func stepped(c *capturetest.Capture, _ map[string]string) *capturetest.Capture {
	out := &capturetest.Capture{LinkType: c.LinkType, Frames: slices.Clone(c.Frames)}
	for i := len(out.Frames) / 2; i < len(out.Frames); i++ {
		out.Frames[i].Time = out.Frames[i].Time.Add(-time.Hour)
	}
	return out
}

func transformations() []transformation {
	all := []transformation{
		{"to server alone", false, oneDirection(true)},
		{"to client alone", false, oneDirection(false)},
		{"snap length 64", false, snapped(64)},
		{"snap length 96", false, snapped(96)},
		{"snap length 128", false, snapped(128)},
		{"snap length 256", false, snapped(256)},
		{"without SYN", false, keep(func(s *segment, _ *capturetest.Frame, _ int) bool {
			return s.proto != "tcp" || s.flags&(flagSYN|flagACK) != flagSYN
		})},
		{"without SYN-ACK", false, keep(func(s *segment, _ *capturetest.Frame, _ int) bool {
			return s.proto != "tcp" || s.flags&(flagSYN|flagACK) != flagSYN|flagACK
		})},
		{"begun after a quarter", false, late(0.25)},
		{"begun in the middle", false, late(0.5)},
		{"begun after three quarters", false, late(0.75)},
		{"every flow without its first half", false, headless},
		{"clock stepped back by an hour", true, stepped},
		{"reordered within 50 us", true, shuffled(50 * time.Microsecond)},
		{"reordered within 1 ms", true, shuffled(time.Millisecond)},
	}
	for _, after := range []time.Duration{0, 50 * time.Microsecond, time.Millisecond} {
		for _, change := range []struct {
			name string
			f    func(int, []byte) []byte
		}{{"alike", unchanged}, {"with another TTL and MAC", routed}, {"in another VLAN", tagged}} {
			all = append(all, transformation{fmt.Sprintf("twice after %v, %s", after, change.name), true, copied(after, change.name == "alike", change.f)})
		}
	}
	for _, e := range encapsulations {
		all = append(all, transformation{"in " + e.name, true, func(c *capturetest.Capture, _ map[string]string) *capturetest.Capture {
			out := each(func(f capturetest.Frame, _ int) []capturetest.Frame {
				if _, ok := cutSegment(c.LinkType, f.Data); !ok {
					return nil
				}
				was := len(f.Data)
				f.Data = e.wrap(slices.Clone(f.Data))
				f.Wire += len(f.Data) - was
				return []capturetest.Frame{f}
			})(c, nil)
			out.LinkType = e.link
			return out
		}})
	}
	return all
}

// TestTransformations changes every recording in ways in which a mirror port may lose or
// add packets. A verdict must stay the same or, if packets were removed, become
// undetermined. The number of flows that fail is listed in testdata/transform.txt and can
// only shrink. Without EXSPAN_TRANSFORM, the test uses three recordings.
func TestTransformations(t *testing.T) {
	sample := []string{"mail", "org", "rpc"}
	whole := os.Getenv("EXSPAN_TRANSFORM") != ""
	dir := t.TempDir()
	groups := newTally()
	worse := map[string][]string{}
	for _, r := range recordings(t) {
		c, err := readFrames(r.capture())
		if err != nil {
			t.Fatal(err)
		}
		base, err := analyzed("--site", r.site(), r.capture())
		if err != nil {
			t.Fatal(err)
		}
		if !whole && !slices.Contains(sample, r.name) {
			continue
		}
		before, server := map[string]jsonRecord{}, map[string]string{}
		for _, rec := range base {
			before[flowOf(rec)] = rec
			server[flowOf(rec)] = strings.Replace(rec.end("server"), " ", ":", 1)
		}
		for _, tr := range transformations() {
			changed := tr.apply(c, server)
			remaining := map[string]bool{}
			for _, f := range changed.Frames {
				if s, ok := cutSegment(changed.LinkType, f.Data); ok {
					remaining[s.flow()] = true
				}
			}
			file := writeFrames(t, dir, "changed.pcap", changed)
			after, err := analyzed("--site", r.site(), file)
			if err != nil {
				t.Fatalf("%s of %s: %v", r.name, tr.name, err)
			}
			problems := compareVerdicts(before, after, &tr, remaining)
			for flow := range before {
				groups.count(tr.name, problems[flow] == "")
			}
			key := tr.name + ": " + r.name
			worse[key] = nil
			for flow, problem := range problems {
				worse[key] = append(worse[key], flow+": "+problem)
				if before[flow] == nil {
					groups.count(tr.name, false)
				}
			}
			os.Remove(file)
		}
	}
	groups.report(t, "transformations")
	checkCounts(t, filepath.Join(testdataDir, "transform.txt"), worse)
}

// flowOf returns the same key as segment.flow.
func flowOf(r jsonRecord) string {
	a := strings.Replace(r.end("client"), " ", ":", 1)
	b := strings.Replace(r.end("server"), " ", ":", 1)
	c := segment{proto: r.text("proto"), src: addrPort(a), dst: addrPort(b)}
	return c.flow()
}

// compareVerdicts returns how the verdict of each flow got worse. remaining holds the
// flows that still have packets, as far as this is known.
func compareVerdicts(before map[string]jsonRecord, after []jsonRecord, tr *transformation, remaining map[string]bool) map[string]string {
	problems := map[string]string{}
	seen := map[string]bool{}
	for _, rec := range after {
		flow := flowOf(rec)
		was := before[flow]
		status := rec.object("verdict").text("status")
		switch {
		case was == nil:
			// A flow that did not exist before: the tunnel itself, or a part of another
			// flow.
			if status != "unrelated" && status != "undetermined" || tr.lossless {
				problems[flow] = "a flow of its own, " + verdictOf(rec)
			}
		case sameVerdict(was, rec):
			if tr.lossless && (seen[flow] || counts(was) != counts(rec)) {
				problems[flow] = fmt.Sprintf("%s packets, before %s", counts(rec), counts(was))
			}
		case status == "undetermined" && !tr.lossless:
		default:
			problems[flow] = fmt.Sprintf("%s, before %s", verdictOf(rec), verdictOf(was))
		}
		seen[flow] = true
	}
	for flow := range maps.Keys(before) {
		if !seen[flow] && (tr.lossless || remaining[flow]) {
			problems[flow] = "no such flow"
		}
	}
	return problems
}

// counts returns the packets of a flow in both directions, the smaller number first. If
// the beginning is missing, the wrong end may be considered the server.
func counts(r jsonRecord) string {
	p := r.object("packets")
	a, b := p.number("to_server"), p.number("to_client")
	return fmt.Sprintf("%d/%d", min(a, b), max(a, b))
}
