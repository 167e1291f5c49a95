package dns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// Another implementation builds the messages.

func pack(m dnsmessage.Message) string {
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return string(b)
}

func ask(id uint16, name string, typ dnsmessage.Type) string {
	return pack(query(id, name, typ))
}

func query(id uint16, name string, typ dnsmessage.Type) dnsmessage.Message {
	return dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}},
	}
}

func answer(id uint16, name string, typ dnsmessage.Type, rcode dnsmessage.RCode, answers, additional []dnsmessage.Resource) string {
	m := query(id, name, typ)
	m.Response, m.RCode, m.Answers, m.Additionals = true, rcode, answers, additional
	return pack(m)
}

func rr(name string, body dnsmessage.ResourceBody) dnsmessage.Resource {
	h := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: 600}
	return dnsmessage.Resource{Header: h, Body: body}
}

func a(name, addr string) dnsmessage.Resource {
	if ip := netip.MustParseAddr(addr); ip.Is6() {
		return rr(name, &dnsmessage.AAAAResource{AAAA: ip.As16()})
	}
	return rr(name, &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()})
}

func srv(name, target string, port uint16) dnsmessage.Resource {
	return rr(name, &dnsmessage.SRVResource{Priority: 0, Weight: 100, Port: port, Target: dnsmessage.MustNewName(target)})
}

func tcp(m string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(m)))) + m }

const ldapSRV = "_ldap._tcp.dc._msdcs.Example.com."

