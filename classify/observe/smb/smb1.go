package smb

import (
	"bytes"
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/ntlm"
)

// Commands of SMB 1 ([MS-CIFS] section 2.2.2.1).
const (
	comClose          = 0x04
	comLockingAndX    = 0x24
	comTransaction    = 0x25
	comOpenAndX       = 0x2d
	comReadAndX       = 0x2e
	comWriteAndX      = 0x2f
	comTransaction2   = 0x32
	comNegotiate      = 0x72
	comSessionSetup   = 0x73
	comLogoffAndX     = 0x74
	comTreeConnect    = 0x75
	comTreeDisconnect = 0x71
	comEcho           = 0x2b
	comNTCancel       = 0xa4
	comNTCreateAndX   = 0xa2
	comNone           = 0xff
	replyFlag         = 0x80   // in Flags ([MS-CIFS] section 2.2.3.1)
	flag2Signature    = 0x0004 // in Flags2
	flag2Unicode      = 0x8000
	transactNamed     = 0x26 // TRANS_TRANSACT_NMPIPE ([MS-CIFS] section 2.2.5.6)
	getReferral       = 0x10 // TRANS2_GET_DFS_REFERRAL ([MS-CIFS] section 2.2.6.16)
	writeRaw          = 0x0004
	writeStart        = 0x0008
	noDialect         = 0xffff
	extendedWords     = 12 // session set-up request with a security blob ([MS-SMB] section 2.2.4.6.1)
	responsesWords    = 13 // session set-up request with responses ([MS-CIFS] section 2.2.4.53.1)
	ntlmv1Length      = 24 // of a response ([MS-NLMP] section 2.2.2.6)
	ntlmv2MinLength   = 16 + 28
	transactionWords  = 14
)

// block is one command of a message. AndX commands are chained.
type block struct {
	command byte
	words   []byte
	bytes   []byte // the available bytes
	at      int    // offset of bytes in the message
}

// message1 reads a message of SMB 1, which occupies its whole frame.
func (o *observer) message1(d *direction, in *observe.Input, b []byte, r *observe.Report) (int, error) {
	size := d.remaining
	if size < smb1Header+3 {
		d.remaining = 0
		return size, nil
	}
	if len(b) < smb1Header+3 {
		return 0, nil
	}
	command := b[4]
	need := min(size, 160)
	switch command {
	case comSessionSetup:
		need = min(size, maxToken)
	case comTreeConnect, comNTCreateAndX:
		need = min(size, maxPath)
	}
	if len(b) < need {
		return 0, nil
	}
	response := b[9]&replyFlag != 0
	if command == comLockingAndX && !response && in.Dir == observe.ToClient && !o.roles {
		// The server's oplock break notification looks like a request.
		d.remaining = 0
		return size, nil
	}
	ok, err := o.role(in, response)
	if err != nil {
		return 0, err
	}
	d.remaining = 0
	if !ok {
		return size, nil
	}
	m := b[:need]
	p, at, n := o.read1(m, response, r)
	if p == nil || at < smb1Header || at >= size || n <= 0 || p.done {
		return size, nil
	}
	n = min(n, size-at)
	d.feed, d.feedLeft, d.after = p, n, size-at-n
	return at, nil
}

// read1 reads a message. Its results are those of request2.
func (o *observer) read1(m []byte, response bool, r *observe.Report) (p *pipe, at, n int) {
	le := binary.LittleEndian
	flags2 := le.Uint16(m[10:])
	if flags2&flag2Signature != 0 && m[4] != comNegotiate && m[4] != comSessionSetup && le.Uint64(m[14:]) != 0 &&
		string(m[14:22]) != "BSRSPYL " { // the content of that field until there is a key
		o.protected(r)
	}
	k, ok := commandAt(m, m[4], smb1Header)
	for range maxChain {
		if !ok {
			return nil, 0, 0
		}
		if !o.one && spoken(&k, response) {
			o.one = true
			r.Add(Version, "1")
		}
		if response {
			p, at, n = o.response1(m, &k, r)
		} else {
			p, at, n = o.request1(m, &k, flags2&flag2Unicode != 0, r)
		}
		if p != nil || !andX(k.command) || len(k.words) < 4 || k.words[0] == comNone {
			break
		}
		next := int(le.Uint16(k.words[2:]))
		if next <= k.at {
			break // chains only go forwards ([MS-CIFS] section 2.2.3.4)
		}
		k, ok = commandAt(m, k.words[0], next)
	}
	return p, at, n
}

