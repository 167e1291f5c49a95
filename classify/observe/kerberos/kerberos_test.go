package kerberos

import (
	"encoding/asn1"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/der"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// el encodes an element with the shortest length (X.690 section 10.1).
func el(tag byte, parts ...string) string {
	body := strings.Join(parts, "")
	b, err := asn1.Marshal(asn1.RawValue{FullBytes: append(header(tag, len(body)), body...)})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func header(tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return []byte{tag, byte(n)}
	case n < 0x100:
		return []byte{tag, 0x81, byte(n)}
	}
	return []byte{tag, 0x82, byte(n >> 8), byte(n)}
}

func ctx(n byte, parts ...string) string { return el(der.Context(n), parts...) }

func num(v int) string {
	b, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func seq(parts ...string) string { return el(der.Sequence, parts...) }

func name(kind int, parts ...string) string {
	var l []string
	for _, p := range parts {
		l = append(l, el(generalString, p))
	}
	return seq(ctx(0, num(kind)), ctx(1, seq(l...)))
}

func encrypted(etype, size int) string {
	return seq(ctx(0, num(etype)), ctx(1, num(2)), ctx(2, el(der.OctetString, strings.Repeat("\xaa", size))))
}

func ticket(realm, sname string, etype, size int) string {
	return el(der.Application(1), seq(ctx(0, num(5)), ctx(1, el(generalString, realm)), ctx(2, sname), ctx(3, encrypted(etype, size))))
}

func apReq(realm, sname string) string {
	return el(tagAPReq, seq(ctx(0, num(5)), ctx(1, num(14)), ctx(2, el(der.BitString, "\x00\x20\x00\x00\x00")),
		ctx(3, ticket(realm, sname, 18, 900)), ctx(4, encrypted(18, 100))))
}

// kdcReq returns an AS-REQ (10) or TGS-REQ (12), RFC 4120 section 5.4.1.
func kdcReq(kind byte, padata, realm, cname, sname string) string {
	body := []string{ctx(0, el(der.BitString, "\x00\x40\x81\x00\x10"))}
	if cname != "" {
		body = append(body, ctx(1, cname))
	}
	body = append(body, ctx(2, el(generalString, realm)), ctx(3, sname), ctx(5, el(0x18, "20370913024805Z")), ctx(7, num(12345)),
		ctx(8, seq(num(18), num(17), num(23))))
	return el(der.Application(kind), seq(ctx(1, num(5)), ctx(2, num(int(kind))), ctx(3, seq(padata)), ctx(4, seq(body...))))
}

// kdcRep returns an AS-REP (11) or TGS-REP (13), RFC 4120 section 5.4.2.
func kdcRep(kind byte, cname, tkt string, etype int) string {
	return el(der.Application(kind), seq(ctx(0, num(5)), ctx(1, num(int(kind))), ctx(3, el(generalString, "EXAMPLE.COM")), ctx(4, cname),
		ctx(5, tkt), ctx(6, encrypted(etype, 300))))
}

func krbError(code int, sname string) string {
	return el(tagError, seq(ctx(0, num(5)), ctx(1, num(30)), ctx(4, el(0x18, "20260701000000Z")), ctx(5, num(7)), ctx(6, num(code)),
		ctx(9, el(generalString, "EXAMPLE.COM")), ctx(10, sname)))
}

func tcp(msg string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(msg)))) + msg
}

var (
	user   = name(1, "administrator")
	tgs    = name(2, "krbtgt", "EXAMPLE.COM")
	mdb    = name(2, "exchangeMDB", "mb1.example.com")
	padata = seq(ctx(1, num(1)), ctx(2, el(der.OctetString, apReq("EXAMPLE.COM", tgs))))
	// big has the size of a request whose ticket has a large group list.
	big = seq(ctx(1, num(1)), ctx(2, el(der.OctetString, strings.Repeat("\x55", 40000))))
)

