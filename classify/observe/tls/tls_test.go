package tls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// wire is one end of a recorded connection.
type wire struct {
	net.Conn
	dir  observe.Direction
	mu   *sync.Mutex
	conv *[]observetest.Segment
}

func (w wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	*w.conv = append(*w.conv, observetest.Segment{Dir: w.dir, Data: slices.Clone(b)})
	w.mu.Unlock()
	return w.Conn.Write(b)
}

// handshake runs a handshake of Go's TLS implementation and exchanges data after it.
func handshake(t testing.TB, client, server *tls.Config) (conv []observetest.Segment, state tls.ConnectionState) {
	t.Helper()
	var mu sync.Mutex
	a, b := loopback(t)
	c := tls.Client(wire{a, observe.ToServer, &mu, &conv}, client)
	s := tls.Server(wire{b, observe.ToClient, &mu, &conv}, server)
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 100)
		_, err := io.ReadFull(s, buf)
		if err == nil {
			_, err = s.Write(make([]byte, 300))
		}
		done <- err
	}()
	if _, err := c.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 300)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	state = c.ConnectionState()
	a.Close()
	b.Close()
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(conv), state
}

// loopback returns the two ends of a TCP connection. A net.Pipe has no buffer, and in TLS
// 1.3 both ends write at the same time.
func loopback(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	return a, b
}

func newCertificate(t testing.TB, subject pkix.Name, names []string, ips []net.IP, issuer *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: subject, DNSNames: names, IPAddresses: ips,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IsCA: issuer == nil, BasicConstraintsValid: true,
		EmailAddresses: []string{"someone@example.com"},
	}
	parent, signer := template, any(key)
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	if issuer != nil {
		c.Certificate = append(c.Certificate, issuer.Certificate...)
	}
	return c
}

// lines returns the lines of the named facts. Use Expect to verify that there are no
// other facts.
func lines(r observetest.Result, names ...string) []string {
	var l []string
	for _, f := range r.Facts.All() {
		if slices.Contains(names, f.Name) {
			l = append(l, f.Name+"="+f.Value)
		}
	}
	slices.Sort(l)
	return l
}

