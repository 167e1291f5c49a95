package smb

import (
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
)

// Commands ([MS-SMB2] section 2.2.1.2).
const (
	cmdNegotiate      = 0
	cmdSessionSetup   = 1
	cmdLogoff         = 2
	cmdTreeConnect    = 3
	cmdTreeDisconnect = 4
	cmdCreate         = 5
	cmdClose          = 6
	cmdFlush          = 7
	cmdRead           = 8
	cmdWrite          = 9
	cmdIoctl          = 11
	cmdCancel         = 12
	cmdEcho           = 13
	cmdQueryDirectory = 14
	cmdChangeNotify   = 15
	cmdOplockBreak    = 18
	cmdNotification   = 19
)

// Flags ([MS-SMB2] section 2.2.1.2).
const (
	flagResponse = 0x1
	flagAsync    = 0x2
	flagRelated  = 0x4
	flagSigned   = 0x8
)

// Status codes ([MS-ERREF] section 2.3).
const (
	statusSuccess        = 0
	statusPending        = 0x00000103
	statusBufferOverflow = 0x80000005 // part of the pipe's message
	statusMoreProcessing = 0xc0000016
)

const fsctlPipeTransceive = 0x0011c017 // [MS-FSCC] section 2.3

// Session flags of a session set-up response ([MS-SMB2] section 2.2.6).
const (
	sessionGuest = 0x1
	sessionNull  = 0x2
)

const shareTypePipe = 2 // [MS-SMB2] section 2.2.10

// valid2 reports whether b, which holds a complete header, is an SMB 2 message.
func valid2(b []byte) bool {
	return b[0] == magicSMB2 && string(b[1:4]) == "SMB" && binary.LittleEndian.Uint16(b[4:]) == smb2Header &&
		binary.LittleEndian.Uint16(b[12:]) <= cmdNotification
}

// wanted2 returns the maximum number of bytes of a message to read.
func wanted2(command uint16, response bool) int {
	switch {
	case command == cmdSessionSetup:
		return maxToken
	case command == cmdTreeConnect && !response:
		return maxPath
	case command == cmdCreate && !response:
		return smb2Header + 56 + 4*maxName
	}
	return smb2Header + 80 // the longest of the others is a create response
}

// message2 reads one message of a frame, which can hold several.
func (o *observer) message2(d *direction, in *observe.Input, b []byte, r *observe.Report) (int, error) {
	size := d.remaining
	if size < smb2Header {
		d.remaining = 0
		return size, nil
	}
	if len(b) < smb2Header {
		return 0, nil
	}
	if !valid2(b) {
		d.remaining = 0
		return size, nil
	}
	if next := int64(binary.LittleEndian.Uint32(b[20:])); next >= smb2Header && next < int64(size) {
		size = int(next)
	}
	command, flags := binary.LittleEndian.Uint16(b[12:]), binary.LittleEndian.Uint32(b[16:])
	response := flags&flagResponse != 0
	need := min(size, wanted2(command, response))
	if len(b) < need {
		return 0, nil
	}
	ok, err := o.role(in, response)
	if err != nil {
		return 0, err
	}
	d.remaining -= size
	if !ok {
		return size, nil
	}
	if command == cmdSessionSetup || command == cmdCreate {
		o.client, _ = in.Ends()
	}
	if flags&flagSigned != 0 && command > cmdTreeConnect {
		// In SMB 3.1.1, session set-up and tree connection are always signed.
		o.protected(r)
	}
	m := b[:need]
	body := m[smb2Header:]
	var p *pipe
	var at, n int
	if response {
		p, at, n = o.response2(m, body, command, flags, r)
	} else {
		p, at, n = o.request2(d, m, body, command, flags, r)
	}
	if p == nil || at < smb2Header || at >= size || n <= 0 || p.done {
		return size, nil
	}
	n = min(n, size-at)
	d.feed, d.feedLeft, d.after = p, n, size-at-n
	return at, nil
}

// request2 reads a request. If it carries data for a pipe, request2 returns the pipe and
// the offset and length of the data.
func (o *observer) request2(d *direction, m, body []byte, command uint16, flags uint32, r *observe.Report) (p *pipe, at, n int) {
	le := binary.LittleEndian
	message, id, session := le.Uint64(m[24:]), le.Uint32(m[36:]), le.Uint64(m[40:])
	if flags&flagRelated != 0 {
		session, id = d.session, d.tree
	} else {
		d.session, d.tree, d.file = session, id, none
	}
	if command > cmdTreeDisconnect || command == cmdTreeConnect {
		if command != cmdEcho && command != cmdCancel { // a client that gives up sends these
			o.use(session, flags&flagSigned != 0, r)
		}
	}
	onPipes, known := o.kind(session, id)
	if known && !onPipes && concernsFile(command, body) {
		o.unprotected(r)
	}
	switch command {
	case cmdSessionSetup:
		if len(body) >= 16 {
			if body[2]&sessionBinding != 0 && session != 0 {
				o.bind(session)
			}
			s := o.setup(session, message)
			s.auth.token(part(m, int(le.Uint16(body[12:])), int(le.Uint16(body[14:]))), false, r)
		}
	case cmdTreeConnect:
		if len(body) >= 8 {
			share(text(part(m, int(le.Uint16(body[4:])), int(le.Uint16(body[6:])))), r)
		}
	case cmdCreate:
		if (onPipes || !known) && len(body) >= 48 {
			name := pipeName(text(part(m, int(le.Uint16(body[44:])), int(le.Uint16(body[46:])))))
			o.wait(pending{message: message, command: command, name: name, maybe: !known})
		}
	case cmdClose:
		if len(body) >= 24 {
			o.close(o.file(d, body[8:], flags), r)
		}
	case cmdRead:
		if len(body) >= 32 {
			id := o.file(d, body[16:], flags)
			o.adopt(session, id, r)
			if p := o.find(id); p != nil {
				o.wait(pending{message: message, command: command, pipe: p})
			} else if !known && le.Uint64(body[8:]) != 0 {
				o.unprotected(r) // pipes have no offsets
			}
		}
	case cmdWrite:
		if len(body) >= 32 {
			at, n := int(le.Uint16(body[2:])), int(min(le.Uint32(body[4:]), 1<<24))
			id := o.file(d, body[16:], flags)
			o.adopt(session, id, r)
			if p := o.written(id, part(m, at, n), r); p != nil {
				return p, at, n
			}
			if !known && le.Uint64(body[8:]) != 0 {
				o.unprotected(r)
			}
		}
	case cmdQueryDirectory, cmdChangeNotify:
		if !known {
			o.unprotected(r) // pipes have no directories
		}
	case cmdIoctl:
		if len(body) >= 32 && le.Uint32(body[4:]) == fsctlPipeTransceive {
			id := o.file(d, body[8:], flags)
			o.adopt(session, id, r)
			return o.known(id, r), int(min(le.Uint32(body[24:]), 1<<24)), int(min(le.Uint32(body[28:]), 1<<24))
		}
	}
	return nil, 0, 0
}