func TestExchange(t *testing.T) {
	to, back := observetest.ToServer, observetest.ToClient
	for _, c := range []struct {
		name     string
		conv     []observetest.Segment
		datagram bool
		id       bool
		err      error
		want     []string
	}{
		{
			name: "ticket for a mailbox database",
			conv: []observetest.Segment{
				to(tcp(kdcReq(12, padata, "EXAMPLE.COM", "", mdb))), back(tcp(kdcRep(13, user, ticket("EXAMPLE.COM", mdb, 23, 1200), 18))),
			},
			want: []string{
				"kerberos.message=tgs-req", "kerberos.message=tgs-rep", "kerberos.realm=EXAMPLE.COM",
				"kerberos.service=exchangeMDB/mb1.example.com", "kerberos.etype=rc4-hmac", "kerberos.etype=aes256-cts-hmac-sha1-96",
			},
		},
		{
			name: "padata of 40 kB is skipped",
			conv: []observetest.Segment{to(tcp(kdcReq(12, big, "EXAMPLE.COM", "", mdb)))},
			want: []string{"kerberos.message=tgs-req", "kerberos.realm=EXAMPLE.COM", "kerberos.service=exchangeMDB/mb1.example.com"},
		},
		{
			name:     "log-on over UDP that needs pre-authentication",
			conv:     []observetest.Segment{to(kdcReq(10, padata, "EXAMPLE.COM", user, tgs)), back(krbError(25, tgs))},
			datagram: true,
			want: []string{
				"kerberos.message=as-req", "kerberos.message=error", "kerberos.realm=EXAMPLE.COM", "kerberos.service=krbtgt/EXAMPLE.COM",
				"kerberos.error=KDC_ERR_PREAUTH_REQUIRED",
			},
		},
		{
			name: "principals with identities",
			conv: []observetest.Segment{
				to(tcp(kdcReq(10, padata, "EXAMPLE.COM", user, tgs))), back(tcp(kdcRep(11, user, ticket("EXAMPLE.COM", tgs, 18, 900), 18))),
			},
			id: true,
			want: []string{
				"kerberos.message=as-req", "kerberos.message=as-rep", "kerberos.realm=EXAMPLE.COM", "kerberos.service=krbtgt/EXAMPLE.COM",
				"kerberos.client=administrator", "kerberos.etype=aes256-cts-hmac-sha1-96",
			},
		},
		{
			name: "a user as the service",
			conv: []observetest.Segment{
				to(tcp(kdcReq(12, padata, "EXAMPLE.COM", "", name(1, "alice")))),
				to(tcp(kdcReq(12, padata, "EXAMPLE.COM", "", name(10, "a/b@example.com")))),
			},
			want: []string{"kerberos.message=tgs-req", "kerberos.realm=EXAMPLE.COM"},
		},
		{
			name: "unknown service, two messages in one segment",
			conv: []observetest.Segment{
				to(tcp(kdcReq(12, padata, "EXAMPLE.COM", "", mdb)) + tcp(kdcReq(12, padata, "EXAMPLE.COM", "", tgs))), back(tcp(krbError(7, mdb))),
			},
			want: []string{
				"kerberos.message=tgs-req", "kerberos.message=error", "kerberos.realm=EXAMPLE.COM", "kerberos.service=krbtgt/EXAMPLE.COM",
				"kerberos.service=exchangeMDB/mb1.example.com", "kerberos.error=KDC_ERR_S_PRINCIPAL_UNKNOWN",
			},
		},
		{
			name: "nothing is invented after a gap",
			conv: []observetest.Segment{
				to(tcp(kdcReq(12, padata, "EXAMPLE.COM", "", tgs))), observetest.Lost(observe.ToServer, 100),
				to(tcp(kdcReq(12, padata, "EXAMPLE.COM", "", mdb))), back(tcp(krbError(7, tgs))),
			},
			want: []string{
				"kerberos.message=tgs-req", "kerberos.message=error", "kerberos.realm=EXAMPLE.COM", "kerberos.service=krbtgt/EXAMPLE.COM",
				"kerberos.error=KDC_ERR_S_PRINCIPAL_UNKNOWN",
			},
		},
		{name: "client and server swapped", conv: []observetest.Segment{to(tcp(krbError(7, mdb)))}, err: observe.ErrReversed},
		{
			name: "kpasswd is not Kerberos",
			conv: []observetest.Segment{to("\x00\x00\x04\x00\x04\x00\x00\x01\x03\x00", apReq("EXAMPLE.COM", tgs))},
			err:  observe.ErrViolation,
		},
		{name: "lengths disagree", conv: []observetest.Segment{to("\x00\x00\x00\x20\x6a\x1d\x30\x1b\xa1\x03\x02\x01\x05")},
			err: observe.ErrViolation},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), c.conv, observetest.Options{Datagram: c.datagram, Identities: c.id})
			if r.Err != c.err {
				t.Errorf("ends with %v, want %v", r.Err, c.err)
			}
			if c.want != nil {
				c.want = append(c.want, "auth=kerberos")
			}
			observetest.Expect(t, r, c.want...)
		})
	}
}

