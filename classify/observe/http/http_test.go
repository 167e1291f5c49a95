package http

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// msg returns a message of header lines and a body.
func msg(body string, lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" + body }

func length(n int) string { return "Content-Length: " + strconv.Itoa(n) }

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

var (
	to, back = observetest.ToServer, observetest.ToClient

	ntlm1 = b64("NTLMSSP\x00\x01\x00\x00\x00\x07\x82\x08\xa2" + strings.Repeat("\x00", 16))
	ntlm2 = b64("NTLMSSP\x00\x02\x00\x00\x00" + strings.Repeat("\x00", 44))
	ntlm3 = b64("NTLMSSP\x00\x03\x00\x00\x00" + strings.Repeat("\x00", 60))
	// A SPNEGO NegTokenInit that offers only Kerberos (RFC 4178 section 4.2.1).
	kerberosOffer = b64("\x60\x1b\x06\x06\x2b\x06\x01\x05\x05\x02\xa0\x11\x30\x0f\xa0\x0d\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02")

	// connA1 is the request of an OUT channel ([MS-RPCH] section 2.2.4.2).
	connA1 = unhex("05001403100000004c00000000000000" + "00000400" + "0600000001000000" +
		"03000000" + "11111111111111111111111111111111" + "03000000" + "22222222222222222222222222222222" + "0000000000000100")
	// connB1 is the request of an IN channel ([MS-RPCH] section 2.2.4.5).
	connB1 = unhex("05001403100000006800000000000000" + "00000600" + "0600000001000000" +
		"03000000" + "11111111111111111111111111111111" + "03000000" + "33333333333333333333333333333333" + "0400000000000040" +
		"05000000e0930400" + "0c000000" + "44444444444444444444444444444444")
	// bind binds NSPI ([C706] section 12.6.4.3, [MS-NSPI] section 1.9).
	bind = unhex("05000b03100000004800000001000000" + "d016d01600000000" + "01000000" + "00000100" +
		"185accf564421a108c5908002b2f8426" + "38000000" + "045d888aeb1cc9119fe808002b104860" + "02000000")
)

func unhex(s string) string {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestObserve(t *testing.T) {
	for _, c := range []struct {
		name      string
		conv      []observetest.Segment
		midstream bool
		id        bool
		err       error
		want      []string
	}{
		{
			name: "Basic to ActiveSync, headers with the version",
			conv: []observetest.Segment{
				to(msg("<wbxml>", "POST /microsoft-server-activesync?User=alice&DeviceId=123&Cmd=Sync HTTP/1.1", "Host: Mail.Example.com:80",
					"User-Agent: Apple-iPhone3C1/1001.405", "Authorization: Basic YWxpY2U6c2VjcmV0", length(7))),
				back(msg("answer", "HTTP/1.1 200 OK", "Server: Microsoft-IIS/7.5", "MS-Server-ActiveSync: 14.3", length(6))),
			},
			want: []string{
				"http.method=POST", "http.path=/Microsoft-Server-ActiveSync", "http.host=mail.example.com",
				"http.user_agent=Apple-iPhone3C1/1001.405", "http.server=Microsoft-IIS/7.5", "http.status=200", "activesync.version=14.3", "http.header=MS-Server-ActiveSync",
				"auth=basic", "encryption=none",
			},
		},
		{
			name: "NTLM for the Availability service, the connection stays authenticated",
			conv: []observetest.Segment{
				to(msg("", "POST /ews/exchange.ASMX HTTP/1.1", "Host: cas1", length(0))),
				back(msg("denied", "HTTP/1.1 401 Unauthorized", `WWW-Authenticate: Basic realm="a, b", Negotiate`, "WWW-Authenticate: NTLM",
					length(6))),
				to(msg("", "POST /EWS/Exchange.asmx HTTP/1.1", "Host: cas1", "Authorization: NTLM "+ntlm1, length(0))),
				back(msg("", "HTTP/1.1 401 Unauthorized", "WWW-Authenticate: NTLM "+ntlm2, length(0))),
				to(msg("<soap>", "POST /EWS/Exchange.asmx HTTP/1.1", "Host: cas1", "Authorization: NTLM "+ntlm3, length(6))),
				back(msg("5\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 200 OK", "Transfer-Encoding: chunked")),
				to(msg("<soap>", "POST /EWS/Exchange.asmx HTTP/1.1", "Host: cas1", length(6))),
				back(msg("", "HTTP/1.1 200 OK", length(0))),
			},
			want: []string{
				"http.method=POST", "http.path=/EWS/Exchange.asmx", "http.host=cas1", "http.status=200", "http.status=401",
				"http.challenge=basic", "http.challenge=negotiate", "http.challenge=ntlm", "auth=ntlm", "encryption=none",
			},
		},
		{
			name: "Negotiate with Kerberos",
			conv: []observetest.Segment{
				to(msg("", "GET /owa/?x=secret HTTP/1.1", "Host: mail.example.com", "Authorization: Negotiate "+kerberosOffer)),
				back(msg("hello", "HTTP/1.1 200 OK", "X-OWA-Version: 15.1.2375.7", "X-FEServer: EX1", "X-BEServer: EX2", length(5))),
			},
			want: []string{
				"http.method=GET", "http.path=/owa", "http.host=mail.example.com", "http.status=200", "auth=kerberos", "encryption=none",
				"exchange.version=15.1.2375.7", "exchange.role=frontend",
				"http.header=X-FEServer", "http.header=X-BEServer", "http.header=X-OWA-Version",
			},
		},
		{
			name: "refused credentials are not authentication, but Basic was readable",
			conv: []observetest.Segment{
				to(msg("", "GET /owa/ HTTP/1.1", "Authorization: Basic YTpi")), back(msg("", "HTTP/1.1 401 Unauthorized", length(0))),
			},
			want: []string{"http.method=GET", "http.path=/owa", "http.status=401", "encryption=none"},
		},
		{
			name: "a redirect to https is not content in clear",
			conv: []observetest.Segment{
				to(msg("", "GET / HTTP/1.1", "Host: mail.example.com")),
				back(msg("moved", "HTTP/1.1 302 Found", "Location: https://mail.example.com/owa/", "Server: Microsoft-IIS/10.0", length(5))),
			},
			want: []string{
				"http.method=GET", "http.path=/", "http.host=mail.example.com", "http.status=302", "http.redirect=https",
				"http.server=Microsoft-IIS/10.0",
			},
		},
		{
			name: "a demand for TLS is not content in clear",
			conv: []observetest.Segment{
				to(msg("", "GET /owa HTTP/1.1", "Host: m")), back(msg("403.4", "HTTP/1.1 403 Forbidden", length(5))),
			},
			want: []string{"http.method=GET", "http.path=/owa", "http.host=m", "http.status=403"},
		},
		{
			name: "forms, behind an offloading proxy",
			conv: []observetest.Segment{
				to(msg("", "GET /owa/auth/logon.aspx?url=x HTTP/1.1", "Host: m")), back(msg("form", "HTTP/1.1 200 OK", length(4))),
				to(msg("password=secret", "POST /owa/auth.owa HTTP/1.1", "Host: m", length(15))),
				back(msg("", "HTTP/1.1 302 Found", "Location: https://m/owa/", "Set-Cookie: cadata=secret", length(0))),
				to(msg("", "GET /owa/ HTTP/1.1", "Host: m", "Cookie: a=b; cadata=secret")), back(msg("mail", "HTTP/1.1 200 OK", length(4))),
			},
			want: []string{
				"http.method=GET", "http.method=POST", "http.path=/owa/auth/logon.aspx", "http.path=/owa/auth.owa", "http.path=/owa",
				"http.host=m", "http.status=200", "http.status=302", "http.redirect=https", "auth=forms", "encryption=none",
			},
		},
		{
			name: "anonymous, and an answer that ends with the connection",
			conv: []observetest.Segment{
				to(msg("", "GET /owa/x.js HTTP/1.0", "User-Agent: Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36")),
				back(msg("HTTP/1.1 500 No\r\n\r\n", "HTTP/1.0 200 OK", "Server: nginx")),
			},
			want: []string{
				"http.method=GET", "http.path=/owa/…", "http.user_agent=Mozilla/5.0", "http.server=nginx", "http.status=200",
				"auth=anonymous", "encryption=none",
			},
		},
		{
			name: "a cookie may be credentials, a late start may have missed them", midstream: true,
			conv: []observetest.Segment{
				to(msg("", "GET /a/b HTTP/1.1", "Cookie: session=1")), back(msg("", "HTTP/1.1 204 No Content")),
				to(msg("", "GET /a/b HTTP/1.1")), back(msg("", "HTTP/1.1 304 Not Modified", length(500))),
				to(msg("", "HEAD /a/b HTTP/1.1")), back(msg("", "HTTP/1.1 200 OK", length(500))),
			},
			want: []string{"http.method=GET", "http.method=HEAD", "http.path=/a/…", "http.status=2xx", "http.status=304", "http.status=200"},
		},
		{
			name: "a health check needs no authentication",
			conv: []observetest.Segment{to(msg("", "GET /EWS/healthcheck.htm HTTP/1.1")), back(msg("200 OK", "HTTP/1.1 200 OK", length(6)))},
			want: []string{"http.method=GET", "http.path=/EWS/…", "http.status=200", "encryption=none"},
		},
		{
			name: "remote shell: Kerberos encrypts the message",
			conv: []observetest.Segment{
				to(msg("", "POST /PowerShell?PSVersion=2.0 HTTP/1.1", "Authorization: Kerberos "+kerberosOffer, length(0),
					"User-Agent: Microsoft WinRM Client")),
				back(msg("", "HTTP/1.1 200 OK", length(0))),
				to(msg("sealed", "POST /PowerShell?PSVersion=2.0 HTTP/1.1", length(6),
					`Content-Type: multipart/encrypted;protocol="application/HTTP-Kerberos-session-encrypted";boundary="Encrypted Boundary"`)),
				back(msg("sealed", "HTTP/1.1 200 OK", length(6),
					`Content-Type: multipart/encrypted;protocol="application/HTTP-Kerberos-session-encrypted";boundary="Encrypted Boundary"`)),
			},
			want: []string{
				"http.method=POST", "http.path=/PowerShell", "http.user_agent=Microsoft WinRM Client", "http.status=200", "auth=kerberos",
				"encryption=message-sealed",
			},
		},
		{
			name: "pipelining, 100 Continue, HEAD, chunks with trailers",
			conv: []observetest.Segment{
				to(msg("body", "PUT /a HTTP/1.1", "Expect: 100-continue", length(4)), msg("", "HEAD /b HTTP/1.1"),
					msg("3;ext=1\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n", "PROPFIND /public/x HTTP/1.1", "Transfer-Encoding: chunked"),
					msg("", "GET /c HTTP/1.1")),
				back(msg("", "HTTP/1.1 100 Continue"), msg("", "HTTP/1.1 201 Created", length(0)), msg("", "HTTP/1.1 200 OK", length(10000)),
					msg("1\r\nx\r\n0\r\n\r\n", "HTTP/1.1 207 Multi-Status", "Transfer-Encoding: chunked"), msg("", "HTTP/1.1 404 Not Found", length(0))),
			},
			want: []string{
				"http.method=PUT", "http.method=HEAD", "http.method=PROPFIND", "http.method=GET", "http.path=/a", "http.path=/b", "http.path=/c",
				"http.path=/public/…", "http.status=2xx", "http.status=200", "http.status=207", "http.status=404", "auth=anonymous",
				"encryption=none",
			},
		},
		{
			name: "a body that the server made unnecessary",
			conv: []observetest.Segment{
				to(msg("", "POST /EWS/Exchange.asmx HTTP/1.1", "Expect: 100-continue", length(400))),
				back(msg("", "HTTP/1.1 401 Unauthorized", length(0))),
				to(msg("", "GET /oab/x/oab.xml HTTP/1.1")), back(msg("", "HTTP/1.1 404 Not Found", length(0))),
			},
			want: []string{
				"http.method=POST", "http.method=GET", "http.path=/EWS/Exchange.asmx", "http.path=/OAB/…", "http.status=401", "http.status=404",
			},
		},
		{
			name: "RPC over HTTP, the OUT channel",
			conv: []observetest.Segment{
				to(msg(connA1, "RPC_OUT_DATA /rpc/rpcproxy.dll?mb1.example.com:6001 HTTP/1.1", "User-Agent: MSRPC", "Host: mail",
					"Authorization: NTLM "+ntlm3, length(76))),
				back(msg("", "HTTP/1.1 200 Success", "Content-Type: application/rpc", length(1<<30))),
			},
			want: []string{
				"http.method=RPC_OUT_DATA", "http.path=/rpc/rpcproxy.dll", "rpc.http_port=6001", "rpc.http_server=mb1.example.com", "http.user_agent=MSRPC", "http.host=mail",
				"http.status=200", "auth=ntlm", "rpc.rts=out", "rpc.cookie=11111111-1111-1111-1111-111111111111",
			},
		},
		{
			name: "RPC over HTTP, the IN channel, which is not answered while it is open",
			conv: []observetest.Segment{
				to(msg(connB1, "RPC_IN_DATA /rpc/rpcproxy.dll?mb1.example.com:6004 HTTP/1.1", "User-Agent: MSRPC",
					"Authorization: Basic YTpi", length(1<<30))),
				to(bind),
			},
			want: []string{
				"http.method=RPC_IN_DATA", "http.path=/rpc/rpcproxy.dll", "rpc.http_port=6004", "rpc.http_server=mb1.example.com", "http.user_agent=MSRPC",
				"auth=basic", "encryption=none", "rpc.rts=in", "rpc.cookie=11111111-1111-1111-1111-111111111111",
				"rpc.uuid=f5cc5a18-4264-101a-8c59-08002b2f8426 v56.0",
			},
		},
		{
			name: "an IN channel that was only requested",
			conv: []observetest.Segment{
				to(msg(connB1, "RPC_IN_DATA /rpc/rpcproxy.dll?mb1.example.com:6004 HTTP/1.1", "Authorization: Basic YTpi", length(1<<30))),
			},
			want: []string{
				"http.method=RPC_IN_DATA", "http.path=/rpc/rpcproxy.dll", "rpc.http_port=6004", "rpc.http_server=mb1.example.com", "rpc.rts=in",
				"rpc.cookie=11111111-1111-1111-1111-111111111111",
			},
		},
		{
			name: "MAPI over HTTP",
			conv: []observetest.Segment{
				to(msg("x", "POST /mapi/emsmdb/?MailboxId=a@example.com HTTP/1.1", "X-RequestType: Execute", length(1),
					"User-Agent: Microsoft Office/16.0 (Windows)")),
				to(msg("x", "POST /mapi/nspi/?MailboxId=a@example.com HTTP/1.1", "X-RequestType: Nonsense", length(1))),
			},
			want: []string{
				"http.method=POST", "http.path=/mapi/emsmdb", "http.path=/mapi/nspi", "mapi.request_type=Execute", "mapi.request_type=other",
				"http.user_agent=Microsoft Office/16.0",
			},
		},
		{
			name: "through a proxy, then a tunnel",
			conv: []observetest.Segment{
				to(msg("", "GET http://bob:secret@www.Example.com:8080/bob@example.com/x HTTP/1.1")),
				back(msg("", "HTTP/1.1 502 Bad Gateway", length(0))),
				to(msg("", "CONNECT mail.example.com:443 HTTP/1.1")), back(msg("", "HTTP/1.1 200 Connection established"), "\x16\x03"),
			},
			err: observe.ErrUpgrade,
			want: []string{
				"http.method=GET", "http.method=CONNECT", "http.host=www.example.com", "http.host=mail.example.com", "http.path=/…",
				"http.status=502", "http.status=200",
			},
		},
		{
			name: "another protocol takes over",
			conv: []observetest.Segment{
				to(msg("", "GET /signalr HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade")), back(msg("", "HTTP/1.1 101 Switching Protocols")),
			},
			err:  observe.ErrDone,
			want: []string{"http.method=GET", "http.path=/signalr", "http.status=101"},
		},
		{
			name: "full paths with identities", id: true,
			conv: []observetest.Segment{to(msg("", "GET /public/Sales/x.eml?y=secret HTTP/1.1"))},
			want: []string{"http.method=GET", "http.path=/public/…", "http.target=/public/Sales/x.eml"},
		},
		{
			name: "HTTP/2 in clear",
			conv: []observetest.Segment{to("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12")},
			err:  observe.ErrDone,
			want: []string{"http.version=2"},
		},
		{
			name: "a gap in the answers, found again after the next request",
			conv: []observetest.Segment{
				to(msg("", "GET /owa/1 HTTP/1.1")), back("HTTP/1.1 200 OK\r\nCont"), observetest.Lost(observe.ToClient, 3000),
				back("tail of a body"), to(msg("", "GET /owa/2 HTTP/1.1", "Authorization: Basic YTpi")),
				back(msg("mail", "HTTP/1.1 200 OK", length(4), "Server: Microsoft-IIS/10.0")),
			},
			want: []string{
				"http.method=GET", "http.path=/owa/…", "http.status=200", "http.server=Microsoft-IIS/10.0", "auth=basic", "encryption=none",
			},
		},
		{
			name: "a gap within a skipped body does no harm",
			conv: []observetest.Segment{
				to(msg("", "GET /a HTTP/1.1")), back(msg("abc", "HTTP/1.1 200 OK", length(1000))), observetest.Lost(observe.ToClient, 997),
				to(msg("", "GET /b HTTP/1.1")), back(msg("", "HTTP/1.1 404 Not Found", length(0))),
			},
			want: []string{
				"http.method=GET", "http.path=/a", "http.path=/b", "http.status=200", "http.status=404", "auth=anonymous", "encryption=none",
			},
		},
		{
			name: "the answer alone", midstream: true,
			conv: []observetest.Segment{back(msg("hello", "HTTP/1.1 200 OK", length(5)), msg("", "HTTP/1.1 404 Not Found", length(0)))},
			want: []string{"http.status=200", "http.status=404", "encryption=none"},
		},
		{
			name: "half of RPC over HTTP alone", midstream: true,
			conv: []observetest.Segment{back(msg("\x05\x00", "HTTP/1.1 200 Success", length(1<<30), "Content-Type: application/rpc"))},
			want: []string{"http.status=200"},
		},
		{
			name: "the health check of a load balancer, HTTP/0.9",
			conv: []observetest.Segment{to("GET /\r\n\r\n"), back("<html>"), back("HTTP/1.1 500 no\r\n\r\n")},
			want: []string{"http.method=GET", "http.path=/", "http.version=0.9", "encryption=none"},
		},
		{
			name: "the same, answered as HTTP/1",
			conv: []observetest.Segment{to("GET /\r\n"), back(msg("", "HTTP/1.1 400 Bad Request", "Server: Microsoft-HTTPAPI/2.0"))},
			want: []string{"http.method=GET", "http.path=/", "http.version=0.9", "http.status=400", "http.server=Microsoft-HTTPAPI/2.0"},
		},
		{name: "the server first", conv: []observetest.Segment{to(msg("", "HTTP/1.1 200 OK"))}, err: observe.ErrReversed},
		{name: "SIP", conv: []observetest.Segment{to("OPTIONS sip:a@b SIP/2.0\r\n\r\n")}, err: observe.ErrViolation},
		{name: "RTSP", conv: []observetest.Segment{to("OPTIONS * RTSP/1.0\r\n\r\n")}, err: observe.ErrViolation},
		{
			name: "contradictory lengths end a direction",
			conv: []observetest.Segment{to(msg("", "POST /a HTTP/1.1", length(4), length(5)), msg("", "GET /b HTTP/1.1"))},
			want: []string{"http.method=POST", "http.path=/a"},
		},
		{
			name: "a header line of 20 kB",
			conv: []observetest.Segment{to(msg("", "GET /a HTTP/1.1", "X: "+strings.Repeat("y", 20000), "Host: z"), msg("", "GET /b HTTP/1.1"))},
			want: []string{"http.method=GET", "http.path=/a", "http.path=/b", "http.host=z"},
		},
		{
			name: "a Kerberos token of 12 kB",
			conv: []observetest.Segment{
				to(msg("", "GET /a HTTP/1.1", "Authorization: Negotiate "+b64("NTLMSSP\x00\x03\x00\x00\x00"+strings.Repeat("\x00", 12000)))),
				back(msg("", "HTTP/1.1 200 OK", length(0))),
			},
			want: []string{"http.method=GET", "http.path=/a", "http.status=200", "auth=ntlm"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), c.conv, observetest.Options{Midstream: c.midstream, Identities: c.id})
			if r.Err != c.err {
				t.Errorf("ends with %v, want %v", r.Err, c.err)
			}
			// TestEvidence covers the fact that joins paths and answers.
			for _, v := range r.Facts.Values(Answer) {
				r.Facts.Remove(Answer, v)
			}
			observetest.Expect(t, r, c.want...)
			for _, l := range r.Lines() {
				if strings.Contains(l, "secret") {
					t.Errorf("%s was kept", l)
				}
			}
		})
	}
}

