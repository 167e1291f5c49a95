// Package smb reads SMB 1 ([MS-CIFS], [MS-SMB]) and SMB 2 and 3 ([MS-SMB2]) over TCP and
// over NetBIOS sessions (RFC 1002 section 4.3). It reports the dialect, the
// authentication of sessions, the shares and named pipes in use, their protection, and
// the RPC inside pipes. It skips names and contents of files.
package smb

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// Facts of this protocol. observe.Encryption is "smb3" for encrypted messages, and "none"
// once an operation on a file was read in clear. For pipes it is the protection of the
// RPC in them. Session set-up and tree connection alone are not sufficient, because later
// messages can be encrypted.
const (
	Version = observe.SMBVersion // "1", "2.0.2", "2.1", "3.0", "3.0.2", "3.1.1"
	Share   = "smb.share"        // ADMIN$, IPC$, C$, SYSVOL, NETLOGON, a fully qualified host name, or "disk" for any other
	Path    = "smb.path"         // the whole path of a share; only with Report.Identities
	Pipe    = "smb.pipe"         // name of an open pipe, in lower case: "winreg"
	Signing = "smb.signing"      // "yes" if messages after the session set-up are signed
)

// Limits of one flow.
const (
	maxToken   = 12 << 10 // bytes of a session set-up to wait for
	maxPath    = 2 << 10  // bytes of a tree connection to wait for
	maxName    = 64       // characters of a pipe's name
	maxSetups  = 8        // incomplete session set-ups
	maxTrees   = 64
	maxPipes   = 32
	maxPending = 64 // unanswered requests on pipes
	maxChain   = 8  // AndX commands read per message
)

// Protocol describes SMB. Its ports are those of direct TCP and of the NetBIOS session
// service.
func Protocol() observe.Protocol {
	shared := new(channels)
	return observe.Protocol{Name: "smb", TCP: []uint16{445, 139}, Stream: true, Detect: detect,
		New: func() observe.Observer { return &observer{shared: shared} }}
}

// Types of NetBIOS session packets (RFC 1002 section 4.3.1). Direct TCP uses only session
// messages ([MS-SMB2] section 2.1).
const (
	sessionMessage  = 0x00
	sessionRequest  = 0x81
	sessionPositive = 0x82
	sessionNegative = 0x83
	sessionRetarget = 0x84
	sessionAlive    = 0x85
)

// The first byte of a session message, before the letters SMB.
const (
	magicSMB1       = 0xff
	magicSMB2       = 0xfe
	magicTransform  = 0xfd // [MS-SMB2] section 2.2.41
	magicCompressed = 0xfc // [MS-SMB2] section 2.2.42
)

// Lengths of headers.
const (
	frameHeader     = 4
	smb1Header      = 32
	smb2Header      = 64
	transformHeader = 52
)

// sessionNames reports whether b starts with a session request of two NetBIOS names (RFC
// 1002 section 4.3.2): two encoded names of 32 letters (RFC 1001 section 14.1), which
// scopes may follow.
func sessionNames(b []byte) observe.Match {
	const name = 0x20
	for i, c := range b[:min(len(b), frameHeader+1+name)] {
		var ok bool
		switch {
		case i == 0:
			ok = c == sessionRequest
		case i == 1:
			ok = c == 0
		case i == 2:
			ok = c <= maxSession>>8
		case i == 3:
			n := int(b[2])<<8 | int(c)
			ok = n >= 2*(1+name+1) && n <= maxSession
		case i == frameHeader:
			ok = c == name
		default:
			ok = c >= 'A' && c <= 'P'
		}
		if !ok {
			return observe.No
		}
	}
	if len(b) < frameHeader+1+name {
		return observe.More
	}
	return observe.Yes
}

// maxSession is the length of the longest accepted session request: two names of at most
// 255 bytes (RFC 1002 section 4.1).
const maxSession = 512

func detect(f *observe.First) observe.Match {
	b := f.ToServer
	if len(b) == 0 {
		b = f.ToClient
	}
	if len(b) == 0 {
		return observe.More
	}
	if b[0] == sessionRequest {
		return sessionNames(b)
	}
	if b[0] != sessionMessage {
		return observe.No
	}
	if len(b) <= frameHeader {
		return observe.More
	}
	if b[frameHeader] < magicCompressed {
		return observe.No
	}
	return begins(b[frameHeader+1:], "SMB")
}

