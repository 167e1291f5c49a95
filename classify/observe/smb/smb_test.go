package smb

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// frame wraps messages for direct TCP ([MS-SMB2] section 2.1).
func frame(messages ...string) string {
	m := strings.Join(messages, "")
	return string([]byte{0, byte(len(m) >> 16), byte(len(m) >> 8), byte(len(m))}) + m
}

func u16(v int) string { return string(binary.LittleEndian.AppendUint16(nil, uint16(v))) }
func u32(v int) string { return string(binary.LittleEndian.AppendUint32(nil, uint32(v))) }
func u64(v int) string { return string(binary.LittleEndian.AppendUint64(nil, uint64(v))) }
func wide(s string) string {
	var b []byte
	for _, c := range s {
		b = binary.LittleEndian.AppendUint16(b, uint16(c))
	}
	return string(b)
}
func zero(n int) string { return strings.Repeat("\x00", n) }

// head2 is a header of SMB 2 ([MS-SMB2] section 2.2.1.2).
type head2 struct {
	command, flags, status, message, tree, session, next int
}

func (h head2) String() string {
	return "\xfeSMB" + u16(64) + u16(1) + u32(h.status) + u16(h.command) + u16(1) + u32(h.flags) + u32(h.next) +
		u64(h.message) + u32(0xfeff) + u32(h.tree) + u64(h.session) + zero(16)
}

func (h head2) with(body string) string { return h.String() + body }

const (
	inherit = 0xffffffff
	id1     = "\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00"
)

// negotiated returns a negotiate response. This and the following bodies have the form of
// [MS-SMB2] section 2.2.
func negotiated(dialect int) string {
	return frame(head2{command: 0, flags: 1}.with(u16(65) + u16(1) + u16(dialect) + zero(58)))
}

func connect(path string) string {
	return frame(head2{command: 3, message: 5, session: 9}.with(u16(9) + u16(0) + u16(72) + u16(2*len(path)) + wide(path)))
}

func connected(tree, kind int) string {
	return frame(head2{command: 3, flags: 1, message: 5, session: 9, tree: tree}.with(u16(16) + string(rune(kind)) + "\x00" + zero(12)))
}

func create(tree, message int, name string) string {
	return frame(head2{command: 5, message: message, session: 9,
		tree: tree}.with(u16(57) + zero(42) + u16(120) + u16(2*len(name)) + zero(8) + wide(name)))
}

func created(tree, message, status int) string {
	return frame(head2{command: 5, flags: 1, status: status, message: message, session: 9,
		tree: tree}.with(u16(89) + zero(62) + id1 + zero(8)))
}

func writeBody(data string, offset int) string {
	return u16(49) + u16(112) + u32(len(data)) + u64(offset) + id1 + zero(16) + data
}

func write(tree int, data string) string {
	return frame(head2{command: 9, message: 7, session: 9, tree: tree}.with(writeBody(data, 0)))
}

func readBody(offset int, id string) string {
	return u16(49) + zero(2) + u32(4096) + u64(offset) + id + zero(16)
}

func readAnswer(message int, data string) string {
	return frame(head2{command: 8, flags: 1, message: message, session: 9,
		tree: 1}.with(u16(17) + "\x50\x00" + u32(len(data)) + zero(8) + data))
}

func transceive(tree int, data string) string {
	return frame(head2{command: 11, message: 8, session: 9,
		tree: tree}.with(u16(57) + u16(0) + u32(fsctlPipeTransceive) + id1 + u32(120) + u32(len(data)) + zero(24) + data))
}

func transceived(data string) string {
	return frame(head2{command: 11, flags: 1, message: 8, session: 9,
		tree: 1}.with(u16(49) + u16(0) + u32(fsctlPipeTransceive) + id1 + u32(112) + u32(0) +
		u32(112) + u32(len(data)) + zero(8) + data))
}

// A bind to winreg, its acknowledgement, and a call ([C706] section 12.6.4).
const (
	winreg = "\x01\xd0\x8c\x33\x44\x22\xf1\x31\xaa\xaa\x90\x00\x38\x00\x10\x03\x01\x00\x00\x00"
	ndr    = "\x04\x5d\x88\x8a\xeb\x1c\xc9\x11\x9f\xe8\x08\x00\x2b\x10\x48\x60\x02\x00\x00\x00"
)

