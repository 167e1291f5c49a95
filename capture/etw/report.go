package etw

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Report holds the content of a file besides packets.
type Report struct {
	NetMon      string // the version of a Network Monitor file; "" for an event trace log
	Build       uint32 // build of Windows
	Events      uint64 // events with a packet, or a part of one
	Packets     uint64 // packets delivered
	Appearances uint64 // events that showed a packet again, at another layer or adapter
	Cut         uint64 // packets delivered incompletely
	Snap        uint32 // maximum number of bytes kept of a packet, if some were truncated
	Drops       uint64 // events that report the drop of a packet; several can report the same drop
	Lost        uint64 // events lost by the session
	LostBuffers uint64
	Unfinished  uint64 // packets of several events, some of which are missing
	NotFrames   uint64 // packets that are not frames: management frames of 802.11, payloads
	Short       uint64 // events that are shorter than their fields state
	Versions    uint64 // events of unknown versions
	Forgotten   uint64 // packets that were forgotten so early that a repetition may have been missed
	Media       uint64 // frames of Network Monitor of an unsupported medium
	LocalTime   bool   // the times are local times of an unknown time zone, interpreted as UTC
	Running     bool   // the session had not ended
	Counters    bool   // pktmon wrote counters
	Pktmon      uint64 // events of pktmon
	Ndiscap     uint64 // events of ndiscap
	// Damage describes the first damage. Damages counts all damages.
	Damage  *Error
	Damages uint64

	others     map[[16]byte]uint64
	components map[uint16]Component
}

// Component is a part of the Windows network stack in the list of pktmon.
type Component struct {
	Type        uint16
	Name        string // file name of a driver
	Description string // display name of an adapter
}

const (
	maxOthers     = 64
	maxComponents = 4096
)

func (r *Report) damage(off int64, text string, args ...any) {
	if r.Damages++; r.Damage == nil {
		r.Damage = &Error{off, fmt.Sprintf(text, args...)}
	}
}

// Err returns an *Error that describes the damage, or nil. It is final once Reader.Next
// has returned io.EOF.
func (r *Report) Err() error {
	switch {
	case r.Damages > 1:
		return &Error{r.Damage.Offset, fmt.Sprintf("%s (and %d more)", r.Damage.Reason, r.Damages-1)}
	case r.Damages == 1:
		return r.Damage
	}
	return nil
}

// cutAt records that pktmon kept n bytes of a packet.
func (r *Report) cutAt(n int) { r.Snap = max(r.Snap, uint32(n)) }

// component reads pktmon's event 20, which describes a component. The list is at the end
// of a trace.
func (r *Report) component(b []byte) {
	if len(b) < 8 || len(r.components) >= maxComponents {
		return
	}
	c := Component{Type: le.Uint16(b[2:])}
	name, rest := text(b[4:])
	c.Name = name
	c.Description, _ = text(rest)
	if r.components == nil {
		r.components = map[uint16]Component{}
	}
	r.components[le.Uint16(b)] = c
}

// Component returns pktmon's component with the given number, if the reader has seen it.
func (r *Report) Component(number uint16) (Component, bool) {
	c, ok := r.components[number]
	return c, ok
}

func (r *Report) other(provider [16]byte) {
	if _, ok := r.others[provider]; !ok && len(r.others) == maxOthers {
		return
	}
	if r.others == nil {
		r.others = map[[16]byte]uint64{}
	}
	r.others[provider]++
}

// The recommended commands.
const (
	netshStart = "netsh trace start capture=yes report=disabled maxsize=1024 tracefile=C:\\exspan.etl … netsh trace stop"
	pktStart   = "pktmon start --capture --comp nics --pkt-size 0 --file-name C:\\exspan.etl … pktmon stop"
)

// Format returns a description of the program that wrote the file: "pktmon on Windows
// build 26100".
func (r *Report) Format() string {
	if r.NetMon != "" {
		return "Network Monitor " + r.NetMon
	}
	by := "event trace"
	switch {
	case r.Pktmon > 0 && r.Ndiscap > 0:
		by = "pktmon and netsh trace"
	case r.Pktmon > 0:
		by = "pktmon"
	case r.Ndiscap > 0:
		by = "netsh trace"
	}
	return fmt.Sprintf("%s on Windows build %d", by, r.Build)
}