func TestObserve(t *testing.T) {
	to, back := observetest.ToServer, observetest.ToClient
	type rrs = []dnsmessage.Resource
	var (
		mx      = rrs{rr("example.com.", &dnsmessage.MXResource{Pref: 10, MX: dnsmessage.MustNewName("mail.example.com.")})}
		cname   = rr("autodiscover.example.com.", &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("CAS1.example.com.")})
		servers = rrs{srv(ldapSRV, "dc1.example.com.", 389), srv(ldapSRV, "dc2.example.com.", 389)}
		loop    = ask(9, "x.example.com.", dnsmessage.TypeA)
	)
	// The owner of the answer is a pointer to itself.
	loop = loop[:2] + "\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + loop[12:]
	loop += "\xc0" + string(rune(len(loop))) + "\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a\x00\x00\x01"
	for _, c := range []struct {
		name     string
		datagram bool
		conv     []observetest.Segment
		err      error
		want     []string
	}{
		{
			name: "domain controllers, with their addresses", datagram: true,
			conv: []observetest.Segment{
				to(ask(1, ldapSRV, dnsmessage.TypeSRV)),
				back(answer(1, ldapSRV, dnsmessage.TypeSRV, 0, servers,
					rrs{a("dc1.example.com.", "10.0.0.5"), a("dc2.example.com.", "10.0.0.6"), a("dc2.example.com.", "2001:db8::6"),
						a("else.example.com.", "10.0.0.7")})),
			},
			want: []string{
				"dns.name=_ldap._tcp.dc._msdcs.example.com", "host 10.0.0.5 dc1.example.com service=_ldap._tcp",
				"host 10.0.0.6 dc2.example.com service=_ldap._tcp", "host 2001:db8::6 dc2.example.com service=_ldap._tcp",
			},
		},
		{
			name: "mail exchangers over TCP, two messages in one segment",
			conv: []observetest.Segment{
				to(tcp(ask(1, "example.com.", dnsmessage.TypeMX)), tcp(ask(2, "mail.example.com.", dnsmessage.TypeA))),
				back(tcp(answer(1, "example.com.", dnsmessage.TypeMX, 0, mx, nil)),
					tcp(answer(2, "mail.example.com.", dnsmessage.TypeA, 0, rrs{a("mail.example.com.", "192.0.2.25")}, nil))),
			},
			want: []string{"dns.name=example.com", "host 192.0.2.25 mail.example.com"},
		},
		{
			name: "an alias names its target", datagram: true,
			conv: []observetest.Segment{
				to(ask(3, "autodiscover.example.com.", dnsmessage.TypeA)),
				back(answer(3, "autodiscover.example.com.", dnsmessage.TypeA, 0, rrs{cname, a("CAS1.example.com.", "10.0.0.9")}, nil)),
			},
			want: []string{"host 10.0.0.9 cas1.example.com"},
		},
		{
			name: "a name with two addresses names no host", datagram: true,
			conv: []observetest.Segment{
				to(ask(3, "example.com.", dnsmessage.TypeA)),
				back(answer(3, "example.com.", dnsmessage.TypeA, 0, rrs{a("example.com.", "10.0.0.5"), a("example.com.", "10.0.0.6")}, nil)),
			},
		},
		{
			name: "gc._msdcs and 0.0.0.0 name no host", datagram: true,
			conv: []observetest.Segment{
				to(ask(3, "gc._msdcs.example.com.", dnsmessage.TypeA)),
				back(answer(3, "gc._msdcs.example.com.", dnsmessage.TypeA, 0, rrs{a("gc._msdcs.example.com.", "10.0.0.5")}, nil)),
				to(ask(4, "ads.example.net.", dnsmessage.TypeA)),
				back(answer(4, "ads.example.net.", dnsmessage.TypeA, 0, rrs{a("ads.example.net.", "0.0.0.0")}, nil)),
			},
		},
		{
			name: "an unsolicited answer is ignored", datagram: true,
			conv: []observetest.Segment{
				to(ask(5, "a.example.com.", dnsmessage.TypeA)),
				back(answer(6, "a.example.com.", dnsmessage.TypeA, 0, rrs{a("a.example.com.", "10.0.0.5")}, nil)),
				back(answer(5, "b.example.com.", dnsmessage.TypeA, 0, rrs{a("b.example.com.", "10.0.0.5")}, nil)),
				back(answer(5, "a.example.com.", dnsmessage.TypeAAAA, dnsmessage.RCodeNameError, nil, nil)),
			},
		},
		{
			name: "no such name", datagram: true,
			conv: []observetest.Segment{
				to(ask(7, "_kerberos._tcp.example.com.", dnsmessage.TypeSRV)),
				back(answer(7, "_kerberos._tcp.example.com.", dnsmessage.TypeSRV, dnsmessage.RCodeNameError, nil, nil)),
			},
			want: []string{"dns.name=_kerberos._tcp.example.com", "dns.rcode=nxdomain"},
		},
		{
			name: "a pointer to itself", datagram: true,
			conv: []observetest.Segment{to(ask(9, "x.example.com.", dnsmessage.TypeA)), back(loop)},
		},
		{
			name: "names of hosts and of people are not kept as facts", datagram: true,
			conv: []observetest.Segment{to(ask(9, "alices-laptop.example.com.", dnsmessage.TypeA))},
		},
		{
			name: "the answer first", datagram: true, err: observe.ErrReversed,
			conv: []observetest.Segment{to(answer(1, "example.com.", dnsmessage.TypeMX, 0, mx, nil))},
		},
		{
			name: "nothing is invented after a gap",
			conv: []observetest.Segment{
				to(tcp(ask(1, "example.com.", dnsmessage.TypeMX))), observetest.Lost(observe.ToServer, 10),
				to(tcp(ask(2, "example.net.", dnsmessage.TypeMX))),
				back(tcp(answer(1, "example.com.", dnsmessage.TypeMX, dnsmessage.RCodeServerFailure, nil, nil))),
			},
			want: []string{"dns.name=example.com", "dns.rcode=servfail"},
		},
		{name: "SIP", datagram: true, conv: []observetest.Segment{to("OPTIONS sip:a@example.com SIP/2.0\r\n\r\n")}, err: observe.ErrViolation},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := observetest.Check(t, Protocol(), c.conv, observetest.Options{Datagram: c.datagram})
			if r.Err != c.err {
				t.Errorf("ends with %v, want %v", r.Err, c.err)
			}
			observetest.Expect(t, r, c.want...)
		})
	}
}

