package tls

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// files are the captures of the corpus in which tshark finds TLS.
var files = []string{
	"smtp/smtp-starttls.pcap", "pop-imap/pop-ssl.pcapng", "pop-imap/imap-starttls.pcap", "mapi/dof-small-device.pcapng",
	"sip-rtp/port-16_vlan24_200.pcap", "span/pcap_flow_lab_showcase.pcap", "span/aol.pcap", "epm/aug_16_par4.pcap.gz",
	"ad/eternalchampion.pcap", "malformed/tls_DER-incomplete-content.pcap", "malformed/tls_DER-incomplete-header.pcap",
	"malformed/ssl.dump.pcap",
}

// want is tshark's reading of a stream.
type want struct {
	client, server bool // hellos
	name, cipher   string
	version        int
	certificates   bool
}

// TestCorpus compares every TCP stream in which tshark finds a hello with tshark's
// reading. Streams that begin in clear are read from the first record on.
func TestCorpus(t *testing.T) {
	compared := 0
	for _, name := range files {
		t.Run(name, func(t *testing.T) {
			file := observetest.Corpus(t, name)
			wants := map[int]*want{}
			for _, r := range observetest.Tshark(t, file, "tls.handshake.type == 1 or tls.handshake.type == 2 or tls.handshake.type == 11",
				[]string{"tcp.stream", "tls.handshake.type", "tls.handshake.version", "tls.handshake.extensions_server_name",
					"tls.handshake.ciphersuite", "tls.handshake.extensions.supported_version"}) {
				n, err := strconv.Atoi(r[0])
				if err != nil {
					continue
				}
				w := wants[n]
				if w == nil {
					w = &want{}
					wants[n] = w
				}
				types := strings.Split(r[1], ",")
				w.certificates = w.certificates || slices.Contains(types, "11")
				if slices.Contains(types, "1") {
					w.client, w.name = true, r[3]
				}
				if slices.Contains(types, "2") && !slices.Contains(types, "1") {
					w.server = true
					w.version = number(t, first2(r[2]))
					if r[5] != "" {
						w.version = number(t, first2(r[5]))
					}
					w.cipher = CipherName(uint16(number(t, first2(r[4]))))
				}
			}
			for _, f := range observetest.Flows(t, file, "tcp") {
				w := wants[f.Stream]
				if w == nil {
					continue
				}
				conv := skipClear(f.Segments)
				r := observetest.Check(t, Protocol(), conv, f.Options())
				compared++
				var names, versions, ciphers []string
				if w.client && w.name != "" {
					names = []string{w.name}
				}
				if w.server {
					versions, ciphers = []string{versionName(uint16(w.version))}, []string{w.cipher}
				}
				if got := r.Facts.Values(ServerName); !slices.Equal(got, names) {
					t.Errorf("stream %d: server name %q, tshark reads %q", f.Stream, got, names)
				}
				if got := r.Facts.Values(Version); !slices.Equal(got, versions) {
					t.Errorf("stream %d: version %q, tshark reads %q (%v)", f.Stream, got, versions, r.Err)
				}
				if got := r.Facts.Values(Cipher); !slices.Equal(got, ciphers) {
					t.Errorf("stream %d: cipher %q, tshark reads %q", f.Stream, got, ciphers)
				}
				// A hello in the form of SSL 2.0 has no fingerprint.
				if got := r.Facts.Any(JA4); got != (w.client && conv[0].Data[0]&0x80 == 0) {
					t.Errorf("stream %d: ja4 %v, tshark reads a ClientHello: %v", f.Stream, got, w.client)
				}
				if r.Facts.Any(Subject) && !w.certificates {
					t.Errorf("stream %d: subject %q, tshark reads no certificate", f.Stream, r.Facts.Values(Subject))
				}
			}
		})
	}
	t.Logf("%d streams compared", compared)
}

func number(t *testing.T, s string) int {
	t.Helper()
	x, err := strconv.ParseInt(s, 0, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int(x)
}

func first2(s string) string { return strings.SplitN(s, ",", 2)[0] }

// skipClear drops the segments before the first record in each direction of an upgraded
// flow.
func skipClear(conv []observetest.Segment) []observetest.Segment {
	var out []observetest.Segment
	hello := slices.IndexFunc(conv, func(s observetest.Segment) bool {
		return s.Dir == observe.ToServer && first(s.Data, true) >= lookOne
	})
	if hello <= 0 || !strings.ContainsAny(string(conv[0].Data[:1]), "2+*") {
		return conv
	}
	out = append(out, conv[hello:]...)
	return out
}