// TestHandshakes compares the report with what Go's TLS implementation negotiated.
func TestHandshakes(t *testing.T) {
	ca := newCertificate(t, pkix.Name{CommonName: "Example Root"}, nil, nil, nil)
	leaf := newCertificate(t, pkix.Name{CommonName: "mail.example.com", Organization: []string{"Example"}},
		[]string{"mail.example.com", "autodiscover.example.com"}, []net.IP{net.IPv4(192, 0, 2, 1)}, &ca)
	self := newCertificate(t, pkix.Name{CommonName: "MB1"}, []string{"MB1", "mb1.example.com"}, nil, nil)
	leafFacts := []string{"tls.subject=CN=mail.example.com", "tls.san=mail.example.com", "tls.san=autodiscover.example.com",
		"tls.san=192.0.2.1"}
	selfFacts := []string{"tls.subject=CN=MB1", "tls.san=MB1", "tls.san=mb1.example.com", "tls.self_signed=yes"}

	for _, v := range []struct {
		id   uint16
		name string
	}{{tls.VersionTLS10, "1.0"}, {tls.VersionTLS11, "1.1"}, {tls.VersionTLS12, "1.2"}, {tls.VersionTLS13, "1.3"}} {
		clientConfig := func() *tls.Config {
			return &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.com", MinVersion: tls.VersionTLS10, MaxVersion: v.id,
				NextProtos: []string{"h2", "http/1.1"}}
		}
		serverConfig := func(c tls.Certificate) *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS10, MaxVersion: v.id,
				NextProtos: []string{"http/1.1"}}
		}
		common := func(s tls.ConnectionState, offered bool) []string {
			l := []string{"encryption=tls", "tls.version=" + v.name, "tls.server_name=mail.example.com",
				"tls.cipher=" + tls.CipherSuiteName(s.CipherSuite)}
			if offered && v.id == tls.VersionTLS13 {
				return append(l, "tls.alpn=h2", "tls.alpn=http/1.1")
			} else if offered {
				return append(l, "tls.alpn="+s.NegotiatedProtocol)
			}
			return l
		}
		check := func(t *testing.T, conv []observetest.Segment, want ...string) {
			t.Helper()
			if slices.Contains(want, "tls.subject=CN=mail.example.com") || slices.Contains(want, "tls.subject=CN=MB1") {
				if !slices.Contains(want, "tls.client_certificate=requested") {
					want = append(want, "tls.client_certificate=not-requested")
				}
			}
			r := observetest.Check(t, Protocol(), conv, observetest.Options{})
			if r.Err != observe.ErrDone {
				t.Errorf("ended with %v, want ErrDone", r.Err)
			}
			ja4 := r.Facts.Values(JA4)
			if len(ja4) != 1 || !strings.HasPrefix(ja4[0], "t"+strings.ReplaceAll(v.name, ".", "")+"d") {
				t.Errorf("tls.ja4 is %q", ja4)
			} else {
				want = append(want, "tls.ja4="+ja4[0])
			}
			observetest.Expect(t, r, want...)
		}
		t.Run(v.name+" full", func(t *testing.T) {
			conv, s := handshake(t, clientConfig(), serverConfig(leaf))
			want := common(s, true)
			if v.id != tls.VersionTLS13 {
				want = append(want, leafFacts...)
			}
			check(t, conv, want...)
		})
		t.Run(v.name+" self-signed, no application protocol", func(t *testing.T) {
			c, sc := clientConfig(), serverConfig(self)
			c.NextProtos, sc.NextProtos = []string{"h2"}, nil
			conv, s := handshake(t, c, sc)
			want := common(s, false)
			if v.id != tls.VersionTLS13 {
				want = append(want, selfFacts...)
			} else {
				want = append(want, "tls.alpn=h2")
			}
			check(t, conv, want...)
		})
		t.Run(v.name+" client certificate", func(t *testing.T) {
			for _, give := range []bool{false, true} {
				c, sc := clientConfig(), serverConfig(self)
				c.NextProtos, sc.NextProtos = nil, nil
				sc.ClientAuth = tls.RequestClientCert
				if give {
					c.Certificates = []tls.Certificate{leaf}
				}
				direct := give && v.id == tls.VersionTLS12
				if direct {
					c.Certificates = []tls.Certificate{self}
				}
				conv, s := handshake(t, c, sc)
				want := common(s, false)
				if v.id != tls.VersionTLS13 {
					want = append(append(want, selfFacts...), "tls.client_certificate=requested")
					if give {
						want = append(want, "tls.client_certificate=given", "auth=certificate")
					}
					if direct {
						want = append(want, "tls.client_self_signed=yes")
					}
				}
				check(t, conv, want...)
			}
		})
		t.Run(v.name+" resumed", func(t *testing.T) {
			c, sc := clientConfig(), serverConfig(leaf)
			c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			handshake(t, c, sc)
			conv, s := handshake(t, c, sc)
			if !s.DidResume {
				t.Fatal("Go did not resume the session")
			}
			check(t, conv, append(common(s, true), "tls.resumed=yes")...)
		})
		t.Run(v.name+" second hello", func(t *testing.T) {
			c, sc := clientConfig(), serverConfig(leaf)
			c.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
			sc.CurvePreferences = []tls.CurveID{tls.CurveP256}
			conv, s := handshake(t, c, sc)
			want := common(s, true)
			if v.id != tls.VersionTLS13 {
				want = append(want, leafFacts...)
			}
			check(t, conv, want...)
		})
	}
}

// sequence records a TLS conversation of the given version without a client certificate.
func sequence(t testing.TB, version uint16) []observetest.Segment {
	self := newCertificate(t, pkix.Name{CommonName: "MB1"}, []string{"MB1"}, nil, nil)
	conv, _ := handshake(t, &tls.Config{InsecureSkipVerify: true, ServerName: "mb1", MaxVersion: version},
		&tls.Config{Certificates: []tls.Certificate{self}})
	return conv
}

