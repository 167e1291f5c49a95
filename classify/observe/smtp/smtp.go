// Package smtp observes SMTP (RFC 5321) with the extensions that Exchange
// servers speak among themselves: what the server says it is and can do,
// whether TLS was taken up, how the client authenticated, and whether mail was
// sent in clear. Addresses and messages are skipped and never kept.
//
// After an accepted STARTTLS or X-ANONYMOUSTLS the flow is handed to tls.
package smtp

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/line"
	"github.com/exspan/exspan/classify/observe/internal/sasl"
	"github.com/exspan/exspan/classify/observe/tls"
)

// Name is the protocol's name.
const Name = "smtp"

// The facts.
const (
	// Banner is the wording of the greeting behind the host name, without names,
	// session identifiers and dates: "Microsoft ESMTP MAIL Service, Version:
	// 6.0.3790.1830". With Report.Identities it is the whole line.
	Banner = "smtp.banner"
	// Keywords are the keywords of the answer to EHLO in upper case, without
	// parameters: "X-EXPS", "SIZE"; the old form with an equals sign keeps what
	// follows it: "X-EXPS=LOGIN". The word OK that IIS ends its list with is none.
	Keywords = "smtp.keywords"
	// Mechanisms are the mechanisms behind the keywords AUTH and X-EXPS.
	Mechanisms = "smtp.mechanisms"
	// TLS says what became of TLS within the session: "starttls" or
	// "x-anonymoustls" where it was taken up by that command, "refused" where the
	// client asked and the server declined, "offered" where the server offered
	// either and the client did not ask (yet), "none" where the answer to EHLO
	// offered neither. There is at most one value at a time; there is none where no
	// answer to EHLO was seen, or where TLS was taken up by a command that was lost.
	TLS = "smtp.tls"
	// Mail is "yes" where a MAIL command was seen.
	Mail = "smtp.mail"
	// Verb has the commands beginning with X that the client used:
	// "X-LINK2STATE", "XEXCH50", "X-EXPS" ...
	Verb = "smtp.verb"
)

// Limits.
const (
	maxKeywords = 28       // keywords reported
	maxVerbs    = 8        // verbs reported
	maxWord     = 32       // bytes of a keyword or verb
	maxWait     = 16 << 10 // bytes that wait for an answer of the server
	maxBlob     = 1 << 40  // bytes of a BDAT chunk or XEXCH50 blob that are believed
)

// Protocol describes SMTP.
func Protocol() observe.Protocol {
	banners := new(line.Banners)
	return observe.Protocol{
		Name: Name,
		// Mail transfer, submission, and the connectors of Exchange 2013 and later:
		// Client Proxy, Outbound Proxy Frontend, Default, Mailbox Transport Delivery.
		TCP:    []uint16{25, 587, 465, 717, 2525, 475},
		Stream: true, Text: true,
		Detect: Detect,
		New:    func() observe.Observer { return &observer{banners: banners} },
		Renew:  func(o observe.Observer) { *o.(*observer) = observer{banners: banners} },
	}
}

// Detect recognises a greeting, an answer or a command on the expected ports,
// and a greeting that names SMTP or mail, or a first command, on others.
func Detect(f *observe.First) observe.Match {
	server, client := detectReply(f.ToClient, f.OnPort), detectCommand(f.ToServer, f.OnPort)
	if server == observe.More {
		return client
	}
	return server
}

func detectReply(b []byte, onPort bool) observe.Match {
	for i, c := range b[:min(len(b), 4)] {
		if i == 0 && (c < '2' || c > '5') || i > 0 && i < 3 && (c < '0' || c > '9') || i == 3 && c != ' ' && c != '-' {
			return observe.No
		}
	}
	switch {
	case len(b) < 4:
		return observe.More
	case onPort:
		return observe.Yes
	case string(b[:3]) != "220":
		return observe.No
	}
	l, _, ok := bytes.Cut(b[:min(len(b), 512)], []byte("\n"))
	l = bytes.ToUpper(l)
	if ok && (bytes.Contains(l, []byte("SMTP")) || bytes.Contains(l, []byte("MAIL SERVICE"))) {
		return observe.Yes
	}
	return observe.More // FTP greets with 220 too; the client's command tells
}