// begins reports whether b begins with s.
func begins(b []byte, s string) observe.Match {
	n := min(len(b), len(s))
	switch {
	case string(b[:n]) != s[:n]:
		return observe.No
	case n < len(s):
		return observe.More
	}
	return observe.Yes
}

type observer struct {
	seen  bool // a message was read
	roles bool // a message proved which end is the client
	dirs  [2]direction

	clear, sealed, signed bool // these were reported
	one                   bool // version 1 was reported
	keyed, unkeyed        bool // some sessions have a signing key, or none has

	// own holds the authentication of sessions and the protection of files. RPC on a pipe
	// that retracts a fact must not remove these.
	own     observe.Facts
	setups  []setup
	trees   []tree
	pipes   []*pipe
	maybe   []named // objects opened on shares of unknown kind
	pending []pending

	shared    *channels
	client    netip.AddrPort
	third     bool     // the dialect has channels, which those from 3.0 on do
	channelOf []uint64 // sessions of which the flow is a further channel
}

// direction is the state of one direction.
type direction struct {
	started   bool // a frame was read, or only a frame can follow
	lost      bool // bytes were lost
	resync    bool // search for the next frame
	remaining int  // bytes of the frame that were not read yet
	old       bool // the frame is SMB 1
	// The pipe whose data is being read, and the bytes of the message after the data.
	feed     *pipe
	feedLeft int
	after    int
	// The ids that related requests of a compound inherit.
	session uint64
	tree    uint32
	file    fileID
}

// whole reports whether everything since the first frame was read.
func (d *direction) whole() bool { return d.started && !d.lost }

// setup is a session set-up without a final answer.
type setup struct {
	session uint64
	message uint64
	auth    authentication
}

// tree is a connected share.
type tree struct {
	session uint64
	id      uint32
	pipe    bool
}

// Observe reads frames.
func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	d := &o.dirs[in.Dir]
	if in.Gap > 0 {
		*d = direction{started: true, lost: true, resync: true}
		for _, p := range o.pipes {
			o.lost(p, in, r)
		}
		return 0, nil
	}
	n := 0
	for n < len(in.Data) {
		used, err := o.step(d, in, in.Data[n:], r)
		if err != nil {
			return 0, err
		}
		if used == 0 {
			break
		}
		n += used
	}
	return n, nil
}

// Finish reports what RPC in pipes reports at the end.
func (o *observer) Finish(r *observe.Report) {
	for _, p := range o.pipes {
		p.rpc.Finish(&p.report)
		o.merge(p, r)
	}
}

// step reads the start of b and returns the number of bytes used, or 0 if it needs more.
func (o *observer) step(d *direction, in *observe.Input, b []byte, r *observe.Report) (int, error) {
	switch {
	case d.feedLeft > 0:
		n := min(len(b), d.feedLeft)
		o.write(d.feed, in, b[:n], r)
		if d.feedLeft -= n; d.feedLeft > 0 {
			return n, nil
		}
		d.feed = nil
		return n + d.after, nil
	case d.resync:
		n, found := resync(b)
		if !found {
			return n, nil
		}
		d.resync, d.started = false, true
		if n > 0 {
			return n, nil
		}
		return o.frame(d, in, b, r)
	case d.remaining == 0:
		return o.frame(d, in, b, r)
	case d.old:
		return o.message1(d, in, b, r)
	}
	return o.message2(d, in, b, r)
}

