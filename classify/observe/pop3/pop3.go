// Package pop3 observes POP3 (RFC 1939, RFC 2449, RFC 5034) up to the login. It reports
// the server's greeting and capabilities, whether the client starts TLS, and how it
// authenticates. It skips user names, passwords and messages and never keeps them.
//
// After an accepted STLS it hands the flow over to tls.
package pop3

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/line"
	"github.com/exspan/exspan/classify/observe/internal/sasl"
)

// Name is the protocol's name.
const Name = "pop3"

// The facts of this protocol.
const (
	// Banner is the text of the greeting after "+OK", without names, session identifiers
	// and dates.
	Banner = "pop3.banner"
	// Greeting is the whole greeting; only with Report.Identities.
	Greeting = "pop3.greeting"
	// Capability holds the keywords of the answer to CAPA before the login, in upper case
	// without parameters.
	Capability = "pop3.capability"
	// Mechanisms holds the SASL mechanisms that the server offers.
	Mechanisms = "pop3.mechanisms"
	// TLS is the outcome of STLS. Its values are defined in package line.
	TLS = "pop3.tls"
)

const maxWait = 16 << 10 // bytes that await an answer of the server

// Protocol describes POP3.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name: Name, TCP: []uint16{110}, Stream: true, Text: true, Detect: Detect, New: func() observe.Observer { return new(observer) },
	}
}

// Detect recognises an answer or a command on the expected port. On other ports it
// requires two signs, because Redis uses the same words: a greeting that names POP or has
// an APOP time stamp, or an answer and a command.
func Detect(f *observe.First) observe.Match {
	_, client := verb(f.ToServer)
	if !f.OnPort && client == observe.No {
		return observe.No
	}
	server := observe.No
	for _, s := range []string{"+OK ", "+OK\r\n", "-ERR ", "-ERR\r\n"} {
		switch {
		case line.HasPrefix(f.ToClient, s):
			server = observe.Yes
		case server == observe.No && line.CanBegin(f.ToClient, s):
			server = observe.More
		}
	}
	switch {
	case server == observe.Yes && !f.OnPort && client == observe.More && !greeting(f.ToClient):
		return observe.More
	case server == observe.More && f.OnPort:
		return client
	}
	return server
}

// greeting reports whether an answer is a greeting of POP3 (RFC 1939 sections 4 and 7).
func greeting(b []byte) bool {
	l, _, ok := bytes.Cut(b[:min(len(b), 512)], []byte{'\n'})
	if !ok {
		return false
	}
	stamp := bytes.LastIndexByte(l, '<')
	return bytes.Contains(bytes.ToUpper(l), []byte("POP")) || stamp >= 0 && bytes.IndexByte(l[stamp:], '@') > 0
}

// kind is the kind of a command whose answer matters.
type kind uint8

const (
	other kind = iota
	capa
	mechanisms // AUTH without a mechanism, which lists the mechanisms
	stls
	login
	auth
	access
)

var commands = map[string]kind{
	"CAPA": capa, "AUTH": auth, "STLS": stls, "USER": other, "PASS": login, "APOP": login, "QUIT": other, "NOOP": other, "RSET": other,
	"UTF8": other, "LANG": other, "STAT": access, "LIST": access, "UIDL": access, "RETR": access, "TOP": access, "DELE": access,
	"LAST": access,
}

// verb returns the kind of the command at the beginning of b.
func verb(b []byte) (kind, observe.Match) {
	letters := true
	for end, c := range b[:min(len(b), 5)] {
		switch {
		case c == ' ' || c == '\r' || c == '\n':
			if k, ok := commands[string(bytes.ToUpper(b[:end]))]; ok {
				return k, observe.Yes
			}
			return other, observe.No
		case c|0x20 < 'a' || c|0x20 > 'z':
			letters = false
		}
	}
	if !letters || len(b) > 4 {
		return other, observe.No
	}
	return other, observe.More
}

type observer struct {
	split   [2]line.Splitter
	pending line.Queue
	waiting bool // the client's next bytes depend on the answer
	sasl    sasl.Exchange
	tls     line.StartTLS
	words   line.Values
	client  bool
	lost    bool // bytes are missing, and the client's next line may not begin a command
	heard   bool // bytes of the server were seen or are known to be missing
	unheard bool // bytes of the server are missing since waiting was set
	unsure  bool // the assignment of answers to commands is unknown
	turned  bool // the server has sent something since the client's last bytes
	greeted bool
	list    kind // the list being read; other if there is none
	offers  bool
}

// Observe implements observe.Observer.
func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Gap > 0 {
		o.gap(in.Dir)
		return 0, nil
	}
	used := 0
	for used < len(in.Data) {
		b := in.Data[used:]
		if in.Dir == observe.ToClient {
			o.heard, o.turned = true, true
			if !o.client {
				o.tls.Unasked(b, &o.split[in.Dir], r, TLS)
			}
		}
		if o.tls.Accepted() {
			if more, err := o.tls.Begins(b, r); more || err != nil {
				return used, err
			}
			o.waiting, o.unsure, o.pending = false, false, line.Queue{}
		}
		if in.Dir == observe.ToServer && o.waiting && !o.split[in.Dir].Skipping() {
			if o.heard && !o.unheard && len(b) <= maxWait {
				return used, nil
			}
			if o.resolve(b, r) {
				return used, nil
			}
			continue
		}
		l, n, ok := o.split[in.Dir].Next(b)
		used += n
		if !ok {
			if n > 0 {
				continue
			}
			return used, nil
		}
		if in.Dir == observe.ToServer {
			o.request(l, in, r)
		} else if err := o.answer(l, in, r); err != nil {
			return used, err
		}
	}
	return used, nil
}