func TestReduce(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"/", "/"},
		{"/owa", "/owa"},
		{"/OWA/", "/owa"},
		{"/owa/14.3/x", "/owa/…"},
		{"/~alice/x", "/…"},
		{"/owapages", "/owapages"},
		{"/owa/auth/logon.aspx", "/owa/auth/logon.aspx"},
		{"/owa/auth/15.1/x.css", "/owa/auth/…"},
		{"/ews/EXCHANGE.asmx", "/EWS/Exchange.asmx"},
		{"/ews/exchange.asmx/s/GetItem", "/EWS/Exchange.asmx/…"},
		{"/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"},
		{"/OAB/6b3c/oab.xml", "/OAB/…"},
		{"/rpc/RpcProxy.dll", "/rpc/rpcproxy.dll"},
		{"/powershell/", "/PowerShell"},
		{"/exchange/alice/inbox", "/exchange/…"},
		{"/certsrv", "/certsrv"},
		{"/certsrv/certrqxt.asp", "/certsrv/…"},
		{"/alice@example.com/x", "/…"},
		{"/alice%40example.com", "/…"},
		{"//x", "/…"},
		{"/" + strings.Repeat("a", 65), "/…"},
		{"/pki/mscorp/crl/Microsoft%20IT.crl", "/pki/….crl"},
		{"/ca.CRT", "/ca.CRT"},
		{"/~alice/x/roots.crt", "/….crt"},
		{"/d/msdownload/update/software/secu/x.cab", "/d/….cab"},
		{"/server/amupdate/metadata/UniversalManifest.cab", "/server/amupdate/…"},
		{"/server/other", "/server/…"},
		{"/SMS_DP_SMSPKG$/package/x", "/SMS_DP_SMSPKG$/…"},
		{"/CertEnroll/ca1.example.com_CA.crl", "/CertEnroll/….crl"},
		{"/_wmcs/Licensing/license.asmx", "/_wmcs/licensing/…"},
		{"/wsman?PSVersion=5.1", "/…"},
		{"/wsman", "/wsman"},
	} {
		p := reduce([]byte(c.path))
		got := p.constant + string(p.first) + p.tail
		if p.constant != "" {
			got = p.constant
		}
		if got != c.want {
			t.Errorf("reduce(%s) = %s, want %s", c.path, got, c.want)
		}
	}
}