// only returns the segments of one direction.
func only(conv []observetest.Segment, d observe.Direction) []observetest.Segment {
	return slices.DeleteFunc(slices.Clone(conv), func(s observetest.Segment) bool { return s.Dir != d })
}

func TestPartialViews(t *testing.T) {
	t12, t13 := sequence(t, tls.VersionTLS12), sequence(t, tls.VersionTLS13)
	tail := func(conv []observetest.Segment) []observetest.Segment { return conv[len(conv)-2:] }
	tests := []struct {
		name       string
		conv       []observetest.Segment
		midstream  bool
		want       []string // expected version, encryption and client name
		wantErr    error
		server     bool // Subject expected
		anyVersion bool
	}{
		{name: "1.2 client only", conv: only(t12, observe.ToServer), want: []string{"tls.server_name=mb1"}},
		{name: "1.2 client only, more data", conv: append(only(t12, observe.ToServer), tail(t12)[0]),
			want: []string{"encryption=tls", "tls.server_name=mb1"}},
		{name: "1.2 server only", conv: only(t12, observe.ToClient), want: []string{"encryption=tls", "tls.version=1.2"}, server: true},
		{name: "1.3 server only", conv: only(t13, observe.ToClient), want: []string{"encryption=tls", "tls.version=1.3"}},
		{name: "1.2 late", conv: tail(t12), midstream: true, want: []string{"encryption=tls"}, wantErr: observe.ErrDone},
		{name: "1.3 late", conv: tail(t13), midstream: true, want: []string{"encryption=tls"}, wantErr: observe.ErrDone},
		{name: "one late record", conv: tail(t12)[:1], midstream: true},
		{name: "hello only", conv: t12[:1], want: []string{"tls.server_name=mb1"}},
		{name: "hellos only", conv: []observetest.Segment{t13[0], observetest.ToClient(string(t13[1].Data[:200]))},
			want: []string{"tls.server_name=mb1"}},
		{name: "refused", conv: []observetest.Segment{t12[0], observetest.ToClient("\x15\x03\x03\x00\x02\x02\x28")},
			want: []string{"tls.server_name=mb1"}},
		{name: "answered in clear", conv: []observetest.Segment{t12[0], observetest.ToClient("HTTP/1.1 400 Bad Request\r\n\r\n")},
			want: []string{"tls.server_name=mb1"}, wantErr: observe.ErrViolation},
		{name: "server's flight lost in part", conv: []observetest.Segment{t12[0], observetest.ToClient(string(t12[1].Data[:120])),
			observetest.Lost(observe.ToClient, len(t12[1].Data)-120), t12[2], t12[3]},
			want: []string{"encryption=tls", "tls.server_name=mb1", "tls.version=1.2"}},
		{name: "server's flight lost", conv: []observetest.Segment{t12[0], observetest.Lost(observe.ToClient, len(t12[1].Data)), t12[2], t12[3],
			tail(t12)[0], tail(t12)[0]}, want: []string{"encryption=tls", "tls.server_name=mb1"}, wantErr: observe.ErrDone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), tt.conv, observetest.Options{Midstream: tt.midstream})
			got := lines(r, Version, observe.Encryption, ServerName, Resumed, observe.Auth)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) || r.Facts.Any(Subject) != tt.server {
				t.Errorf("got %q and others %q, want %q", got, r.Lines(), tt.want)
			}
			if tt.wantErr != nil && r.Err != tt.wantErr {
				t.Errorf("ended with %v, want %v", r.Err, tt.wantErr)
			}
		})
	}
}