func pdu(kind int, body string) string {
	return "\x05\x00" + string(rune(kind)) + "\x03\x10\x00\x00\x00" + u16(16+len(body)) + u16(0) + u32(1) + body
}

var (
	bind    = pdu(11, u16(4280)+u16(4280)+u32(0)+"\x01\x00\x00\x00"+u16(0)+"\x01\x00"+winreg+ndr)
	bindAck = pdu(12, u16(4280)+u16(4280)+u32(1)+u16(13)+"\\PIPE\\winreg\x00"+"\x00"+"\x01\x00\x00\x00"+u16(0)+u16(0)+ndr)
	call    = pdu(0, u32(4)+u16(0)+u16(2)+zero(40))
	// The same with NTLM at level privacy ([MS-RPCE] section 2.2.2.11).
	secureBind = "\x05\x00\x0b\x03\x10\x00\x00\x00" + u16(len(bind)+8+len(ntlmNegotiate)) + u16(len(ntlmNegotiate)) + u32(1) + bind[16:] +
		"\x0a\x06\x00\x00" + u32(1) + ntlmNegotiate
	answer = pdu(2, u32(4)+u16(0)+u16(0)+zero(40))

	registry = []string{"rpc.uuid=338cd001-2244-31f1-aaaa-900038001003 v1.0", `rpc.sec_addr=\PIPE\winreg`, "smb.pipe=winreg",
		"rpc.auth_level=none", "encryption=none"}
)

// transform returns an encrypted message ([MS-SMB2] section 2.2.41).
func transform(n int) string {
	return frame("\xfdSMB" + zero(16) + zero(16) + u32(n) + u16(0) + u16(1) + u64(9) + strings.Repeat("\x5a", n))
}

// ntlmChallenge is a bare challenge without names ([MS-NLMP] section 2.2.1.2).
var (
	ntlmNegotiate = "NTLMSSP\x00" + u32(1) + zero(20)
	ntlmChallenge = "NTLMSSP\x00" + u32(2) + zero(36)
)

// ntlmAuthenticate returns an authenticate message with an NT response of n bytes.
func ntlmAuthenticate(n int) string {
	return "NTLMSSP\x00" + u32(3) + zero(8) + u16(n) + u16(n) + u32(64) + zero(36) + strings.Repeat("\x11", n)
}

func setupRequest(message, session int, token string) string {
	return frame(head2{command: 1, message: message, session: session}.with(u16(25) + zero(10) + u16(88) + u16(len(token)) + zero(8) + token))
}

func setupAnswer(message, status, flags int, token string) string {
	return frame(head2{command: 1, flags: 1, message: message, status: status,
		session: 9}.with(u16(9) + u16(flags) + u16(72) + u16(len(token)) + token))
}

func ntlmLogon(n, status, flags int) []observetest.Segment {
	return []observetest.Segment{
		observetest.ToServer(setupRequest(1, 0, ntlmNegotiate)), observetest.ToClient(setupAnswer(1, statusMoreProcessing, 0, ntlmChallenge)),
		observetest.ToServer(setupRequest(2, 9, ntlmAuthenticate(n))), observetest.ToClient(setupAnswer(2, status, flags, "")),
	}
}

func conv(parts ...any) (out []observetest.Segment) {
	for _, p := range parts {
		switch p := p.(type) {
		case observetest.Segment:
			out = append(out, p)
		case []observetest.Segment:
			out = append(out, p...)
		}
	}
	return out
}

// smb1 returns a message of SMB 1 with one command ([MS-CIFS] section 2.2.3).
func smb1(command, flags, uid, tid, mid int, words, data string) string {
	return "\xffSMB" + string([]byte{byte(command)}) +
		u32(0) + string([]byte{byte(flags)}) + u16(0xc801) + zero(12) + u16(tid) + u16(7) + u16(uid) + u16(mid) +
		string([]byte{byte(len(words) / 2)}) + words + u16(len(data)) + data
}

