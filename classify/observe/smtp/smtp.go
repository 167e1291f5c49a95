// Package smtp observes SMTP (RFC 5321) with the extensions that Exchange servers use
// among themselves. It reports the server's greeting and capabilities, whether the client
// starts TLS, how it authenticates, and whether mail is sent in clear. It skips addresses
// and messages and never keeps them.
//
// After an accepted STARTTLS or X-ANONYMOUSTLS it hands the flow over to tls.
package smtp

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/line"
	"github.com/exspan/exspan/classify/observe/internal/sasl"
)

// Name is the protocol's name.
const Name = "smtp"

// The facts of this protocol.
const (
	// Banner is the text of the greeting after the host name, without names, session
	// identifiers and dates: "Microsoft ESMTP MAIL Service ready".
	Banner = "smtp.banner"
	// Greeting is the whole greeting; only with Report.Identities.
	Greeting = "smtp.greeting"
	// Keywords holds the keywords of the answer to EHLO in upper case, without
	// parameters: "X-EXPS", "SIZE". The old form with an equals sign keeps the rest:
	// "X-EXPS=LOGIN". The word OK, with which IIS ends its list, is not a keyword.
	Keywords = "smtp.keywords"
	// List is "complete" if the whole answer to an EHLO was read. A keyword that is not
	// among Keywords was then not offered.
	List = "smtp.list"
	// Mechanisms holds the mechanisms of the keywords AUTH and X-EXPS.
	Mechanisms = "smtp.mechanisms"
	// TLS is the outcome of TLS in the session: "starttls" or "x-anonymoustls" if the
	// server accepted that command, "refused" if the client sent it and the server
	// declined, "offered" if the server offered either command and the client has not
	// sent it (yet), and "none" if the answer to EHLO offered neither. It has at most one
	// value. It has none if no answer to EHLO was seen, or if the command before TLS was
	// lost.
	TLS = "smtp.tls"
	// Mail is "yes" if a MAIL command was seen.
	Mail = "smtp.mail"
	// Verb holds the client's commands that begin with X: "X-LINK2STATE", "XEXCH50",
	// "X-EXPS" ...
	Verb = "smtp.verb"
	// Exps holds the mechanisms in the client's X-EXPS commands: "GSSAPI",
	// "EXCHANGEAUTH", "LOGIN" ...
	Exps = "smtp.exps"
)

// Limits.
const (
	maxKeywords = 28       // keywords reported
	maxVerbs    = 8        // verbs reported
	maxWord     = 32       // bytes of a keyword or verb
	maxWait     = 16 << 10 // bytes that await an answer of the server
	maxBlob     = 1 << 40  // maximum length of a BDAT chunk or XEXCH50 blob in bytes
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

// Detect recognises a greeting, an answer or a command on the expected ports. On other
// ports it recognises a first command, or a greeting that mentions SMTP or mail.
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
	return observe.More // FTP also greets with 220; the client's command decides
}

var firstCommands = []string{"EHLO ", "HELO ", "MAIL FROM:", "RCPT TO:"}

// laterCommands are the commands at the beginning of a flow that was captured in the
// middle.
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

// keyword returns b in upper case and its index in keywords, or -1. It returns "" if b is
// not an EHLO keyword, with or without "=PARAMETER". Keywords may not contain underscores
// (RFC 5321 section 4.1.1.1), but servers use them.
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
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && (i == 0 || c != '-' && c != '=' && c != '_') {
			return "", -1
		}
	}
	return line.Upper(b, keywords[:])
}

// keywords lists the keywords that Exchange and other servers offer (IANA "SMTP Service
// Extensions", [MS-OXSMTP], [MS-SMTPNTLM]), and Exchange's own verbs.
var keywords = [...]string{"SIZE", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "STARTTLS", "X-ANONYMOUSTLS", "AUTH", "X-EXPS", "8BITMIME",
	"BINARYMIME", "CHUNKING", "SMTPUTF8", "XRDST", "XEXCH50", "XSHADOW", "XSHADOWREQUEST", "XPROXY", "XPROXYFROM", "XPROXYTO", "X-LINK2STATE",
	"X-EXPS=LOGIN", "AUTH=LOGIN", "TURN", "ATRN", "ETRN", "VRFY", "EXPN", "HELP", "ONEX", "OK"}

// keyword reads a line of the answer to EHLO (RFC 5321 section 4.1.1.1). In an answer
// that may belong to another command, such as VRFY, it accepts only known keywords.
func (o *observer) keyword(b []byte, r *observe.Report) {
	words := line.Words(b)
	word := words.Next()
	var w string
	if o.keywords < maxKeywords && r.AddAgain(Keywords, word) {
		w = r.All()[r.Len()-1].Value
		o.keywords++
	} else {
		var known int
		if w, known = keyword(word); w == "" || w == "OK" || o.unsure && known < 0 {
			return
		}
		o.found = o.found || known >= 0
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