// TestCutDatagram verifies that a datagram is read up to the snap length.
func TestCutDatagram(t *testing.T) {
	msg := kdcRep(13, user, ticket("EXAMPLE.COM", mdb, 18, 1200), 18)
	conv := []observetest.Segment{observetest.ToClient(msg[:250])}
	r := observetest.Check(t, Protocol(), conv, observetest.Options{Datagram: true, Cut: true})
	observetest.Expect(t, r, "auth=kerberos", "kerberos.message=tgs-rep",
		"kerberos.realm=EXAMPLE.COM", "kerberos.service=exchangeMDB/mb1.example.com", "kerberos.etype=aes256-cts-hmac-sha1-96")
}

func TestParseAPReq(t *testing.T) {
	b := []byte(apReq("EXAMPLE.COM", mdb))
	want := Ticket{"EXAMPLE.COM", "exchangeMDB/mb1.example.com", "aes256-cts-hmac-sha1-96"}
	if got, ok := ParseAPReq(b, false); !ok || got != want {
		t.Errorf("ParseAPReq = %+v, %v; want %+v", got, ok, want)
	}
	if got, ok := ParseAPReq(b[:200], false); !ok || got != want {
		t.Errorf("ParseAPReq of a prefix = %+v, %v; want %+v", got, ok, want)
	}
	if got, ok := ParseAPReq(b[:20], false); ok {
		t.Errorf("ParseAPReq of 20 bytes = %+v; want none", got)
	}
}

func TestDetect(t *testing.T) {
	req := kdcReq(10, padata, "EXAMPLE.COM", user, tgs)
	for _, c := range []struct {
		name string
		f    observe.First
		want observe.Match
	}{
		{"TCP request", observe.First{ToServer: []byte(tcp(req))}, observe.Yes},
		{"TCP request, 20 bytes", observe.First{ToServer: []byte(tcp(req))[:20]}, observe.Yes},
		{"TCP request, 9 bytes", observe.First{ToServer: []byte(tcp(req))[:9]}, observe.More},
		{"UDP request", observe.First{ToServer: []byte(req), Datagram: true}, observe.Yes},
		{"UDP request without its end", observe.First{ToServer: []byte(req)[:100], Datagram: true}, observe.Yes},
		{"UDP request followed by more bytes", observe.First{ToServer: []byte(req + "x"), Datagram: true}, observe.No},
		{"answer alone", observe.First{ToClient: []byte(tcp(krbError(25, tgs)))}, observe.Yes},
		{"LDAP", observe.First{ToServer: []byte("\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00")}, observe.No},
		{"HTTP", observe.First{ToServer: []byte("GET / HTTP/1.1\r\n"), OnPort: true}, observe.No},
	} {
		if got := detect(&c.f); got != c.want {
			t.Errorf("%s: detect = %d, want %d", c.name, got, c.want)
		}
	}
}

