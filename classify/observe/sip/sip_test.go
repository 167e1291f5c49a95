package sip

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// msg builds a message of head lines, an empty line and a body. It replaces "LEN" by the
// length of the body.
func msg(body string, lines ...string) string {
	s := strings.Join(lines, "\r\n") + "\r\n\r\n"
	return strings.ReplaceAll(s, "LEN", strconv.Itoa(len(body))) + body
}

const sdpA = "v=0\r\no=alice 1 1 IN IP4 192.0.2.101\r\ns=-\r\nc=IN IP4 192.0.2.101\r\nt=0 0\r\n" +
	"m=audio 49172 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
const sdpB = "v=0\r\no=bob 1 1 IN IP4 192.0.2.201\r\ns=-\r\nc=IN IP4 192.0.2.201\r\nt=0 0\r\n" +
	"m=audio 3456 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"

// basicCall returns the messages of RFC 3665 section 3.1 (Successful Session Establishment).
func basicCall() (invite, trying, ringing, ok, ack, bye, byeOK string) {
	common := []string{"From: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl", "To: Bob <sip:bob@biloxi.example.com>;tag=8321234356",
		"Call-ID: 3848276298220188511@atlanta.example.com"}
	initial := slices.Clone(common)
	initial[1] = "To: Bob <sip:bob@biloxi.example.com>"
	head := func(start, cseq string, ids []string, more ...string) []string {
		return slices.Concat([]string{start, "Via: SIP/2.0/TCP client.atlanta.example.com:5060;branch=z9hG4bK74bf9"}, ids,
			[]string{"CSeq: " + cseq}, more)
	}
	sdp := []string{"Content-Type: application/sdp", "Content-Length: LEN"}
	none := []string{"Content-Length: 0"}
	back := []string{common[0], common[1], common[2]}
	back[0], back[1] = "From: Bob <sip:bob@biloxi.example.com>;tag=8321234356", "To: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl"
	return msg(sdpA, head("INVITE sip:bob@biloxi.example.com SIP/2.0", "1 INVITE", initial, sdp...)...),
		msg("", head("SIP/2.0 100 Trying", "1 INVITE", initial, none...)...),
		msg("", head("SIP/2.0 180 Ringing", "1 INVITE", common, none...)...),
		msg(sdpB, head("SIP/2.0 200 OK", "1 INVITE", common, sdp...)...),
		msg("", head("ACK sip:bob@client.biloxi.example.com SIP/2.0", "1 ACK", common, none...)...),
		msg("", head("BYE sip:alice@client.atlanta.example.com SIP/2.0", "1 BYE", back, none...)...),
		msg("", head("SIP/2.0 200 OK", "1 BYE", back, none...)...)
}

// events passes a conversation to an observer and returns the call events, each as one
// line.
func events(conv []observetest.Segment, identities bool) (lines []string, raw []observe.CallEvent) {
	o := Protocol().New()
	r := observe.Report{Identities: identities}
	for i, s := range conv {
		in := observe.Input{Dir: s.Dir, Data: s.Data, Number: uint64(i + 1), Datagram: true,
			Flow: observetest.Between(netip.MustParseAddrPort("192.0.2.10:49152"), netip.MustParseAddrPort("192.0.2.1:5060"))}
		if _, err := o.Observe(&in, &r); err != nil {
			return append(lines, err.Error()), r.Calls
		}
	}
	for _, e := range r.Calls {
		l := fmt.Sprintf("%d %s>%s %s %d %d", e.Number, e.Src, e.Dst, e.Method, e.Code, e.CSeq)
		for _, m := range e.Media {
			l += " " + m.Addr.String()
		}
		for _, t := range e.Targets {
			l += fmt.Sprintf(" to %s:%d/%s", t.Host, t.Port, t.Transport)
		}
		lines = append(lines, l)
	}
	return lines, r.Calls
}

