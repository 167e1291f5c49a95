// Package pop3 observes POP3 (RFC 1939, RFC 2449, RFC 5034) up to the login:
// what the server says it is and can do, whether TLS was taken up, and how the
// client authenticated. User names, passwords and messages are skipped and
// never kept.
//
// After an accepted STLS the flow is handed to tls.
package pop3

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/line"
	"github.com/exspan/exspan/classify/observe/internal/sasl"
	"github.com/exspan/exspan/classify/observe/tls"
)

// Name is the protocol's name.
const Name = "pop3"

// The facts.
const (
	// Banner is the wording of the greeting behind "+OK", without names, session
	// identifiers and dates; with Report.Identities the whole text.
	Banner = "pop3.banner"
	// Capability has the keywords of the answer to CAPA before the login, in
	// upper case without parameters.
	Capability = "pop3.capability"
	// Mechanisms are the SASL mechanisms that the server named.
	Mechanisms = "pop3.mechanisms"
	// TLS is "starttls" where STLS was taken up, "refused" where the client asked
	// and the server declined, "offered" where the server offered it and the
	// client did not ask (yet), "none" where the answer to CAPA does not offer it.
	TLS = "pop3.tls"
)

// Limits.
const (
	maxCapabilities = 28
	maxWait         = 16 << 10
)

// Protocol describes POP3.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name: Name, TCP: []uint16{110}, Stream: true, Text: true, Detect: Detect, New: func() observe.Observer { return new(observer) },
	}
}

// Detect recognises an answer on any port, and on the expected one a command
// too.
func Detect(f *observe.First) observe.Match {
	answer := observe.No
	_, client := verb(f.ToServer)
	if !f.OnPort && client == observe.No {
		return observe.No // Redis answers in the same words
	}
	for _, s := range []string{"+OK ", "+OK\r\n", "-ERR ", "-ERR\r\n"} {
		switch {
		case line.HasPrefix(f.ToClient, s):
			return observe.Yes
		case line.CanBegin(f.ToClient, s):
			answer = observe.More
		}
	}
	if answer == observe.No || !f.OnPort {
		return answer
	}
	return client
}

// kind is a command as far as its answer matters.
type kind uint8

const (
	other kind = iota
	capa
	mechanisms // AUTH without a mechanism, which lists them
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

// verb looks for a command at the beginning of b.
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
	client  bool
	blind   bool
	greeted bool
	list    kind // the list being read; other if none
	offers  bool
	words   int
	tlsWord string
}

// Observe implements observe.Observer.
func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Gap > 0 {
		return 0, observe.ErrDone
	}
	used := 0
	for used < len(in.Data) {
		b := in.Data[used:]
		if in.Dir == observe.ToServer && !o.split[in.Dir].Skipping() {
			if o.blind {
				return len(in.Data), nil
			}
			if o.waiting {
				if len(b) > maxWait {
					return used, observe.ErrDone // the server is not seen
				}
				return used, nil
			}
		}
		l, n, ok := o.split[in.Dir].Next(b)
		used += n
		if !ok {
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

// push notes a command that will be answered.
func (o *observer) push(k kind) {
	o.pending.Push(uint8(k))
	o.waiting = k == stls || k == auth
}

// request reads a line of the client's.
func (o *observer) request(l []byte, in *observe.Input, r *observe.Report) {
	if o.sasl.Active {
		o.sasl.Client(l, r)
		if o.sasl.Sent {
			r.Add(observe.Encryption, "none")
		}
		o.push(auth)
		return
	}
	k, ok := verb(append(l[:min(len(l), 5):min(len(l), 5)], '\n'))
	if !o.client && !in.Handshake && ok != observe.Yes {
		o.blind = true // in the middle of something
		return
	}
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
		r.Add(observe.Encryption, "none")
	case k == auth:
		m := sasl.Mechanism(words.Next())
		if m == "" {
			k = mechanisms
			break
		}
		o.sasl.Start(m)
		if first := words.Rest(); len(first) > 0 {
			o.sasl.Client(first, r)
			r.Add(observe.Encryption, "none")
		}
	}
	o.push(k)
}

// answer reads a line of the server's.
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
	if !o.greeted {
		o.greeted = true
		if in.Handshake {
			if ok {
				line.AddBanner(r, Banner, words.Rest())
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
			o.setTLS("refused", r)
			return nil
		}
		o.setTLS("starttls", r)
		r.Next = tls.Name
		return observe.ErrUpgrade
	case login, auth:
		o.sasl.End()
		if ok {
			return observe.ErrDone // nothing of the rest changes what was reported
		}
	case access:
		if ok {
			r.Add(observe.Encryption, "none")
			return observe.ErrDone
		}
	}
	return nil
}

// item reads a line of a list that ends with a dot.
func (o *observer) item(l []byte, r *observe.Report) {
	if string(l) == "." {
		switch {
		case o.list == mechanisms || o.tlsWord == "starttls" || o.tlsWord == "refused":
		case o.offers:
			o.setTLS("offered", r)
		default:
			o.setTLS("none", r)
		}
		o.list = other
		return
	}
	words := line.Words(l)
	w := words.Next()
	if o.list == mechanisms {
		o.add(Mechanisms, sasl.Mechanism(w), r)
		return
	}
	o.offers = o.offers || line.Is(w, "STLS")
	o.add(Capability, sasl.Mechanism(w), r) // of the same letters, RFC 2449 section 4
	if line.Is(w, "SASL") {
		for range 8 {
			o.add(Mechanisms, sasl.Mechanism(words.Next()), r)
		}
	}
}

func (o *observer) add(name, value string, r *observe.Report) {
	if value != "" && o.words < maxCapabilities && !r.Has(name, value) {
		o.words++
		r.Add(name, value)
	}
}

func (o *observer) setTLS(w string, r *observe.Report) { line.Replace(r, TLS, &o.tlsWord, w) }