// TestName compares the readers of names with RFC 1035 section 4.1.4.
func TestName(t *testing.T) {
	prefix := strings.Repeat("\x00", headerLength) + "\x07Example\x03com\x00" // at 12
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 4)
	for _, c := range []struct {
		name, msg string
		want      string
		next      int
		err       error
	}{
		{"plain", prefix, "example.com", 25, nil},
		{"pointer", prefix + "\x03mb1\xc0\x0c", "mb1.example.com", 31, nil},
		{"pointer to itself", prefix + "\xc0\x19", "", 0, errForm},
		{"pointer ahead", prefix + "\xc0\x1b\x00", "", 0, errForm},
		{"pointer into the header", prefix + "\xc0\x02", "", 0, errForm},
		{"255 bytes", prefix + long + "\x00", "", 0, errForm},
		{"cut in a label", prefix + "\x05abc", "", 0, errShort},
		{"cut in a pointer", prefix + "\xc0", "", 0, errShort},
		{"label type 01", prefix + "\x41a\x00", "", 0, errForm},
	} {
		var d name
		off := headerLength
		if len(c.msg) > len(prefix) {
			off = len(prefix)
		}
		next, err := d.read([]byte(c.msg), off)
		if err != c.err || err == nil && (text(d.labels()) != c.want || next != c.next) {
			t.Errorf("%s: %q, %d, %v; want %q, %d, %v", c.name, text(d.labels()), next, err, c.want, c.next, c.err)
		}
	}
}

func TestHash(t *testing.T) {
	for n := range 20 {
		for c := range 256 {
			labels := append([]byte{byte(n + 1)}, strings.Repeat("x", n)...)
			labels = append(labels, byte(c))
			same := bytes.ToUpper(labels)
			if c >= 0x80 {
				same = append(bytes.ToUpper(labels[:n+1]), byte(c))
			}
			other := append(bytes.Clone(labels[:n+1]), byte(c)^1)
			if hash(labels) != hash(same) || hash(labels) == hash(other) {
				t.Fatalf("hash of %q: %x, of %q: %x, of %q: %x", labels, hash(labels), same, hash(same), other, hash(other))
			}
		}
	}
}

func TestDetect(t *testing.T) {
	q := []byte(ask(1, "example.com.", dnsmessage.TypeMX))
	tls := []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefghijklmnop")
	rtp := append([]byte{0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4}, make([]byte, 160)...)
	for _, c := range []struct {
		name string
		f    observe.First
		want observe.Match
	}{
		{"query", observe.First{ToServer: q, Datagram: true, OnPort: true, ServerPort: 53}, observe.Yes},
		{"query elsewhere", observe.First{ToServer: q, Datagram: true, ServerPort: 5300}, observe.Yes},
		{"multicast DNS", observe.First{ToServer: q, Datagram: true, ServerPort: 5353}, observe.No},
		{"LLMNR", observe.First{ToServer: q, Datagram: true, ServerPort: 5355}, observe.No},
		{"NetBIOS name", observe.First{ToServer: q, Datagram: true, ServerPort: 137}, observe.No},
		{"over TCP", observe.First{ToServer: []byte(tcp(string(q))), ServerPort: 53, OnPort: true}, observe.Yes},
		{"over TCP, begun", observe.First{ToServer: []byte(tcp(string(q)))[:20], ServerPort: 53, OnPort: true}, observe.More},
		{"TLS", observe.First{ToServer: tls, ServerPort: 53, OnPort: true}, observe.No},
		{"HTTP", observe.First{ToServer: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), ServerPort: 53, OnPort: true}, observe.No},
		{"RTP", observe.First{ToServer: rtp, Datagram: true, ServerPort: 5004}, observe.No},
	} {
		if got := detect(&c.f); got != c.want {
			t.Errorf("%s: detect = %d, want %d", c.name, got, c.want)
		}
	}
}

