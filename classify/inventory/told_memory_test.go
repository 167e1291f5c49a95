package inventory

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/exspan/exspan/classify/knowledge"
)

// heap returns the bytes that are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemoryOfTold tells many endpoints, each of which was decoded from a message, and
// bounds what one takes.
func TestMemoryOfTold(t *testing.T) {
	const sensors, each = 20, 2000
	v := New(testPacks(t), nil, nil, "")
	v.Limit(200_000, 1000, 1000)
	before := heap()
	for s := range sensors {
		for i := range each {
			server := netip.AddrFrom4([4]byte{10, byte(s + 1), byte(i / 20 >> 8), byte(i / 20)})
			f := toldEndpoint(fmt.Sprintf("%s:%d", server, 49152+i%20), "emsmdb", toldAt)
			f.Annotation = "Exchange Server STORE EMSMDB Interface"
			got, _, sensor, err := knowledge.Decode(f.Key("default", fmt.Sprint("sensor", s)), f.Encode())
			if err != nil {
				t.Fatal(err)
			}
			v.Tell(sensor, &got, toldAt, minute)
		}
	}
	per := (heap() - before) / (sensors * each)
	if n := len(v.endpoints.all); n != sensors*each {
		t.Fatalf("%d entries, want %d", n, sensors*each)
	}
	t.Logf("an endpoint that another sensor tells takes %d bytes", per)
	if per > 480 { // told.limit and the share of endpoints in package classify reckon with 512
		t.Errorf("an endpoint that another sensor tells takes %d bytes", per)
	}
	runtime.KeepAlive(v)
}