// response2 reads a response. Its results are those of request2.
func (o *observer) response2(m, body []byte, command uint16, flags uint32, r *observe.Report) (p *pipe, at, n int) {
	le := binary.LittleEndian
	status, message, id, session := le.Uint32(m[8:]), le.Uint64(m[24:]), le.Uint32(m[36:]), le.Uint64(m[40:])
	if status == statusPending {
		return nil, 0, 0
	}
	if status == statusSuccess && flags&flagAsync == 0 && concernsFile(command, body) {
		if onPipes, known := o.kind(session, id); known && !onPipes {
			o.unprotected(r)
		}
	}
	switch command {
	case cmdNegotiate:
		if status == statusSuccess && len(body) >= 6 {
			d := le.Uint16(body[4:])
			o.third = d >= 0x0300 && dialect(d) != ""
			r.Add(Version, dialect(d))
		}
	case cmdSessionSetup:
		o.setupAnswer(m, body, status, r)
	case cmdTreeConnect:
		if status == statusSuccess && flags&flagAsync == 0 && len(body) >= 3 {
			o.connected(session, id, body[2] == shareTypePipe)
		}
	case cmdCreate:
		if q, ok := o.waiting(message, command); ok && status == statusSuccess && len(body) >= 80 {
			file := fileID(body[64:80])
			o.opened(file, q, r)
			if p := o.find(file); o.third && p != nil {
				p.session = session
				o.shared.opened(channelPipe{session, file}, o.client, q.name)
			}
		}
	case cmdRead:
		q, ok := o.waiting(message, command)
		if ok && (status == statusSuccess || status == statusBufferOverflow) && len(body) >= 8 {
			return q.pipe, int(body[2]), int(min(le.Uint32(body[4:]), 1<<24))
		}
	case cmdIoctl:
		if (status == statusSuccess || status == statusBufferOverflow) && len(body) >= 40 && le.Uint32(body[4:]) == fsctlPipeTransceive {
			return o.known(fileID(body[8:24]), r), int(min(le.Uint32(body[32:]), 1<<24)), int(min(le.Uint32(body[36:]), 1<<24))
		}
	}
	return nil, 0, 0
}

// setupAnswer reads a session set-up response.
func (o *observer) setupAnswer(m, body []byte, status uint32, r *observe.Report) {
	le := binary.LittleEndian
	s := o.findSetup(le.Uint64(m[40:]), le.Uint64(m[24:]))
	if s == nil {
		return
	}
	if status != statusSuccess && status != statusMoreProcessing {
		o.finished(s, "", r)
		return
	}
	if len(body) < 8 {
		return
	}
	s.auth.token(part(m, int(le.Uint16(body[4:])), int(le.Uint16(body[6:]))), true, r)
	if status == statusMoreProcessing {
		return
	}
	auth := s.auth.mechanism()
	switch flags := le.Uint16(body[2:]); {
	case flags&sessionNull != 0:
		auth = "anonymous"
	case flags&sessionGuest != 0:
		auth = "guest"
	}
	o.finished(s, auth, r)
}

// file returns the file id of a request. Related requests of a compound inherit it.
func (o *observer) file(d *direction, b []byte, flags uint32) fileID {
	id := fileID(b[:16])
	if flags&flagRelated != 0 && id == none {
		return d.file
	}
	d.file = id
	return id
}

// concernsFile reports whether a command operates on a file, rather than on a connection,
// session or share.
func concernsFile(command uint16, body []byte) bool {
	switch {
	case command <= cmdTreeDisconnect, command == cmdClose, command == cmdCancel, command == cmdEcho, command >= cmdOplockBreak:
		return false
	case command == cmdIoctl:
		// Referrals and the validation of the negotiation do not operate on a file.
		return len(body) >= 24 && fileID(body[8:24]) != none
	}
	return true
}

// dialect returns the name of a DialectRevision ([MS-SMB2] section 2.2.4). It returns ""
// if the revision is unknown or only announces another negotiation.
func dialect(d uint16) string {
	switch d {
	case 0x0202:
		return "2.0.2"
	case 0x0210:
		return "2.1"
	case 0x0300:
		return "3.0"
	case 0x0302:
		return "3.0.2"
	case 0x0311:
		return "3.1.1"
	}
	return ""
}