// TestCorpus compares message kinds, realms, services and error codes of each flow in
// real captures with tshark's.
func TestCorpus(t *testing.T) {
	for _, file := range []string{
		"span/KRB5.pcap", "epm/AD-capture-2.pcapng", "epm/aug_16_par4.pcap.gz", "epm/chip_host_signin.pcap.gz", "epm/schtasks.pcap",
		"epm/dcerpc-fault-stub-data-02.pcap.gz", "ad/purplesharp_ad_playbook_I_2020-10-22042947.cap", "http/winrm_psremote_05-16.pcap",
		"epm/covenant_dcsync_dcerpc_drsuapi_DsGetNCChanges_2020-08-05020926.cap", "negatives/krb-user1-openwall-1.pcap",
	} {
		t.Run(file, func(t *testing.T) {
			path := observetest.Corpus(t, file)
			type key struct {
				udp    bool
				stream string
			}
			want := map[key]map[string]bool{}
			rows := observetest.Tshark(t, path, "kerberos and (tcp.port == 88 or udp.port == 88) and not icmp", []string{"tcp.stream",
				"udp.stream", "kerberos.msg_type", "kerberos.realm", "kerberos.SNameString", "kerberos.error_code", "kerberos.etype"})
			for _, row := range rows {
				k := key{row[0] == "", row[0] + row[1]}
				w := want[k]
				if w == nil {
					w = map[string]bool{"auth=kerberos": true}
					want[k] = w
				}
				// The first message type is that of the outer message. The AP-REQ inside
				// comes later.
				for i, v := range split(row[2]) {
					n, _ := strconv.Atoi(v)
					if i == 0 || n != 14 {
						w[Message+"="+messages[der.Application(byte(n))]] = true
					}
				}
				for _, v := range split(row[3]) {
					w[Realm+"="+v] = true
				}
				for _, v := range split(row[5]) {
					n, _ := strconv.ParseInt(v, 10, 64)
					w[Error+"="+errorName(n)] = true
				}
				for _, v := range split(row[6]) {
					n, _ := strconv.ParseInt(v, 10, 64)
					w["?"+Etype+"="+EtypeName(n)] = true
				}
				parts := split(row[4])
				for i := 0; i+1 < len(parts); i++ {
					w["?"+Service+"="+strings.Join(parts[i:min(i+2, len(parts))], "/")] = true
					w["?"+Service+"="+strings.Join(parts[i:min(i+3, len(parts))], "/")] = true
				}
				if len(parts) == 2 {
					w[Service+"="+row[4][:strings.Index(row[4], ",")]+"/"+parts[1]] = true
				}
			}
			n := 0
			for _, f := range observetest.Flows(t, path, "tcp.port == 88 or udp.port == 88") {
				k := key{f.UDP, strconv.Itoa(f.Stream)}
				r := observetest.Check(t, Protocol(), f.Segments, f.Options())
				w := want[k]
				if w == nil {
					if r.Facts.Len() > 0 && len(f.Segments) > 0 {
						t.Errorf("stream %+v: tshark reads no Kerberos, observer reads %v", k, r.Lines())
					}
					continue
				}
				n++
				if r.Err != nil {
					t.Errorf("stream %+v: %v", k, r.Err)
				}
				got := r.Lines()
				for _, l := range got {
					if !w[l] && !w["?"+l] {
						t.Errorf("stream %+v: %s, which tshark does not read", k, l)
					}
				}
				for l := range w {
					if l[0] != '?' && !slices.Contains(got, l) {
						t.Errorf("stream %+v: tshark reads %s, observer reads %v", k, l, got)
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

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func FuzzObserve(f *testing.F) {
	observetest.Fuzz(f, Protocol(),
		[]observetest.Segment{
			observetest.ToServer(tcp(kdcReq(12, padata, "EXAMPLE.COM", "", mdb))),
			observetest.ToClient(tcp(kdcRep(13, user, ticket("EXAMPLE.COM", mdb, 23, 100), 18))),
		},
		[]observetest.Segment{observetest.ToServer(kdcReq(10, "", "EXAMPLE.COM", user, tgs)), observetest.ToClient(krbError(25, tgs))},
		[]observetest.Segment{observetest.ToServer(tcp(apReq("EXAMPLE.COM", mdb)))},
	)
}
