// Package dns reads DNS over UDP and TCP (RFC 1035). It reports which domain controllers
// and mail exchangers clients look up, and the names of hosts. It ignores multicast DNS,
// LLMNR and NetBIOS names, which share the format.
package dns

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/exspan/exspan/classify/observe"
)

// Facts of this protocol.
const (
	Name  = "dns.name"  // name in a question for SRV or MX records, in lower case
	Rcode = "dns.rcode" // code of an answer: "nxdomain", "servfail" ...; never "noerror"
)

// Limits.
const (
	maxPending = 16   // unanswered questions
	maxRecords = 64   // records read per section of an answer
	maxNames   = 32   // addresses read per answer
	maxTargets = 16   // targets of SRV and MX records remembered per answer
	maxMessage = 4096 // bytes read of one message over TCP

	maxDatagram = 1<<16 - 1
)

// Protocol describes DNS.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name: "dns", TCP: []uint16{53}, UDP: []uint16{53}, Stream: true, Datagram: true,
		DatagramPatterns: []observe.Pattern{{Mask: oneQuestionMask, Value: oneQuestion}},
		StreamPatterns:   []observe.Pattern{{Mask: oneQuestionMask >> 16, Value: oneQuestion >> 16}}, // behind the length
		Detect:           detect, New: func() observe.Observer { return new(observer) },
	}
}

// others reports whether p is the port of NetBIOS names, multicast DNS or LLMNR (RFC
// 1002, 6762, 4795).
func others(p uint16) bool { return p == 137 || p == 5353 || p == 5355 }

// The bits of a header that distinguish most messages from noise: one flag is always
// zero, and the count of questions is one.
const (
	oneQuestionMask = flagZero<<32 | 0xffff<<16
	oneQuestion     = 1 << 16
)

func detect(f *observe.First) observe.Match {
	if others(f.ServerPort) || others(f.ClientPort) {
		return observe.No
	}
	b := f.ToServer
	if len(b) == 0 {
		b = f.ToClient
	}
	if f.Datagram {
		if begins(b, len(b), f.OnPort) != nil {
			return observe.No
		}
		return observe.Yes
	}
	if len(b) < 2 {
		return observe.More
	}
	size := int(binary.BigEndian.Uint16(b))
	if size < headerLength {
		return observe.No
	}
	b = b[2:]
	switch err := begins(b[:min(len(b), size)], size, f.OnPort); {
	case err == nil:
		return observe.Yes
	case err == errShort && len(b) < size:
		return observe.More
	}
	return observe.No
}

// begins reports whether b can be the beginning of a DNS message of size bytes. The
// message must have a question in class IN. On ports other than 53 it must be a plain
// query, or the answer to one, with a question of a common type.
func begins(b []byte, size int, onPort bool) error {
	if len(b) < headerLength {
		return errShort
	}
	if binary.BigEndian.Uint64(b)&oneQuestionMask != oneQuestion {
		return errForm // nearly everything that is not DNS fails here
	}
	h := parseHeader(b)
	switch op := h.opcode(); {
	case op == 0:
	case !onPort || op > 5:
		return errForm
	}
	if h.opcode() == 0 && !h.response() && (h.answers() > 0 || h.authority() > 0 || h.additions() > 2 || h.rcode() != 0) {
		return errForm
	}
	labels, typ, class, next, err := question(b)
	if err != nil {
		return err
	}
	if class != classIN && class != classANY && !onPort {
		return errForm
	}
	if onPort {
		return nil
	}
	if len(labels) == 0 || h.answers() > maxRecords || !h.response() && h.additions() == 0 && next != size {
		return errForm
	}
	if odd, _ := odd(labels); odd {
		return errForm
	}
	switch typ {
	case typeA, typeAAAA, typeMX, typeSRV, 2, 5, 6, 12, 16, 64, 65, 255: // NS, CNAME, SOA, PTR, TXT, SVCB, HTTPS, ANY
		return nil
	}
	return errForm
}

type observer struct {
	pending []asked  // the last maxPending questions
	few     [1]asked // initial storage of pending
	next    uint8    // index for the next question
	seen    bool
	lost    [2]bool
}

// asked is an unanswered question.
type asked struct {
	hash  uint64
	id    uint16
	typ   uint16
	asked bool
}

func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Datagram {
		err := o.message(in.Data[:min(len(in.Data), maxDatagram)], in.Dir, r)
		if err == errForm {
			err = observe.ErrViolation
			if o.seen || in.Cut {
				err = nil
			}
		}
		return len(in.Data), err
	}
	if in.Gap > 0 {
		o.lost[in.Dir] = true
		if o.lost[in.Dir.Reverse()] {
			return 0, observe.ErrDone
		}
	}
	pos := 0
	for !o.lost[in.Dir] {
		b := in.Data[min(pos, len(in.Data)):]
		if len(b) < 2 {
			return pos, nil
		}
		size := int(binary.BigEndian.Uint16(b))
		want := min(size, maxMessage)
		if size >= headerLength && len(b) < 2+want {
			return pos, nil
		}
		err := errForm
		if size >= headerLength {
			err = o.message(b[2:2+want], in.Dir, r)
		}
		if err == errForm {
			if !o.seen {
				return 0, observe.ErrViolation
			}
			o.lost[in.Dir] = true
		} else if err != nil {
			return 0, err
		}
		pos += 2 + size
	}
	return max(pos, len(in.Data)), nil
}

