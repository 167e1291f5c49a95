package smtp

import (
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/line"
	"github.com/exspan/exspan/classify/observe/internal/sasl"
)

// kind is the kind of a command that awaits its answer.
type kind uint8

const (
	other kind = iota
	ehlo
	mail
	data
	auth
	startTLS
	anonymousTLS
	exch50
	turn
)

// waits reports whether what the client sends next depends on the answer.
func (k kind) waits() bool {
	switch k {
	case data, auth, startTLS, anonymousTLS, exch50, turn:
		return true
	}
	return false
}

// list is the state of a list of keywords that is being read.
type list uint8

const (
	noList list = iota
	wholeList
	partList // its beginning was lost
)

type observer struct {
	// The fields that the bytes of a message need come first, in one cache line.
	split   [2]line.Splitter
	text    bool // the client is sending a message
	lost    bool // bytes are missing, and the state of the client is unknown
	waiting kind // the last command, if the client waits for its answer; otherwise other
	eod     line.Text

	client    bool // a command was seen
	heard     bool // bytes of the server were seen or are known to be missing
	unheard   bool // bytes of the server are missing since waiting was set
	turned    bool // the server has completed an answer since the client's last bytes
	unasked   bool // that answer belongs to an unseen command
	unsure    bool // the command of the next answer is unknown
	challenge bool // the client's next line answers a challenge of an unknown mechanism
	textGap   bool // bytes of the message are missing, perhaps including its end
	gaps      [2]bool

	begin     bool // the greeting was the first message of the flow
	greeted   bool
	inReply   bool // after the first line of an answer
	reading   list // state of the keyword list in the answer
	offers    bool // the list offers TLS
	found     bool // the list has a known keyword
	listed    bool // a list was read
	authTried bool
	authOK    bool
	keywords  uint8  // number of keywords reported
	verbs     uint8  // number of verbs reported
	known     uint32 // set of keywords reported
	blob      int    // bytes of the XEXCH50 blob that follow
	pending   line.Queue
	sasl      sasl.Exchange
	tls       line.StartTLS
	banners   *line.Banners // shared by all observers
}

// Observe implements observe.Observer.
func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Gap > 0 {
		o.gap(in.Dir)
		return 0, nil
	}
	if in.Dir == observe.ToServer {
		if o.text && !o.split[observe.ToServer].Skipping() {
			// Most bytes of most sessions belong to messages.
			n, done := o.eod.Skip(in.Data)
			if !done {
				return n, nil
			}
			o.textEnded()
			return o.fromClient(in, n, r)
		}
		return o.fromClient(in, 0, r)
	}
	o.heard = true
	used := 0
	for used < len(in.Data) {
		if !o.client {
			o.tls.Unasked(in.Data[used:], &o.split[in.Dir], r, TLS)
		}
		if o.tls.Accepted() {
			if more, err := o.tls.Begins(in.Data[used:], r); more || err != nil {
				return used, err
			}
			o.decrypted()
		}
		l, n, ok := o.split[in.Dir].Next(in.Data[used:])
		used += n
		if !ok {
			if n > 0 {
				continue
			}
			return used, nil
		}
		if err := o.reply(l, in, r); err != nil {
			return used, err
		}
	}
	return used, nil
}

// gap is called when bytes are missing. The assignment of answers to commands is then
// unknown until the client has waited for an answer and sends its next command. The state
// of the client is unknown until the server has answered.
func (o *observer) gap(d observe.Direction) {
	o.split[d] = line.Splitter{}
	o.gaps[d] = true
	o.tls.Gap()
	if d == observe.ToClient {
		// Before the first command, the greeting is what is missing.
		o.unsure = o.unsure || o.greeted || !o.pending.Empty()
		o.greeted, o.inReply, o.reading = true, false, noList
		o.heard, o.unheard = true, true
		o.pending = line.Queue{}
		return
	}
	switch {
	case o.text && !o.unasked:
		o.textGap = true // the message continues or has ended
		return
	case o.unasked:
		o.text = false // the answer belongs to missing bytes
	default:
		o.lost, o.turned, o.blob = true, false, 0
	}
	o.unsure, o.pending, o.waiting = true, line.Queue{}, other
	o.sasl.End()
}