// frame reads the header of a frame.
func (o *observer) frame(d *direction, in *observe.Input, b []byte, r *observe.Report) (int, error) {
	if len(b) < frameHeader {
		return 0, nil
	}
	length := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	switch {
	case b[0] == sessionMessage && length == 0:
		return frameHeader, nil
	case b[0] == sessionMessage && length >= frameHeader:
		if len(b) < frameHeader+4 {
			return 0, nil
		}
		if b[4] < magicCompressed || string(b[5:8]) != "SMB" {
			break
		}
		switch b[4] {
		case magicTransform:
			if len(b) < frameHeader+transformHeader && length >= transformHeader {
				return 0, nil
			}
			// Flags, or the algorithm in SMB 3.0; both are 1 ([MS-SMB2] section 2.2.41).
			if length >= transformHeader && binary.LittleEndian.Uint16(b[frameHeader+42:]) == 1 && !o.sealed {
				o.sealed = true
				o.use(binary.LittleEndian.Uint64(b[frameHeader+44:]), true, r)
				o.add(observe.Encryption, "smb3", r)
			}
			length += frameHeader
		case magicCompressed:
			length += frameHeader
		default:
			d.remaining, d.old = length, b[4] == magicSMB1
			length = frameHeader
		}
		o.seen, d.started = true, true
		return length, nil
	case b[0] == sessionRequest && length <= maxSession:
		return o.session(d, in, observe.ToServer, length)
	case b[0] == sessionPositive && length == 0, b[0] == sessionNegative && length == 1, b[0] == sessionRetarget && length == 6:
		return o.session(d, in, observe.ToClient, length)
	case b[0] == sessionAlive && length == 0:
		return frameHeader, nil
	}
	if !d.started && !in.Handshake || o.seen {
		// The flow was under way and this direction starts in the middle of a frame, or a
		// length was misread.
		d.started, d.lost, d.resync = true, true, true
		return o.step(d, in, b, r)
	}
	return 0, observe.ErrViolation
}

// session reads a packet of the NetBIOS session service.
func (o *observer) session(d *direction, in *observe.Input, by observe.Direction, length int) (int, error) {
	if in.Dir != by {
		if o.roles || o.seen {
			return frameHeader + length, nil
		}
		return 0, observe.ErrReversed
	}
	o.roles, d.started = true, true
	return frameHeader + length, nil
}

// resync searches for the next frame. It returns the number of bytes to discard and
// whether a frame follows them. It judges a position only when all bytes that it needs
// are there, so the result does not depend on how the stream is split.
func resync(b []byte) (n int, found bool) {
	from := 0
	for {
		i := bytes.Index(b[from:], []byte("SMB"))
		if i < 0 {
			return max(n, len(b)-frameHeader-len("\xfeSM")), false
		}
		from += i
		at := from - frameHeader - 1
		from += len("SMB")
		if at < 0 || b[at] != sessionMessage || b[at+4] < magicTransform {
			continue
		}
		need := smb2Header
		if b[at+frameHeader] == magicSMB1 {
			need = smb1Header
		}
		if len(b) < at+frameHeader+need {
			return at, false
		}
		length := int(b[at+1])<<16 | int(b[at+2])<<8 | int(b[at+3])
		p := b[at+frameHeader:]
		ok := false
		switch p[0] {
		case magicSMB2:
			ok = length >= smb2Header && valid2(p)
		case magicSMB1:
			ok = length >= smb1Header+3 && length < 1<<17 && p[9]&^(replyFlag|0x18) == 0 && p[22] == 0 && p[23] == 0
		case magicTransform:
			ok = length > transformHeader && binary.LittleEndian.Uint16(p[42:]) == 1 &&
				binary.LittleEndian.Uint32(p[36:]) == uint32(length-transformHeader)
		}
		if ok {
			return at, true
		}
		n = at + 1
	}
}

// role compares the direction of a message with the roles of the flow. It reports whether
// the message can be read.
func (o *observer) role(in *observe.Input, response bool) (ok bool, err error) {
	if response == (in.Dir == observe.ToClient) {
		o.roles = true
		return true, nil
	}
	if !o.roles {
		return false, observe.ErrReversed
	}
	return false, nil
}

// add reports a fact of SMB itself.
func (o *observer) add(name, value string, r *observe.Report) {
	o.own.Add(name, value)
	r.Add(name, value)
}

// unprotected reports that an operation on a file was read in clear.
func (o *observer) unprotected(r *observe.Report) {
	if !o.clear {
		o.clear = true
		o.add(observe.Encryption, "none", r)
	}
}

// protected reports signed messages.
func (o *observer) protected(r *observe.Report) {
	if !o.signed && !o.unkeyed {
		o.signed = true
		r.Add(Signing, "yes")
	}
}

