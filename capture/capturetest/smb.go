package capturetest

import (
	"encoding/binary"
	"fmt"
)

// Commands of SMB 2 ([MS-SMB2] section 2.2.1.2).
const (
	smbNegotiateCommand = 0
	smbSetupCommand     = 1
	smbConnectCommand   = 3
	smbCreateCommand    = 5
	smbIoctlCommand     = 11

	smbTransceive = uint32(0x0011c017) // FSCTL_PIPE_TRANSCEIVE
)

// smbMessage returns a message over direct TCP ([MS-SMB2] section 2.1). An answer has the
// message id of its request. All messages use session 9 and tree 1.
func smbMessage(command, id byte, answer bool, status uint32, body []byte) []byte {
	flags, session, tree := uint32(0), uint32(0), uint32(0)
	if answer {
		flags = 1
	}
	if id > 1 || answer && command == smbSetupCommand {
		session = 9
	}
	if command > smbConnectCommand || answer && command == smbConnectCommand {
		tree = 1
	}
	m := le("\xfeSMB", uint16(64), uint16(1), status, uint16(command), uint16(1), flags, uint32(0), uint32(id), uint32(0), uint32(0xfeff), tree,
		session, uint32(0), make([]byte, 16), body)
	return be(uint32(len(m)), m)
}

func wide(s string) []byte {
	var b []byte
	for _, c := range s {
		b = binary.LittleEndian.AppendUint16(b, uint16(c))
	}
	return b
}

// smbNegotiate implements smb-negotiate(): the client offers SMB 2.1.
func smbNegotiate(*words) []byte {
	return smbMessage(smbNegotiateCommand, 0, false, 0,
		le(uint16(36), uint16(1), uint16(1), uint16(0), uint32(0), make([]byte, 24), uint16(0x0210)))
}

// smbNegotiated implements smb-negotiated(): the server accepts SMB 2.1.
func smbNegotiated(*words) []byte {
	return smbMessage(smbNegotiateCommand, 0, true, 0, le(uint16(65), uint16(1), uint16(0x0210), uint16(0), make([]byte, 16), uint32(0),
		uint32(65536), uint32(65536), uint32(65536), make([]byte, 16), uint16(128), uint16(0), uint32(0)))
}

// smbSetup implements smb-setup(negotiate|v1|v2): an NTLM message.
func smbSetup(w *words) []byte {
	kind, id := w.next("message"), byte(2)
	if kind == "negotiate" {
		id = 1
	}
	token := ntlmBytes(kind)
	return smbMessage(smbSetupCommand, id, false, 0,
		le(uint16(25), uint16(1), uint32(0), uint32(0), uint16(88), uint16(len(token)), make([]byte, 8), token))
}

// smbSetupAnswer implements smb-setup-answer(challenge|done).
func smbSetupAnswer(w *words) []byte {
	id, status, token := byte(2), uint32(0), []byte(nil)
	switch s := w.next("message"); s {
	case "challenge":
		id, status, token = 1, 0xc0000016, ntlmBytes(s) // STATUS_MORE_PROCESSING_REQUIRED
	case "done":
	default:
		w.fail(fmt.Errorf("wants challenge or done, not %q", s))
	}
	return smbMessage(smbSetupCommand, id, true, status, le(uint16(9), uint16(0), uint16(72), uint16(len(token)), token))
}

// smbConnect implements smb-connect(\\SERVER\SHARE).
func smbConnect(w *words) []byte {
	path := wide(w.next("share"))
	return smbMessage(smbConnectCommand, 3, false, 0, le(uint16(9), uint16(0), uint16(72), uint16(len(path)), path))
}

// smbConnected implements smb-connected(disk|pipe).
func smbConnected(w *words) []byte {
	kind := map[string]byte{"disk": 1, "pipe": 2}[w.next("kind")]
	return smbMessage(smbConnectCommand, 3, true, 0, le(uint16(16), kind, byte(0), make([]byte, 12)))
}

// smbOpen implements smb-open(NAME).
func smbOpen(w *words) []byte {
	name := wide(w.next("name"))
	return smbMessage(smbCreateCommand, 4, false, 0, le(uint16(57), byte(0), byte(0), uint32(2), make([]byte, 16), uint32(0x12019f), uint32(0), uint32(3),
		uint32(1), uint32(0), uint16(120), uint16(len(name)), make([]byte, 8), name))
}

var smbFile = "\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00"

// smbOpened implements smb-opened().
func smbOpened(*words) []byte {
	return smbMessage(smbCreateCommand, 4, true, 0, le(uint16(89), uint16(0), uint32(1), make([]byte, 56), smbFile, make([]byte, 8)))
}

// smbPipeBind implements smb-pipe-bind(INTERFACE [SECURITY]): a bind in a named pipe.
func smbPipeBind(w *words) []byte {
	data := rpcBind(w)
	return smbMessage(smbIoctlCommand, 5, false, 0, le(uint16(57), uint16(0), smbTransceive, smbFile, uint32(120), uint32(len(data)), uint32(0),
		uint32(120), uint32(0), uint32(1024), uint32(1), uint32(0), data))
}

// smbPipeBound implements smb-pipe-bound(SECONDARY-ADDRESS [SECURITY]).
func smbPipeBound(w *words) []byte {
	data := rpcBindAck(w)
	return smbMessage(smbIoctlCommand, 5, true, 0, le(uint16(49), uint16(0), smbTransceive, smbFile, uint32(112), uint32(0), uint32(112),
		uint32(len(data)), uint32(0), uint32(0), data))
}
