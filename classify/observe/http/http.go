// Package http reads HTTP/1.0 and HTTP/1.1 in clear (RFC 9110, RFC 9112): which of
// Exchange's virtual directories clients ask for, how requests are authenticated,
// and whether content was exchanged in clear. It skips bodies, except those of RPC
// over HTTP ([MS-RPCH]), which package dcerpc reads.
package http

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/dcerpc"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// Facts of this protocol.
const (
	Method    = "http.method"     // of requests, as on the wire; "other" for unknown ones
	Host      = "http.host"       // of requests, in lower case and without a port
	Path      = "http.path"       // of requests, reduced: see Target
	Target    = "http.target"     // the whole path of requests; with Report.Identities only
	UserAgent = "http.user_agent" // product and version of the client
	Server    = "http.server"     // the server's products
	Status    = "http.status"     // of answers: "200", "401" ..., or the class: "4xx"
	Challenge = "http.challenge"  // schemes the server offers: basic, digest, ntlm, negotiate, bearer ...
	Redirect  = "http.redirect"   // "https" where an answer sent the client there
	Version   = "http.version"    // "2" for HTTP/2 in clear, "0.9"; HTTP/1 is not reported

	// Answer joins the status and the path of an answered request for one of
	// Exchange's virtual directories: "401 /EWS/Exchange.asmx", "200 /owa/…". A
	// path that nobody answered, or with 404, proves nothing about the server.
	Answer = "http.answer"
	// Header holds the names of header fields of the server's answers that tell
	// the product: see answerFields. Their values are not kept.
	Header = "http.header"
	// ClientID is the application that a server's Bearer challenge asks tokens for
	// ([MS-OAPX] section 2.2.1): "00000002-0000-0ff1-ce00-000000000000" is Exchange.
	ClientID = "http.client_id"
	// ForwardedFor holds the client addresses that X-Forwarded-For and Forwarded
	// fields of requests begin with (RFC 7239 section 5.2): a proxy or load balancer
	// sends the requests on.
	ForwardedFor = "http.forwarded_for"

	ExchangeRole = "exchange.role"      // "frontend" or "backend": which web site of 2013 and later answered
	ActiveSync   = "activesync.version" // of MS-Server-ActiveSync, unless Z-Push names itself beside it: "14.3"
	OWABuild     = "owa.build"          // build in the path of a resource of Outlook Web App that the server delivered: "15.1.2507"
	RequestType  = "mapi.request_type"  // of MAPI over HTTP: "Connect", "Execute" ...
	RPCPort      = "rpc.http_port"      // port of the RPC server that the client asks the RPC proxy for
	RPCServer    = "rpc.http_server"    // name of that server, unless it is a mailbox's
)

// ExchangeVersion is the build number in X-OWA-Version and X-ServerApplication.
const ExchangeVersion = observe.ExchangeVersion

// MessageSealed is the value of observe.Encryption for bodies that the
// authentication protocol encrypts ([MS-WSMV] section 2.2.9.1).
const MessageSealed = "message-sealed"

// Limits.
const (
	maxLine    = 8 << 10 // bytes of a line that are waited for and read
	maxHeaders = 256     // header fields of one message
	maxPending = 32      // requests that wait for their answers
	maxValues  = 12      // different values that a fact gets on one flow
	maxSkip    = 1 << 30 // bytes passed over at once
	maxToken   = 512     // bytes of a token for which memory is there
	maxBuild   = 24      // bytes of a build number
)

// Protocol describes HTTP/1.
func Protocol() observe.Protocol {
	forToken := new([maxToken]byte)
	return observe.Protocol{
		Name: "http", TCP: []uint16{80, 81, 8080, 5985}, Stream: true, Text: true, Detect: detect,
		New:   func() observe.Observer { return &observer{forToken: forToken} },
		Renew: func(o observe.Observer) { *o.(*observer) = observer{forToken: forToken} },
	}
}

func detect(f *observe.First) observe.Match {
	answer := observe.No
	if len(f.ToClient) == 0 && len(f.ToServer) == 0 {
		return observe.More
	}
	if len(f.ToClient) > 0 {
		answer = beginsAnswer(f.ToClient)
	}
	if len(f.ToServer) == 0 {
		return answer
	}
	if m := beginsRequest(f.ToServer, f.OnPort); m != observe.No {
		return m
	}
	// On a flow whose begin was not seen, the client may be amid a body, or be
	// the server.
	if m := beginsAnswer(f.ToServer); m != observe.No {
		return m
	}
	return answer
}

