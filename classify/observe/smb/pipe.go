package smb

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/dcerpc"
)

// fileID names an open file or pipe; SMB 1 has two bytes of it only.
type fileID [16]byte

// none is the id in requests that concern no file, and in related requests of
// a compound ([MS-SMB2] sections 2.2.31 and 3.3.5.2.7.2).
var none = fileID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// pipe is an open named pipe.
type pipe struct {
	id     fileID
	opened bool // the opening was seen
	rpc    *dcerpc.Pipe
	done   bool // it is not RPC, or not any more
	// report is what RPC says of this pipe, and merged what of it is in the
	// flow's report.
	report observe.Report
	merged []observe.Fact
}

// named is an open file or pipe.
type named struct {
	id   fileID
	name string
}

// pending is a request on a pipe that waits for its answer.
type pending struct {
	message uint64
	command uint16
	name    string // to open
	maybe   bool   // the share's kind is not known
	pipe    *pipe  // to read
}

func (o *observer) wait(p pending) {
	if len(o.pending) == maxPending {
		o.pending = slices.Delete(o.pending, 0, 1)
	}
	o.pending = append(o.pending, p)
}

// waiting takes the request that a response belongs to.
func (o *observer) waiting(message uint64, command uint16) (pending, bool) {
	for i, p := range o.pending {
		if p.message == message && p.command == command {
			o.pending = slices.Delete(o.pending, i, i+1)
			return p, true
		}
	}
	return pending{}, false
}

// open starts reading a pipe. The name is empty if it is not known.
func (o *observer) open(id fileID, name string, opened bool, r *observe.Report) *pipe {
	o.close(id, r)
	o.maybe = slices.DeleteFunc(o.maybe, func(n named) bool { return n.id == id })
	if len(o.pipes) == maxPipes {
		o.close(o.pipes[0].id, r)
	}
	r.Add(Pipe, name)
	p := &pipe{id: id, opened: opened, rpc: dcerpc.NewPipe(name)}
	p.report.Identities = r.Identities
	o.pipes = append(o.pipes, p)
	return p
}

func (o *observer) find(id fileID) *pipe {
	for _, p := range o.pipes {
		if p.id == id {
			return p
		}
	}
	return nil
}

// close ends a pipe. What it said stands.
func (o *observer) close(id fileID, r *observe.Report) {
	p := o.find(id)
	if p == nil {
		o.maybe = slices.DeleteFunc(o.maybe, func(n named) bool { return n.id == id })
		return
	}
	p.rpc.Finish(&p.report)
	o.merge(p, r)
	p.done = true // its data can still be under way
	for _, f := range p.merged {
		o.own.Add(f.Name, f.Value)
	}
	o.pipes = slices.DeleteFunc(o.pipes, func(q *pipe) bool { return q == p })
	o.pending = slices.DeleteFunc(o.pending, func(q pending) bool { return q.pipe == p })
}

// opened notes that the server opened what a client asked for.
func (o *observer) opened(id fileID, q pending, r *observe.Report) {
	if !q.maybe {
		o.open(id, q.name, true, r)
		return
	}
	o.maybe = slices.DeleteFunc(o.maybe, func(n named) bool { return n.id == id })
	if len(o.maybe) == maxPipes {
		o.maybe = slices.Delete(o.maybe, 0, 1)
	}
	o.maybe = append(o.maybe, named{id, q.name})
}

// known returns the pipe of an operation that only pipes have. One whose
// opening was not seen has no name.
func (o *observer) known(id fileID, r *observe.Report) *pipe {
	if p := o.find(id); p != nil || id == none {
		return p
	}
	for _, n := range o.maybe {
		if n.id == id {
			return o.open(id, n.name, true, r)
		}
	}
	return o.open(id, "", false, r)
}

// written returns the pipe that data is written to, or nil: a bind shows that
// what was opened on a share of unknown kind is one.
func (o *observer) written(id fileID, data []byte, r *observe.Report) *pipe {
	if p := o.find(id); p != nil {
		return p
	}
	if len(data) >= 3 && string(data[:3]) == "\x05\x00\x0b" && slices.ContainsFunc(o.maybe, func(n named) bool { return n.id == id }) {
		return o.known(id, r)
	}
	return nil
}

// write reads data of a pipe.
func (o *observer) write(p *pipe, in *observe.Input, data []byte, r *observe.Report) {
	if p.done {
		return
	}
	sub := *in
	sub.Data, sub.Handshake = data, p.opened
	if err := p.rpc.Write(&sub, &p.report); err != nil {
		p.done = true
		if errors.Is(err, observe.ErrViolation) {
			o.unprotected(r) // something else, that can be read
		}
	}
	o.merge(p, r)
	if p.rpc.Held() > observe.MaxHeld/maxPipes && o.Held() > observe.MaxHeld {
		p.done = true
		p.rpc.Drop()
	}
}

// Held implements observe.Holder.
func (o *observer) Held() int {
	n := 0
	for _, p := range o.pipes {
		n += p.rpc.Held()
	}
	return n
}

// lost tells a pipe that bytes of a direction were lost, some of which may
// have been its own.
func (o *observer) lost(p *pipe, in *observe.Input, r *observe.Report) {
	if p.done {
		return
	}
	sub := *in
	sub.Gap = 1 << 30 // more than any stub that it skips
	p.done = p.rpc.Write(&sub, &p.report) != nil
	o.merge(p, r)
}

// merge brings what RPC says of a pipe into the flow's report.
func (o *observer) merge(p *pipe, r *observe.Report) {
	r.Endpoints = append(r.Endpoints, p.report.Endpoints...)
	r.Names = append(r.Names, p.report.Names...)
	p.report.Endpoints, p.report.Names, p.report.Rejected = p.report.Endpoints[:0], p.report.Names[:0], nil
	if !p.report.Changed {
		return
	}
	p.report.Changed = false
	for _, f := range p.merged {
		if !p.report.Has(f.Name, f.Value) && !o.elsewhere(p, f) {
			r.Remove(f.Name, f.Value)
		}
	}
	p.merged = p.merged[:0]
	for _, f := range p.report.All() {
		// A call on a pipe that does not authenticate itself is made by whom the
		// session belongs to.
		if f.Name != observe.Auth || f.Value != "none" {
			p.merged = append(p.merged, f)
			r.Add(f.Name, f.Value)
		}
	}
}

// elsewhere reports whether something besides p reported a fact.
func (o *observer) elsewhere(p *pipe, f observe.Fact) bool {
	return o.own.Has(f.Name, f.Value) ||
		slices.ContainsFunc(o.pipes, func(q *pipe) bool { return q != p && slices.Contains(q.merged, f) })
}

// pipeName makes a name of what a client opens: "\PIPE\winreg" is "winreg".
func pipeName(s string) string {
	s = strings.TrimPrefix(strings.ToLower(s), `\`)
	s = strings.TrimPrefix(s, `pipe\`)
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "")
	}
	return s
}

// text decodes UTF-16LE up to its end or a NUL.
func text(b []byte) string {
	u := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}