func TestBasicCall(t *testing.T) {
	invite, trying, ringing, ok, ack, bye, byeOK := basicCall()
	conv := []observetest.Segment{observetest.ToServer(invite), observetest.ToClient(trying), observetest.ToClient(ringing, ok),
		observetest.ToServer(ack), observetest.ToClient(bye), observetest.ToServer(byeOK)}
	scope := "scope=3848276298220188511@atlanta.example.com"
	want := []string{
		"encryption=none", "sip.method=INVITE", "sip.method=ACK", "sip.method=BYE", "sip.status=100", "sip.status=180", "sip.status=200",
		"auth=none", "sdp.codec=PCMU/8000", "sdp.media=audio", "sip.call=accepted",
		"endpoint 192.0.2.101:49172/udp rtp source=sdp from=192.0.2.10:49152 " + scope + " idle=3600000000000",
		"endpoint 192.0.2.101:49173/udp rtcp source=sdp from=192.0.2.10:49152 " + scope + " idle=3600000000000",
		"endpoint 192.0.2.201:3456/udp rtp source=sdp from=192.0.2.1:5060 " + scope + " idle=3600000000000",
		"endpoint 192.0.2.201:3457/udp rtcp source=sdp from=192.0.2.1:5060 " + scope + " idle=3600000000000",
		"endpoint end " + scope,
	}
	res := observetest.Check(t, Protocol(), conv, observetest.Options{})
	observetest.Expect(t, res, want...)
	if last := res.Endpoints[len(res.Endpoints)-1]; !last.End {
		t.Errorf("the end of the call is not the last endpoint: %v", last)
	}
	// The same conversation captured from the middle of the connection: the rest of a
	// message comes first, and there are keep-alives between messages (RFC 5626 section
	// 3.5.1).
	conv[0] = observetest.ToServer("tag=x\r\nContent-Length: 0\r\n\r\n", invite, "\r\n\r\n")
	conv[1] = observetest.ToClient("\r\n", trying)
	observetest.Expect(t, observetest.Run(Protocol(), conv, observetest.Options{Midstream: true}), want...)
	observetest.Check(t, Protocol(), conv, observetest.Options{Midstream: true})

	udp := []observetest.Segment{observetest.ToServer(invite), observetest.ToClient(trying), observetest.ToClient(ringing),
		observetest.ToClient(ok),
		observetest.ToServer(ack), observetest.ToServer("\r\n\r\n"), observetest.ToClient(bye), observetest.ToServer(byeOK)}
	observetest.Expect(t, observetest.Check(t, Protocol(), udp, observetest.Options{Datagram: true}), want...)
	lines, _ := events(udp, false)
	wantEvents := []string{
		"1 192.0.2.10:49152>192.0.2.1:5060 INVITE 0 1 192.0.2.101:49172",
		"3 192.0.2.1:5060>192.0.2.10:49152 INVITE 180 1",
		"4 192.0.2.1:5060>192.0.2.10:49152 INVITE 200 1 192.0.2.201:3456",
		"7 192.0.2.1:5060>192.0.2.10:49152 BYE 0 1",
		"8 192.0.2.10:49152>192.0.2.1:5060 BYE 200 1",
	}
	if !slices.Equal(lines, wantEvents) {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(wantEvents, "\n"))
	}
}

// TestTortuous reads the short tortuous INVITE of RFC 4475 section 3.1.1.1.
func TestTortuous(t *testing.T) {
	body := "v=0\r\no=mhandley 29739 7272939 IN IP4 192.0.2.3\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\nm=audio 49217 RTP/AVP 0 12\r\n" +
		"m=video 3227 RTP/AVP 31\r\na=rtpmap:31 LPC\r\n"
	text := msg(body, "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0",
		"TO :", " sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n",
		`from   : "J Rosenberg \\\""       <sip:jdrosen@example.com>`, "  ;", "  tag = 98asjd8",
		"MaX-fOrWaRdS: 0068", "Call-ID: wsinv.ndaksdj@192.0.2.1", "Content-Length   : LEN", "cseq: 0009", "  INVITE",
		"Via  : SIP  /   2.0", " /UDP", "    192.0.2.2;branch=390skdjuw", "s :", "NewFangledHeader:   newfangled value",
		" continued newfangled value", "UnknownHeaderWithUnusualValue: ;;,,;;,;", "Content-Type: application/sdp", "Route:",
		" <sip:services.example.com;lr;unknownwith=value;unknown-no-value>", "v:  SIP  / 2.0  / TCP     spindle.example.com   ;",
		"  branch  =   z9hG4bK9ikj8  ,", " SIP  /    2.0   / UDP  192.168.255.111   ; branch=", " z9hG4bK30239",
		`m:"Quoted string \"\"" <sip:jdrosen@example.com> ; newparam =`, "      newvalue ;", "  secondparam ; q = 0.33")
	conv := []observetest.Segment{observetest.ToServer(text, text)}
	res := observetest.Check(t, Protocol(), conv, observetest.Options{})
	from := " source=sdp from=192.0.2.10:49152 scope=wsinv.ndaksdj@192.0.2.1 idle=3600000000000"
	observetest.Expect(t, res, "encryption=none", "sip.method=INVITE", "sdp.media=audio", "sdp.media=video", "sdp.codec=PCMU/8000",
		"sdp.codec=QCELP/8000",
		"endpoint 192.0.2.4:49217/udp rtp"+from, "endpoint 192.0.2.4:49218/udp rtcp"+from, "endpoint 192.0.2.4:3227/udp rtp"+from,
		"endpoint 192.0.2.4:3228/udp rtcp"+from)
	_, raw := events([]observetest.Segment{observetest.ToServer(text)}, true)
	if len(raw) != 1 {
		t.Fatalf("%d events", len(raw))
	}
	if e := raw[0]; e.FromTag != "98asjd8" || e.ToTag != "1918181833n" || e.CSeq != 9 || e.Caller != "jdrosen" || e.Callee != "vivekg" {
		t.Errorf("tags %q %q, CSeq %d, users %q %q", e.FromTag, e.ToTag, e.CSeq, e.Caller, e.Callee)
	}
}

