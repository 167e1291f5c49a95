// Package http reads HTTP/1.0 and HTTP/1.1 in clear (RFC 9110, RFC 9112). It reports the
// virtual directories of Exchange that clients request, how requests are authenticated,
// and whether content was exchanged in clear. It skips bodies, except those of RPC over
// HTTP ([MS-RPCH]), which package dcerpc reads.
package http

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/dcerpc"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// Facts of this protocol.
const (
	Method    = "http.method"     // of requests, as on the wire; "other" if unknown
	Host      = "http.host"       // of requests, in lower case and without the port
	Path      = "http.path"       // of requests, shortened: see Target
	Target    = "http.target"     // the whole path of requests; only with Report.Identities
	UserAgent = "http.user_agent" // product and version of the client
	Server    = "http.server"     // the server's product names
	Status    = "http.status"     // of answers: "200", "401" ..., or the class: "4xx"
	Challenge = "http.challenge"  // schemes that the server offers: basic, digest, ntlm, negotiate, bearer ...
	Redirect  = "http.redirect"   // "https" if an answer redirected the client there
	Version   = "http.version"    // "2" for HTTP/2 in clear, "0.9"; HTTP/1 is not reported

	// Answer joins the status and the path of an answered request for one of Exchange's
	// virtual directories: "401 /EWS/Exchange.asmx", "200 /owa/…". A path without an
	// answer, or with 404, proves nothing about the server.
	Answer = "http.answer"
	// Header lists the names of header fields in the server's answers that identify the
	// product: see answerFields. Their values are not kept. Header, Answer, ClientID,
	// OWABuild, ActiveSync and the build number are left out where the client asks a
	// forward proxy: what that passes on tells of the server behind it.
	Header = "http.header"
	// ClientID is the application for which a server's Bearer challenge requests tokens
	// ([MS-OAPX] section 2.2.1). "00000002-0000-0ff1-ce00-000000000000" is Exchange.
	ClientID = "http.client_id"
	// ForwardedFor is the first client address in the X-Forwarded-For and Forwarded
	// fields of requests (RFC 7239 section 5.2), which a proxy or load balancer adds.
	ForwardedFor = "http.forwarded_for"

	ExchangeRole = "exchange.role"      // "frontend" or "backend": the web site of 2013 and later that answered
	ActiveSync   = "activesync.version" // of MS-Server-ActiveSync, unless the server also identifies itself as Z-Push: "14.3"
	OWABuild     = "owa.build"          // build in the path of a resource of Outlook Web App that the server returned: "15.1.2507"
	RequestType  = "mapi.request_type"  // of MAPI over HTTP: "Connect", "Execute" ...
	RPCPort      = "rpc.http_port"      // port of the RPC server that the client requests from the RPC proxy
	RPCServer    = "rpc.http_server"    // name of that server, unless the name denotes a mailbox
)

// ExchangeVersion is the build number in X-OWA-Version and X-ServerApplication.
const ExchangeVersion = observe.ExchangeVersion

// MessageSealed is the value of observe.Encryption for bodies that the
// authentication protocol encrypts ([MS-WSMV] section 2.2.9.1).
const MessageSealed = "message-sealed"

// Limits.
const (
	maxLine    = 8 << 10 // bytes of a line that are awaited and read
	maxHeaders = 256     // header fields of one message
	maxPending = 32      // requests that await their answers
	maxValues  = 12      // different values of one fact per flow
	maxSkip    = 1 << 30 // bytes skipped at once
	maxToken   = 512     // bytes of a token for which a buffer is reserved
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
	// If the beginning of the flow was not seen, the client may be in the middle of a
	// body, or may be the server.
	if m := beginsAnswer(f.ToServer); m != observe.No {
		return m
	}
	return answer
}

// stage is the next element of a direction.
type stage uint8

const (
	start   stage = iota // a request or status line
	headers              // header fields
	awaited              // a body that the server can make unnecessary (Expect: 100-continue)
	body                 // the next remaining bytes of a body
	size                 // a chunk's size (RFC 9112 section 7.1)
	chunk                // the next remaining bytes of a chunk
	chunked              // the end of a chunk's line
	trailer              // trailer fields
	toClose              // a body that ends with the connection
)

// side is the state of one direction. Two sides fill a cache line.
type side struct {
	remaining int64
	length    int64  // Content-Length, or -1 if there is none
	lines     uint16 // header fields read in this message
	stage     stage
	cutOff    bool // the rest of an overlong line is skipped
	began     bool // a message was read

	lost bool // bytes are missing
	// turned is set when the other direction sends, and gapped after a gap. Only then can
	// the next bytes of a lost direction be the beginning of a message.
	turned, gapped bool

	// From the header fields of the message.
	coded   bool // Transfer-Encoding: chunked
	badBody bool // the fields contradict each other
	expect  bool // Expect: 100-continue
	sealed  bool // Content-Type is that of encrypted messages
	rpcType bool // Content-Type is that of RPC over HTTP
	isRPC   bool // package dcerpc reads the body
	clear   bool // a body, if there is one, is content in clear
}

