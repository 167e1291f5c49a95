package http

import (
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// TestEvidence reads messages that prove that a server is Exchange, or that it is not. It
// compares only the facts on which evidence is based.
func TestEvidence(t *testing.T) {
	evidence := []string{observe.ExchangeVersion, ExchangeRole, ActiveSync, OWABuild, Header, Answer, ClientID, ForwardedFor, RPCServer, RPCPort,
		UserAgent, Path, Challenge}
	for _, c := range []struct {
		name string
		conv []observetest.Segment
		want []string
	}{
		{"X-OWA-Version in its long form", []observetest.Segment{
			to(msg("", "GET /owa/auth/logon.aspx?url=x HTTP/1.1")), back(msg("", "HTTP/1.1 200 OK", "X-OWA-Version: 15.02.2562.037", length(0)))},
			[]string{"exchange.version=15.2.2562.37", "http.header=X-OWA-Version", "http.answer=200 /owa/auth/logon.aspx", "http.path=/owa/auth/logon.aspx"}},
		{"X-ServerApplication of MAPI over HTTP", []observetest.Segment{
			to(msg("", "POST /mapi/emsmdb/?MailboxId=x@example.com HTTP/1.1", length(0))),
			back(msg("", "HTTP/1.1 200 OK", "X-ServerApplication: Exchange/15.01.2507.016", length(0)))},
			[]string{"exchange.version=15.1.2507.16", "http.header=X-ServerApplication", "http.answer=200 /mapi/emsmdb", "http.path=/mapi/emsmdb"}},
		{"front end and back end", []observetest.Segment{
			to(msg("", "GET /ews/exchange.asmx HTTP/1.1")),
			back(msg("", "HTTP/1.1 401 Unauthorized", "X-CalculatedBETarget: ex1.example.com", "X-DiagInfo: EX1", "X-BEServer: EX1", "X-FEServer: EX1", length(0)))},
			[]string{"exchange.role=frontend", "http.header=X-CalculatedBETarget", "http.header=X-DiagInfo", "http.header=X-BEServer",
				"http.header=X-FEServer", "http.answer=401 /EWS/Exchange.asmx", "http.path=/EWS/Exchange.asmx"}},
		{"back end alone", []observetest.Segment{to(msg("", "GET /ecp HTTP/1.1")), back(msg("", "HTTP/1.1 200 OK", "X-BEServer: EX1", length(0)))},
			[]string{"exchange.role=backend", "http.header=X-BEServer", "http.answer=200 /ecp", "http.path=/ecp"}},
		{"through a forward proxy", []observetest.Segment{
			to(msg("", "GET http://mail.example.com/owa/auth/15.1.2507/themes/x.png HTTP/1.1", "Host: mail.example.com"), msg("", "GET /ews HTTP/1.1")),
			back(msg("", "HTTP/1.1 200 OK", "X-OWA-Version: 15.1.2507.6", "X-FEServer: EX1", "MS-Server-ActiveSync: 15.1", length(0)),
				msg("", "HTTP/1.1 401 Unauthorized", "X-ServerApplication: Exchange/15.01.2507.016", "X-BEServer: EX1", "X-DiagInfo: EX1", "X-CalculatedBETarget: x",
					`WWW-Authenticate: Bearer client_id="00000002-0000-0ff1-ce00-000000000000"`, length(0)))},
			[]string{"http.path=/owa/auth/…", "http.path=/EWS", "http.challenge=bearer"}},
		{"the client sends the server's fields", []observetest.Segment{
			to(msg("", "GET /a HTTP/1.1", "X-OWA-Version: 15.1.2.3", "X-FEServer: x", "MS-Server-ActiveSync: 14.3", "X-BEServer: x")),
			back(msg("", "HTTP/1.1 200 OK", length(0)))}, []string{"http.path=/a"}},
		{"Z-Push", []observetest.Segment{to(msg("", "OPTIONS /Microsoft-Server-ActiveSync HTTP/1.1")),
			back(msg("", "HTTP/1.1 200 OK", "MS-Server-ActiveSync: 8.3", "X-Z-Push-Version: 2.6.4", length(0)))},
			[]string{"http.header=MS-Server-ActiveSync", "http.header=X-Z-Push-Version",
				"http.answer=200 /Microsoft-Server-ActiveSync", "http.path=/Microsoft-Server-ActiveSync"}},
		{"a scanner", []observetest.Segment{
			to(msg("", "GET /owa/auth/15.1.2507/themes/resources/x.png HTTP/1.1"), msg("", "GET /ecp/ HTTP/1.1"), msg("", "POST /mapi/nspi HTTP/1.1", length(0))),
			back(msg("", "HTTP/1.1 404 Not Found", length(0)), msg("", "HTTP/1.1 404 Not Found", length(0)), msg("", "HTTP/1.1 404 Not Found", length(0)))},
			[]string{"http.path=/owa/auth/…", "http.path=/ecp", "http.path=/mapi/nspi", "http.answer=404 /owa/auth/…", "http.answer=404 /ecp",
				"http.answer=404 /mapi/nspi"}},
		{"resources of Outlook Web App", []observetest.Segment{
			to(msg("", "GET /owa/auth/15.1.2507/themes/resources/x.png HTTP/1.1")), back(msg("", "HTTP/1.1 200 OK", length(0))),
			to(msg("", "GET /owa/8.1.240.5/themes/base/x.gif HTTP/1.1")), back(msg("", "HTTP/1.1 304 Not Modified"))},
			[]string{"owa.build=15.1.2507", "owa.build=8.1.240.5", "http.path=/owa/auth/…", "http.path=/owa/…", "http.answer=200 /owa/auth/…",
				"http.answer=304 /owa/…"}},
		{"Bearer", []observetest.Segment{to(msg("", "GET /ews HTTP/1.1", "Authorization: Bearer")),
			back(msg("", "HTTP/1.1 401 Unauthorized", `WWW-Authenticate: Bearer client_id="00000002-0000-0ff1-ce00-000000000000", trusted_issuers="00000001-0000-0000-c000-000000000000@*", error="invalid_token"`,
				length(0)))},
			[]string{"http.client_id=00000002-0000-0ff1-ce00-000000000000", "http.answer=401 /EWS", "http.path=/EWS", "http.challenge=bearer"}},
		{"Bearer with the client_id at the end", []observetest.Segment{to(msg("", "GET / HTTP/1.1")),
			back(msg("", "HTTP/1.1 401 Unauthorized", `WWW-Authenticate: Bearer realm="x", client_id="00000003-0000-0FF1-CE00-000000000000"`, length(0)))},
			[]string{"http.client_id=00000003-0000-0ff1-ce00-000000000000", "http.path=/", "http.challenge=bearer"}},
		{"client_id of another scheme, or of none", []observetest.Segment{to(msg("", "GET / HTTP/1.1")),
			back(msg("", "HTTP/1.1 401 Unauthorized", `WWW-Authenticate: Basic realm="x", client_id="00000002-0000-0ff1-ce00-000000000000"`,
				`WWW-Authenticate: Bearer client_id="00000002-0000-0ff1-ce00-00000000000"`, length(0)))},
			[]string{"http.path=/", "http.challenge=basic", "http.challenge=bearer"}},
		{"a load balancer", []observetest.Segment{
			to(msg("", "GET /owa HTTP/1.1", "X-Forwarded-For: 203.0.113.7:50123, 10.0.0.1"), msg("", "GET /owa HTTP/1.1", `Forwarded: proto=https;for="[2001:db8::7]:4711", for=10.0.0.1`),
				msg("", "GET /owa HTTP/1.1", "X-Forwarded-For: unknown"))},
			[]string{"http.forwarded_for=203.0.113.7", "http.forwarded_for=2001:db8::7", "http.path=/owa"}},
		{"the server sends the client's fields", []observetest.Segment{to(msg("", "GET /a HTTP/1.1")),
			back(msg("", "HTTP/1.1 200 OK", "X-Forwarded-For: 203.0.113.7", length(0)))}, []string{"http.path=/a"}},
		{"free and busy times for another forest", []observetest.Segment{
			to(msg("", "POST /EWS/Exchange.asmx/WSSecurity HTTP/1.1", "User-Agent: ASProxy/CrossForest/EmailDomain/x.example/08.03.0083.000", length(0))),
			back(msg("", "HTTP/1.1 200 OK", length(0))),
			to(msg("", "POST /EWS/Exchange.asmx/WSSecurity HTTP/1.1", "User-Agent: ASProxy/CrossForest/Directory/a@x.example/15.1", length(0)))},
			[]string{"http.user_agent=ASProxy/CrossForest/EmailDomain/x.example/08.03.0083.000", "http.user_agent=ASProxy",
				"http.path=/EWS/Exchange.asmx/…", "http.answer=200 /EWS/Exchange.asmx/…"}},
		{"RPC proxy", []observetest.Segment{to(msg("", "RPC_IN_DATA /rpc/rpcproxy.dll?mb1.example.com:6001 HTTP/1.1", length(1<<30)))},
			[]string{"rpc.http_server=mb1.example.com", "rpc.http_port=6001", "http.path=/rpc/rpcproxy.dll"}},
		{"RPC proxy to a mailbox", []observetest.Segment{
			to(msg("", "RPC_IN_DATA /rpc/rpcproxy.dll?2b3e8cbb-0e72-4f9e-8a4b-9b9c1a3f4a5d@example.com:6001 HTTP/1.1", length(1<<30)))},
			[]string{"rpc.http_port=6001", "http.path=/rpc/rpcproxy.dll"}},
		{"updates", []observetest.Segment{to(msg("", "GET /d/msdownload/update/x/y.cab HTTP/1.1")), back(msg("", "HTTP/1.1 200 OK", length(0)))},
			[]string{"http.path=/d/….cab"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), c.conv, observetest.Options{})
			only := observetest.Result{}
			for _, f := range r.Facts.All() {
				for _, name := range evidence {
					if f.Name == name {
						only.Facts.Add(f.Name, f.Value)
					}
				}
			}
			observetest.Expect(t, only, c.want...)
			for _, name := range evidence {
				if r.Facts.Any(name) {
					observetest.SameEvidence(t, Protocol(), c.conv, observetest.Options{}, name)
				}
			}
		})
	}
}