const andXEnd = "\xff\x00\x00\x00"

func TestConversations(t *testing.T) {
	c, s := observetest.ToServer, observetest.ToClient
	for _, test := range []struct {
		name string
		conv []observetest.Segment
		o    observetest.Options
		want []string
		err  error
	}{
		{name: "NTLM, a share that is encrypted", conv: conv(s(negotiated(0x0311)), ntlmLogon(60, 0, 0), c(connect(`\\mb1\logs$`)),
			s(connected(1, 1)), c(transform(90)),
			s(transform(200))), want: []string{"smb.version=3.1.1", "auth=ntlm", "smb.share=disk", "encryption=smb3"}},
		{name: "nothing but set-up is not called clear", conv: conv(s(negotiated(0x0302)), ntlmLogon(24, 0, 0), c(connect(`\\mb1\IPC$`)),
			s(connected(1, 2))),
			want: []string{"smb.version=3.0.2", "auth=ntlm", "ntlm.version=1", "smb.share=IPC$"}},
		{name: "a referral asked for is not called clear", conv: conv(c(connect(`\\mb1\IPC$`)), s(connected(1, 2)),
			c(frame(head2{command: 11, session: 9, tree: 1}.with(u16(57)+u16(0)+u32(0x60194)+string(none[:])+zero(40))))),
			want: []string{"smb.share=IPC$"}},
		{name: "a file opened in clear", conv: conv(s(negotiated(0x0210)), c(connect(`\\mb1\admin$`)), s(connected(3, 1)), c(create(3, 6,
			"secret.txt")), s(created(3, 6, 0))),
			want: []string{"smb.version=2.1", "smb.share=ADMIN$", "encryption=none"}},
		{name: "logon fails", conv: ntlmLogon(60, 0xc000006d, 0)},
		{name: "guest", conv: ntlmLogon(60, 0, sessionGuest), want: []string{"auth=guest"}},
		{name: "anonymous by flag", conv: ntlmLogon(60, 0, sessionNull), want: []string{"auth=anonymous"}},
		{name: "anonymous by an empty response", conv: ntlmLogon(0, 0, 0), want: []string{"auth=anonymous"}},
		{name: "what opens a session that is used was accepted", conv: conv(c(setupRequest(1, 0, ntlmNegotiate)), c(setupRequest(2, 9,
			ntlmAuthenticate(60))),
			c(connect(`\\dc1\sysvol`))), want: []string{"auth=ntlm", "smb.share=SYSVOL"}},
		{name: "registry by write and read", conv: conv(c(connect(`\\mb1\IPC$`)), s(connected(1, 2)), c(create(1, 6, "winreg")), s(created(1, 6,
			statusPending), created(1, 6, 0)),
			c(write(1, bind), frame(head2{command: 8, message: 10, session: 9, tree: 1}.with(readBody(0, id1)))), s(readAnswer(10, bindAck)),
			c(transceive(1, call)), s(transceived(answer))), want: append([]string{"smb.share=IPC$"}, registry...)},
		{name: "registry in a compound", conv: conv(c(connect(`\\mb1\IPC$`)), s(connected(1, 2)), c(create(1, 6, `\PIPE\WinReg`)), s(created(1,
			6, 0)),
			c(frame(head2{command: 9, message: 7, session: 9, tree: 1, next: 64 + 48 + 72}.with(writeBody(bind, 0)),
				head2{command: 8, flags: flagRelated, message: 10, session: inherit, tree: inherit}.with(readBody(0, string(none[:]))))),
			s(readAnswer(10, bindAck[:20]), readAnswer(10, "stray")), c(frame(head2{command: 8, message: 11, session: 9, tree: 1}.with(readBody(0,
				id1)))),
			s(readAnswer(11, bindAck[20:])), c(transceive(1, call)), s(transceived(answer))), want: append([]string{"smb.share=IPC$"}, registry...)},
		{name: "a pipe that is not there", conv: conv(s(connected(1, 2)), c(create(1, 6, "gone")), s(created(1, 6, 0xc0000034)))},
		{name: "a pipe whose opening was not seen", conv: conv(c(transceive(1, bind)), s(transceived(bindAck)), c(transceive(1, call))),
			o:    observetest.Options{Midstream: true},
			want: []string{registry[0], registry[1], "rpc.auth_level=none", "encryption=none"}},
		{name: "a pipe of a share whose connection was not seen", conv: conv(c(create(1, 6, "winreg")), s(created(1, 6, 0)), c(write(1, bind)),
			c(create(1, 8, "text")),
			s(created(1, 8, 0)), c(write(1, "text"))), o: observetest.Options{Midstream: true}, want: []string{"smb.pipe=winreg", registry[0]}},
		{name: "a pipe without RPC", conv: conv(s(connected(1, 2)), c(create(1, 6, "other")), s(created(1, 6, 0)), c(write(1,
			"Hello, this is not RPC at all"))),
			want: []string{"smb.pipe=other", "encryption=none"}},
		{name: "a large write is skipped", conv: conv(s(connected(2, 1)), c(frame(head2{command: 9, session: 9,
			tree: 2}.with(writeBody(strings.Repeat("\xfeSMB", 30000), 0)))),
			c(connect(`\\mb1\c$`))), want: []string{"encryption=none", "smb.share=C$"}},
		{name: "under way, in the middle of a frame", conv: conv(c("\x00\x00SMB garbage \xfeSMB"+strings.Repeat("x", 80)+connect(`\\mb1\c$`)),
			s("y"+negotiated(0x0300))),
			o: observetest.Options{Midstream: true}, want: []string{"smb.share=C$", "smb.version=3.0"}},
		{name: "bytes lost", conv: conv(c(connect(`\\mb1\c$`)), observetest.Lost(observe.ToServer, 777), c("tail of something",
			connect(`\\mb1\netlogon`))),
			want: []string{"smb.share=C$", "smb.share=NETLOGON"}},
		{name: "NetBIOS session", conv: conv(c("\x81\x00\x00\x44 "+strings.Repeat("A", 67)), s("\x82\x00\x00\x00"),
			c("\x85\x00\x00\x00"+connect(`\\mb1\c$`))), want: []string{"smb.share=C$"}},
		{name: "SMB 1 offered, SMB 2 taken", conv: conv(c(frame(smb1(0x72, 0x18, 0, 0, 1, "", "\x02NT LM 0.12\x00\x02SMB 2.???\x00"))),
			s(negotiated(0x02ff)), s(negotiated(0x0311))),
			want: []string{"smb.version=3.1.1"}},
		{name: "SMB 1 offered, nothing taken", conv: conv(c(frame(smb1(0x72, 0x18, 0, 0, 1, "", "\x02PC\x00"))), s(frame(smb1(0x72, 0x98, 0, 0,
			1, "\xff\xff", ""))))},
		{name: "SMB 1 registry", conv: conv(
			s(frame(smb1(0x72, 0x98, 0, 0, 1, u16(0)+zero(32), ""))),
			c(frame(smb1(0x73, 0x18, 0, 0, 2, andXEnd+zero(10)+u16(24)+u16(24)+zero(8), strings.Repeat("\x11", 48)))), s(frame(smb1(0x73, 0x98, 8,
				0, 2, andXEnd+u16(0), ""))),
			c(frame(smb1(0x75, 0x18, 8, 0, 3, andXEnd+u16(0)+u16(1), "\x00"+wide("\\\\mb1\\IPC$\x00")+"?????\x00"))), s(frame(smb1(0x75, 0x98, 8,
				4, 3, andXEnd+u16(0), "IPC\x00\x00"))),
			c(frame(smb1(0xa2, 0x18, 8, 4, 4, andXEnd+zero(44), "\x00"+wide("\\winreg\x00")))), s(frame(smb1(0xa2, 0x98, 8, 4, 4,
				andXEnd+"\x00"+u16(0x4001)+zero(61), ""))),
			c(frame(smb1(0x2f, 0x18, 8, 4, 5, andXEnd+u16(0x4001)+zero(8)+u16(8)+u16(0)+u16(0)+u16(len(bind))+u16(64)+zero(4), "\x00"+bind))),
			s(frame(smb1(0x2f, 0x98, 8, 4, 5, andXEnd+zero(8), ""))),
			c(frame(smb1(0x2e, 0x18, 8, 4, 6, andXEnd+u16(0x4001)+zero(18), ""))), s(frame(smb1(0x2e, 0x98, 8, 4, 6,
				andXEnd+zero(6)+u16(len(bindAck))+u16(60)+zero(10), "\x00"+bindAck))),
			c(frame(smb1(0x25, 0x18, 8, 4, 7, zero(22)+u16(len(call))+u16(84)+"\x02\x00"+u16(0x26)+u16(0x4001), zero(17)+call))),
			s(frame(smb1(0x25, 0x98, 8, 4, 7, zero(12)+u16(len(answer))+u16(56)+zero(4), "\x00"+answer)))),
			want: append([]string{"smb.version=1", "auth=ntlm", "ntlm.version=1", "smb.share=IPC$"}, registry...)},
		{name: "an authenticated bind that is refused", conv: conv(ntlmLogon(60, 0, 0), s(connected(1, 2)), c(create(1, 6, "winreg")),
			s(created(1, 6, 0)),
			c(write(1, secureBind)), c(frame(head2{command: 8, message: 10, session: 9, tree: 1}.with(readBody(0, id1)))),
			s(readAnswer(10, pdu(13, u16(8)+"\x00")))), want: []string{"auth=ntlm", "smb.pipe=winreg"}},
		{name: "an authenticated bind, the pipe closed", conv: conv(s(connected(1, 2)), c(create(1, 6, "winreg")), s(created(1, 6, 0)),
			c(write(1, secureBind)),
			c(frame(head2{command: 6, message: 9, session: 9, tree: 1}.with(u16(24)+zero(6)+id1))), c(write(1, call))),
			want: []string{"smb.pipe=winreg", "auth=ntlm", "rpc.auth_level=privacy", "encryption=rpc-privacy", registry[0]}},
		{name: "bytes of a pipe lost", conv: conv(s(connected(1, 2)), c(create(1, 6, "winreg")), s(created(1, 6, 0)), c(write(1, bind)),
			observetest.Lost(observe.ToServer, 100), c("rest", transceive(1, call)), s(transceived(answer))),
			want: []string{"smb.pipe=winreg", registry[0], "encryption=none"}},
		{name: "SMB 1 file by responses of NTLM version 2", conv: conv(
			c(frame(smb1(0x73, 0x18, 0, 0, 2, andXEnd+zero(10)+u16(24)+u16(60)+zero(8), strings.Repeat("\x11", 84)))), s(frame(smb1(0x73, 0x98, 8,
				0, 2, andXEnd+u16(0), ""))),
			s(frame(smb1(0x75, 0x98, 8, 4, 3, andXEnd+u16(0), "A:\x00"))), c(frame(smb1(0x2e, 0x18, 8, 4, 6, andXEnd+u16(0x4001)+zero(18), "")))),
			want: []string{"smb.version=1", "auth=ntlm", "ntlm.version=2", "encryption=none"}},
		{name: "SMB 1 without responses, a referral, a guest's answer", conv: conv(
			c(frame(smb1(0x73, 0x18, 0, 0, 2, andXEnd+zero(10)+u16(1)+u16(0)+zero(8), "\x00"))), s(frame(smb1(0x73, 0x98, 8, 0, 2, andXEnd+u16(0),
				""))),
			s(frame(smb1(0x75, 0x98, 8, 4, 3, andXEnd+u16(0), "A:\x00"))), c(frame(smb1(0x32, 0x18, 8, 4, 6, zero(26)+"\x01\x00"+u16(getReferral),
				""))),
			c(frame(smb1(0x73, 0x18, 0, 0, 9, andXEnd+zero(10)+u16(24)+u16(24)+zero(8), strings.Repeat("\x11", 48)))), s(frame(smb1(0x73, 0x98, 7,
				0, 9, andXEnd+u16(1), "")))),
			want: []string{"smb.version=1", "auth=anonymous", "auth=guest", "ntlm.version=1"}},
		{name: "SMB 1 directory, connection not seen", conv: conv(c(frame(smb1(0x32, 0x18, 8, 4, 6, zero(26)+"\x01\x00"+u16(1), "")))),
			o: observetest.Options{Midstream: true}, want: []string{"smb.version=1", "encryption=none"}},
		{name: "SMB 1 set-up and connection in one message", conv: conv(c(frame(smb1(0x73, 0x18, 0, 0, 2,
			"\x75\x00"+u16(112)+zero(10)+u16(24)+u16(24)+zero(8),
			strings.Repeat("\x11", 51)+"\x04"+andXEnd+u16(0)+u16(1)+u16(26)+"\x00"+wide("\\\\mb1\\C$\x00")+"A:")))),
			want: []string{"smb.version=1", "ntlm.version=1", "smb.share=C$"}},
		{name: "the server breaks an oplock", conv: conv(s(frame(smb1(0x24, 0x18, 8, 4, 0xffff, zero(16), "")))),
			o: observetest.Options{Midstream: true}},
		{name: "compressed", conv: conv(c(frame("\xfcSMB"+zero(60)), connect(`\\mb1\c$`))), want: []string{"smb.share=C$"}},
		{name: "cleartext according to the compound", conv: conv(s(connected(2, 1)), c(frame(head2{command: 13, message: 5, session: 9, tree: 2,
			next: 72}.with(zero(8)),
			head2{command: 16, flags: flagRelated, message: 6, session: inherit, tree: inherit}.with(zero(40))))),
			want: []string{"encryption=none"}},
		{name: "not SMB", conv: conv(c("\x00\x00\x00\x10HELLOHELLOHELLO!")), err: observe.ErrViolation},
		{name: "session requested by the server", conv: conv(s("\x81\x00\x00\x44 " + strings.Repeat("A", 67))), err: observe.ErrReversed},
		{name: "sent by the server first", conv: conv(c(negotiated(0x0311))), err: observe.ErrReversed},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), test.conv, test.o)
			observetest.Expect(t, r, test.want...)
			if r.Err != test.err {
				t.Errorf("ends with %v, want %v", r.Err, test.err)
			}
		})
	}
}

