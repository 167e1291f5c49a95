// Package nntp observes NNTP (RFC 3977, RFC 4642, RFC 4643, RFC 2980, [MS-NNTP]). It
// reports the server's greeting and capabilities, whether the client starts TLS, how it
// authenticates, and whether it read news in clear. It skips articles, user names and
// passwords and never keeps them.
//
// After an accepted STARTTLS it hands the flow over to tls.
package nntp

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/line"
	"github.com/exspan/exspan/classify/observe/internal/sasl"
)

// Name is the protocol's name.
const Name = "nntp"

// The facts of this protocol.
const (
	// Banner is the text of the greeting after its code, without names and dates.
	Banner = "nntp.banner"
	// Greeting is the whole greeting; only with Report.Identities.
	Greeting = "nntp.greeting"
	// Capability holds the labels of the server's capability list before the login.
	Capability = "nntp.capability"
	// Mechanisms holds the SASL mechanisms that the server offers.
	Mechanisms = "nntp.mechanisms"
	// TLS is the outcome of STARTTLS. Its values are defined in package line.
	TLS = "nntp.tls"
)

const maxWait = 16 << 10 // bytes that await an answer of the server

// Protocol describes NNTP.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name: Name, TCP: []uint16{119}, Stream: true, Text: true, Detect: Detect, New: func() observe.Observer { return new(observer) },
	}
}

// Detect recognises a greeting or a command on the expected port. On other ports it
// recognises only a greeting that mentions news.
func Detect(f *observe.First) observe.Match {
	server := detectGreeting(f.ToClient, f.OnPort)
	if server != observe.More {
		return server
	}
	client := observe.No
	for _, s := range []string{"MODE READER", "CAPABILITIES", "AUTHINFO ", "GROUP ", "LISTGROUP ", "ARTICLE ", "HEAD ", "BODY ", "XOVER ",
		"OVER ", "LIST", "NEWGROUPS ", "NEWNEWS ", "STAT ", "POST", "IHAVE ", "STARTTLS", "DATE", "QUIT"} {
		switch {
		case len(f.ToServer) > 0 && f.ToServer[0]&^0x20 != s[0]:
		case line.HasPrefix(f.ToServer, s) && f.OnPort:
			return observe.Yes
		case line.CanBegin(f.ToServer, s), line.HasPrefix(f.ToServer, s):
			client = observe.More // on other ports the greeting decides
		}
	}
	return client
}

func detectGreeting(b []byte, onPort bool) observe.Match {
	for i, c := range b[:min(len(b), 4)] {
		if i == 0 && (c < '1' || c > '5') || i > 0 && i < 3 && (c < '0' || c > '9') || i == 3 && c != ' ' && c != '\r' {
			return observe.No
		}
	}
	switch {
	case len(b) < 4:
		return observe.More
	case onPort:
		return observe.Yes
	case string(b[:4]) != "200 " && string(b[:4]) != "201 ":
		return observe.No
	}
	l, _, ok := bytes.Cut(b[:min(len(b), 512)], []byte("\n"))
	if l = bytes.ToUpper(l); ok && (bytes.Contains(l, []byte("NNTP")) || bytes.Contains(l, []byte("NEWS"))) {
		return observe.Yes
	}
	if ok || len(b) >= 512 {
		return observe.No
	}
	return observe.More
}

// kind is the kind of a command whose answer matters.
type kind uint8

const (
	other kind = iota
	capabilities
	listGroup
	read // GROUP, ARTICLE and similar commands
	post // followed by an article if the server accepts
	startTLS
	password
	generic
	saslAuth
)

func (k kind) waits() bool { return k >= post && k != password }