var firstCommands = []string{"EHLO ", "HELO ", "MAIL FROM:", "RCPT TO:"}

// laterCommands begin a flow that was not seen from its beginning.
var laterCommands = []string{"STARTTLS", "X-ANONYMOUSTLS", "AUTH ", "X-EXPS ", "XEXCH50 ", "X-LINK2STATE ", "DATA", "BDAT ", "RSET",
	"QUIT", "NOOP"}

func detectCommand(b []byte, onPort bool) observe.Match {
	answer := oneOf(b, firstCommands)
	if onPort {
		answer = max(answer, oneOf(b, laterCommands))
	}
	return answer
}

func oneOf(b []byte, commands []string) observe.Match {
	if len(b) == 0 {
		return observe.More
	}
	answer := observe.No
	for _, c := range commands {
		switch {
		case line.HasPrefix(b, c):
			return observe.Yes
		case line.CanBegin(b, c):
			answer = observe.More
		}
	}
	return answer
}

// kind is a command that is waiting for its answer.
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

// waits says that what the client sends next depends on the answer.
func (k kind) waits() bool {
	switch k {
	case data, auth, startTLS, anonymousTLS, exch50, turn:
		return true
	}
	return false
}

type observer struct {
	// What the bytes of a message need stands first, in one line of the cache.
	split   [2]line.Splitter
	blind   bool // the client's bytes cannot be read
	lossy   bool // behind a gap
	waiting kind // the last command, where it waits for its answer; else other
	text    bool // the client is sending a message
	eod     line.Text

	client   bool // a command was seen
	begin    bool // the greeting was read as the flow's first bytes
	greeted  bool
	inReply  bool // behind the first line of an answer
	offers   bool // the answer to EHLO being read offers TLS
	listed   bool // an answer to an unseen EHLO was read
	authOK   bool
	keywords uint8  // reported
	verbs    uint8  // reported
	known    uint32 // of keywords, those that were reported
	blob     int    // bytes of the XEXCH50 blob that follows
	pending  line.Queue
	sasl     sasl.Exchange
	tlsWord  string
	banners  *line.Banners // of all observers
}

// Observe implements observe.Observer.
func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Gap > 0 {
		return 0, o.gap(in.Dir, r)
	}
	if in.Dir == observe.ToServer {
		if o.lossy {
			return o.searchTLS(in)
		}
		if o.text && !o.split[observe.ToServer].Skipping() {
			// Most bytes of most sessions are a message's.
			n, done := o.eod.Skip(in.Data)
			if !done {
				return n, nil
			}
			o.textEnded()
			return o.fromClient(in, n, r)
		}
		return o.fromClient(in, 0, r)
	}
	used := 0
	for {
		l, n, ok := o.split[in.Dir].Next(in.Data[used:])
		used += n
		if !ok {
			return used, nil
		}
		if err := o.reply(l, in, r); err != nil {
			return used, err
		}
	}
}

// gap is called where bytes are missing. Which answer belongs to which command,
// and where a message ends, cannot be told any more; that TLS is taken up can,
// because 220 is no other command's answer.
func (o *observer) gap(d observe.Direction, r *observe.Report) error {
	if o.blind || r.Has(observe.Encryption, "none") {
		return observe.ErrDone
	}
	o.lossy = true
	o.split[d] = line.Splitter{}
	if d == observe.ToClient {
		o.greeted, o.inReply = true, false
	}
	if o.waiting != startTLS && o.waiting != anonymousTLS {
		o.waiting = other
	}
	return nil
}

// searchTLS reads the client's lines behind a gap for the beginning of TLS.
func (o *observer) searchTLS(in *observe.Input) (int, error) {
	used := 0
	for used < len(in.Data) {
		b := in.Data[used:]
		if !o.split[in.Dir].Skipping() && (o.waiting != other || b[0] == 0x16) { // a handshake record
			if len(b) > maxWait {
				return used, observe.ErrDone
			}
			return used, nil
		}
		l, n, ok := o.split[in.Dir].Next(b)
		used += n
		switch {
		case !ok:
			return used, nil
		case line.Is(l, "STARTTLS"):
			o.waiting = startTLS
		case line.Is(l, "X-ANONYMOUSTLS"):
			o.waiting = anonymousTLS
		}
	}
	return used, nil
}

