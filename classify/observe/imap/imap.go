// Package imap observes IMAP4 (RFC 9051, RFC 3501) up to the login. It reports the
// server's greeting and capabilities, whether the client starts TLS, and how it
// authenticates. It skips user names, passwords, mailboxes and messages and never keeps
// them.
//
// After an accepted STARTTLS it hands the flow over to tls.
package imap

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/line"
	"github.com/exspan/exspan/classify/observe/internal/sasl"
)

// Name is the protocol's name.
const Name = "imap"

// The facts of this protocol.
const (
	// Banner is the text of the greeting after "* OK", without names, session identifiers
	// and dates.
	Banner = "imap.banner"
	// Greeting is the whole greeting; only with Report.Identities.
	Greeting = "imap.greeting"
	// Capability holds the words of the server's capability lists before the login, in
	// upper case: "IMAP4REV1", "AUTH=NTLM", "LOGINDISABLED".
	Capability = "imap.capability"
	// TLS is the outcome of STARTTLS. Its values are defined in package line.
	TLS = "imap.tls"
)

// Limits.
const (
	maxWords   = 56 // words of a capability list that are read
	maxWord    = 32 // bytes of a capability or tag
	maxWait    = 16 << 10
	maxLiteral = 1 << 40
)

// Protocol describes IMAP4.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name: Name, TCP: []uint16{143}, Stream: true, Text: true, Detect: Detect, New: func() observe.Observer { return new(observer) },
	}
}

// Detect recognises a greeting on any port. On the expected port it also recognises any
// untagged answer or tagged command.
func Detect(f *observe.First) observe.Match {
	server := detectAnswer(f.ToClient, f.OnPort)
	if server == observe.More {
		return detectCommand(f.ToServer, f.OnPort)
	}
	return server
}

func detectAnswer(b []byte, onPort bool) observe.Match {
	answer := observe.No
	for _, s := range []string{"* OK ", "* PREAUTH ", "* BYE "} {
		switch {
		case line.HasPrefix(b, s):
			return observe.Yes
		case line.CanBegin(b, s):
			answer = observe.More
		}
	}
	if onPort && len(b) >= 3 && b[0] == '*' && b[1] == ' ' && (b[2] >= '0' && b[2] <= '9' || b[2]|0x20 >= 'a' && b[2]|0x20 <= 'z') {
		return observe.Yes
	}
	return answer
}

// command is the kind of a client's command.
type command uint8

const (
	other command = iota
	login
	authenticate
	startTLS
	access // a command that requires a logged-in user
)

var commands = map[string]command{
	"CAPABILITY": other, "NOOP": other, "LOGOUT": other, "ID": other, "LOGIN": login, "AUTHENTICATE": authenticate, "STARTTLS": startTLS,
	"SELECT": access, "EXAMINE": access, "LIST": access, "LSUB": access, "STATUS": access, "APPEND": access, "CHECK": access,
	"CLOSE": access, "EXPUNGE": access, "SEARCH": access, "FETCH": access, "STORE": access, "COPY": access, "MOVE": access,
	"UID": access, "IDLE": access, "CREATE": access, "DELETE": access, "RENAME": access, "SUBSCRIBE": access,
	"UNSUBSCRIBE": access, "NAMESPACE": access, "ENABLE": access,
}

// maxCommand is the length of the longest of these commands.
const maxCommand = 12

// detectCommand reports whether b starts with a tag and a command.
func detectCommand(b []byte, onPort bool) observe.Match {
	for i, c := range b {
		switch {
		case c == ' ' && i > 0:
			return detectVerb(b[i+1:], onPort)
		case i == maxWord, !tagByte(c):
			return observe.No
		}
	}
	return observe.More
}

func detectVerb(b []byte, onPort bool) observe.Match {
	end := bytes.IndexAny(b[:min(len(b), maxCommand+1)], " \r\n")
	if end < 0 {
		if len(b) > maxCommand || !letters(b) {
			return observe.No
		}
		return observe.More
	}
	if c, ok := commands[string(bytes.ToUpper(b[:end]))]; !ok || !onPort && c == access {
		return observe.No
	}
	if !onPort {
		return observe.More // the server's greeting decides
	}
	return observe.Yes
}

func letters(b []byte) bool {
	for _, c := range b {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return false
		}
	}
	return true
}

// tagByte reports whether c can be part of a tag (RFC 9051 section 9). It accepts the
// characters that clients use.
func tagByte(c byte) bool {
	return c > ' ' && c < 0x7f && !bytes.ContainsRune([]byte(`(){%*"\+]`), rune(c))
}

// tag is a command's tag.
type tag struct {
	b [maxWord]byte
	n int
}

func (t *tag) set(b []byte) { t.n = copy(t.b[:], b) }

func (t *tag) is(b []byte) bool { return t.n > 0 && bytes.Equal(t.b[:t.n], b) }