type observer struct {
	split   [2]line.Splitter
	pending line.Queue
	waiting bool // the client's next bytes depend on the answer
	text    [2]bool
	eod     [2]line.Text
	sasl    sasl.Exchange
	tls     line.StartTLS
	words   line.Values
	generic bool // the exchange continues in AUTHINFO GENERIC commands
	client  bool
	lost    bool // bytes are missing, and the state of the client is unknown
	heard   bool // bytes of the server were seen or are known to be missing
	unheard bool // bytes of the server are missing since waiting was set
	unsure  bool // the assignment of answers to commands is unknown
	turned  bool // the server has sent something since the client's last bytes
	unasked bool // its answer belongs to an unseen command
	gapped  bool // bytes are missing, or the beginning was not seen
	greeted bool
	begin   bool
	list    bool // a capability list is being read
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
		} else if o.lost {
			if !o.turned || !in.Continues {
				return len(in.Data), nil
			}
			o.lost = false // the client got the answer, so this begins a command
		}
		if o.tls.Accepted() {
			if more, err := o.tls.Begins(b, r); more || err != nil {
				return used, err
			}
			o.waiting, o.unsure, o.pending = false, false, line.Queue{}
		}
		if !o.split[in.Dir].Skipping() {
			switch {
			case in.Dir == observe.ToServer && o.waiting:
				if o.heard && !o.unheard && len(b) <= maxWait {
					return used, nil
				}
				o.resolve(b, r)
				continue
			case in.Dir == observe.ToServer && o.turned && o.unsure && in.Continues:
				// The client got all answers and sends again.
				o.unsure, o.pending, o.text = false, line.Queue{}, [2]bool{}
			case o.text[in.Dir]:
				n, done := o.eod[in.Dir].Skip(b)
				used += n
				if done {
					o.text[in.Dir] = false
					if in.Dir == observe.ToServer {
						o.pending.Push(uint8(other))
					}
				}
				continue
			}
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
			o.turned, o.unasked = false, false
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
	o.gapped, o.pending, o.list = true, line.Queue{}, false
	if d == observe.ToClient {
		o.heard, o.unheard, o.greeted = true, true, true
		return
	}
	// An answer before its command belongs to missing bytes.
	o.lost, o.waiting, o.turned, o.text[d] = !o.unasked, false, o.unasked, false
	o.sasl.End()
}

// resolve infers the server's answer to the waiting command from what the client sends
// next.
func (o *observer) resolve(b []byte, r *observe.Report) {
	switch kind(o.pending.Peek()) {
	case startTLS:
		if b[0] == 0x16 || b[0] >= 0x80 {
			o.tls.Accept(r, TLS, line.Taken)
		}
	case post:
		o.skip(observe.ToServer)
	}
	o.waiting, o.unheard = false, false
	o.unsure, o.pending = true, line.Queue{}
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
	if o.waiting = k.waits(); o.waiting {
		o.unheard = false
	}
}

// credentials reads the client's part of an exchange.
func (o *observer) credentials(b []byte, r *observe.Report) {
	o.sasl.Client(b, r)
	if o.sasl.Sent {
		o.inClear(r)
	}
}

// request reads a line from the client.
func (o *observer) request(l []byte, in *observe.Input, r *observe.Report) {
	if o.sasl.Active && !o.generic {
		o.credentials(l, r)
		o.push(saslAuth)
		return
	}
	words := line.Words(l)
	verb := words.Next()
	k, known := other, true
	switch {
	case line.Is(verb, "CAPABILITIES"):
		k = capabilities
	case line.Is(verb, "LISTGROUP"):
		k = listGroup
	case line.Is(verb, "GROUP"), line.Is(verb, "ARTICLE"), line.Is(verb, "HEAD"), line.Is(verb, "BODY"), line.Is(verb, "XOVER"),
		line.Is(verb, "OVER"), line.Is(verb, "NEWNEWS"):
		k = read
	case line.Is(verb, "POST"), line.Is(verb, "IHAVE"):
		k = post
	case line.Is(verb, "STARTTLS"):
		k = startTLS
	case line.Is(verb, "AUTHINFO"):
		k = o.authinfo(&words, r)
	default:
		known = line.Is(verb, "MODE") || line.Is(verb, "LIST") || line.Is(verb, "STAT") || line.Is(verb, "QUIT") ||
			line.Is(verb, "NEWGROUPS") || line.Is(verb, "NEXT") || line.Is(verb, "LAST") || line.Is(verb, "DATE") || line.Is(verb, "XHDR")
	}
	if !o.client && !in.Handshake && !known {
		o.lost, o.unsure, o.gapped = true, true, true // in the middle of a command or text
		return
	}
	o.client = true
	o.push(k)
}