// credentials is the kind of credentials in a request.
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
	formCookie // the cookie that the form returns
	cookie     // other cookies, which may be credentials
)

// readable reports whether the credentials can be read from the capture.
func (c credentials) readable() bool { return c == basic || c == bearer || c == form }

// name returns the name in observe.Auth of credentials that need no token to be
// identified.
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

// request is a request that awaits its answer.
type request struct {
	method verb
	with   credentials
	open   bool // the resource needs no authentication
	body   bool // it has a body
	sealed bool
	rpc    bool
	asset  bool // it requests a resource with a build number in its path
	below  bool // the path continues below the known one
	place  int8 // index of the path in known, or -1
	number int
}

// answer is the part of an answer read so far.
type answer struct {
	code   int16
	https  bool  // its Location is an https URL
	fields uint8 // a bit for each of answerFields
}

// answerFields are the header fields of answers that identify the product.
// X-Z-Push-Version shows that it is not Exchange.
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
	gaps    bool // the beginning or other bytes were not seen
	proxied bool // the server is asked as a proxy
	req     request
	pending []request // at most maxPending
	room    [1]request
	asked   int  // number of requests read
	old     bool // the only request is an HTTP/0.9 request, whose answer has no header
	done    int  // number of the last request with a final answer

	// auth is the authentication of the whole connection by NTLM or Negotiate ([MS-NTHT],
	// RFC 4559). authed is set when it succeeds.
	auth   spnego.Context
	authed bool
	// forToken is a buffer for a token that all observers share.
	forToken *[maxToken]byte

	res, reported answer // reported is the last answer whose facts were reported
	heard         bool   // bytes of the server were seen or are known to be missing
	tunnel        bool   // after the answer to CONNECT
	lastPlace     int8   // index of the last path in known, or -1
	joined        joined // the last value of Answer
	build         [maxBuild]byte
	buildSize     uint8 // of the last requested resource
	sync          [maxBuild]byte
	syncSize      uint8  // of MS-Server-ActiveSync in the answer
	guessed       string // the value of observe.Auth that was reported without an answer
	rpc           *dcerpc.Pipe
	// at holds the positions of the last values of some facts, so that a repetition is
	// found without a search. counts holds the numbers of their values, so that no fact
	// uses all the room.
	at, counts [numSlots]uint8
	agentKept  bool // the last user agent was kept unchanged
}

// joined holds the components of a value of Answer.
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
		return 0, r.Tunnelled(in.Data)
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
			return pos, r.Tunnelled(in.Data[pos:])
		}
	}
	return pos, nil
}

// begins reports whether b begins a message of the given direction; see beginsRequest.
func begins(dir observe.Direction, b []byte, old bool) observe.Match {
	if dir == observe.ToServer {
		return beginsRequest(b, old)
	}
	return beginsAnswer(b)
}

// gap records that bytes are missing. A gap within a body of known length does no harm.
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

// lose stops reading a direction until another message is found in it.
func (o *observer) lose(s *side) {
	*s = side{lost: true, began: s.began}
	o.gaps = true
	o.pending = o.pending[:0] // their answers are unknown
}

// found resumes a lost direction. An answer belongs to the only request since the loss if
// it came directly after that request.
func (o *observer) found(s *side, in *observe.Input) {
	if in.Dir == observe.ToClient && (len(o.pending) != 1 || s.gapped || !in.Continues) {
		o.pending = o.pending[:0]
	}
	s.lost, s.turned, s.gapped = false, false, false
}

// refuse stops reading a direction that is not HTTP. It ends the flow if no message was
// read.
func (o *observer) refuse(s *side, in *observe.Input) (int, error) {
	if in.Handshake && !o.sides[0].began && !o.sides[1].began {
		return 0, observe.ErrViolation
	}
	o.lose(s)
	return len(in.Data), nil
}

// step reads the element at the start of b and returns its length in bytes. The length is
// greater than len(b) if bytes are skipped, and 0 if more bytes are needed.
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

// startLine reads the first line of a message, which occupies n bytes of the stream, and
// returns n.
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

// fields reads header fields up to and including the empty line after them.
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

// headed is called after the header fields of a message.
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

// first reports whether b can be the first message of its direction. An answer from the
// client, or a request from the server, shows that the two are reversed.
func (o *observer) first(in *observe.Input, b []byte) (observe.Match, error) {
	m := begins(in.Dir, b, true)
	if m == observe.No && !o.sides[0].began && !o.sides[1].began {
		if m = begins(in.Dir.Reverse(), b, true); m == observe.Yes {
			return observe.No, observe.ErrReversed
		}
	}
	return m, nil
}

// line returns the line at the start of b without its line end, and its length n with it.
// n is 0 if more bytes are needed. line returns the beginning of a line longer than
// maxLine.
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