// stage is what comes next in a direction.
type stage uint8

const (
	start   stage = iota // a request or status line
	headers              // header fields
	awaited              // a body that the server can make needless (Expect: 100-continue)
	body                 // left bytes of a body
	size                 // a chunk's size (RFC 9112 section 7.1)
	chunk                // left bytes of a chunk
	chunked              // the end of a chunk's line
	trailer              // trailer fields
	toClose              // a body that only the connection's end ends
)

// side is the state of one direction. Two of them fill a cache line.
type side struct {
	remaining int64
	length    int64  // Content-Length, -1 for none
	lines     uint16 // of header fields in this message
	stage     stage
	cutOff    bool // the rest of a line that is too long is skipped
	began     bool // a message was read

	lost bool // bytes are missing
	// turned is set when the other direction speaks, gapped behind a gap: only
	// there can the next bytes of a lost direction be the beginning of a message.
	turned, gapped bool

	// Of the message's header fields.
	coded   bool // Transfer-Encoding: chunked
	badBody bool // fields that contradict each other
	expect  bool // Expect: 100-continue
	sealed  bool // a Content-Type of encrypted messages
	rpcType bool // a Content-Type of RPC over HTTP
	isRPC   bool // the body is read by package dcerpc
	clear   bool // a body that follows is content in clear
}

// credentials are what a request was sent with.
type credentials uint8

const (
	noCredentials credentials = iota
	otherCredentials
	basic
	digest
	bearer
	negotiate
	ntlmOnly
	form       // posted to the log-on form of Outlook Web App
	formCookie // the cookie it gives
	cookie     // others, which may be credentials
)

// readable reports whether the credentials themselves can be read off the wire.
func (c credentials) readable() bool { return c == basic || c == bearer || c == form }

// name returns credentials that need no token to be read as observe.Auth names
// them.
func (c credentials) name() string {
	switch c {
	case basic:
		return "basic"
	case digest:
		return "digest"
	case bearer:
		return "bearer"
	case form:
		return "forms"
	}
	return ""
}

// request is one that waits for its answer.
type request struct {
	method verb
	with   credentials
	open   bool // what it asks for is meant for everybody
	body   bool // it has a body
	sealed bool
	rpc    bool
	asset  bool // it asks for a resource with a build number in its path
	below  bool // the path goes on below the known one
	place  int8 // of the path in known, or -1
	number int
}

// answer is what is known of the answer that is read.
type answer struct {
	code   int16
	https  bool  // its Location is there
	fields uint8 // a bit for each of answerFields
}

// answerFields are the header fields of answers that tell the product.
// X-Z-Push-Version tells that it is not Exchange.
var answerFields = [8]string{"X-FEServer", "X-CalculatedBETarget", "X-BEServer", "X-DiagInfo", "X-OWA-Version", "X-ServerApplication",
	"MS-Server-ActiveSync", "X-Z-Push-Version"}

// Bits of answer.fields.
const (
	fieldFrontEnd = 1 << iota
	fieldTarget
	fieldBackEnd
	fieldDiagnosis
	fieldOWA
	fieldApplication
	fieldActiveSync
	fieldZPush
)

type observer struct {
	sides   [2]side
	gaps    bool // something was not seen: the begin, or bytes
	req     request
	pending []request // at most maxPending
	room    [1]request
	asked   int  // requests read
	old     bool // the only request is one of HTTP/0.9, whose answer has no header
	done    int  // number of the last request that was finally answered

	// auth is the authentication that NTLM and Negotiate make for the whole
	// connection ([MS-NTHT], RFC 4559); authed is set once it succeeded.
	auth   spnego.Context
	authed bool
	// forToken is room for a token, of all observers.
	forToken *[maxToken]byte

	res, reported answer // reported is the last answer whose facts were reported
	heard         bool   // bytes of the server were seen, or are known to be missing
	tunnel        bool   // behind the answer to CONNECT
	lastPlace     int8   // of the last path in known, or -1
	joined        joined // the last value of Answer
	build         [maxBuild]byte
	buildSize     uint8 // of the last resource asked for
	sync          [maxBuild]byte
	syncSize      uint8  // of MS-Server-ActiveSync in the answer
	guessed       string // value of observe.Auth reported without an answer
	rpc           *dcerpc.Pipe
	// at is the place among the facts of the last value of some, where a repeat
	// is found without a search; howMany counts the values added of each, so that
	// none takes the room of all.
	at, howMany [numSlots]uint8
	agentKept   bool // the last user agent is kept as it was written
}