// fromClient reads the client's bytes after the first used ones.
func (o *observer) fromClient(in *observe.Input, used int, r *observe.Report) (int, error) {
	for used < len(in.Data) {
		b := in.Data[used:]
		if o.lost {
			if !o.turned || !in.Continues {
				return len(in.Data), nil
			}
			// The client got the answer, so this begins a new command or text.
			o.lost = false
			if b[0] == 0x16 {
				o.tls.Accept(r, TLS, "")
			}
		}
		if o.tls.Accepted() {
			if more, err := o.tls.Begins(b, r); more || err != nil {
				return used, err
			}
			o.decrypted()
		}
		switch {
		case o.split[in.Dir].Skipping():
		case o.waiting != other:
			if o.heard && !o.unheard && len(b) <= maxWait {
				return used, nil
			}
			// The answer was lost, or the server's packets are not seen.
			more, err := o.resolve(b, in, r)
			if more || err != nil {
				return used, err
			}
			continue
		case o.text:
			n, done := o.eod.Skip(b)
			used += n
			if done {
				o.textEnded()
			}
			continue
		case o.blob > 0:
			used += o.blob
			o.blob = 0
			o.push(other)
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
		switch {
		case o.challenge:
			o.challenge = false
		case o.sasl.Active:
			o.sasl.Client(l, r)
			if o.sasl.Sent {
				o.inClear(r)
			}
			o.turn(in)
			o.push(auth)
		default:
			used += o.command(l, in, r)
		}
	}
	return used, nil
}

// Commands that can follow a command whose answer is unknown.
var (
	afterData = []string{"MAIL FROM:", "RCPT TO:", "RSET\r", "QUIT\r", "NOOP\r", "EHLO ", "HELO ", "DATA\r", "BDAT "}
	afterAuth = []string{"MAIL FROM:", "RCPT TO:", "RSET\r", "QUIT\r", "NOOP\r", "EHLO ", "HELO ", "AUTH ", "STARTTLS\r"}
)

// resolve infers the server's answer to the waiting command from what the client sends
// next. more reports that it needs more bytes.
func (o *observer) resolve(b []byte, in *observe.Input, r *observe.Report) (more bool, err error) {
	k := o.waiting
	var m observe.Match
	switch k {
	case startTLS, anonymousTLS:
		if b[0] == 0x16 || b[0] >= 0x80 {
			o.waiting = other
			o.accepted(k, r)
		}
	case data, exch50:
		if m = oneOf(b, afterData); m == observe.More {
			return true, nil
		}
		switch {
		case m == observe.Yes:
			o.blob = 0
		case k == data:
			if !o.heard && in.Handshake && !o.authTried && !o.gaps[observe.ToServer] && !o.tls.Decrypted {
				r.Add(observe.Auth, "none")
			}
			o.startText(r)
		}
	case auth:
		if m = oneOf(b, afterAuth); m == observe.More {
			return true, nil
		}
		if m == observe.Yes {
			o.sasl.End()
		}
	case turn:
		return false, observe.ErrDone
	}
	o.waiting, o.unheard, o.unsure, o.pending = other, false, true, line.Queue{}
	return false, nil
}

// push records a command that will be answered.
func (o *observer) push(k kind) {
	if k.waits() {
		o.waiting, o.unheard = k, false
	}
	o.pending.Push(uint8(k))
}

// turn is called when the client starts to send. If the client got everything that the
// server sent, no answers are outstanding.
func (o *observer) turn(in *observe.Input) {
	if o.turned {
		if o.unsure && in.Continues {
			o.unsure, o.pending = false, line.Queue{}
		}
		o.turned, o.unasked = false, false
	}
}

// command reads a line from the client and returns the number of bytes of content that
// follow it.
func (o *observer) command(l []byte, in *observe.Input, r *observe.Report) int {
	if !o.client && !in.Handshake && detectCommand(l, true) != observe.Yes {
		// In the middle of an exchange. The text of a message may follow.
		o.lost, o.unsure = true, true
		return 0
	}
	o.client = true
	o.turn(in)
	words := line.Words(l)
	verb := words.Next()
	k := other
	switch {
	case line.Is(verb, "EHLO"):
		k = ehlo
	case line.HasPrefix(l, "MAIL FROM:"):
		r.Add(Mail, "yes")
		k = mail
	case line.Is(verb, "DATA"):
		k = data
	case line.Is(verb, "BDAT"):
		// The chunk follows whatever the server answers (RFC 3030 section 2).
		o.push(other)
		return number(words.Next())
	case line.Is(verb, "STARTTLS"):
		k = startTLS
	case line.Is(verb, "X-ANONYMOUSTLS"):
		k = anonymousTLS
	case line.Is(verb, "AUTH"), line.Is(verb, "X-EXPS"):
		if m := sasl.Mechanism(words.Next()); m != "" {
			if verb[0]|0x20 == 'x' {
				r.Add(Exps, m)
			}
			o.authTried = true
			o.sasl.Start(m)
			if first := words.Rest(); len(first) > 0 {
				o.sasl.Client(first, r)
				o.inClear(r)
			}
			k = auth
		}
	case line.Is(verb, "XEXCH50"):
		o.blob = number(words.Next())
		k = exch50
	case line.Is(verb, "TURN"):
		k = turn
	}
	if len(verb) > 1 && verb[0]|0x20 == 'x' && o.verbs < maxVerbs {
		if w, _ := keyword(verb); w != "" && !r.Has(Verb, w) {
			r.Add(Verb, w)
			o.verbs++
		}
	}
	o.push(k)
	return 0
}

// number parses a decimal number. It returns 0 if b is not a number or is too large.
func number(b []byte) int {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' || n > maxBlob {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return n
}

func digit(c byte) bool { return c-'0' <= 9 }

// reply reads a line from the server.
func (o *observer) reply(l []byte, in *observe.Input, r *observe.Report) error {
	if len(l) < 3 || l[0]-'2' > '5'-'2' || !digit(l[1]) || !digit(l[2]) || len(l) > 3 && l[3] != ' ' && l[3] != '-' {
		if !o.greeted && in.Handshake {
			return observe.ErrViolation
		}
		return nil
	}
	code := int(l[0]-'0')*100 + int(l[1]-'0')*10 + int(l[2]-'0')
	last := len(l) == 3 || l[3] == ' '
	body := l[min(len(l), 4):]
	first := !o.inReply
	o.inReply = !last
	if !o.greeted {
		if first && code == 220 && (in.Handshake || o.pending.Empty() && !line.HasPrefix(body, "2.")) {
			o.begin = in.Handshake
			o.banner(body, r)
		}
		// On a flow that began earlier, the first answer can belong to any command.
		if in.Handshake || code == 220 && o.pending.Empty() {
			o.greeted = last
			return nil
		}
		o.greeted = true
	}
	k := kind(o.pending.Peek())
	if o.unsure {
		k = other
		switch {
		case code == 220 && (o.waiting == startTLS || o.waiting == anonymousTLS),
			code == 354 && (o.waiting == data || o.waiting == exch50), (code == 334 || code == 235) && o.waiting == auth:
			k = o.waiting
		}
	}
	// If the client's packets are not seen, the first list after the greeting answers its
	// EHLO.
	guess := o.begin && !o.client && !o.listed
	switch {
	case code != 250:
	case first:
		o.offers, o.found, o.reading = false, false, noList
		if k == ehlo || guess {
			o.reading = wholeList
		} else if o.unsure && !o.listed && !last {
			// A list begins with the server's domain, which is not a keyword.
			o.reading = wholeList
			if w, _ := keyword(line.First(body)); w != "" {
				o.reading = partList
				o.keyword(body, r)
			}
		}
	case o.reading != noList:
		o.keyword(body, r)
	}
	if !last {
		return nil
	}
	return o.replied(k, code, body, first, r)
}

// replied is called at the end of an answer. single reports that the answer has one line.
func (o *observer) replied(k kind, code int, body []byte, single bool, r *observe.Report) error {
	if o.reading != noList && code == 250 && (o.found || !o.unsure) {
		o.listed = o.listed || !single
		if o.reading == wholeList && (k == ehlo || !single) {
			o.tls.List(r, TLS, o.offers)
			if !single {
				r.Add(List, "complete")
			}
		}
	}
	o.reading = noList
	if o.text && o.textGap {
		o.text, o.textGap = false, false // the end of the message was not seen
		o.unsure, o.pending = true, line.Queue{}
	}
	o.turned, o.unasked = true, o.pending.Empty()
	o.pending.Pop()
	if o.waiting != other && (o.pending.Empty() || o.unsure && k == o.waiting) {
		o.waiting = other
	}
	return o.replyTo(k, code, body, r)
}

// replyTo reads the reply to a command.
func (o *observer) replyTo(k kind, code int, body []byte, r *observe.Report) error {
	o.authOK = o.authOK || code == 235
	switch k {
	case startTLS, anonymousTLS:
		if code != 220 {
			o.tls.Set(r, TLS, line.Refused)
			return nil
		}
		o.accepted(k, r)
	case auth:
		if code == 334 {
			o.sasl.Server(body, r)
			return nil
		}
		o.sasl.End()
	case mail:
		if code == 250 {
			o.inClear(r)
			// A gap can hide the commands or the answers of an authentication. It hides
			// both only if both directions have a gap.
			if o.begin && !o.authOK && !(o.gaps[observe.ToClient] && (o.gaps[observe.ToServer] || o.authTried)) && !o.tls.Decrypted {
				r.Add(observe.Auth, "none")
			}
		}
	case data:
		if code == 354 {
			o.startText(r)
		}
	case exch50:
		if code != 354 {
			o.blob = 0
		}
	case turn:
		if code == 250 {
			return observe.ErrDone // client and server change roles, RFC 821 section 3.8
		}
	case other:
		o.unseen(code, body, r)
	}
	return nil
}

// unseen processes an answer to an unseen command. Some codes determine what follows all
// the same.
func (o *observer) unseen(code int, body []byte, r *observe.Report) {
	if o.client && !o.unsure {
		return
	}
	switch code {
	case 220:
		if o.unsure && o.gaps[observe.ToServer] {
			o.accepted(other, r)
		}
	case 235:
		o.inClear(r)
	case 334:
		if m := sasl.Challenged(body); m != "" {
			o.sasl.Start(m)
			o.sasl.Sent = !o.client && m == "LOGIN"
			o.sasl.Server(body, r)
			if o.sasl.Sent {
				r.Add(observe.Auth, sasl.Word(m))
			}
		} else {
			o.challenge = true
		}
		o.inClear(r)
	case 354:
		o.inClear(r)
		if o.lost || o.client {
			o.lost = false
			o.startText(r)
			o.textGap = true // or a blob of unknown length follows
		}
	}
}

// accepted records that the server accepted TLS.
func (o *observer) accepted(k kind, r *observe.Report) {
	word := "" // the command was lost
	switch k {
	case startTLS:
		word = line.Taken
	case anonymousTLS:
		word = "x-anonymoustls"
	}
	o.tls.Accept(r, TLS, word)
}

// decrypted continues after an accepted STARTTLS with the session inside TLS, which
// begins with EHLO.
func (o *observer) decrypted() {
	o.lost, o.unsure, o.pending, o.waiting = false, false, line.Queue{}, other
	o.turned, o.unasked = false, false
}

// inClear reports that content was sent in clear.
func (o *observer) inClear(r *observe.Report) {
	if !o.tls.Decrypted {
		r.Add(observe.Encryption, "none")
	}
}

func (o *observer) startText(r *observe.Report) {
	o.waiting = other
	o.text, o.textGap = true, false
	o.eod.Start()
	o.inClear(r)
}

// textEnded is called at the end of a message, which will be answered.
func (o *observer) textEnded() {
	o.text, o.textGap = false, false
	if o.unasked {
		o.unasked = false // the answer was seen before the end
		return
	}
	o.push(other)
}

// banner reports the greeting, whose first word is the host name.
func (o *observer) banner(b []byte, r *observe.Report) {
	words := line.Words(b)
	words.Next()
	line.AddBanner(r, Banner, Greeting, o.banners.Banner(words.Rest()), b)
}