// TestSplitHello cuts one ClientHello into records of five bytes.
func TestSplitHello(t *testing.T) {
	conv := sequence(t, tls.VersionTLS12)
	hello := conv[0].Data[5:]
	var split []byte
	for part := range slices.Chunk(hello, 5) {
		split = append(append(split, 22, 3, 1, 0, byte(len(part))), part...)
	}
	whole := observetest.Run(Protocol(), conv, observetest.Options{})
	r := observetest.Check(t, Protocol(), append([]observetest.Segment{observetest.ToServer(string(split))}, conv[1:]...),
		observetest.Options{})
	observetest.Expect(t, r, whole.Lines()...)
}

// TestReversed reads a flow whose ends are swapped.
func TestReversed(t *testing.T) {
	conv := sequence(t, tls.VersionTLS12)
	for i := range conv {
		conv[i].Dir = conv[i].Dir.Reverse()
	}
	if r := observetest.Check(t, Protocol(), conv, observetest.Options{Midstream: true}); r.Err != observe.ErrReversed {
		t.Errorf("ended with %v, want ErrReversed", r.Err)
	}
	if r := observetest.Check(t, Protocol(), conv, observetest.Options{}); r.Err != observe.ErrViolation {
		t.Errorf("ended with %v after a seen handshake, want ErrViolation", r.Err)
	}
}

func u16(v int) string { return string(binary.BigEndian.AppendUint16(nil, uint16(v))) }

func vec(n int, s string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(s)))
	return string(b[4-n:]) + s
}

func record1(typ byte, version int, body string) string {
	return string(typ) + u16(version) + vec(2, body)
}

func hexList(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, ",", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// clientHelloMessage builds a hello with the given extensions.
func clientHelloMessage(version int, ciphers, exts string) string {
	body := u16(version) + strings.Repeat("R", 32) + vec(1, "") + vec(2, ciphers) + vec(1, "\x00")
	if exts != "" {
		body += vec(2, exts)
	}
	return "\x01" + vec(3, body)
}

// TestOldVersions reads hellos built according to SSL 2.0 (section 2.5), SSL 3.0 (RFC
// 6101 section 5.6.1) and RFC 5246 appendix E.2.
func TestOldVersions(t *testing.T) {
	serverHello := func(version, cipher int) string {
		body := u16(version) + strings.Repeat("S", 32) + vec(1, strings.Repeat("i", 32)) + u16(cipher) + "\x00"
		return record1(22, version, "\x02"+vec(3, body))
	}
	ssl2 := func(version int) string {
		specs := "\x01\x00\x80\x07\x00\xc0\x00\x00\x04"
		body := "\x01" + u16(version) + u16(len(specs)) + u16(0) + u16(16) + specs + strings.Repeat("c", 16)
		return u16(0x8000|len(body)) + body
	}
	cert := strings.Repeat("x", 300)
	ssl2Server := "\x04\x00\x01\x00\x02" + u16(len(cert)) + u16(3) + u16(16) + cert + "\x01\x00\x80" + strings.Repeat("k", 16)
	masterKey := "\x02\x01\x00\x80" + u16(0) + u16(128) + u16(0) + strings.Repeat("e", 128)
	ccs := func(v int) string { return record1(20, v, "\x01") + record1(22, v, strings.Repeat("\xee", 56)) }
	kx := func(v int) string { return record1(22, v, "\x10"+vec(3, strings.Repeat("k", 128))) }
	done := record1(22, 0x300, "\x0e"+vec(3, ""))
	tests := []struct {
		name string
		conv []observetest.Segment
		want []string
	}{
		{"SSL 2.0", []observetest.Segment{
			observetest.ToServer(ssl2(2)), observetest.ToClient(u16(0x8000|len(ssl2Server)), ssl2Server),
			observetest.ToServer(u16(0x8000|len(masterKey)), masterKey), observetest.ToClient("\x80\x20", strings.Repeat("v", 32)),
		}, []string{"tls.version=ssl2", "tls.cipher=SSL_CK_RC4_128_WITH_MD5", "encryption=tls"}},
		{"SSL 2.0 hello for SSL 3.0", []observetest.Segment{
			observetest.ToServer(ssl2(0x300)), observetest.ToClient(serverHello(0x300, 4), done), observetest.ToServer(kx(0x300), ccs(0x300)),
			observetest.ToClient(ccs(0x300)),
		}, []string{"tls.version=ssl3", "tls.cipher=TLS_RSA_WITH_RC4_128_MD5", "encryption=tls"}},
		{"SSL 3.0", []observetest.Segment{
			observetest.ToServer(record1(22, 0x300, clientHelloMessage(0x300, "\x00\x04\x00\x05\x00\x0a", ""))),
			observetest.ToClient(serverHello(0x300, 5), done), observetest.ToServer(kx(0x300), ccs(0x300)), observetest.ToClient(ccs(0x300)),
		}, []string{"tls.version=ssl3", "tls.cipher=TLS_RSA_WITH_RC4_128_SHA", "encryption=tls",
			"tls.ja4=ts3i030000_" + shortHash("0004,0005,000a") + "_000000000000"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), tt.conv, observetest.Options{})
			observetest.Expect(t, r, tt.want...)
			if r.Err != observe.ErrDone {
				t.Errorf("ended with %v, want ErrDone", r.Err)
			}
		})
	}
}

