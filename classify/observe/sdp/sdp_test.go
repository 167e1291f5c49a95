package sdp

import (
	"fmt"
	"strings"
	"testing"
)

// lines joins the lines of a description.
func lines(l ...string) []byte { return []byte(strings.Join(l, "\r\n") + "\r\n") }

// describe returns the media of s as one line each.
func describe(s Session) string {
	var b strings.Builder
	for _, m := range s.Media {
		fmt.Fprintf(&b, "%s %s %s", m.Kind, m.Proto, m.Addr)
		if m.Ports > 1 {
			fmt.Fprintf(&b, "/%d", m.Ports)
		}
		if m.RTCP.IsValid() {
			fmt.Fprintf(&b, " rtcp=%s", m.RTCP)
		}
		for _, c := range m.Candidates {
			fmt.Fprintf(&b, " ice=%s", c)
		}
		fmt.Fprintf(&b, " %s enc=%s", m.Direction, m.Encryption)
		for _, c := range m.Codecs {
			fmt.Fprintf(&b, " %d=%s/%d", c.Type, c.Name, c.Rate)
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		sdp  []byte
		cut  bool
		want string
	}{
		{"RFC 8866 section 5", lines("v=0", "o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1", "s=Call to John Smith", "c=IN IP4 198.51.100.1",
			"t=0 0",
			"m=audio 49170 RTP/AVP 0", "m=audio 49180 RTP/AVP 0", "m=video 51372 RTP/AVP 99", "c=IN IP6 2001:db8::2",
			"a=rtpmap:99 h263-1998/90000"), false,
			`audio RTP/AVP 198.51.100.1:49170 rtcp=198.51.100.1:49171 sendrecv enc=none 0=PCMU/8000
audio RTP/AVP 198.51.100.1:49180 rtcp=198.51.100.1:49181 sendrecv enc=none 0=PCMU/8000
video RTP/AVP [2001:db8::2]:51372 rtcp=[2001:db8::2]:51373 sendrecv enc=none 99=h263-1998/90000`},
		{"RFC 3605 section 2.1, port counts, multicast", lines("v=0", "c=IN IP4 224.2.1.1/127/3", "m=video 49170/2 RTP/AVP 31",
			"a=rtcp:53020 IN IP6 2001:db8::7", "m=audio 49200 RTP/AVP 8", "a=rtcp:53022"), false,
			`video RTP/AVP 224.2.1.1:49170/2 rtcp=[2001:db8::7]:53020 sendrecv enc=none 31=H261/90000
audio RTP/AVP 224.2.1.1:49200 rtcp=224.2.1.1:53022 sendrecv enc=none 8=PCMA/8000`},
		{"a UM offer: RTAudio, Siren, G.723.1, events", lines("v=0", "c=IN IP4 10.0.0.5", "m=audio 31600 RTP/AVP 114 111 4 115 101 13",
			"a=rtpmap:114 x-msrta/16000", "a=rtpmap:111 SIREN/16000", "a=rtpmap:4 G723/8000", "a=rtpmap:115 x-msrta/8000",
			"a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16"), false,
			`audio RTP/AVP 10.0.0.5:31600 rtcp=10.0.0.5:31601 sendrecv enc=none 114=x-msrta/16000 111=SIREN/16000 4=G723/8000 ` +
				`115=x-msrta/8000 101=telephone-event/8000 13=CN/8000`},
		{"SRTP by profile", lines("v=0", "c=IN IP4 10.0.0.5", "m=audio 31600 RTP/SAVP 0",
			"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x|2^31|1:1"), false,
			`audio RTP/SAVP 10.0.0.5:31600 rtcp=10.0.0.5:31601 sendrecv enc=srtp 0=PCMU/8000`},
		{"SRTP offered beside RTP", lines("v=0", "c=IN IP4 10.0.0.5", "m=audio 31600 RTP/AVP 0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"),
			false,
			`audio RTP/AVP 10.0.0.5:31600 rtcp=10.0.0.5:31601 sendrecv enc= 0=PCMU/8000`},
		{"DTLS-SRTP, mux, ICE (RFC 8839 section 5.1)", lines("v=0", "c=IN IP4 203.0.113.141", "a=fingerprint:sha-256 12:DF", "a=sendonly",
			"m=audio 45664 UDP/TLS/RTP/SAVPF 111", "a=rtpmap:111 opus/48000/2", "a=rtcp-mux", "a=sendrecv",
			"a=candidate:1 1 UDP 2130706431 2001:db8::1 5000 typ host",
			"a=candidate:2 1 TCP 2105524479 192.0.2.9 9 typ host tcptype active",
			"a=candidate:2 1 UDP 1694498815 203.0.113.141 45664 typ srflx raddr 10.0.1.1 rport 8998"), false,
			`audio UDP/TLS/RTP/SAVPF 203.0.113.141:45664 ice=[2001:db8::1]:5000 ice=203.0.113.141:45664 sendrecv enc=srtp 111=opus/48000`},
		{"the earlier form of candidates ([MS-ICE] section 2.2.1)", lines("v=0", "c=IN IP4 10.1.2.3", "m=audio 50024 RTP/AVP 0",
			"a=candidate:qkEP+1jaGoS 1 GuI7oZ+x UDP 0.830 10.1.2.3 50024", "a=candidate:qkEP+1jaGoS 2 GuI7oZ+x UDP 0.830 10.1.2.3 50029",
			"a=candidate:TcpP 1 pass TCP 0.150 10.1.2.4 443"), false,
			`audio RTP/AVP 10.1.2.3:50024 rtcp=10.1.2.3:50025 ice=10.1.2.3:50024 ice=10.1.2.3:50029 sendrecv enc=none 0=PCMU/8000`},
		{"T.38 and a refused medium", lines("v=0", "c=IN IP4 10.0.0.5", "m=audio 0 RTP/AVP 0", "m=image 4000 udptl t38", "a=T38FaxVersion:0"),
			false,
			`audio RTP/AVP 10.0.0.5:0 sendrecv enc=none 0=PCMU/8000
image udptl 10.0.0.5:4000 sendrecv enc=`},
		{"held: 0.0.0.0 and inactive", lines("v=0", "c=IN IP4 0.0.0.0", "m=audio 31600 RTP/AVP 0", "a=inactive"), false,
			`audio RTP/AVP 0.0.0.0:31600 rtcp=0.0.0.0:31601 inactive enc=none 0=PCMU/8000`},
		{"a host name gives no address", lines("v=0", "c=IN IP4 gw.example.com", "m=audio 31600 RTP/AVP 0"), false,
			`audio RTP/AVP invalid AddrPort rtcp=invalid AddrPort sendrecv enc=none 0=PCMU/8000`},
		{"bare line feeds", []byte("v=0\nc=IN IP4 10.0.0.5\nm=audio 31600 RTP/AVP 0\n"), false,
			`audio RTP/AVP 10.0.0.5:31600 rtcp=10.0.0.5:31601 sendrecv enc=none 0=PCMU/8000`},
		{"a cut line is omitted", []byte("v=0\r\nc=IN IP4 10.0.0.5\r\nm=audio 31600 RTP/AVP 0\r\nm=video 314"), true,
			`audio RTP/AVP 10.0.0.5:31600 rtcp=10.0.0.5:31601 sendrecv enc=none 0=PCMU/8000`},
		{"nonsense in every field", lines("v=0", "c=IN IP4 999.1.1.1", "c=", "c=IN", "m=", "m=audio", "m=audio x RTP/AVP",
			"m=audio 70000 RTP/AVP 0",
			"a=rtpmap", "a=rtpmap:", "a=rtcp:99999999999", "a=candidate:", "m=audio 5000/999 RTP/AVP 0 300 -1", "a=rtpmap:0 \x01\xff/0",
			"a=rtcp:0"), false,
			`audio RTP/AVP invalid AddrPort/16 rtcp=invalid AddrPort sendrecv enc=none 0=??/0`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, ok := Parse(tt.sdp, tt.cut)
			if !ok {
				t.Fatal("no session description")
			}
			got := strings.ReplaceAll(describe(s), " rtcp=invalid AddrPort", "")
			if want := strings.ReplaceAll(tt.want, " rtcp=invalid AddrPort", ""); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	if _, ok := Parse([]byte("<xml/>"), false); ok {
		t.Error("XML was parsed as a session description")
	}
}

func TestLimits(t *testing.T) {
	s, _ := Parse([]byte("v=0\r\nc=IN IP4 10.0.0.5\r\n"+strings.Repeat("m=audio 4000 RTP/AVP 0\r\n", 10_000)), false)
	if len(s.Media) != MaxMedia || s.Dropped != 10_000-MaxMedia {
		t.Errorf("%d media, %d dropped", len(s.Media), s.Dropped)
	}
	s, _ = Parse([]byte("v=0\r\nc=IN IP4 10.0.0.5\r\nm=audio 4000 RTP/AVP"+strings.Repeat(" 96", 1000)), false)
	if len(s.Media[0].Codecs) != MaxCodecs || s.Dropped != 1 {
		t.Errorf("%d codecs, %d dropped", len(s.Media[0].Codecs), s.Dropped)
	}
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "a=candidate:1 1 UDP 1 10.0.0.5 %d typ host\r\n", 1000+i)
	}
	s, _ = Parse([]byte("v=0\r\nm=audio 4000 RTP/AVP 0\r\n"+b.String()), false)
	if len(s.Media[0].Candidates) != MaxCandidates || s.Dropped != 1000-MaxCandidates {
		t.Errorf("%d candidates, %d dropped", len(s.Media[0].Candidates), s.Dropped)
	}
}

func FuzzSDP(f *testing.F) {
	f.Add([]byte("v=0\r\nc=IN IP4 10.0.0.5\r\nm=audio 31600/2 RTP/AVP 0 96\r\na=rtpmap:96 a/8000\r\n"+
		"a=rtcp:1 IN IP6 ::1\r\na=candidate:1 1 UDP 1 ::1 1"), false)
	f.Add([]byte("v=0\nm=image 1 udptl t38\na=inactive\na=fingerprint:x"), true)
	f.Fuzz(func(t *testing.T, b []byte, cut bool) {
		s, _ := Parse(b, cut)
		if len(s.Media) > MaxMedia {
			t.Fatal("too many media")
		}
		for _, m := range s.Media {
			if m.Ports < 1 || m.Ports > MaxPorts || len(m.Codecs) > MaxCodecs || len(m.Candidates) > MaxCandidates || len(m.Kind) > maxField {
				t.Fatalf("beyond a limit: %+v", m)
			}
		}
	})
}