// gap is called when bytes are missing. The assignment of answers to commands is then
// unknown until the client has waited for an answer and sends its next command.
func (o *observer) gap(d observe.Direction) {
	o.split[d] = line.Splitter{}
	o.tls.Gap()
	// Before the first command, the greeting is what is missing.
	o.unsure = o.unsure || o.greeted || !o.pending.Empty() || d == observe.ToServer
	o.pending, o.list = line.Queue{}, other
	if d == observe.ToClient {
		o.heard, o.unheard, o.greeted = true, true, true
		return
	}
	o.lost, o.turned, o.waiting = true, false, false
	o.sasl.End()
}

// resolve infers the server's answer to the waiting command from what the client sends
// next. It reports whether it needs more bytes.
func (o *observer) resolve(b []byte, r *observe.Report) (more bool) {
	if o.sasl.Active {
		switch _, m := verb(b); m {
		case observe.More:
			return true
		case observe.Yes:
			o.sasl.End()
		}
	} else if b[0] == 0x16 || b[0] >= 0x80 {
		o.tls.Accept(r, TLS, line.Taken)
	}
	o.waiting, o.unheard = false, false
	o.unsure, o.pending = true, line.Queue{}
	return false
}

// inClear reports that content was sent in clear.
func (o *observer) inClear(r *observe.Report) {
	if !o.tls.Decrypted {
		r.Add(observe.Encryption, "none")
	}
}

// push records a command that will be answered.
func (o *observer) push(k kind) {
	o.pending.Push(uint8(k))
	if o.waiting = k == stls || k == auth; o.waiting {
		o.unheard = false
	}
}

// request reads a line from the client.
func (o *observer) request(l []byte, in *observe.Input, r *observe.Report) {
	if o.sasl.Active {
		o.sasl.Client(l, r)
		if o.sasl.Sent {
			o.inClear(r)
		}
		o.push(auth)
		return
	}
	k, ok := verb(append(l[:min(len(l), 5):min(len(l), 5)], '\n'))
	if ok != observe.Yes && (o.lost || !o.client && !in.Handshake) {
		// In the middle of an exchange. Clients send only commands, so a known command
		// ends this state.
		o.lost, o.unsure = true, true
		return
	}
	if o.turned && o.unsure && in.Continues {
		o.unsure, o.pending = false, line.Queue{} // it got all answers
	}
	o.turned, o.lost = false, false
	o.client = true
	words := line.Words(l)
	name := words.Next()
	switch {
	case k == login && len(words.Rest()) > 0:
		if line.Is(name, "APOP") {
			r.Add(observe.Auth, "digest") // RFC 1939 section 7, MD5
		} else {
			r.Add(observe.Auth, "user-pass")
		}
		o.inClear(r)
	case k == auth:
		m := sasl.Mechanism(words.Next())
		if m == "" {
			k = mechanisms
			break
		}
		o.sasl.Start(m)
		if first := words.Rest(); len(first) > 0 {
			o.sasl.Client(first, r)
			o.inClear(r)
		}
	}
	o.push(k)
}

// answer reads a line from the server.
func (o *observer) answer(l []byte, in *observe.Input, r *observe.Report) error {
	if o.list != other {
		o.item(l, r)
		return nil
	}
	words := line.Words(l)
	status := words.Next()
	ok := line.Is(status, "+OK")
	switch {
	case ok, line.Is(status, "-ERR"):
	case len(status) == 1 && status[0] == '+' && o.sasl.Active && kind(o.pending.Peek()) == auth:
		o.pending.Pop()
		o.waiting = false
		o.sasl.Server(words.Rest(), r)
		return nil
	case !o.greeted && in.Handshake:
		return observe.ErrViolation
	default:
		return nil
	}
	if o.unsure && o.greeted {
		return nil
	}
	if !o.greeted {
		o.greeted = true
		if in.Handshake {
			if ok {
				b := words.Rest()
				line.AddBanner(r, Banner, Greeting, line.Banner(b), b)
			}
			return nil
		}
	}
	k := kind(o.pending.Peek())
	o.pending.Pop()
	if o.pending.Empty() {
		o.waiting = false
	}
	switch k {
	case capa, mechanisms:
		if ok {
			o.list, o.offers = k, false
		}
	case stls:
		if !ok {
			o.tls.Set(r, TLS, line.Refused)
			return nil
		}
		o.tls.Accept(r, TLS, line.Taken)
	case login, auth:
		o.sasl.End()
		if ok {
			return observe.ErrDone // the rest cannot change the report
		}
	case access:
		if ok {
			o.inClear(r)
			return observe.ErrDone
		}
	}
	return nil
}

// item reads a line of a list that ends with a dot.
func (o *observer) item(l []byte, r *observe.Report) {
	if string(l) == "." {
		if o.list == capa {
			o.tls.List(r, TLS, o.offers)
		}
		o.list = other
		return
	}
	words := line.Words(l)
	w := words.Next()
	if o.list == mechanisms {
		o.words.Add(r, Mechanisms, sasl.Mechanism(w))
		return
	}
	o.offers = o.offers || line.Is(w, "STLS")
	o.words.Add(r, Capability, sasl.Mechanism(w)) // it has the same syntax, RFC 2449 section 4
	if line.Is(w, "SASL") {
		for range 8 {
			o.words.Add(r, Mechanisms, sasl.Mechanism(words.Next()))
		}
	}
}