// setup returns the session set-up of a request. It creates one if necessary. A
// request with an unknown session continues the only set-up whose answer, which
// names the session, was lost.
func (o *observer) setup(session, message uint64) *setup {
	begun, unnamed := -1, 0
	for i := range o.setups {
		s := &o.setups[i]
		if session != 0 && s.session == session {
			s.message = message
			return s
		}
		if s.session == 0 {
			begun = i
			unnamed++
		}
	}
	if session != 0 && unnamed == 1 && !o.dirs[observe.ToClient].whole() {
		s := &o.setups[begun]
		s.session, s.message = session, message
		return s
	}
	// A message identifier is reused only after its answer.
	o.setups = slices.DeleteFunc(o.setups, func(s setup) bool { return s.message == message })
	if len(o.setups) == maxSetups {
		o.setups = slices.Delete(o.setups, 0, 1)
	}
	o.setups = append(o.setups, setup{session: session, message: message})
	return &o.setups[len(o.setups)-1]
}

// findSetup returns the session set-up of a response, or nil.
func (o *observer) findSetup(session, message uint64) *setup {
	for i := range o.setups {
		if s := &o.setups[i]; s.message == message {
			s.session = session
			return s
		}
	}
	return nil
}

// finished ends a session set-up. auth is the session's authentication, or "" if the
// set-up failed.
func (o *observer) finished(s *setup, auth string, r *observe.Report) {
	switch auth {
	case "":
	case "anonymous", "guest":
		o.unkeyed = !o.keyed
	default:
		o.keyed, o.unkeyed = true, false
	}
	o.add(observe.Auth, auth, r)
	message := s.message
	o.setups = slices.DeleteFunc(o.setups, func(t setup) bool { return t.message == message })
}

// use reports the authentication of a session that is used although the last answer to
// its set-up was not seen. Clients use a session only after the server has accepted it.
// However, the unseen answer may have made the client a guest. NTLM is therefore reported
// only if signed shows that the session has a key, which guests do not have ([MS-SMB2]
// section 3.3.5.5.3).
func (o *observer) use(session uint64, signed bool, r *observe.Report) {
	answers := &o.dirs[observe.ToClient]
	if answers.whole() {
		return
	}
	for i := range o.setups {
		if s := &o.setups[i]; session != 0 && (s.session == session || s.session == 0 && len(o.setups) == 1) {
			auth := s.auth.mechanism()
			if answers.lost && !signed && auth == string(spnego.NTLM) {
				return
			}
			o.finished(s, auth, r)
			return
		}
	}
}

// connected records a connected share.
func (o *observer) connected(session uint64, id uint32, pipe bool) {
	for i := range o.trees {
		if t := &o.trees[i]; t.session == session && t.id == id {
			t.pipe = pipe
			return
		}
	}
	if len(o.trees) == maxTrees {
		o.trees = slices.Delete(o.trees, 0, 1)
	}
	o.trees = append(o.trees, tree{session, id, pipe})
}

// kind reports whether a share is known, and whether it is the share of the pipes.
func (o *observer) kind(session uint64, id uint32) (pipe, known bool) {
	for i := range o.trees {
		if t := &o.trees[i]; t.session == session && t.id == id {
			return t.pipe, true
		}
	}
	return false, false
}

// share reports the share in a path ("\\server\share").
func share(path string, r *observe.Report) {
	if r.Identities {
		r.Add(Path, path)
	}
	name := path
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '\\' {
			name = path[i+1:]
			break
		}
	}
	switch known := upper(name); known {
	case "":
	case "ADMIN$", "IPC$", "C$", "SYSVOL", "NETLOGON":
		r.Add(Share, known)
	default:
		if !isFullName(name) {
			name = "disk"
		}
		r.Add(Share, name)
	}
}

// isFullName reports whether the name of a share is a host name with a domain. The
// witness of an availability group has such a name.
func isFullName(s string) bool {
	dots := 0
	for i, c := range []byte(s) {
		switch {
		case c == '.':
			if i == 0 || s[i-1] == '.' {
				return false
			}
			dots++
		case !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'):
			return false
		}
	}
	return dots >= 2 && s[len(s)-1] != '.'
}

// upper is strings.ToUpper for ASCII, which is sufficient for the names of interest.
func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// part returns up to n bytes of m at off, or nil if there are none.
func part(m []byte, off, n int) []byte {
	if off < 0 || n <= 0 || off >= len(m) {
		return nil
	}
	return m[off:min(len(m), off+n)]
}
