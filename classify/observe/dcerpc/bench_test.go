package dcerpc

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// BenchmarkCalls reads sealed calls of 5,840 bytes in segments of 1,460, as the
// engine offers them.
func BenchmarkCalls(b *testing.B) {
	sig := sec{authNTLM, 6, 1, strings.Repeat("s", 16)}
	pdu := []byte(le.request(3, 2, 0, 11, strings.Repeat("x", 5776), sig))
	obs := New()
	var r observe.Report
	in := observe.Input{Handshake: true, Continues: true, Flow: observetest.Between(netip.MustParseAddrPort("192.0.2.10:50000"), onDynamic.Server)}
	in.Data = []byte(le.bind(1, []ctx{{0, emsmdbs, ndr32s}}))
	if _, err := obs.Observe(&in, &r); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(pdu)))
	b.ReportAllocs()
	for b.Loop() {
		skip := 0
		for at := 0; at < len(pdu); at += 1460 {
			seg := pdu[at:min(at+1460, len(pdu))]
			k := min(skip, len(seg))
			skip, seg = skip-k, seg[k:]
			if len(seg) == 0 {
				continue
			}
			in.Data = seg
			n, err := obs.Observe(&in, &r)
			if err != nil || n < len(seg) {
				b.Fatal(n, err)
			}
			skip = n - len(seg)
		}
	}
}
