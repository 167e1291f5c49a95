package dcerpc

import (
	"strings"

	"github.com/exspan/exspan/classify/observe"
)

// Pipe reads DCE/RPC that another protocol carries: a named pipe of SMB, or the channels
// of RPC over HTTP. It buffers incomplete PDUs, so its owner need not offer bytes again.
type Pipe struct {
	o    observer
	held [2][]byte
	skip [2]int
	err  error
}

// NewPipe returns a reader for the pipe with the given name ("epmapper", "\PIPE\lsass").
// The name is empty for other carriers. Binds on the pipe announce no endpoint. Answers
// on the pipe epmapper do.
func NewPipe(name string) *Pipe {
	name = strings.ToLower(name)
	name = strings.TrimPrefix(strings.TrimPrefix(name, `\`), `pipe\`)
	return &Pipe{o: observer{nested: true, pipe: name}}
}

// Write reads the bytes in in.Data, which follow those of the last call in the same
// direction. in is as for an observer: Handshake reports that the opening of the pipe was
// seen, and Gap that bytes were lost. After Write has returned an error, which is one of
// package observe's, it must not be called again.
func (p *Pipe) Write(in *observe.Input, r *observe.Report) error {
	if p.err != nil {
		return p.err
	}
	d := in.Dir
	sub := *in
	if in.Gap > 0 {
		k := min(p.skip[d], in.Gap)
		p.skip[d] -= k
		if sub.Gap -= k; sub.Gap == 0 {
			return nil
		}
		sub.Data = p.held[d]
		_, p.err = p.o.Observe(&sub, r)
		p.held[d] = p.held[d][:0]
		return p.err
	}
	k := min(p.skip[d], len(in.Data))
	p.skip[d] -= k
	sub.Data = in.Data[k:]
	if len(p.held[d]) > 0 {
		p.held[d] = append(p.held[d], sub.Data...)
		sub.Data = p.held[d]
	}
	n := 0
	if n, p.err = p.o.Observe(&sub, r); p.err != nil {
		p.held = [2][]byte{}
		return p.err
	}
	if n > len(sub.Data) {
		p.skip[d] = n - len(sub.Data)
		n = len(sub.Data)
	}
	p.held[d] = append(p.held[d][:0], sub.Data[n:]...)
	return nil
}

// Held returns the approximate number of bytes that the pipe holds (see observe.Holder).
func (p *Pipe) Held() int { return cap(p.held[0]) + cap(p.held[1]) + p.o.Held() }

// Drop releases the buffers of the pipe. Write must not be called afterwards.
func (p *Pipe) Drop() {
	p.held, p.o.stub, p.err = [2][]byte{}, nil, observe.ErrDone
}

// Finish reports what is known only at the end (see observe.Finisher).
func (p *Pipe) Finish(r *observe.Report) { p.o.Finish(r) }