// joined is what a value of Answer was made of.
type joined struct {
	code  int16
	place int8
	below bool
	some  bool
}

func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	s := &o.sides[in.Dir&1]
	if !in.Handshake {
		o.gaps = true
	}
	if in.Dir == observe.ToClient && !o.heard {
		o.hear(r)
	}
	if in.Gap > 0 {
		return 0, o.gap(s, in, r)
	}
	o.sides[in.Dir&1^1].turned = true
	if o.tunnel {
		return o.tunnelled(in, r)
	}
	if s.lost {
		if !s.turned && !s.gapped {
			return len(in.Data), nil
		}
		switch begins(in.Dir, in.Data, false) {
		case observe.More:
			return 0, nil
		case observe.No:
			s.turned, s.gapped = false, false
			return len(in.Data), nil
		}
		o.found(s, in)
	}
	pos := 0
	for pos < len(in.Data) {
		n, err := o.step(s, in, in.Data[pos:], r)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return pos, nil
		}
		if s.lost {
			return len(in.Data), nil
		}
		if pos += n; o.tunnel && pos < len(in.Data) {
			sub := *in
			sub.Data = in.Data[pos:]
			_, err = o.tunnelled(&sub, r)
			return pos, err
		}
	}
	return pos, nil
}

// tunnelled looks at the first bytes in the tunnel that CONNECT made (RFC 9110
// section 9.3.6). Only TLS is read there.
func (o *observer) tunnelled(in *observe.Input, r *observe.Report) (int, error) {
	if c := in.Data[0]; c != 0x16 && c < 0x80 {
		return 0, observe.ErrDone
	}
	r.Next = "tls"
	return 0, observe.ErrUpgrade
}

// begins reports whether b begins a message of a direction; see beginsRequest.
func begins(dir observe.Direction, b []byte, old bool) observe.Match {
	if dir == observe.ToServer {
		return beginsRequest(b, old)
	}
	return beginsAnswer(b)
}

// gap notes that bytes are missing. Within a body whose bytes are counted that does
// no harm.
func (o *observer) gap(s *side, in *observe.Input, r *observe.Report) error {
	if (s.stage == body || s.stage == chunk) && int64(in.Gap) <= s.remaining && !s.lost {
		if s.isRPC && o.rpc != nil {
			sub := *in
			_ = o.rpc.Write(&sub, r)
		}
		s.remaining -= int64(in.Gap)
		o.ended(s)
		return nil
	}
	o.lose(s)
	s.gapped = true
	return nil
}

// lose gives up a direction until a message is found in it again.
func (o *observer) lose(s *side) {
	*s = side{lost: true, began: s.began}
	o.gaps = true
	o.pending = o.pending[:0] // whether these were answered, and how, is not known
}

// found resumes a direction that was lost. An answer belongs to the only request
// since then if it came right after that request.
func (o *observer) found(s *side, in *observe.Input) {
	if in.Dir == observe.ToClient && (len(o.pending) != 1 || s.gapped || !in.Continues) {
		o.pending = o.pending[:0]
	}
	s.lost, s.turned, s.gapped = false, false, false
}

// refuse gives up a direction that is not HTTP, and the flow if none of it was.
func (o *observer) refuse(s *side, in *observe.Input) (int, error) {
	if in.Handshake && !o.sides[0].began && !o.sides[1].began {
		return 0, observe.ErrViolation
	}
	o.lose(s)
	return len(in.Data), nil
}