func TestProduct(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"MSRPC", "MSRPC"},
		{"Microsoft BITS/7.5", "Microsoft BITS/7.5"},
		{"Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.4266; Pro)", "Microsoft Office/16.0"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36", "Mozilla/5.0"},
		{"Microsoft WinRM Client", "Microsoft WinRM Client"},
		{"ASProxy/CrossSite/EXCH/14.03", "ASProxy/CrossSite/EXCH/14.03"},
		{"Android-Mail/2020.1 (alice's phone)", "Android-Mail/2020.1"},
		{"agent of alice@example.com", ""},
	} {
		if got := string(product([]byte(c.in))); got != c.want {
			t.Errorf("product(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

// TestIsProduct verifies that product returns the known product wherever isProduct is
// true.
func TestIsProduct(t *testing.T) {
	words := []string{"", "A", "B b", "Office/16.0", "/", " ", "(x)", ";", ",", "C c c c", "/1 d", strings.Repeat("e", 63), "@"}
	matches := 0
	var all []string
	for _, a := range words {
		for _, b := range words {
			for _, c := range words {
				if s := string(trim([]byte(a + b + c))); s != "" {
					all = append(all, s)
				}
			}
		}
	}
	for i, s := range all {
		known := string(product([]byte(s)))
		for _, value := range append([]string{known + " z", known + "(z", known + ";", known + ",z", known + "z", known},
			all[i], all[(i*7+3)%len(all)]) {
			if isProduct([]byte(value), known) {
				matches++
				if got := string(product([]byte(value))); got != known {
					t.Errorf("product(%q) = %q, isProduct accepts %q", value, got, known)
				}
			}
		}
	}
	if matches < len(all) || !isProduct([]byte("Office/16.0 (x)"), "Office/16.0") {
		t.Errorf("only %d of %d", matches, len(all))
	}
}

func TestDetect(t *testing.T) {
	long := "GET /" + strings.Repeat("a", 3000)
	for _, c := range []struct {
		name, to, back string
		want           observe.Match
	}{
		{"nothing yet", "", "", observe.More},
		{"request", "GET / HTTP/1.1\r\n", "", observe.Yes},
		{"half a method", "RPC_IN", "", observe.More},
		{"long target", long, "", observe.Yes},
		{"half a line", "GET /ow", "", observe.More},
		{"answer only", "", "HTTP/1.1 200 OK\r\n", observe.Yes},
		{"answer, the client in the middle of a body", "\x01\x02", "HTTP/1.1 200 OK\r\n", observe.Yes},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", observe.Yes},
		{"HTTP/0.9", "GET /\r\n", "", observe.Yes},
		{"neither", "GET / x\r\n", "", observe.No},
		{"SIP", "NOTIFY sip:a@b SIP/2.0\r\n", "", observe.No},
		{"SMTP", "EHLO a\r\n", "220 a ESMTP\r\n", observe.No},
		{"TLS", "\x16\x03\x01", "", observe.No},
		{"SSH on 80", "SSH-2.0-x\r\n", "SSH-2.0-y\r\n", observe.No},
	} {
		if got := detect(&observe.First{ToServer: []byte(c.to), ToClient: []byte(c.back), OnPort: true}); got != c.want {
			t.Errorf("%s: detect = %d, want %d", c.name, got, c.want)
		}
	}
}

// TestCorpus compares methods, hosts, paths, statuses, servers and the accepted mechanism
// with tshark's.
func TestCorpus(t *testing.T) {
	for _, file := range []string{
		"http/NTLM.pcap", "http/winrm_psremote_05-16.pcap", "ad/eternalchampion.pcap", "ad/purplesharp_ad_playbook_I_2020-10-22042947.cap",
		"epm/aug_16_par4.pcap.gz", "epm/chip_host_signin.pcap.gz", "epm/covenant_dcsync_dcerpc_drsuapi_DsGetNCChanges_2020-08-05020926.cap",
		"epm/empire_psexec_dcerpc_tcp_svcctl_WORKSTATION6_2020-09-20121608.cap", "span/aol.pcap", "span/erspan.pcap",
		"span/vxlan-encapsulated-http.pcap", "span/vlan-qinqinq.pcap", "span/mixed-vlan-mpls.pcap",
	} {
		t.Run(file, func(t *testing.T) {
			path := observetest.Corpus(t, file)
			want := map[string]map[string]bool{}
			// With reassembly of bodies, tshark skips a message whose body does not end.
			// Without it, tshark skips a message that begins in the middle of a segment.
			var rows [][]string
			for _, together := range []string{"true", "false"} {
				rows = append(rows, observetest.Tshark(t, path, "http and tcp and not http.response.code == 236", []string{"tcp.stream",
					"http.request.method", "http.host", "http.request.uri", "http.response.code", "http.server", "http.user_agent"},
					"-E", "occurrence=a", "-E", "aggregator=\x01", "-o", "http.desegment_body:"+together)...)
			}
			fields := []string{"", Method, Host, Path, Status, Server, UserAgent}
			for _, row := range rows {
				w := want[row[0]]
				if w == nil {
					w = map[string]bool{}
					want[row[0]] = w
				}
				for i, name := range fields {
					if i == 0 || row[i] == "" {
						continue
					}
					for _, v := range strings.Split(row[i], "\x01") {
						switch name {
						case Host:
							v = strings.ToLower(v)
							if h, _, ok := strings.Cut(v, ":"); ok {
								v = h
							}
						case Path:
							if _, rest, ok := strings.Cut(v, "://"); ok && v[0] == 'h' {
								host, _, _ := strings.Cut(rest, "/")
								host, _, _ = strings.Cut(host, ":")
								w[Host+"="+host] = true
								v = rest[strings.Index(rest+"/", "/"):]
							}
							v, _, _ = strings.Cut(v, "?")
							p := reduce([]byte(v))
							if v = p.constant; v == "" {
								v = string(p.first) + p.tail
							}
						case Status:
							n, _ := strconv.Atoi(v)
							if v = statusName(n); v == "" {
								continue
							}
						case UserAgent:
							v = string(product([]byte(v)))
						}
						w[name+"="+v] = true
					}
				}
			}
			n := 0
			for _, f := range observetest.Flows(t, path, "tcp and not tcp.port == 443 and not ip.addr == 205.188.146.146") {
				w := want[strconv.Itoa(f.Stream)]
				if w == nil || w["http.method=M-SEARCH"] {
					continue
				}
				lost := false
				for _, s := range f.Segments {
					lost = lost || s.Gap > 0
				}
				r := observetest.Check(t, Protocol(), f.Segments, f.Options())
				n++
				got := r.Lines()
				for _, l := range got {
					name, _, _ := strings.Cut(l, "=")
					if slices.Contains(fields, name) && !w[l] {
						t.Errorf("stream %d: %s, which tshark does not read: %v", f.Stream, l, w)
					}
				}
				for l := range w {
					name, _, _ := strings.Cut(l, "=")
					if !slices.Contains(got, l) && !lost && len(r.Facts.Values(name)) < maxValues {
						t.Errorf("stream %d (%v): tshark reads %s, observer reads %v", f.Stream, r.Err, l, got)
					}
				}
			}
			if n == 0 {
				t.Error("no flow was compared")
			}
			t.Logf("%d flows compared", n)
		})
	}
}

// TestRemoteManagement reads Windows Remote Management, on which remote Exchange shells
// are based. It is authenticated and encrypted in each of these flows.
func TestRemoteManagement(t *testing.T) {
	for file, mechanisms := range map[string][]string{
		"http/winrm_psremote_05-16.pcap":                    {"kerberos", "ntlm"},
		"ad/purplesharp_ad_playbook_I_2020-10-22042947.cap": {"kerberos"},
	} {
		path := observetest.Corpus(t, file)
		n := 0
		for _, f := range observetest.Flows(t, path, "tcp.port == 5985") {
			n++
			r := observetest.Check(t, Protocol(), f.Segments, f.Options())
			auth := r.Facts.Values(observe.Auth)
			if len(auth) != 1 || !slices.Contains(mechanisms, auth[0]) {
				t.Errorf("%s stream %d: auth %v, want one of %v", file, f.Stream, auth, mechanisms)
			}
			if e := r.Facts.Values(observe.Encryption); fmt.Sprint(e) != "[message-sealed]" {
				t.Errorf("%s stream %d: encryption %v, want message-sealed", file, f.Stream, e)
			}
		}
		if n == 0 {
			t.Errorf("%s: no flow", file)
		}
	}
}

func TestAllocs(t *testing.T) {
	o, r := Protocol().New(), new(observe.Report)
	request := []byte(msg("<soap>", "POST /EWS/Exchange.asmx?x HTTP/1.1", "Host: mail.example.com",
		"User-Agent: ExchangeServicesClient/15.0", length(6)))
	answer := []byte(msg("", "HTTP/1.1 200 OK", "Server: Microsoft-IIS/10.0", "X-OWA-Version: 15.1.2375.7", length(0)))
	in := observe.Input{Handshake: true, Continues: true}
	step := func() {
		in.Dir, in.Data = observe.ToServer, request
		if n, err := o.Observe(&in, r); err != nil || n != len(request) {
			t.Fatal(n, err)
		}
		in.Dir, in.Data = observe.ToClient, answer
		if n, err := o.Observe(&in, r); err != nil || n != len(answer) {
			t.Fatal(n, err)
		}
	}
	step()
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("%v allocations for an exchange without news", n)
	}
}

func FuzzObserve(f *testing.F) {
	observetest.Fuzz(f, Protocol(),
		[]observetest.Segment{
			to(msg("", "GET /owa/ HTTP/1.1", "Host: m", "Authorization: NTLM "+ntlm1)),
			back(msg("", "HTTP/1.1 401 No", "WWW-Authenticate: NTLM "+ntlm2, length(0))),
			to(msg("", "GET /owa/ HTTP/1.1", "Host: m", "Authorization: NTLM "+ntlm3)), back(msg("hello", "HTTP/1.1 200 OK", length(5))),
		},
		[]observetest.Segment{
			to(msg("2\r\nab\r\n0\r\n\r\n", "POST / HTTP/1.1", "Transfer-Encoding: chunked", "Expect: 100-continue")),
			back(msg("", "HTTP/1.1 100 Continue")),
			back(msg("x", "HTTP/1.0 200 OK")),
		},
		[]observetest.Segment{
			to(msg(connA1, "RPC_OUT_DATA /rpc/rpcproxy.dll?a:6001 HTTP/1.1", length(76))), back(msg(connA1, "HTTP/1.1 200 OK", length(1<<30))),
		},
		[]observetest.Segment{to("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
	)
}