// TestJA4 verifies the example in sections "Example" and "Raw Output" of the JA4
// specification, from its lists in original order.
func TestJA4(t *testing.T) {
	const (
		ciphers = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
		exts    = "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"
		sigs    = "0403,0804,0401,0503,0805,0501,0806,0601"
	)
	build := func(sigs string) string {
		e := "\x1a\x1a" + vec(2, "")
		for _, x := range strings.Split(exts, ",") {
			body := ""
			switch x {
			case "0000":
				body = vec(2, "\x00"+vec(2, "mail.example.com"))
			case "0010":
				body = vec(2, vec(1, "h2")+vec(1, "http/1.1"))
			case "000d":
				body = vec(2, hexList(sigs))
			case "002b":
				body = vec(1, "\x6a\x6a\x03\x04\x03\x03")
			}
			e += hexList(x) + vec(2, body)
		}
		return clientHelloMessage(0x303, "\x2a\x2a"+hexList(ciphers), e)
	}
	for sigs, want := range map[string]string{
		sigs: "t13d1516h2_8daaf6152771_e5627efa2ab1",
		"":   "t13d1516h2_8daaf6152771_6d807ffa2a79",
	} {
		h, ok := parseClientHello([]byte(build(sigs)[4:]))
		if !ok || h.ja4() != want || string(h.serverName) != "mail.example.com" {
			t.Errorf("ja4 is %q (ok %v, name %q), want %q", h.ja4(), ok, h.serverName, want)
		}
	}
	for alpn, want := range map[string]string{"h2": "h2", "http/1.1": "h1", "": "00", "x": "xx", "\xab": "ab", "\xab\xcd": "ad",
		"\x30\xab": "3b", "\x30\x31\xab\xcd": "3d", "\x30\xab\xcd\x31": "01"} {
		if got := ja4ALPN(alpn); got != want {
			t.Errorf("ALPN %q gives %q, want %q", alpn, got, want)
		}
	}
}

// TestCipherNames compares the table with Go's.
func TestCipherNames(t *testing.T) {
	n := 0
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if got := CipherName(s.ID); got != s.Name {
			t.Errorf("0x%04X is %q, want %q", s.ID, got, s.Name)
		}
		n++
	}
	if n < 15 || CipherName(0xfafa) != "0xFAFA" {
		t.Errorf("%d names compared; 0xFAFA is %q", n, CipherName(0xfafa))
	}
}