// spoken reports whether a command shows that both ends speak SMB 1. An offer of SMB 1
// can lead to SMB 2 ([MS-SMB2] section 3.3.5.3.1).
func spoken(k *block, response bool) bool {
	if k.command != comNegotiate {
		return true
	}
	return response && len(k.words) >= 2 && binary.LittleEndian.Uint16(k.words) != noDialect
}

func andX(command byte) bool {
	switch command {
	case comSessionSetup, comTreeConnect, comNTCreateAndX, comOpenAndX, comReadAndX, comWriteAndX:
		return true
	}
	return false
}

// commandAt parses the parameters and data of the command at an offset.
func commandAt(m []byte, command byte, at int) (block, bool) {
	if at >= len(m) {
		return block{}, false
	}
	words := 2 * int(m[at])
	if at++; at+words+2 > len(m) {
		return block{}, false
	}
	k := block{command: command, words: m[at : at+words]}
	k.at = at + words + 2
	k.bytes = part(m, k.at, int(binary.LittleEndian.Uint16(m[at+words:])))
	return k, true
}

// messageID returns an identifier that a request shares with its answer.
func messageID(m []byte) uint64 {
	return uint64(binary.LittleEndian.Uint16(m[26:]))<<16 | uint64(binary.LittleEndian.Uint16(m[30:]))
}

// request1 reads a request.
func (o *observer) request1(m []byte, k *block, unicode bool, r *observe.Report) (p *pipe, at, n int) {
	le := binary.LittleEndian
	id, session, message := uint32(le.Uint16(m[24:])), uint64(le.Uint16(m[28:])), messageID(m)
	switch k.command {
	case comNegotiate, comSessionSetup, comLogoffAndX, comTreeDisconnect, comEcho, comNTCancel:
	default:
		signed := le.Uint16(m[10:])&flag2Signature != 0 && le.Uint64(m[14:]) != 0
		o.use(session, signed, r)
	}
	onPipes, known := o.kind(0, id)
	if known && !onPipes && concernsFile1(k) {
		o.unprotected(r)
	}
	w := k.words
	switch k.command {
	case comSessionSetup:
		o.setup1(k, session, message, r)
	case comTreeConnect:
		if len(w) >= 8 {
			share(path1(k, int(le.Uint16(w[6:])), unicode), r)
		}
	case comNTCreateAndX:
		if (onPipes || !known) && len(w) >= 7 {
			o.wait(pending{message: message, command: uint16(k.command), name: pipeName(path1(k, 0, unicode)), maybe: !known})
		}
	case comClose:
		if len(w) >= 2 {
			o.close(fileID1(w), r)
		}
	case comReadAndX:
		if len(w) >= 6 {
			if p := o.find(fileID1(w[4:])); p != nil {
				o.wait(pending{message: message, command: uint16(k.command), pipe: p})
			}
		}
	case comWriteAndX:
		if len(w) >= 24 {
			at, n := int(le.Uint16(w[22:])), int(le.Uint16(w[18:]))<<16|int(le.Uint16(w[20:]))
			if le.Uint16(w[14:])&(writeRaw|writeStart) == writeRaw|writeStart {
				at, n = at+2, n-2 // length of the pipe's message ([MS-CIFS] section 2.2.4.43.1)
			}
			if p := o.written(fileID1(w[4:]), part(m, at, n), r); p != nil {
				return p, at, n
			}
		}
	case comTransaction2:
		if !known && disk2(w) {
			o.unprotected(r)
		}
	case comTransaction:
		if len(w) >= 2*(transactionWords+2) && w[26] >= 2 && le.Uint16(w[28:]) == transactNamed {
			p := o.known(fileID1(w[30:]), r)
			o.wait(pending{message: message, command: uint16(k.command), pipe: p})
			return p, int(le.Uint16(w[24:])), int(le.Uint16(w[22:]))
		}
	}
	return nil, 0, 0
}