// fromClient reads what the client sent, but for the bytes that were used already.
func (o *observer) fromClient(in *observe.Input, used int, r *observe.Report) (int, error) {
	for used < len(in.Data) {
		b := in.Data[used:]
		switch {
		case o.blind:
			return len(in.Data), nil
		case o.split[in.Dir].Skipping():
		case o.waiting != other:
			if len(b) <= maxWait {
				return used, nil
			}
			// The server is not seen. Nothing this long follows a refusal.
			if o.waiting == data {
				o.startText(r)
			} else {
				return used, observe.ErrDone
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
			return used, nil
		}
		if o.sasl.Active {
			o.sasl.Client(l, r)
			if o.sasl.Sent {
				r.Add(observe.Encryption, "none")
			}
			o.push(auth)
			continue
		}
		skip := o.command(l, in, r)
		used += skip
	}
	return used, nil
}

// push notes a command that will be answered.
func (o *observer) push(k kind) {
	if k.waits() {
		o.waiting = k
	}
	o.pending.Push(uint8(k))
}

// command reads a line of the client's and returns how many bytes of content
// follow it.
func (o *observer) command(l []byte, in *observe.Input, r *observe.Report) int {
	if !o.client && !in.Handshake && detectCommand(l, true) != observe.Yes {
		// In the middle of something; what follows could be a message's text.
		o.blind = true
		return 0
	}
	o.client = true
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
		// The chunk follows whatever the server says (RFC 3030 section 2).
		o.push(other)
		return number(words.Next())
	case line.Is(verb, "STARTTLS"):
		k = startTLS
	case line.Is(verb, "X-ANONYMOUSTLS"):
		k = anonymousTLS
	case line.Is(verb, "AUTH"), line.Is(verb, "X-EXPS"):
		if m := sasl.Mechanism(words.Next()); m != "" {
			o.sasl.Start(m)
			if first := words.Rest(); len(first) > 0 {
				o.sasl.Client(first, r)
				r.Add(observe.Encryption, "none")
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

// number reads a decimal number; it is 0 where b is none, or one too large.
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

// reply reads a line of the server's.
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
		if first && code == 220 && (in.Handshake || o.pending.Empty()) {
			o.begin = in.Handshake
			o.banner(body, r)
		}
		// On a flow that began earlier the first answer can be to anything.
		if in.Handshake || code == 220 && o.pending.Empty() {
			o.greeted = last
			return nil
		}
		o.greeted = true
	}

	if o.lossy {
		k := o.waiting
		if last {
			o.waiting = other
		}
		if !last || code != 220 {
			return nil
		}
		return o.upgrade(k, r)
	}

	k := kind(o.pending.Peek())
	// Where the client is not seen, the first list after the greeting answers
	// its EHLO.
	guess := o.begin && !o.client && !o.listed
	if code == 250 && (k == ehlo || guess) {
		if first {
			o.offers = false
		} else {
			o.keyword(body, r)
		}
	}
	if !last {
		return nil
	}
	o.listed = o.listed || guess && code == 250 && !first
	o.pending.Pop()
	if o.waiting != other && o.pending.Empty() {
		o.waiting = other
	}
	return o.answered(k, code, body, r)
}

// answered is called at the end of an answer.
func (o *observer) answered(k kind, code int, body []byte, r *observe.Report) error {
	switch k {
	case ehlo:
		switch {
		case code != 250 || o.tlsWord != "" && o.tlsWord != "none" && o.tlsWord != "offered":
		case o.offers:
			o.setTLS("offered", r)
		default:
			o.setTLS("none", r)
		}
	case startTLS, anonymousTLS:
		if code != 220 {
			o.setTLS("refused", r)
			return nil
		}
		return o.upgrade(k, r)
	case auth:
		if code == 334 {
			o.sasl.Server(body, r)
			return nil
		}
		o.authOK = o.authOK || code == 235
		o.sasl.End()
	case mail:
		if code == 250 {
			r.Add(observe.Encryption, "none")
			if o.begin && !o.authOK {
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
			return observe.ErrDone // the ends change their parts, RFC 821 section 3.8
		}
	case other:
		if !o.client && (code == 354 || code == 235) {
			// The client is not seen, but it was told to send its message, or that its
			// credentials are good, in clear.
			r.Add(observe.Encryption, "none")
		}
	}
	return nil
}

// upgrade hands the flow over to TLS.
func (o *observer) upgrade(k kind, r *observe.Report) error {
	switch k {
	case startTLS:
		o.setTLS("starttls", r)
	case anonymousTLS:
		o.setTLS("x-anonymoustls", r)
	default: // the command was lost
		r.Remove(TLS, o.tlsWord)
	}
	r.Next = tls.Name
	return observe.ErrUpgrade
}

func (o *observer) startText(r *observe.Report) {
	o.waiting = other
	o.text = true
	o.eod.Start()
	r.Add(observe.Encryption, "none")
}

// textEnded is called at the end of a message, which will be answered.
func (o *observer) textEnded() {
	o.text = false
	o.push(other)
}

func (o *observer) setTLS(w string, r *observe.Report) { line.Replace(r, TLS, &o.tlsWord, w) }

// banner reports the greeting; its first word is the host name.
func (o *observer) banner(b []byte, r *observe.Report) {
	if r.Identities {
		r.Add(Banner, string(b[:min(len(b), observe.MaxFactLength)]))
		return
	}
	words := line.Words(b)
	words.Next()
	r.Add(Banner, o.banners.Banner(words.Rest()))
}

// keyword reads a line of the answer to EHLO (RFC 5321 section 4.1.1.1).
func (o *observer) keyword(b []byte, r *observe.Report) {
	words := line.Words(b)
	word := words.Next()
	var w string
	if o.keywords < maxKeywords && r.AddAgain(Keywords, word) {
		w = r.All()[r.Len()-1].Value
		o.keywords++
	} else {
		var known int
		if w, known = keyword(word); w == "" || w == "OK" {
			return
		}
		if known < 0 || o.known&(1<<known) == 0 {
			if o.keywords == maxKeywords && !r.Has(Keywords, w) {
				return
			}
			n := r.Len()
			r.Add(Keywords, w)
			o.keywords += uint8(r.Len() - n)
			if known >= 0 {
				o.known |= 1 << known
			}
		}
	}
	switch w {
	case "STARTTLS", "X-ANONYMOUSTLS":
		o.offers = true
	case "AUTH", "X-EXPS":
		for range 8 {
			m := words.Next()
			if r.AddAgain(Mechanisms, m) {
				continue
			}
			name := sasl.Mechanism(m)
			if name == "" {
				break
			}
			r.Add(Mechanisms, name)
		}
	}
}

// keyword returns b in upper case and its place among keywords or -1, or ""
// where it is no EHLO keyword, with or without "=PARAMETER".
func keyword(b []byte) (string, int) {
	if len(b) == 0 || len(b) > maxWord {
		return "", -1
	}
	for i, w := range keywords[:] {
		if string(b) == w {
			return w, i
		}
	}
	for i, c := range b {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && (i == 0 || c != '-' && c != '=') {
			return "", -1
		}
	}
	return line.Upper(b, keywords[:])
}

// keywords are those that Exchange and others offer (IANA "SMTP Service
// Extensions", [MS-OXSMTP], [MS-SMTPNTLM]), and Exchange's own verbs.
var keywords = [...]string{"SIZE", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "STARTTLS", "X-ANONYMOUSTLS", "AUTH", "X-EXPS", "8BITMIME",
	"BINARYMIME", "CHUNKING", "SMTPUTF8", "XRDST", "XEXCH50", "XSHADOW", "XSHADOWREQUEST", "XPROXY", "XPROXYFROM", "XPROXYTO", "X-LINK2STATE",
	"X-EXPS=LOGIN", "AUTH=LOGIN", "TURN", "ATRN", "ETRN", "VRFY", "EXPN", "HELP", "ONEX", "OK"}
