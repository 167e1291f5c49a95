package smb

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// binding returns a session set-up request that adds its connection to session 9
// ([MS-SMB2] section 2.2.5).
func binding(message int, token string) string {
	return frame(head2{command: 1, message: message, session: 9}.with(u16(25) + "\x01\x01" + zero(8) + u16(88) + u16(len(token)) + zero(8) + token))
}

// TestChannels opens a pipe on one connection and calls on it on another one of the same
// session ([MS-SMB2] sections 3.2.4.2.3 and 3.3.5.5.2).
func TestChannels(t *testing.T) {
	c, s := observetest.ToServer, observetest.ToClient
	logon := ntlmLogon(60, 0, 0)
	first := conv(s(negotiated(0x0311)), logon, c(connect(`\\mb1\IPC$`)), s(connected(1, 2)), c(create(1, 6, "winreg")), s(created(1, 6, 0)),
		c(transceive(1, bind)), s(transceived(bindAck)))
	bound := conv(s(negotiated(0x0311)), c(binding(1, ntlmNegotiate)), s(setupAnswer(1, statusMoreProcessing, 0, ntlmChallenge)),
		c(binding(2, ntlmAuthenticate(60))), s(setupAnswer(2, 0, 0, "")))
	call := conv(c(transceive(1, call)), s(transceived(answer)))
	for _, tt := range []struct {
		name          string
		first, second []observetest.Segment
		want          bool
	}{
		{"a pipe of the session", first, conv(bound, call), true},
		{"written and read", first, conv(bound, c(write(1, call1)), s(transceived(answer))), true},
		{"another connection that is no channel", first, conv(s(negotiated(0x0311)), logon, call), false},
		{"a dialect without channels", conv(s(negotiated(0x0210)), first[1:]), conv(bound, call), false},
		{"another session", withSession(first, 9, 8), conv(bound, call), false},
	} {
		p := Protocol()
		observetest.Run(p, tt.first, observetest.Options{})
		res := observetest.Run(p, tt.second, observetest.Options{Client: netip.MustParseAddrPort("192.0.2.11:49153")})
		pipe, uuid := res.Facts.Has(Pipe, "winreg"), res.Facts.Has(observe.RPCUUID, "338cd001-2244-31f1-aaaa-900038001003 v1.0")
		if pipe != tt.want || uuid != tt.want || !res.Facts.Has(observe.Auth, "ntlm") {
			t.Errorf("%s: pipe %v, interface %v, want %v; facts %v", tt.name, pipe, uuid, tt.want, res.Facts.All())
		}
	}
}

// call1 is a call, whose name TestChannels uses for something else.
var call1 = call

// withSession replaces the session of all messages.
func withSession(conv []observetest.Segment, from, to uint64) (out []observetest.Segment) {
	for _, s := range conv {
		b := string(s.Data)
		for at := 0; ; {
			i := strings.Index(b[at:], "\xfeSMB")
			if i < 0 || at+i+48 > len(b) {
				break
			}
			at += i
			if binary.LittleEndian.Uint64([]byte(b[at+40:])) == from {
				b = b[:at+40] + u64(int(to)) + b[at+48:]
			}
			at += 4
		}
		s.Data = []byte(b)
		out = append(out, s)
	}
	return out
}

// TestSharedBounded opens more pipes than are remembered.
func TestSharedBounded(t *testing.T) {
	var c channels
	facts := []observe.Fact{}
	for i := range 10 {
		facts = append(facts, observe.Fact{Name: observe.RPCUUID, Value: string(rune('a' + i))})
	}
	for i := range uint64(3 * maxShared) {
		key := channelPipe{session: i}
		c.opened(key, netip.AddrPort{}, "lsarpc")
		c.bound(key, facts)
	}
	oldest, newest := c.pipes[channelPipe{session: 2*maxShared - 1}], c.pipes[channelPipe{session: 3*maxShared - 1}]
	if len(c.pipes) != maxShared || len(c.order) != maxShared || oldest != nil || newest == nil || len(newest.uuids) != maxSharedUUIDs {
		t.Errorf("%d pipes, %d in order, oldest %v, newest %v", len(c.pipes), len(c.order), oldest, newest)
	}
}