// message reads one message. It returns errForm if b is not a DNS message.
func (o *observer) message(b []byte, dir observe.Direction, r *observe.Report) error {
	if len(b) < headerLength {
		return errForm
	}
	h := parseHeader(b)
	if h.response() != (dir == observe.ToClient) {
		if o.seen {
			return nil // servers query each other between the same two ports
		}
		if begins(b, len(b), true) != nil {
			return errForm
		}
		return observe.ErrReversed
	}
	if h.flags()&flagZero != 0 || h.opcode() > 6 {
		return errForm
	}
	if h.opcode() != 0 || h.questions() != 1 {
		// Updates and notifications are DNS, but of no interest. Answers without a
		// question report format errors or continue a zone transfer.
		o.seen = o.seen || h.questions() == 1
		return nil
	}
	labels, typ, _, next, err := question(b)
	if err != nil {
		if err == errShort {
			return nil // cut by the snap length
		}
		return err
	}
	o.seen = true
	q := asked{hash(labels), h.id(), typ, true}
	if !h.response() {
		if (typ == typeSRV || typ == typeMX) && len(labels) > 0 {
			r.Add(Name, text(labels))
		}
		if o.pending == nil {
			o.pending = o.few[:0]
		}
		if len(o.pending) < maxPending {
			o.pending = append(o.pending, q)
		} else {
			o.pending[o.next] = q
		}
		o.next = (o.next + 1) % maxPending
		return nil
	}
	for i := range o.pending {
		if o.pending[i] == q {
			o.pending[i] = asked{}
			if c := h.rcode(); c != 0 {
				r.Add(Rcode, rcodes[c])
			} else {
				answers(b, next, h, q.hash, serviceOf(labels, typ), r)
			}
			break
		}
	}
	return nil
}

var rcodes = [16]string{ // IANA "DNS RCODEs"
	"noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "yxdomain", "yxrrset", "nxrrset", "notauth", "notzone",
	"other", "other", "other", "other", "other",
}

// address is an address record of an answer.
type address struct {
	owner      uint64 // hash of its name
	name, data uint16 // offsets of its name and of the address
	v6         bool
	target     bool // it belongs to the target of an SRV or MX record
}

// in returns the address in msg.
func (a *address) in(msg []byte) netip.Addr {
	if a.v6 {
		return netip.AddrFrom16([16]byte(msg[a.data:]))
	}
	return netip.AddrFrom4([4]byte(msg[a.data:]))
}

// answers reports the hosts that an answer names. They come from the addresses in the
// answer section, and from the additional addresses of the targets of SRV and MX records
// there. A name with several addresses of one family belongs to a service (to a domain,
// in Active Directory) and names no host. asked is the hash of the name in the question,
// and service the service that it asks for.
func answers(b []byte, off int, h header, asked uint64, service string, r *observe.Report) {
	var (
		d         name
		list      [maxNames]address
		n         int
		targets   [maxTargets]uint64
		numTarget int
	)
	section := func(count uint16, read, additional bool) bool {
		if int(count) > maxRecords {
			return false
		}
		for range count {
			at, owner := off, asked
			if off+1 < len(b) && b[off] == 0xc0 && b[off+1] == headerLength {
				off += 2 // nearly always the name in the question
			} else {
				next, err := d.read(b, off)
				if err != nil {
					return false
				}
				off, owner = next, hash(d.labels())
			}
			rec, next, err := readRecord(b, off)
			if err != nil {
				return false
			}
			off = next
			if !read || rec.class != classIN {
				continue
			}
			switch {
			case rec.typ == typeA && rec.size == 4, rec.typ == typeAAAA && rec.size == 16:
				known := !additional
				for i := 0; i < numTarget && !known; i++ {
					known = targets[i] == owner
				}
				if known && n < maxNames {
					list[n] = address{owner, uint16(at), uint16(rec.data), rec.typ == typeAAAA, additional}
					n++
				}
			case rec.typ == typeSRV && rec.size > 6, rec.typ == typeMX && rec.size > 2:
				skip := 6
				if rec.typ == typeMX {
					skip = 2
				}
				if _, err := d.read(b, rec.data+skip); err == nil && numTarget < maxTargets && !additional {
					targets[numTarget] = hash(d.labels())
					numTarget++
				}
			}
		}
		return true
	}
	// If a section cannot be read to its end, it may hide a second address.
	if h.flags()&flagTruncated != 0 || !section(h.answers(), true, false) {
		return
	}
	if h.additions() > 0 && section(h.authority(), false, false) {
		if answered := n; !section(h.additions(), true, true) {
			n = answered
		}
	}
	if n < maxNames {
		d.hosts(b, list[:n], service, r)
	}
}

// hosts reports the hosts that own the addresses of an answer. d is scratch space.
func (d *name) hosts(b []byte, list []address, service string, r *observe.Report) {
	for i := range list {
		a := &list[i]
		addr, alone := a.in(b), true
		for j := range list {
			if o := &list[j]; i != j && a.owner == o.owner && a.v6 == o.v6 && addr != o.in(b) {
				alone = false
			}
		}
		if !alone || !names(addr) {
			continue
		}
		if _, err := d.read(b, int(a.name)); err != nil || d.n == 0 {
			continue
		}
		if odd, ofService := odd(d.labels()); !odd && !ofService {
			name := observe.HostName{Addr: addr.Unmap(), Name: text(d.labels())}
			if a.target {
				name.Service = service
			}
			r.Names = append(r.Names, name)
		}
	}
}

// serviceOf returns the service that a question asks for: the first two labels of an SRV
// name (RFC 2782), "mx" for the mail servers of a domain, or "".
func serviceOf(labels []byte, typ uint16) string {
	if typ == typeMX {
		return "mx"
	}
	if typ != typeSRV {
		return ""
	}
	first := strings.SplitN(text(labels), ".", 3)
	if len(first) < 3 || first[0] == "" || first[0][0] != '_' || first[1] == "" || first[1][0] != '_' {
		return ""
	}
	return first[0] + "." + first[1]
}

// names reports whether a can be the address of a host.
func names(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