// TestOneDirection reads requests whose answers are not seen.
func TestOneDirection(t *testing.T) {
	request := to(msg("", "GET /owa HTTP/1.1", "Authorization: Basic YWxpY2U6c2VjcmV0"))
	r := observetest.Check(t, Protocol(), []observetest.Segment{request}, observetest.Options{})
	observetest.Expect(t, r, "http.method=GET", "http.path=/owa", "auth=basic", "encryption=none")

	// An answer is better evidence: the observer retracts its guess.
	o, in := Protocol().New(), observe.Input{Dir: observe.ToServer, Data: request.Data, Handshake: true}
	var report observe.Report
	for _, data := range [][]byte{request.Data, []byte(msg("", "HTTP/1.1 401 Unauthorized", length(0)))} {
		in.Data = data
		if _, err := o.Observe(&in, &report); err != nil {
			t.Fatal(err)
		}
		o.(observe.Finisher).Finish(&report)
		if in.Dir = observe.ToClient; len(report.Values(observe.Auth)) > 0 != (data[0] == 'G') {
			t.Errorf("auth is %q", report.Values(observe.Auth))
		}
	}
}

func TestTunnel(t *testing.T) {
	for _, inner := range []string{"\x16\x03\x01\x00\x05", "\x80\x2e"} {
		connect, agreed := msg("", "CONNECT mail.example.com:443 HTTP/1.1"), msg("", "HTTP/1.1 200 Connection established")
		r := observetest.Check(t, Protocol(), []observetest.Segment{to(connect), back(agreed), to(inner)}, observetest.Options{})
		if r.Err != observe.ErrUpgrade || r.Next != "tls" || r.NextAt != [2]int{len(connect), len(agreed)} {
			t.Errorf("ends with %v, next %q at %v", r.Err, r.Next, r.NextAt)
		}
	}
}