// TestCorpus compares questions for SRV and MX, answer codes and addresses with tshark's.
func TestCorpus(t *testing.T) {
	for _, file := range []string{
		"epm/aug_16_par4.pcap.gz", "epm/chip_host_signin.pcap.gz", "epm/schtasks.pcap", "ad/purplesharp_ad_playbook_I_2020-10-22042947.cap",
		"ad/eternalchampion.pcap", "span/aol.pcap", "span/erspan.pcap", "epm/covenant_dcsync_dcerpc_drsuapi_DsGetNCChanges_2020-08-05020926.cap",
	} {
		t.Run(file, func(t *testing.T) {
			path := observetest.Corpus(t, file)
			want := map[string]map[string]bool{}
			filter := "dns.flags.opcode == 0 and (udp.port == 53 or tcp.port == 53) and not icmp"
			rows := observetest.Tshark(t, path, filter, []string{"udp.stream", "tcp.stream",
				"dns.flags.response", "dns.qry.name", "dns.qry.type", "dns.flags.rcode", "dns.response_to", "dns.a", "dns.aaaa"})
			for _, row := range rows {
				k := row[0] + "/" + row[1]
				w := want[k]
				if w == nil {
					w = map[string]bool{}
					want[k] = w
				}
				if typ := row[4]; typ == "33" || typ == "15" {
					w[Name+"="+strings.ToLower(row[3])] = true
				}
				if row[6] == "" {
					continue
				}
				if row[5] != "" && row[5] != "0" {
					n, _ := strconv.Atoi(row[5])
					w[Rcode+"="+rcodes[n]] = true
				}
				for _, addr := range strings.Split(row[7]+","+row[8], ",") {
					w["?host "+addr] = true
				}
				// With one address and no alias, the name in the question is the name of
				// the host.
				if row[4] == "1" && row[8] == "" && row[7] != "" && !strings.Contains(row[7], ",") && !strings.Contains(row[3], "_") {
					w["?name "+row[7]] = true
				}
			}
			n, hosts, named := 0, 0, map[string]bool{}
			for _, f := range observetest.Flows(t, path, "udp.port == 53 or tcp.port == 53") {
				k := fmt.Sprintf("/%d", f.Stream)
				if f.UDP {
					k = fmt.Sprintf("%d/", f.Stream)
				}
				w := want[k]
				r := observetest.Check(t, Protocol(), f.Segments, f.Options())
				if w == nil {
					if len(r.Lines()) > 0 {
						t.Errorf("stream %s: tshark reads no DNS, observer reads %v", k, r.Lines())
					}
					continue
				}
				n++
				got := r.Lines()
				for _, l := range got {
					l, _, _ := strings.Cut(l, " service=")
					if host, ok := strings.CutPrefix(l, "host "); ok {
						hosts++
						host, _, _ = strings.Cut(host, " ")
						named[host] = true
						l = "?host " + host
					}
					if !w[l] {
						t.Errorf("stream %s: %s, which tshark does not read", k, l)
					}
				}
				for l := range w {
					if l[0] != '?' && !slices.Contains(got, l) {
						t.Errorf("stream %s: tshark reads %s, observer reads %v", k, l, got)
					}
				}
				for l := range w {
					if addr, ok := strings.CutPrefix(l, "?name "); ok && !named[addr] {
						t.Errorf("stream %s: tshark reads one address, %s; observer reports %v", k, addr, got)
					}
				}
			}
			if n == 0 {
				t.Error("no flow was compared")
			}
			t.Logf("%d flows compared, %d host names", n, hosts)
		})
	}
}

func TestAllocs(t *testing.T) {
	o, r := new(observer), new(observe.Report)
	q := []byte(ask(1, "www.example.com.", dnsmessage.TypeA))
	in := &observe.Input{Data: q, Datagram: true}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := o.Observe(in, r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a question without news", n)
	}
}

func FuzzObserve(f *testing.F) {
	q := ask(1, ldapSRV, dnsmessage.TypeSRV)
	r := answer(1, ldapSRV, dnsmessage.TypeSRV, 0, []dnsmessage.Resource{srv(ldapSRV, "dc1.example.com.", 389)},
		[]dnsmessage.Resource{a("dc1.example.com.", "10.0.0.5")})
	observetest.Fuzz(f, Protocol(),
		[]observetest.Segment{observetest.ToServer(q), observetest.ToClient(r)},
		[]observetest.Segment{observetest.ToServer(tcp(q)), observetest.ToClient(tcp(r))},
	)
}