type observer struct {
	split   [2]line.Splitter
	current tag     // of the command being read
	what    command // its kind
	wait    tag     // of the command whose answer is awaited
	kind    command
	sasl    sasl.Exchange
	tls     line.StartTLS
	words   line.Values

	literal      int  // bytes of the client's literal that follow
	asked        bool // the client waits for the server before its literal or before the next line of an authentication
	continued    bool // the next line continues the command before a literal
	client       bool
	greeted      bool
	begin        bool
	heard        bool // bytes of the server were seen or are known to be missing
	unheard      bool // bytes of the server are missing since asked was set
	lost         bool // bytes are missing, and the state of the client is unknown
	turned       bool // the server has completed an answer since the client's last bytes
	unasked      bool // that answer belongs to an unseen command
	maybeLiteral bool // bytes are missing, and the server may be in the middle of a literal
}

// Observe implements observe.Observer.
func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Gap > 0 {
		o.gap(in)
		return 0, nil
	}
	used := 0
	for used < len(in.Data) {
		b := in.Data[used:]
		if in.Dir == observe.ToClient {
			o.heard = true
			if !o.client {
				o.tls.Unasked(b, &o.split[in.Dir], r, TLS)
			}
		} else if o.lost {
			if !o.turned || !in.Continues {
				return len(in.Data), nil
			}
			// The client got the answer, so this begins a command.
			o.lost = false
		}
		if o.tls.Accepted() {
			if more, err := o.tls.Begins(b, r); more || err != nil {
				return used, err
			}
			o.asked = false
		}
		if in.Dir == observe.ToServer && !o.split[in.Dir].Skipping() {
			switch {
			case o.asked:
				if o.heard && !o.unheard && len(b) <= maxWait {
					return used, nil
				}
				if o.resolve(b, r) {
					return used, nil
				}
				continue
			case o.literal > 0:
				o.credentials(r)
				used += o.literal
				o.literal = 0
				o.continued = true
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
			o.request(l, in, r)
			continue
		}
		skip, err := o.answer(l, in, r)
		if err != nil {
			return used, err
		}
		used += skip
	}
	return used, nil
}

// gap is called when bytes are missing. Tags still match answers with their commands.
func (o *observer) gap(in *observe.Input) {
	o.split[in.Dir] = line.Splitter{}
	o.tls.Gap()
	if in.Dir == observe.ToClient {
		// Before the greeting was read, no literal can have begun.
		o.maybeLiteral = o.maybeLiteral || o.greeted || !in.Handshake
		o.begin = o.begin || !o.greeted && in.Handshake
		o.heard, o.unheard, o.greeted = true, true, true
		return
	}
	o.lost, o.turned = !o.unasked, false // an answer before its command belongs to missing bytes
	o.asked, o.continued, o.literal = false, false, 0
	o.current.n, o.what = 0, other
	o.sasl.End()
}

// resolve infers the missing reply of the server from what the client sends next. It
// reports whether it needs more bytes.
func (o *observer) resolve(b []byte, r *observe.Report) (more bool) {
	switch {
	case o.what == startTLS && o.kind == startTLS:
		if b[0] == 0x16 || b[0] >= 0x80 {
			o.tls.Accept(r, TLS, line.Taken)
		}
		o.kind, o.wait.n = other, 0
	case o.sasl.Active:
		switch detectCommand(b, true) {
		case observe.More:
			return true
		case observe.Yes:
			o.sasl.End()
		}
	}
	o.asked, o.unheard = false, false
	return false
}

// inClear reports that content was sent in clear.
func (o *observer) inClear(r *observe.Report) {
	if !o.tls.Decrypted {
		r.Add(observe.Encryption, "none")
	}
}

// credentials is called when the credentials of a LOGIN are sent.
func (o *observer) credentials(r *observe.Report) {
	if o.what == login {
		r.Add(observe.Auth, "login")
		o.inClear(r)
	}
}

// ask records that the client waits for the server.
func (o *observer) ask() { o.asked, o.unheard = true, false }

// request reads a line from the client.
func (o *observer) request(l []byte, in *observe.Input, r *observe.Report) {
	o.turned, o.unasked = false, false
	switch {
	case o.sasl.Active:
		o.sasl.Client(l, r)
		if o.sasl.Sent {
			o.inClear(r)
		}
		o.ask()
		return
	case o.continued:
		o.continued = false
	default:
		if !o.client && !in.Handshake && detectCommand(append(l[:len(l):len(l)], '\n'), true) != observe.Yes {
			o.lost = true // in the middle of a command
			return
		}
		if o.command(l, r) {
			return
		}
	}
	n, more, ok := literal(l)
	switch {
	case ok:
		o.literal, o.continued = n, n == 0
		if o.asked = false; !more {
			o.ask()
		}
	default:
		o.credentials(r)
	}
}