// Empty explains why a file contains no packets and what to do. It returns "" if the file
// contains packets.
func (r *Report) Empty() string {
	if r.Packets > 0 || r.Damages > 0 {
		return ""
	}
	switch {
	case r.Events > 0:
		return "no packets that can be read: the events hold no Ethernet, 802.11 or IP"
	case r.NetMon != "":
		return "a file of Network Monitor without packets"
	case r.Pktmon > 0:
		text := "a trace of pktmon without packets"
		if r.Counters {
			text += ", with counters only"
		}
		return text + ": pktmon ran without --capture, or saw none; capture with: " + pktStart
	case r.Ndiscap > 0:
		return "a trace of netsh without packets: its filters let none through, or there were none; capture with: " + netshStart
	case len(r.others) > 0:
		return "an event trace of " + r.providers() + ", without packets; capture with: " + netshStart
	}
	return "an event trace without packets; capture with: " + netshStart
}

// providers lists the GUIDs of the providers with the most events.
func (r *Report) providers() string {
	type count struct {
		guid [16]byte
		n    uint64
	}
	var list []count
	for g, n := range r.others {
		list = append(list, count{g, n})
	}
	slices.SortFunc(list, func(a, b count) int {
		return cmp.Or(cmp.Compare(b.n, a.n), slices.Compare(a.guid[:], b.guid[:]))
	})
	var names []string
	for i, c := range list {
		if i == 2 {
			names = append(names, fmt.Sprintf("%d more", len(list)-i))
			break
		}
		names = append(names, guidText(c.guid))
	}
	return "provider " + strings.Join(names, ", ")
}

// guidText returns a GUID in the form of Windows.
func guidText(g [16]byte) string {
	return fmt.Sprintf("{%08X-%04X-%04X-%X-%X}", le.Uint32(g[:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:])
}

// Notes returns what the user must know about the file, one sentence each, with the
// recommended command. It is final once Reader.Next has returned io.EOF.
func (r *Report) Notes() []string {
	var list []string
	note := func(n uint64, text string, args ...any) {
		if n > 0 {
			list = append(list, fmt.Sprintf(text, args...))
		}
	}
	by := netshStart
	if r.Pktmon > 0 {
		by = pktStart
	}
	if r.Running {
		list = append(list, "the trace has no end: the session was still running, and its last packets are missing; stop it first, with "+by[strings.LastIndex(by, " … ")+len(" … "):])
	}
	note(r.Lost, "the session lost %s: larger buffers or a filter help (%s)", counted(r.Lost, "event"), larger(r.Pktmon > 0))
	note(r.LostBuffers, "the session lost %s of events: a faster disk, larger buffers or a filter help (%s)", counted(r.LostBuffers, "buffer"), larger(r.Pktmon > 0))
	switch {
	case r.Cut == 0:
	case r.Pktmon > 0 && r.Snap == 128:
		note(r.Cut, "%s cut to 128 bytes, as pktmon does unless told otherwise; capture whole ones with: %s", were(r.Cut, "packet"), pktStart)
	case r.Pktmon > 0:
		note(r.Cut, "%s cut to %d bytes or fewer; capture whole ones with: %s", were(r.Cut, "packet"), r.Snap, pktStart)
	case r.Ndiscap > 0 && r.Snap > 0 && r.Snap < maxRecord-1:
		note(r.Cut, "%s cut to %d bytes; capture whole ones without packetTruncateBytes: %s", were(r.Cut, "packet"), r.Snap, netshStart)
	case r.Ndiscap > 0:
		note(r.Cut, "%s cut; capture whole ones with: %s", were(r.Cut, "packet"), netshStart)
	}
	if r.LocalTime {
		list = append(list, "the file has the local time of the computer that captured, and not its time zone: it was read as UTC; Network Monitor 3 writes both")
	}
	note(r.Unfinished, "%s in several events, of which some are missing", were(r.Unfinished, "packet"))
	note(r.Short, "%s shorter than its fields say", counted(r.Short, "event"))
	note(r.Versions, "%s in a version that is not known, and not read; please report this file", were(r.Versions, "event"))
	note(r.Media, "%s of another medium than Ethernet, 802.11 or IP, and not read", were(r.Media, "frame"))
	note(r.Forgotten, "%s forgotten to save memory before it was certain that no other layer would show it again", were(r.Forgotten, "packet"))
	return list
}

func larger(pktmon bool) string {
	if pktmon {
		return "pktmon start … --buffers, pktmon filter add"
	}
	return "netsh trace start … bufferSize=4096, or IPv4.Address="
}

func counted(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func were(n uint64, what string) string {
	if n == 1 {
		return counted(n, what) + " was"
	}
	return counted(n, what) + " were"
}
