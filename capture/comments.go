package capture

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture/etw"
)

// Options of pcapng blocks (draft-ietf-opsawg-pcapng section 3.5 and 4.2).
const (
	optionComment    = 1
	optionName       = 2
	optionResolution = 9
)

const (
	maxRemarks  = 100_000       // drops that become comments, of one trace
	maxTogether = 20            // those that one comment tells
	dropWithin  = 1_000_000_000 // ns from a packet to its drop
)

// comments are what a trace of Windows says of single packets, and what it calls
// interfaces. As names and drops come after the packets, the trace is read twice for
// them.
type comments struct {
	report *etw.Report
	of     map[uint64][]remark // drops of captured packets
	alone  []remark            // drops of others, in the order of time
	more   int                 // those beyond maxRemarks
}

type remark struct {
	time   int64
	reason uint32
	at     uint32 // the component
	flow   string // of a packet that was not captured
}

// readComments reads a whole trace.
func readComments(in io.ReaderAt, size int64) (*comments, error) {
	c := &comments{of: map[uint64][]remark{}}
	n := 0
	var dec Decoder
	r, err := etw.NewReader(in, size, etw.Options{Drop: func(d *etw.Drop) {
		if n++; n > maxRemarks {
			c.more++
			return
		}
		m := remark{time: d.Time, reason: d.Reason, at: d.Point.Component}
		if d.Captured {
			c.of[d.Key] = append(c.of[d.Key], m)
			return
		}
		var p Packet
		if dec.Decode(LinkEthernet, d.Data, d.Wire, &p) == SkipNone {
			m.flow = fmt.Sprintf(" of %s to %s", p.Src.AddrPort(), p.Dst.AddrPort())
		}
		c.alone = append(c.alone, m)
	}})
	if err != nil {
		return nil, err
	}
	var f etw.Frame
	for err == nil {
		err = r.Next(&f)
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	slices.SortStableFunc(c.alone, func(a, b remark) int { return cmp.Compare(a.time, b.time) })
	c.report = r.Report()
	return c, nil
}

// text returns the comment of a frame, or "".
func (c *comments) text(f *etw.Frame) string {
	if c == nil {
		return ""
	}
	var lines []string
	list := c.of[f.Key]
	for len(list) > 0 && list[0].time < f.Time {
		list = list[1:]
	}
	if len(list) > 0 && list[0].time-f.Time <= dropWithin {
		lines = append(lines, "dropped"+c.by(list[0]))
		list = list[1:]
	}
	if len(list) == 0 {
		delete(c.of, f.Key)
	} else {
		c.of[f.Key] = list
	}
	n := 0
	for len(c.alone) > 0 && c.alone[0].time <= f.Time {
		if n++; n <= maxTogether {
			lines = append(lines, "dropped before this packet, and not captured: a packet"+c.alone[0].flow+c.by(c.alone[0]))
		}
		c.alone = c.alone[1:]
	}
	if n > maxTogether {
		lines = append(lines, fmt.Sprintf("and %d more", n-maxTogether))
	}
	return strings.Join(lines, "\n")
}

func (c *comments) by(m remark) string {
	return fmt.Sprintf(" by %s (%s in %s)", etw.Dropper(m.reason), etw.Reason(m.reason), componentName(c.report, m.at))
}

// name names an interface: pktmon has components with names, ndiscap numbers.
func (c *comments) name(k interfaceKey) string {
	if c == nil {
		return ""
	}
	switch k.event {
	case 0:
		return ""
	case 160:
		name := componentName(c.report, k.component)
		if d, ok := c.report.Component(uint16(k.component)); ok && d.Description != "" {
			name += " (" + d.Description + ")"
		}
		return name
	}
	return fmt.Sprintf("interface %d", k.component)
}