func TestDetect(t *testing.T) {
	hello := string(sequence(t, tls.VersionTLS12)[0].Data)
	app := record1(23, 0x303, strings.Repeat("x", 40))
	tests := []struct {
		name     string
		toServer string
		toClient string
		onPort   bool
		want     observe.Match
	}{
		{"hello", hello, "", false, observe.Yes},
		{"hello's first bytes", hello[:8], "", true, observe.More},
		{"hello and a greeting", hello, "220 mail ESMTP\r\n", true, observe.No},
		{"one record", app, "", false, observe.More},
		{"one record on port", app, "", true, observe.Yes},
		{"a record each", app, app, false, observe.Yes},
		{"two records", app + app, "", false, observe.Yes},
		{"a record and no second", app + "GET / HTTP/1.1\r\n", "", false, observe.No},
		{"records and text", app + app, "garbage", false, observe.Yes},
		{"record too short", "\x17\x03\x03\x00\x05aaaaa", "", true, observe.No},
		{"request", "GET / HTTP/1.1\r\n", "", true, observe.No},
		{"greeting", "", "220 mail ESMTP\r\n", true, observe.No},
		{"ssh", "SSH-2.0-x\r\n", "", true, observe.No},
		{"nothing", "", "", true, observe.More},
	}
	for _, tt := range tests {
		f := observe.First{ToServer: []byte(tt.toServer), ToClient: []byte(tt.toClient), OnPort: tt.onPort}
		if got := Detect(&f); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	// A protocol may have turned to TLS before the capture began.
	for _, tt := range []struct {
		data string
		port uint16
		late bool
		want observe.Match
	}{
		{app, 25, true, observe.Yes}, {app, 25, false, observe.More}, {app, 4444, true, observe.More}, {app + "x", 25, true, observe.No},
	} {
		if got := Detect(&observe.First{ToServer: []byte(tt.data), ServerPort: tt.port, Late: tt.late}); got != tt.want {
			t.Errorf("%d bytes on %d, late %v: %d, want %d", len(tt.data), tt.port, tt.late, got, tt.want)
		}
	}
}

// TestAllocs verifies that skipping records does not allocate.
func TestAllocs(t *testing.T) {
	o := Protocol().New()
	var r observe.Report
	rec := []byte(record1(23, 0x303, strings.Repeat("x", 1000)))
	in := observe.Input{Dir: observe.ToServer, Data: rec, Handshake: true}
	hello := []byte(record1(22, 0x301, clientHelloMessage(0x303, "\x00\x2f", hexList("002a")+vec(2, ""))))
	if _, err := o.Observe(&observe.Input{Data: hello, Handshake: true}, &r); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if n, err := o.Observe(&in, &r); err != nil || n != len(rec) {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}

func FuzzObserve(f *testing.F) {
	t12, t13 := sequence(f, tls.VersionTLS12), sequence(f, tls.VersionTLS13)
	observetest.Fuzz(f, Protocol(), t12, t13, t13[len(t13)-2:],
		[]observetest.Segment{observetest.ToServer("\x80\x22\x01\x00\x02\x00\x09\x00\x00\x00\x10aaaaaaaaabbbbbbbbbbbbbbbb")})
}

// FuzzMessages parses arbitrary bytes as the body of each message type.
func FuzzMessages(f *testing.F) {
	leaf := newCertificate(f, pkix.Name{CommonName: "MB1", Country: []string{"XX"}}, []string{"MB1"}, []net.IP{net.IPv6loopback}, nil)
	f.Add(leaf.Certificate[0])
	for _, s := range sequence(f, tls.VersionTLS13)[:2] {
		f.Add(s.Data[9:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, ok := parseClientHello(b); ok && len(h.ja4()) != len("t13d1516h2_8daaf6152771_e5627efa2ab1") {
			t.Errorf("ja4 is %q", h.ja4())
		}
		if h, ok := parseServerHello(b); ok && versionName(h.version) == "" {
			t.Errorf("version %#x without a name", h.version)
		}
		for _, identities := range []bool{false, true} {
			r := observe.Report{Identities: identities}
			reportCertificate(b, &r)
			if n := len(r.Values(SAN)); n > maxNames {
				t.Errorf("%d names", n)
			}
		}
	})
}