// step reads what b begins with and returns its length in bytes: more than len(b)
// for what is skipped, and 0 if more bytes are needed.
func (o *observer) step(s *side, in *observe.Input, b []byte, r *observe.Report) (int, error) {
	if s.cutOff {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return len(b), nil
		}
		s.cutOff = false
		return i + 1, nil
	}
	switch s.stage {
	case headers:
		return o.fields(s, in, b, r)
	case body, chunk:
		return o.skipBody(s, in, b, r), nil
	case toClose:
		o.content(s, r)
		if s.isRPC && o.rpc != nil {
			o.hand(in, b, r)
			return len(b), nil
		}
		return len(b) + maxSkip, nil
	case awaited:
		if !o.await(s, b) {
			return 0, nil
		}
		return o.step(s, in, b, r)
	}
	if s.stage == start && !s.began {
		if ok, err := o.first(in, b); err != nil {
			return 0, err
		} else if ok == observe.More {
			return 0, nil
		} else if ok == observe.No {
			if in.Dir == observe.ToClient && o.old {
				*s = side{stage: toClose, began: true, clear: true}
				return o.step(s, in, b, r)
			}
			return o.refuse(s, in)
		}
	}
	line, n := s.line(b)
	if n == 0 {
		return 0, nil
	}
	switch s.stage {
	case start:
		return o.startLine(s, in, line, n, r)
	case size:
		left, ok := chunkSize(line)
		if !ok {
			return o.refuse(s, in)
		}
		if left == 0 {
			s.stage, s.lines = trailer, 0
			break
		}
		s.stage, s.remaining = chunk, left
		o.content(s, r)
	case chunked:
		if len(line) > 0 {
			return o.refuse(s, in)
		}
		s.stage = size
	case trailer:
		if s.lines++; s.lines > maxHeaders {
			return o.refuse(s, in)
		}
		if len(line) == 0 {
			s.stage, s.lines = start, 0
		}
	}
	return n, nil
}

// startLine reads the first line of a message, which takes n bytes of the
// stream, and returns n.
func (o *observer) startLine(s *side, in *observe.Input, line []byte, n int, r *observe.Report) (int, error) {
	if len(line) == 0 && s.lines < 4 {
		s.lines++ // empty lines before a message (RFC 9112 section 2.2)
		return n, nil
	}
	s.lines = 0
	if string(line) == preface[:len(preface)-2] && in.Dir == observe.ToServer {
		r.Add(Version, "2")
		return n, observe.ErrDone
	}
	if in.Dir == observe.ToServer {
		if !o.requestLine(line, s.cutOff, r) {
			return o.refuse(s, in)
		}
	} else if beginsAnswer(line) != observe.Yes {
		return o.refuse(s, in)
	} else {
		o.res = answer{code: status(line)}
	}
	if s.began = true; o.old && in.Dir == observe.ToServer {
		o.requested(s)
		return n, nil
	}
	*s = side{stage: headers, began: true, cutOff: s.cutOff, turned: s.turned, length: -1}
	return n, nil
}

// fields reads header fields up to the empty line behind them.
func (o *observer) fields(s *side, in *observe.Input, b []byte, r *observe.Report) (int, error) {
	rest, dir := b, in.Dir
	for !s.cutOff {
		var line []byte
		if i := bytes.IndexByte(rest, '\n'); uint(i) < maxLine {
			line, rest = rest[:i], rest[i+1:]
			if i > 0 && line[i-1] == '\r' {
				line = line[:i-1]
			}
		} else {
			var n int
			if line, n = s.line(rest); n == 0 {
				break
			}
			rest = rest[n:]
		}
		if len(line) == 0 {
			return len(b) - len(rest), o.headed(s, in, r)
		}
		if s.lines++; s.lines > maxHeaders {
			return o.refuse(s, in)
		}
		o.header(s, dir, line, r)
	}
	return len(b) - len(rest), nil
}

// headed is called at the end of a message's header fields.
func (o *observer) headed(s *side, in *observe.Input, r *observe.Report) error {
	s.stage, s.lines = start, 0
	if in.Dir == observe.ToServer {
		o.requested(s)
	} else if err := o.endAnswer(s, r); err != nil {
		return err
	}
	if s.badBody {
		o.lose(s)
	}
	return nil
}

// first reports whether b can be the first message of its direction. An answer
// from the client, and a request from the server, tell that they are reversed.
func (o *observer) first(in *observe.Input, b []byte) (observe.Match, error) {
	m := begins(in.Dir, b, true)
	if m == observe.No && !o.sides[0].began && !o.sides[1].began {
		if m = begins(in.Dir.Reverse(), b, true); m == observe.Yes {
			return observe.No, observe.ErrReversed
		}
	}
	return m, nil
}

// line returns the line that b begins with, without its end, and its length
// with that; n is 0 if more bytes are needed. Of a longer line than maxLine
// the beginning is returned.
func (s *side) line(b []byte) (line []byte, n int) {
	if len(b) > maxLine {
		b = b[:maxLine]
	}
	i := bytes.IndexByte(b, '\n')
	switch {
	case i > 0 && b[i-1] == '\r':
		return b[:i-1], i + 1
	case i >= 0:
		return b[:i], i + 1
	case len(b) < maxLine:
		return nil, 0
	}
	s.cutOff = true
	return b, maxLine
}