// authinfo reads the rest of an AUTHINFO command.
func (o *observer) authinfo(words *line.Fields, r *observe.Report) kind {
	what := words.Next()
	switch {
	case line.Is(what, "PASS") && len(words.Rest()) > 0: // RFC 4643 section 2.3
		r.Add(observe.Auth, "user-pass")
		o.inClear(r)
		return password
	case line.Is(what, "SASL"): // RFC 4643 section 2.4
		m := sasl.Mechanism(words.Next())
		if m == "" {
			return other
		}
		o.generic = false
		o.sasl.Start(m)
		if first := words.Rest(); len(first) > 0 {
			o.credentials(first, r)
		}
		return saslAuth
	case line.Is(what, "GENERIC"): // RFC 2980 section 3.1.3, [MS-NNTP] section 2.2.1
		next := words.Rest()
		if o.sasl.Active {
			o.credentials(next, r)
			return generic
		}
		m := sasl.Mechanism(words.Next())
		if m == "" {
			return other
		}
		o.generic = true
		o.sasl.Start(m)
		if first := words.Rest(); len(first) > 0 {
			o.credentials(first, r)
		}
		return generic
	}
	return other
}

// answer reads a line from the server.
func (o *observer) answer(l []byte, in *observe.Input, r *observe.Report) error {
	if o.list {
		o.item(l, r)
		return nil
	}
	if detectGreeting(l, true) == observe.No || len(l) < 3 {
		if !o.greeted && in.Handshake {
			return observe.ErrViolation
		}
		return nil
	}
	code := int(l[0]-'0')*100 + int(l[1]-'0')*10 + int(l[2]-'0')
	body := l[min(len(l), 4):]
	if !o.greeted {
		o.greeted = true
		if in.Handshake {
			if code == 200 || code == 201 {
				o.begin = true
				line.AddBanner(r, Banner, Greeting, line.Banner(body), body)
			}
			return nil
		}
	}
	if o.unsure {
		return nil
	}
	o.unasked = o.pending.Empty()
	k := kind(o.pending.Peek())
	o.pending.Pop()
	if o.pending.Empty() {
		o.waiting = false
	}
	switch code {
	case 101:
		if k == capabilities {
			o.list, o.offers = true, false
			return nil
		}
		o.skip(observe.ToClient)
	case 100, 215, 220, 221, 222, 224, 225, 230, 231: // RFC 3977 appendix C
		o.skip(observe.ToClient)
	case 211:
		if k == listGroup {
			o.skip(observe.ToClient)
		}
	}
	switch k {
	case startTLS:
		if code != 382 {
			o.tls.Set(r, TLS, line.Refused)
			return nil
		}
		o.tls.Accept(r, TLS, line.Taken)
	case password, generic, saslAuth:
		switch code / 10 {
		case 38: // the exchange continues
			if k != password {
				o.sasl.Server(body, r)
			}
		case 28:
			return observe.ErrDone // the rest cannot change the report
		default:
			o.sasl.End()
		}
	case read, listGroup, post:
		if code/100 > 3 || code/100 == 1 {
			break
		}
		o.inClear(r)
		if o.begin && !o.gapped && !o.tls.Decrypted {
			r.Add(observe.Auth, "none")
		}
		if k == post && code/10 == 34 || k == post && code == 335 {
			o.skip(observe.ToServer)
		}
	}
	return nil
}

func (o *observer) skip(d observe.Direction) {
	o.text[d] = true
	o.eod[d].Start()
}

// item reads a line of the capability list (RFC 3977 section 5.2).
func (o *observer) item(l []byte, r *observe.Report) {
	if string(l) == "." {
		o.list = false
		o.tls.List(r, TLS, o.offers)
		return
	}
	words := line.Words(l)
	w := words.Next()
	o.offers = o.offers || line.Is(w, "STARTTLS")
	o.words.Add(r, Capability, sasl.Mechanism(w))
	if line.Is(w, "SASL") {
		for range 8 {
			o.words.Add(r, Mechanisms, sasl.Mechanism(words.Next()))
		}
	}
}