// ids are the headers that every message needs, in compact form.
var ids = []string{"v: SIP/2.0/TCP pbx.example.com;branch=z9hG4bK1", "f: <sip:7001@pbx.example.com>;tag=1", "t: <sip:9000@um.example.com>",
	"i: 4711@10.0.0.9", "CSeq: 1 INVITE"}

func with(start string, more ...string) []string { return slices.Concat([]string{start}, ids, more) }

// TestEvidence covers the facts that identify the product that answers calls, and its
// answers.
func TestEvidence(t *testing.T) {
	invite := observetest.ToServer(msg("", with("INVITE sip:9000@um.example.com SIP/2.0", "l: 0")...))
	answer := func(code, header string) observetest.Segment {
		return observetest.ToClient(msg("", with("SIP/2.0 "+code, header, "l: 0")...))
	}
	for _, tt := range []struct {
		name string
		conv []observetest.Segment
		want []string
	}{
		{"Unified Messaging of 2016", []observetest.Segment{invite, answer("200 OK", "Server: RTCC/5.0.0.0 MSExchangeUM/15.01.2507.017")},
			[]string{"sip.server=RTCC/5.0.0.0 MSExchangeUM/15.01.2507.017", "exchange.version=15.1.2507.17", "sip.call=accepted"}},
		{"in the other field, with a comment", []observetest.Segment{invite, answer("200 OK", "User-Agent: RTCC/5.0.0.0 MSExchangeUM/15.00.0231.021 (x)")},
			[]string{"sip.server=RTCC/5.0.0.0 MSExchangeUM/15.00.0231.021 (x)", "exchange.version=15.0.231.21", "sip.call=accepted"}},
		{"the client's word", []observetest.Segment{observetest.ToServer(msg("", with("INVITE sip:9000@um.example.com SIP/2.0",
			"User-Agent: MSExchangeUM/15.01.2507.017", "l: 0")...)), answer("403 Forbidden", "Server: RTC/6.0")},
			[]string{"sip.user_agent=MSExchangeUM/15.01.2507.017", "sip.server=RTC/6.0", "sip.call=refused"}},
		{"challenged", []observetest.Segment{invite, answer("401 Unauthorized", "Server: x")}, []string{"sip.server=x"}},
		{"the server calls", []observetest.Segment{observetest.ToClient(string(invite.Data)), observetest.ToServer(string(answer("200 OK", "Server: x").Data))},
			[]string{"sip.user_agent=x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), tt.conv, observetest.Options{})
			var got []string
			for _, l := range r.Lines() {
				if name, _, _ := strings.Cut(l, "="); name == Server || name == UserAgent || name == Call || name == observe.ExchangeVersion {
					got = append(got, l)
				}
			}
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestEndOfDialog verifies that the end of a dialog names its sender, because only
// the hosts of a dialog may end it.
func TestEndOfDialog(t *testing.T) {
	refused := msg("", with("SIP/2.0 486 Busy Here", "l: 0")...)
	r := observetest.Check(t, Protocol(), []observetest.Segment{observetest.ToServer(msg("", with("INVITE sip:9000@um.example.com SIP/2.0", "l: 0")...)),
		observetest.ToClient(refused)}, observetest.Options{})
	if len(r.Endpoints) != 1 || !r.Endpoints[0].End || r.Endpoints[0].From.String() != "192.0.2.1:5060" {
		t.Errorf("%+v", r.Endpoints)
	}
}

func TestRedirect(t *testing.T) {
	invite := msg("", with("INVITE sip:9000@um.example.com:5060;transport=tcp SIP/2.0", "l: 0")...)
	const scope = " scope=4711@10.0.0.9"
	tests := []struct {
		name    string
		contact string
		want    []string
		event   string
	}{
		{"a worker by address", "Contact: <sip:9000@10.0.0.5:5065;transport=tcp>",
			[]string{"endpoint 10.0.0.5:5065/tcp sip source=sip_redirect from=192.0.2.1:5060" + scope + " idle=3600000000000",
				"sip.redirect=5065"},
			" to 10.0.0.5:5065/tcp"},
		{"a worker by name is on the host that answered", "m: <sip:um1.example.com:5067;transport=Tcp;ms-fe=um1.example.com>",
			[]string{"endpoint 192.0.2.1:5067/tcp sip source=sip_redirect from=192.0.2.1:5060" + scope + " weak idle=3600000000000", "sip.redirect=5067"},
			" to um1.example.com:5067/tcp"},
		{"TLS, IPv6, several", "Contact: \"A, <b>\" <sips:9000@[2001:db8::5]:5066>;q=0.9 , <sip:10.0.0.6;transport=tls>, sip:10.0.0.7:5068;q=0.1",
			[]string{"endpoint [2001:db8::5]:5066/tcp sips source=sip_redirect from=192.0.2.1:5060" + scope + " idle=3600000000000",
				"endpoint 10.0.0.6:5061/tcp sips source=sip_redirect from=192.0.2.1:5060" + scope + " idle=3600000000000",
				"endpoint 10.0.0.7:5068/tcp sip source=sip_redirect from=192.0.2.1:5060" + scope + " idle=3600000000000",
				"sip.redirect=5066", "sip.redirect=5061", "sip.redirect=5068"},
			" to 2001:db8::5:5066/tls to 10.0.0.6:5061/tls to 10.0.0.7:5068/udp"},
		{"a telephone number is not an endpoint", "Contact: <tel:+15551234>, <mailto:a@example.com>", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			moved := msg("", with("SIP/2.0 302 Moved Temporarily", tt.contact, "Server: RTCC/3.5.0.0 UnifiedMessaging", "l: 0",
				`ms-diagnostics: 15637;source="um1.example.com";reason="Redirect to worker"`)...)
			conv := []observetest.Segment{observetest.ToServer(invite), observetest.ToClient(moved)}
			res := observetest.Check(t, Protocol(), conv, observetest.Options{})
			observetest.Expect(t, res, append([]string{"encryption=none", "auth=none", "sip.method=INVITE", "sip.status=302", "sip.call=redirected",
				"sip.server=RTCC/3.5.0.0 UnifiedMessaging"}, tt.want...)...)
			lines, raw := events(conv, false)
			if want := "2 192.0.2.1:5060>192.0.2.10:49152 INVITE 302 1" + tt.event; lines[1] != want {
				t.Errorf("event %q, want %q", lines[1], want)
			}
			if raw[1].Diagnostic != "15637" || raw[1].Caller != "" || raw[1].Callee != "" {
				t.Errorf("diagnostic %q, users %q %q", raw[1].Diagnostic, raw[1].Caller, raw[1].Callee)
			}
		})
	}
}

func TestEnds(t *testing.T) {
	invite, _, ringing, ok, _, bye, byeOK := basicCall()
	other := func(s string) string { return strings.ReplaceAll(s, "8321234356", "fork2") }
	code := func(s, code string) string { return strings.Replace(s, "SIP/2.0 200 OK", "SIP/2.0 "+code, 1) }
	late := strings.Replace(invite, "biloxi.example.com>\r\n", "biloxi.example.com>;tag=8321234356\r\n", 1)
	late = strings.Replace(late, "CSeq: 1 ", "CSeq: 2 ", 1)
	lateNo := strings.Replace(code(ok, "488 Not Acceptable Here"), "CSeq: 1 ", "CSeq: 2 ", 1)
	c, s := observetest.ToServer, observetest.ToClient
	tests := []struct {
		name string
		conv []observetest.Segment
		ends int
	}{
		{"refused", []observetest.Segment{c(invite), s(ringing), s(code(ok, "486 Busy Here"))}, 1},
		{"cancelled", []observetest.Segment{c(invite), c(strings.Replace(bye, "BYE", "CANCEL", 1)), s(code(ok, "487 Request Terminated"))}, 1},
		{"challenged goes on", []observetest.Segment{c(invite), s(code(ok, "407 Proxy Authentication Required"))}, 0},
		{"redirected goes on", []observetest.Segment{c(invite), s(code(ok, "302 Moved Temporarily"))}, 0},
		{"a refused change goes on", []observetest.Segment{c(invite), s(ok), c(late), s(lateNo)}, 0},
		{"hung up", []observetest.Segment{c(invite), s(ok), s(bye), c(byeOK)}, 1},
		{"a BYE without answer yet", []observetest.Segment{c(invite), s(ok), s(bye)}, 0},
		{"one of two forks hung up", []observetest.Segment{c(invite), s(ok), s(other(ok)), s(other(bye)), c(other(byeOK))}, 0},
		{"both forks hung up", []observetest.Segment{c(invite), s(ok), s(other(ok)), s(other(bye)), c(other(byeOK)), s(bye), c(byeOK)}, 1},
		{"hung up, beginning not seen", []observetest.Segment{s(bye), c(byeOK)}, 1},
	}
	for _, tt := range tests {
		res := observetest.Run(Protocol(), tt.conv, observetest.Options{})
		ends := 0
		for _, e := range res.Endpoints {
			if e.End {
				ends++
			}
		}
		if ends != tt.ends {
			t.Errorf("%s: %d ends, want %d", tt.name, ends, tt.ends)
		}
	}
}

func TestAuth(t *testing.T) {
	invite := func(cseq int, more ...string) string {
		return msg("", slices.Concat([]string{"INVITE sip:a@b.example SIP/2.0"}, ids[:4], []string{fmt.Sprintf("CSeq: %d INVITE", cseq)},
			more)...)
	}
	answer := func(code string, cseq int) string {
		return msg("", slices.Concat([]string{"SIP/2.0 " + code}, ids[:4], []string{fmt.Sprintf("CSeq: %d INVITE", cseq)})...)
	}
	for _, tt := range []struct {
		name string
		conv []observetest.Segment
		want string
	}{
		{"granted without", []observetest.Segment{observetest.ToServer(invite(1)), observetest.ToClient(answer("200 OK", 1))}, "none"},
		{"digest after a challenge", []observetest.Segment{observetest.ToServer(invite(1)), observetest.ToClient(answer("401 Unauthorized", 1)),
			observetest.ToServer(invite(2, `Authorization: Digest username="a", realm="b"`)), observetest.ToClient(answer("200 OK", 2))}, "digest"},
		{"ntlm", []observetest.Segment{observetest.ToServer(invite(1, `Proxy-Authorization: NTLM qop="auth"`))}, "ntlm"},
		{"refused without", []observetest.Segment{observetest.ToServer(invite(1)), observetest.ToClient(answer("403 Forbidden", 1))}, ""},
		{"request not seen", []observetest.Segment{observetest.ToClient(answer("200 OK", 1))}, ""},
	} {
		res := observetest.Check(t, Protocol(), tt.conv, observetest.Options{})
		if got := strings.Join(res.Facts.Values(observe.Auth), ","); got != tt.want {
			t.Errorf("%s: auth %q, want %q", tt.name, got, tt.want)
		}
		for _, f := range res.Facts.All() {
			if strings.Contains(f.Value, "username") || strings.Contains(f.Value, "7001") {
				t.Errorf("%s: a fact names a user: %v", tt.name, f)
			}
		}
	}
}

func TestMultipart(t *testing.T) {
	part := "--b1\r\nContent-Type: text/plain\r\n\r\nm=audio 1 RTP/AVP 0\r\n--b1\r\n" +
		"Content-Type: multipart/alternative;boundary=\"b2\"\r\n\r\n" +
		"--b2\r\nContent-Type: application/sdp\r\nContent-Disposition: session; ms-proxy-2007fallback\r\n\r\n" + sdpA +
		"\r\n--b2\r\nc: application/sdp\r\n\r\n" + sdpB + "\r\n--b2--\r\n--b1--\r\n"
	text := msg(part, with("INVITE sip:9000@um.example.com SIP/2.0", "Content-Type: multipart/mixed; boundary=b1", "Content-Length: LEN")...)
	res := observetest.Check(t, Protocol(), []observetest.Segment{observetest.ToServer(text)}, observetest.Options{})
	var got []string
	for _, e := range res.Endpoints {
		if e.Service == "rtp" {
			got = append(got, e.Server.String())
		}
	}
	if want := []string{"192.0.2.101:49172", "192.0.2.201:3456"}; !slices.Equal(got, want) {
		t.Errorf("endpoints %v, want %v", got, want)
	}
}

// TestServices verifies that the description determines the service of its endpoint.
func TestServices(t *testing.T) {
	for _, tt := range []struct{ media, want string }{
		{"m=audio 4000 RTP/SAVP 0", "4000 srtp, 4001 srtcp"},
		{"m=audio 4000 RTP/AVP 0\r\na=rtcp:4010", "4000 rtp, 4010 rtcp"},
		{"m=audio 4000 RTP/AVP 0\r\na=rtcp-mux", "4000 rtp"},
		{"m=audio 4000/2 RTP/AVP 0", "4000 rtp, 4001 rtcp, 4002 rtp, 4003 rtcp"},
		{"m=image 4000 udptl t38", "4000 t38"},
		{"m=image 4000 tcp t38", ""},
		{"m=audio 0 RTP/AVP 0", ""},
		{"c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0", ""},
		{"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=rtcp-mux\r\na=candidate:1 1 udp 1 10.0.0.5 5000 typ host", "5000 srtp"},
		{"m=message 4000 TCP/MSRP *", ""},
	} {
		body := "v=0\r\nc=IN IP4 10.0.0.5\r\n" + tt.media + "\r\n"
		text := msg(body, with("INVITE sip:9000@um.example.com SIP/2.0", "c: application/sdp", "l: LEN")...)
		res := observetest.Run(Protocol(), []observetest.Segment{observetest.ToServer(text)}, observetest.Options{Datagram: true})
		var got []string
		for _, e := range res.Endpoints {
			if !e.UDP || e.Source != observe.FromSDP {
				t.Errorf("%s: %v", tt.media, e)
			}
			got = append(got, fmt.Sprintf("%d %s", e.Server.Port(), e.Service))
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.media, s, tt.want)
		}
	}
}

func TestHostile(t *testing.T) {
	invite, _, _, _, _, bye, _ := basicCall()
	lines := strings.Repeat("X-Header: endless\r\n", 100_000)
	media := "v=0\r\nc=IN IP4 10.0.0.5\r\n" + strings.Repeat("m=audio 4000 RTP/AVP 0\r\n", 10_000)
	nested := ""
	for i := range 50 {
		nested = fmt.Sprintf("--b%d\r\nContent-Type: multipart/mixed;boundary=b%d\r\n\r\n%s", i, i-1, nested)
	}
	for _, tt := range []struct {
		name, text, violation string
	}{
		{"endless headers", "INVITE sip:a@b SIP/2.0\r\n" + lines, "header-size"},
		{"an endless line", strings.Repeat("A", 1<<20), "framing"},
		{"an endless header line", "INVITE sip:a@b SIP/2.0\r\nVia: " + strings.Repeat("x", 1<<20), "header-size"},
		{"ten thousand media lines", msg(media, with("INVITE sip:a@b SIP/2.0", "c: application/sdp", "l: LEN")...), "sdp-limit"},
		{"nested multipart", msg(nested, with("INVITE sip:a@b SIP/2.0", "c: multipart/mixed;boundary=b49", "l: LEN")...), ""},
		{"a length too small", msg("garbage", with("INVITE sip:a@b SIP/2.0", "l: 3")...), "framing"},
		{"an implausible length", msg("", with("INVITE sip:a@b SIP/2.0", "l: 4294967296")...), "content-length"},
		{"a negative length", msg("", with("INVITE sip:a@b SIP/2.0", "l: -1")...), "content-length"},
		{"two lengths", msg("", with("INVITE sip:a@b SIP/2.0", "l: 0", "Content-Length: 5")...), "content-length"},
		{"no Call-ID", "INVITE sip:a@b SIP/2.0\r\nl: 0\r\n\r\n", "header"},
		{"another method in CSeq", strings.Replace(msg("", with("INVITE sip:a@b SIP/2.0")...), "1 INVITE", "1 BYE", 1), "header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// After a valid message the text is a violation, and the following messages
			// are read.
			conv := []observetest.Segment{observetest.ToServer(invite), observetest.ToServer(tt.text), observetest.ToServer("\r\n", bye)}
			res := observetest.Run(Protocol(), conv, observetest.Options{})
			if got := strings.Join(res.Facts.Values(Violation), ","); got != tt.violation {
				t.Errorf("violation %q, want %q", got, tt.violation)
			}
			if !res.Facts.Has(Method, "BYE") {
				t.Error("the next message was not read")
			}
			if res.Held > maxHeader+maxWindow || len(res.Endpoints) > 200 {
				t.Errorf("%d bytes held, %d endpoints", res.Held, len(res.Endpoints))
			}
			if len(tt.text) < 64<<10 {
				observetest.Check(t, Protocol(), conv, observetest.Options{})
			}
			if len(tt.text) < 1<<16 {
				observetest.Check(t, Protocol(), []observetest.Segment{observetest.ToServer(tt.text)}, observetest.Options{Datagram: true})
			}
		})
	}
	// By itself the text is not SIP.
	for _, text := range []string{"EHLO mail.example.com\r\n", strings.Repeat("A", 5000), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"} {
		for _, datagram := range []bool{false, true} {
			res := observetest.Run(Protocol(), []observetest.Segment{observetest.ToServer(text)}, observetest.Options{Datagram: datagram})
			if res.Err != observe.ErrViolation {
				t.Errorf("%.20q: %v", text, res.Err)
			}
		}
	}
}

func TestGap(t *testing.T) {
	invite, _, _, ok, _, bye, byeOK := basicCall()
	conv := []observetest.Segment{observetest.ToServer(invite[:100]), observetest.Lost(observe.ToServer, 200),
		observetest.ToServer(invite[300:]),
		observetest.ToClient(ok), observetest.ToClient(bye), observetest.ToServer(byeOK)}
	res := observetest.Check(t, Protocol(), conv, observetest.Options{})
	if res.Facts.Has(Method, "INVITE") || res.Facts.Any(Violation) || !res.Facts.Has(Method, "BYE") || len(res.Endpoints) != 3 {
		t.Errorf("%v %v", res.Facts.All(), res.Endpoints)
	}
}

func TestMany(t *testing.T) {
	// A flow between two proxies carries any number of calls. Its memory must be bounded.
	o := &observer{}
	var r observe.Report
	invite, _, _, ok, _, _, _ := basicCall()
	for i := range 5 * maxDialogs {
		for _, s := range []observetest.Segment{observetest.ToServer(invite), observetest.ToClient(ok)} {
			in := observe.Input{Dir: s.Dir, Datagram: true, Data: []byte(strings.ReplaceAll(string(s.Data), "3848276298220188511", strconv.Itoa(i)))}
			if _, err := o.Observe(&in, &r); err != nil {
				t.Fatal(err)
			}
		}
		r.Calls, r.Endpoints = r.Calls[:0], r.Endpoints[:0]
	}
	if len(o.dialogs) > maxDialogs || len(o.order) > 2*maxDialogs {
		t.Errorf("%d dialogs, %d in order", len(o.dialogs), len(o.order))
	}
}

func TestReversed(t *testing.T) {
	_, trying, _, _, _, _, _ := basicCall()
	invite, _, _, _, _, _, _ := basicCall()
	ends := observetest.Options{Datagram: true, Client: netip.MustParseAddrPort("10.0.0.1:5060"),
		Server: netip.MustParseAddrPort("10.0.0.2:5060")}
	if res := observetest.Run(Protocol(), []observetest.Segment{observetest.ToServer(trying)}, ends); res.Err != observe.ErrReversed {
		t.Errorf("a response from the client: %v", res.Err)
	}
	if res := observetest.Run(Protocol(), []observetest.Segment{observetest.ToClient(invite)}, ends); res.Err != observe.ErrReversed {
		t.Errorf("a request from the server: %v", res.Err)
	}
	ends.Client = netip.MustParseAddrPort("10.0.0.1:49152")
	if res := observetest.Run(Protocol(), []observetest.Segment{observetest.ToClient(invite)}, ends); res.Err != nil {
		t.Errorf("a request to a client with a port of its own: %v", res.Err)
	}
}

func TestDetect(t *testing.T) {
	for _, tt := range []struct {
		text             string
		stream, datagram observe.Match
	}{
		{"", observe.More, observe.More},
		{"\r\n\r\n", observe.More, observe.More},
		{"\x00\x00\x00\x00", observe.More, observe.More},
		{"INV", observe.More, observe.No},
		{"INVITE si", observe.More, observe.No},
		{"INVITE sip:a@b SIP/2.0\r\n", observe.Yes, observe.Yes},
		{"\r\nOPTIONS sip:a SIP/2.0\r\n", observe.Yes, observe.Yes},
		{"SUBSCRIBE tel:+88 SIP/2.0\r\n", observe.Yes, observe.Yes},
		{"OPTIONS * HTTP/1.1\r\n", observe.No, observe.No},
		{"OPTIONS rtsp://a RTSP/1.0\r\n", observe.No, observe.No},
		{"SIP/2.0 200 OK\r\n", observe.Yes, observe.Yes},
		{"SIP/2.0 999 OK\r\n", observe.No, observe.No},
		{"SSH-2.0-OpenSSH_9.2\r\n", observe.No, observe.No},
		{"HTTP/1.1 200 OK\r\n", observe.No, observe.No},
		{"220 mail ESMTP\r\n", observe.No, observe.No},
		{"\x16\x03\x01\x02\x00", observe.No, observe.No},
	} {
		if got := detect(&observe.First{ToServer: []byte(tt.text)}); got != tt.stream {
			t.Errorf("stream %q: %d, want %d", tt.text, got, tt.stream)
		}
		if got := detect(&observe.First{ToServer: []byte(tt.text), Datagram: true}); got != tt.datagram {
			t.Errorf("datagram %q: %d, want %d", tt.text, got, tt.datagram)
		}
		if got := detect(&observe.First{ToClient: []byte(tt.text)}); got != tt.stream {
			t.Errorf("from the server %q: %d, want %d", tt.text, got, tt.stream)
		}
	}
}

func FuzzSIP(f *testing.F) {
	invite, trying, ringing, ok, ack, bye, byeOK := basicCall()
	moved := msg("", with("SIP/2.0 302 Moved", "m: \"x\" <sips:a@[::1]:5066;transport=tls>;q=1, sip:b:1", "l: 0")...)
	part := msg("--b\r\nc: application/sdp\r\n\r\n"+sdpA+"\r\n--b--", with("UPDATE sip:a@b SIP/2.0", "c: multipart/mixed;boundary=b",
		"l: LEN")...)
	observetest.Fuzz(f, Protocol(),
		[]observetest.Segment{observetest.ToServer(invite), observetest.ToClient(trying, ringing, ok), observetest.ToServer(ack),
			observetest.ToClient(bye), observetest.ToServer(byeOK)},
		[]observetest.Segment{observetest.ToServer("\r\n\r\n", part), observetest.ToClient(moved), observetest.Lost(observe.ToClient, 10),
			observetest.ToClient(bye)},
		[]observetest.Segment{observetest.ToServer("INVITE sip:a SIP/2.0\r\nl: 5\r\n\r\nabc"), observetest.ToServer("xINVITE sip:a SIP/2.0\n\n")},
	)
}

// TestCut verifies that the complete lines of a datagram cut by the snap length are read.
func TestCut(t *testing.T) {
	invite, _, _, _, _, _, _ := basicCall()
	for n := range len(invite) {
		res := observetest.Run(Protocol(), []observetest.Segment{observetest.ToServer(invite[:n])}, observetest.Options{Datagram: true,
			Cut: true})
		for _, e := range res.Endpoints {
			if p := e.Server.Port(); p != 49172 && p != 49173 {
				t.Fatalf("cut at %d: port %d", n, p)
			}
		}
		if res.Facts.Any(Violation) && n > strings.Index(invite, "INVITE\r\n") {
			t.Fatalf("cut at %d: violation %v", n, res.Facts.Values(Violation))
		}
	}
}

// TestHeld starts calls without end on one flow, each with long names and the maximum
// number of forks.
func TestHeld(t *testing.T) {
	o := Protocol().New().(*observer)
	var r observe.Report
	in := observe.Input{Handshake: true, Flow: observetest.Between(netip.MustParseAddrPort("10.0.0.9:49152"), netip.MustParseAddrPort("10.0.0.5:5060"))}
	pad := strings.Repeat("x", 200)
	most := 0
	for i := range 3000 {
		id := fmt.Sprint("i: ", i, pad)
		send := func(dir observe.Direction, start, tag string) {
			in.Dir, in.Data = dir, []byte(msg("", start, ids[0], ids[1], "t: <sip:a@b>"+tag, id, "CSeq: 1 INVITE", "l: 0"))
			if _, err := o.Observe(&in, &r); err != nil {
				t.Fatal(err)
			}
			r.Endpoints, r.Calls = r.Endpoints[:0], r.Calls[:0]
		}
		send(observe.ToServer, "INVITE sip:a@b SIP/2.0", "")
		for fork := range 12 {
			send(observe.ToClient, "SIP/2.0 200 OK", fmt.Sprint(";tag=", fork, pad[:100]))
		}
		most = max(most, o.Held())
	}
	if most > maxHeld+8<<10 || o.Held() <= 0 {
		t.Errorf("held %d bytes, now %d", most, o.Held())
	}
	sum := 0
	for _, d := range o.dialogs {
		sum += d.size()
	}
	if sum != o.Held() {
		t.Errorf("calls occupy %d bytes, Held returns %d", sum, o.Held())
	}
}
