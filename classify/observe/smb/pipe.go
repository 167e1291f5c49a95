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

// fileID identifies an open file or pipe. SMB 1 uses only two bytes of it.
type fileID [16]byte

// none is the id in requests without a file, and in related requests of a compound
// ([MS-SMB2] sections 2.2.31 and 3.3.5.2.7.2).
var none = fileID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// pipe is an open named pipe.
type pipe struct {
	id     fileID
	opened bool // the opening was seen
	// session is the session of a pipe that other channels may use, else 0.
	session uint64
	rpc     *dcerpc.Pipe
	done    bool // it does not carry RPC, or no longer
	// report is the report of RPC on this pipe. merged holds the part of it that is
	// already in the flow's report.
	report observe.Report
	merged []observe.Fact
}

// named is an open file or pipe.
type named struct {
	id   fileID
	name string
}

// pending is a request on a pipe that awaits its answer.
type pending struct {
	message uint64
	command uint16
	name    string // name to open
	maybe   bool   // the kind of the share is unknown
	pipe    *pipe  // pipe to read from
}

func (o *observer) wait(p pending) {
	if len(o.pending) == maxPending {
		o.pending = slices.Delete(o.pending, 0, 1)
	}
	o.pending = append(o.pending, p)
}

// waiting removes and returns the request that a response answers.
func (o *observer) waiting(message uint64, command uint16) (pending, bool) {
	for i, p := range o.pending {
		if p.message == message && p.command == command {
			o.pending = slices.Delete(o.pending, i, i+1)
			return p, true
		}
	}
	return pending{}, false
}

// open starts reading a pipe. name is "" if it is unknown.
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

// close ends a pipe. Its facts remain.
func (o *observer) close(id fileID, r *observe.Report) {
	p := o.find(id)
	if p == nil {
		o.maybe = slices.DeleteFunc(o.maybe, func(n named) bool { return n.id == id })
		return
	}
	p.rpc.Finish(&p.report)
	o.merge(p, r)
	p.done = true // its data can still be in transit
	for _, f := range p.merged {
		o.own.Add(f.Name, f.Value)
	}
	o.pipes = slices.DeleteFunc(o.pipes, func(q *pipe) bool { return q == p })
	o.pending = slices.DeleteFunc(o.pending, func(q pending) bool { return q.pipe == p })
}

// opened records that the server opened what a client requested.
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

// known returns the pipe of an operation that only pipes support. If its opening was not
// seen, it has no name.
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

// written returns the pipe to which data is written, or nil. A bind shows that an object
// on a share of unknown kind is a pipe.
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
			o.unprotected(r) // data other than RPC, in clear
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

// lost reports to a pipe that bytes of a direction were lost. Some of them may belong to
// the pipe.
func (o *observer) lost(p *pipe, in *observe.Input, r *observe.Report) {
	if p.done {
		return
	}
	sub := *in
	sub.Data, sub.Gap = nil, 1<<30 // longer than any stub that it skips
	p.done = p.rpc.Write(&sub, &p.report) != nil
	o.merge(p, r)
}

// merge copies the facts from RPC on a pipe to the flow's report.
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
		// An unauthenticated call on a pipe is made with the identity of the session.
		if f.Name != observe.Auth || f.Value != "none" {
			p.merged = append(p.merged, f)
			r.Add(f.Name, f.Value)
		}
	}
	if p.session != 0 {
		o.shared.bound(channelPipe{p.session, p.id}, p.merged)
	}
}

// elsewhere reports whether a source other than p reported a fact.
func (o *observer) elsewhere(p *pipe, f observe.Fact) bool {
	return o.own.Has(f.Name, f.Value) ||
		slices.ContainsFunc(o.pipes, func(q *pipe) bool { return q != p && slices.Contains(q.merged, f) })
}

// pipeName returns the name of an opened pipe: "\PIPE\winreg" becomes "winreg".
func pipeName(s string) string {
	s = strings.TrimPrefix(strings.ToLower(s), `\`)
	s = strings.TrimPrefix(s, `pipe\`)
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "")
	}
	return s
}

// text decodes UTF-16LE up to a NUL or the end.
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