// response1 reads a response.
func (o *observer) response1(m []byte, k *block, r *observe.Report) (p *pipe, at, n int) {
	le := binary.LittleEndian
	status, id, session, message := le.Uint32(m[5:]), uint32(le.Uint16(m[24:])), uint64(le.Uint16(m[28:])), messageID(m)
	w := k.words
	switch k.command {
	case comSessionSetup:
		s := o.findSetup(session, message)
		if s == nil {
			break
		}
		if status != statusSuccess && status != statusMoreProcessing {
			o.finished(s, "", r)
			break
		}
		if len(w) >= 8 {
			s.auth.token(part(k.bytes, 0, int(le.Uint16(w[6:]))), true, r)
		}
		if status == statusSuccess && len(w) >= 6 {
			auth := s.auth.mechanism()
			if le.Uint16(w[4:])&1 != 0 {
				auth = "guest"
			}
			o.finished(s, auth, r)
		}
	case comTreeConnect:
		if status == statusSuccess {
			o.connected(0, id, bytes.HasPrefix(k.bytes, []byte("IPC\x00")))
		}
	case comNTCreateAndX:
		if q, ok := o.waiting(message, uint16(k.command)); ok && status == statusSuccess && len(w) >= 7 {
			o.opened(fileID1(w[5:]), q, r)
		}
	case comReadAndX:
		q, ok := o.waiting(message, uint16(k.command))
		if ok && (status == statusSuccess || status == statusBufferOverflow) && len(w) >= 16 {
			return q.pipe, int(le.Uint16(w[12:])), int(le.Uint16(w[14:]))<<16 | int(le.Uint16(w[10:]))
		}
	case comTransaction:
		q, ok := o.waiting(message, uint16(k.command))
		if ok && (status == statusSuccess || status == statusBufferOverflow) && len(w) >= 20 {
			return q.pipe, int(le.Uint16(w[14:])), int(le.Uint16(w[12:]))
		}
	}
	return nil, 0, 0
}

// setup1 reads a session set-up request.
func (o *observer) setup1(k *block, session, message uint64, r *observe.Report) {
	le := binary.LittleEndian
	w := k.words
	switch len(w) {
	case 2 * extendedWords:
		o.setup(session, message).auth.token(part(k.bytes, 0, int(le.Uint16(w[14:]))), false, r)
	case 2 * responsesWords:
		s := o.setup(session, message)
		switch lm, nt := int(le.Uint16(w[14:])), int(le.Uint16(w[16:])); {
		case lm <= 1 && nt == 0:
			s.auth.fixed = "anonymous"
		case nt >= ntlmv2MinLength:
			s.auth.fixed = "ntlm"
			r.Add(ntlm.Version, "2")
		case nt == ntlmv1Length:
			s.auth.fixed = "ntlm"
			r.Add(ntlm.Version, "1")
		}
	}
}

// path1 returns the name after the first skip bytes of a command's data.
func path1(k *block, skip int, unicode bool) string {
	b := part(k.bytes, skip, len(k.bytes))
	if unicode {
		if (k.at+skip)%2 != 0 && len(b) > 0 {
			b = b[1:] // characters are aligned relative to the header
		}
		return text(b)
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// disk2 reports whether the parameters are those of a TRANSACTION2 that only disks
// support, on directories or paths ([MS-CIFS] section 2.2.6).
func disk2(w []byte) bool {
	if len(w) < 2*(transactionWords+1) {
		return false
	}
	switch binary.LittleEndian.Uint16(w[28:]) {
	case 1, 2, 5, 6: // TRANS2_FIND_FIRST2, FIND_NEXT2, QUERY_PATH_INFORMATION, SET_PATH_INFORMATION
		return true
	}
	return false
}

func fileID1(b []byte) fileID { return fileID{b[0], b[1]} }

// concernsFile1 reports whether a command operates on a file.
func concernsFile1(k *block) bool {
	switch k.command {
	case comNTCreateAndX, comOpenAndX, comReadAndX, comWriteAndX:
		return true
	case comTransaction2:
		return len(k.words) >= 2*(transactionWords+1) && binary.LittleEndian.Uint16(k.words[28:]) != getReferral
	}
	return false
}