// command reads the first line of a command. It reports whether the command is complete
// and an answer is expected.
func (o *observer) command(l []byte, r *observe.Report) bool {
	if o.maybeLiteral {
		o.kind, o.wait.n = other, 0 // the answer is missing
	}
	o.client = true
	words := line.Words(l)
	name := words.Next()
	verb := words.Next()
	o.current.set(name[:min(len(name), maxWord)])
	o.what = other
	if len(verb) <= maxCommand {
		o.what = commands[string(bytes.ToUpper(verb))]
	}
	if o.what == login && len(words.Rest()) == 0 {
		o.what = other
	}
	switch o.what {
	case login, startTLS:
		o.wait, o.kind = o.current, o.what
	case access:
		if o.kind == other {
			o.wait, o.kind = o.current, access
		}
	case authenticate:
		m := sasl.Mechanism(words.Next())
		if m == "" {
			break
		}
		o.wait, o.kind = o.current, authenticate
		o.sasl.Start(m)
		if first := words.Rest(); len(first) > 0 { // initial response, RFC 4959
			o.sasl.Client(first, r)
			o.inClear(r)
		}
		o.ask()
		return true
	}
	if o.asked = false; o.what == startTLS {
		o.ask()
	}
	return false
}

// literal parses the announcement of a literal at the end of a line (RFC 9051 section
// 4.3, RFC 7888). nonSync reports that the client does not wait.
func literal(l []byte) (n int, nonSync, ok bool) {
	if len(l) < 3 || l[len(l)-1] != '}' {
		return 0, false, false
	}
	l = l[:len(l)-1]
	if l[len(l)-1] == '+' {
		l, nonSync = l[:len(l)-1], true
	}
	i := bytes.LastIndexByte(l, '{')
	if i < 0 || i == len(l)-1 {
		return 0, false, false
	}
	for _, c := range l[i+1:] {
		if c < '0' || c > '9' || n > maxLiteral {
			return 0, false, false
		}
		n = n*10 + int(c-'0')
	}
	return n, nonSync, true
}

// answer reads a line from the server and returns the number of bytes of the literal that
// follows it.
func (o *observer) answer(l []byte, in *observe.Input, r *observe.Report) (int, error) {
	words := line.Words(l)
	first := words.Next()
	if !o.greeted {
		o.greeted = true
		if detectAnswer(append(l[:len(l):len(l)], ' '), false) == observe.Yes && in.Handshake {
			o.begin = true
			words.Next()
			o.banner(words.Rest(), r)
			return 0, nil
		}
		if in.Handshake {
			return 0, observe.ErrViolation
		}
	}
	if o.split[in.Dir].Skipping() {
		o.maybeLiteral = true // the line is too long to see whether a literal follows
		return 0, nil
	}
	skip := 0
	if !o.maybeLiteral {
		skip, _, _ = literal(l)
	}
	switch {
	case len(first) == 1 && first[0] == '*':
		if o.begin && !o.maybeLiteral && line.Is(words.Next(), "CAPABILITY") {
			o.capabilities(words, r)
		}
	case len(first) == 1 && first[0] == '+':
		if o.sasl.Active {
			o.sasl.Server(words.Rest(), r)
			o.asked = false
		} else if o.what != startTLS {
			o.asked = false
		}
	case !o.current.is(first) && !o.wait.is(first):
		if completes(line.First(words.Rest())) {
			o.turned, o.unasked = true, !o.lost
		}
	default:
		o.turned, o.maybeLiteral = true, false
		ok := line.Is(words.Next(), "OK")
		if o.current.is(first) && o.kind != startTLS {
			// The command is answered, so no literal is awaited.
			if o.asked {
				o.literal, o.continued = 0, false
			}
			o.asked = false
		}
		if o.wait.is(first) {
			return skip, o.completion(ok, r)
		}
	}
	return skip, nil
}

// completion reads the response that completes the pending command.
func (o *observer) completion(ok bool, r *observe.Report) error {
	kind := o.kind
	o.kind, o.wait.n = other, 0
	o.asked = false
	switch kind {
	case startTLS:
		if !ok {
			o.tls.Set(r, TLS, line.Refused)
			return nil
		}
		o.tls.Accept(r, TLS, line.Taken)
	case login, authenticate:
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

// completes reports whether w is the status of a completed command.
func completes(w []byte) bool { return line.Is(w, "OK") || line.Is(w, "NO") || line.Is(w, "BAD") }

func (o *observer) banner(b []byte, r *observe.Report) {
	if rest, ok := bytes.CutPrefix(b, []byte("[CAPABILITY ")); ok {
		list, _, _ := bytes.Cut(rest, []byte("]"))
		o.capabilities(line.Words(list), r)
	}
	line.AddBanner(r, Banner, Greeting, line.Banner(b), b)
}

// capabilities reads the words of a capability list.
func (o *observer) capabilities(words line.Fields, r *observe.Report) {
	offered := false
	for range maxWords {
		w := words.Next()
		if len(w) == 0 {
			break
		}
		offered = offered || line.Is(w, "STARTTLS")
		if len(w) > maxWord || bytes.IndexFunc(w, func(c rune) bool { return c <= ' ' || c >= 0x7f }) >= 0 {
			continue
		}
		o.words.Add(r, Capability, string(bytes.ToUpper(w)))
	}
	o.tls.List(r, TLS, offered)
}