// TestLimits verifies that the state that a client can create is bounded.
func TestLimits(t *testing.T) {
	var o observer
	var r observe.Report
	feed := func(dir observe.Direction, data string) {
		in := observe.Input{Dir: dir, Data: []byte(data), Handshake: true}
		if _, err := o.Observe(&in, &r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		feed(observe.ToServer, setupRequest(i, 0, ntlmNegotiate))
		feed(observe.ToClient, connected(i, 2))
		feed(observe.ToServer, create(i, 1000+i, "pipe"))
		id := u64(i) + u64(i)
		feed(observe.ToClient, frame(head2{command: 5, flags: 1, message: 1000 + i, session: 9, tree: i}.with(u16(89)+zero(62)+id+zero(8))))
		feed(observe.ToServer, create(7777, 5000+i, "file"))
		feed(observe.ToClient, frame(head2{command: 5, flags: 1, message: 5000 + i, session: 9,
			tree: 7777}.with(u16(89)+zero(62)+u64(i)+u64(1)+zero(8))))
		for range 2 {
			feed(observe.ToServer, frame(head2{command: 8, message: 9000 + i, session: 9, tree: i}.with(readBody(0, id))))
		}
	}
	if len(o.setups) > maxSetups || len(o.trees) > maxTrees || len(o.pipes) > maxPipes || len(o.pending) > maxPending ||
		len(o.maybe) > maxPipes {
		t.Errorf("%d set-ups, %d trees, %d pipes, %d requests, %d files", len(o.setups), len(o.trees), len(o.pipes), len(o.pending), len(o.maybe))
	}
}

// TestHeld opens many pipes and leaves a long message incomplete on each.
func TestHeld(t *testing.T) {
	o := Protocol().New().(*observer)
	var r observe.Report
	feed := func(dir observe.Direction, data string) {
		in := observe.Input{Dir: dir, Data: []byte(data), Handshake: true, Flow: observetest.Between(netip.AddrPort{}, netip.AddrPort{})}
		if _, err := o.Observe(&in, &r); err != nil {
			t.Fatal(err)
		}
	}
	feed(observe.ToClient, connected(1, 2))
	long := "\x05\x00\x0b\x03\x10\x00\x00\x00" + u16(65000) + u16(0) + u32(1) + zero(15000)
	most := 0
	for i := range maxPipes {
		id := u64(i+1) + u64(1)
		feed(observe.ToServer, create(1, 100+i, "winreg"))
		feed(observe.ToClient, frame(head2{command: 5, flags: 1, message: 100 + i, session: 9, tree: 1}.with(u16(89)+zero(62)+id+zero(8))))
		feed(observe.ToServer, frame(head2{command: 9, message: 200 + i, session: 9, tree: 1}.with(u16(49)+u16(112)+u32(len(long))+u64(0)+id+zero(16)+long)))
		most = max(most, o.Held())
	}
	if most < observe.MaxHeld/2 || most > observe.MaxHeld+20<<10 {
		t.Errorf("held %d bytes", most)
	}
}

// TestIdentities verifies that full names are reported only on request.
func TestIdentities(t *testing.T) {
	r := observetest.Check(t, Protocol(), conv(observetest.ToServer(connect(`\\mb1\home-alice`))), observetest.Options{Identities: true})
	observetest.Expect(t, r, `smb.path=\\mb1\home-alice`, "smb.share=disk")
}

func TestShares(t *testing.T) {
	for path, want := range map[string]string{`\\fs1\DAG1.example.com`: "DAG1.example.com", `\\fs1\ipc$`: "IPC$", `\\fs1\alice.smith`: "disk",
		`\\fs1\a..b.c`: "disk", `\\fs1\alice@example.co.uk`: "disk"} {
		c := conv(observetest.ToServer(connect(path)))
		observetest.Expect(t, observetest.Check(t, Protocol(), c, observetest.Options{}), "smb.share="+want)
		observetest.SameEvidence(t, Protocol(), c, observetest.Options{}, Share)
	}
}

// TestLostAnswer drops the answer that accepts or rejects a session.
func TestLostAnswer(t *testing.T) {
	c, s := observetest.ToServer, observetest.ToClient
	more := s(setupAnswer(1, 0xc0000016, 0, ntlmChallenge))
	logon := []observetest.Segment{c(setupRequest(1, 0, ntlmNegotiate)), more, c(setupRequest(2, 9, ntlmAuthenticate(60))),
		observetest.Lost(observe.ToClient, 80)}
	signed := head2{command: 5, message: 3, session: 9, tree: 1, flags: flagSigned}.with(u16(57) + zero(54))
	for _, test := range []struct {
		name string
		then observetest.Segment
		want []string
	}{
		{"it may have been a guest", c(connect(`\\mb1\IPC$`)), []string{"smb.share=IPC$"}},
		{"a signed request shows that it was not", c(frame(signed)), []string{"auth=ntlm", "smb.signing=yes"}},
		{"a refusal, then the end", c(frame(head2{command: 2, message: 3, session: 9}.with(u16(4) + u16(0)))), nil},
	} {
		r := observetest.Check(t, Protocol(), conv(logon, test.then), observetest.Options{})
		for _, f := range r.Facts.All() {
			if strings.HasPrefix(f.Name, "ntlm.") {
				r.Facts.Remove(f.Name, f.Value)
			}
		}
		observetest.Expect(t, r, test.want...)
	}
	// In SMB 1, both requests of a set-up may have the same identifier. The session of
	// the second request shows that it continues the first.
	request1 := func(session int, token string) string {
		return frame(smb1(0x73, 0x18, session, 0, 2, andXEnd+zero(10)+u16(len(token))+zero(8), token))
	}
	r := observetest.Check(t, Protocol(), conv(s(frame(smb1(0x72, 0x98, 0, 0, 1, zero(34), ""))), c(request1(0, ntlmNegotiate)), observetest.Lost(observe.ToClient, 200),
		c(request1(8, ntlmAuthenticate(0))), s(frame(smb1(0x73, 0x98, 8, 0, 2, andXEnd+u16(0)+u16(0), "")))), observetest.Options{})
	if !r.Facts.Has(observe.Auth, "anonymous") || r.Facts.Has(observe.Auth, "ntlm") {
		t.Errorf("a lost challenge of SMB 1: %q", r.Lines())
	}
	// If no packet of the server is seen, the client's messages are used.
	r = observetest.Check(t, Protocol(), conv(c(setupRequest(1, 0, ntlmNegotiate), setupRequest(2, 9, ntlmAuthenticate(60)), connect(`\\mb1\IPC$`))),
		observetest.Options{})
	if !r.Facts.Has(observe.Auth, "ntlm") {
		t.Errorf("one direction: %q", r.Lines())
	}
}

// TestSessionRequest reads session requests of NetBIOS with and without scopes.
func TestSessionRequest(t *testing.T) {
	name := "\x20" + strings.Repeat("CKFD", 8)
	for _, c := range []struct {
		in   string
		want observe.Match
	}{
		{"\x81\x00\x00\x44" + name + "\x00" + name + "\x00", observe.Yes},
		{"\x81\x00\x00\x52" + name + "\x06domain\x00" + name + "\x06domain\x00", observe.Yes},
		{"\x81\x00\x00\x43" + name, observe.No},
		{"\x81\x00\x00\x44\x20" + strings.Repeat("x", 66), observe.No},
		{"\x81\x00\x00\x44\x20CK", observe.More},
	} {
		if got := detect(&observe.First{ToServer: []byte(c.in), OnPort: true}); got != c.want {
			t.Errorf("%q: %v, want %v", c.in, got, c.want)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	o := Protocol().New()
	var r observe.Report
	feed := func(dir observe.Direction, data string) func() {
		in := observe.Input{Dir: dir, Data: []byte(data), Handshake: true}
		return func() {
			if _, err := o.Observe(&in, &r); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed(observe.ToClient, connected(2, 1))()
	read := feed(observe.ToServer, frame(head2{command: 8, message: 7, session: 9, tree: 2}.with(readBody(4096, id1))))
	answer := feed(observe.ToClient, readAnswer(7, strings.Repeat("x", 8000)))
	secret := feed(observe.ToClient, transform(8000))
	for _, f := range []func(){read, answer, secret} {
		f()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func FuzzObserve(f *testing.F) {
	c, s := observetest.ToServer, observetest.ToClient
	observetest.Fuzz(f, Protocol(),
		conv(s(negotiated(0x0311)), ntlmLogon(60, 0, 0), c(connect(`\\mb1\IPC$`)), s(connected(1, 2)), c(create(1, 6, "winreg")), s(created(1,
			6, 0)),
			c(write(1, bind), frame(head2{command: 8, message: 10, session: 9, tree: 1}.with(readBody(0, id1)))), s(readAnswer(10, bindAck)),
			c(transceive(1, call)), s(transceived(answer))),
		conv(c("\x81\x00\x00\x44 "+strings.Repeat("A", 67)), s("\x82\x00\x00\x00"), c(connect(`\\mb1\c$`)), observetest.Lost(observe.ToServer,
			99), c("..."+transform(80))),
		conv(c(frame(smb1(0x75, 0x18, 8, 0, 3, andXEnd+u16(0)+u16(1), "\x00"+wide("\\\\mb1\\IPC$\x00")))), s(frame(smb1(0x75, 0x98, 8, 4, 3,
			andXEnd+u16(0), "IPC\x00"))),
			c(frame(smb1(0xa2, 0x18, 8, 4, 4, andXEnd+zero(44), "\x00"+wide("\\winreg\x00")))), s(frame(smb1(0xa2, 0x98, 8, 4, 4,
				andXEnd+"\x00"+u16(0x4001)+zero(61), ""))),
			c(frame(smb1(0x25, 0x18, 8, 4, 7, zero(22)+u16(len(call))+u16(84)+"\x02\x00"+u16(0x26)+u16(0x4001), zero(17)+call)))),
	)
}
