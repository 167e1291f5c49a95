package session

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
)

// TestRandomIsNothing offers random first bytes to every protocol on every
// port that some protocol expects: hardly any may be taken for something, or
// keep a flow's buffers waiting for more.
func TestRandomIsNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	protocols := Protocols()
	ports := []uint16{49153}
	for _, p := range protocols {
		ports = append(ports, p.TCP...)
		ports = append(ports, p.UDP...)
	}
	const each = 300
	for i := range protocols {
		p := &protocols[i]
		for _, datagram := range []bool{false, true} {
			if datagram && !p.Datagram || !datagram && !p.Stream || p.Tentative {
				continue
			}
			for dir := range 2 {
				taken := 0
				for n := range each * len(ports) {
					b := make([]byte, 64)
					for i := range b {
						b[i] = byte(r.Uint32())
					}
					f := observe.First{Datagram: datagram, ClientPort: 40000, ServerPort: ports[n%len(ports)]}
					expected := p.TCP
					if datagram {
						expected = p.UDP
					}
					for _, port := range expected {
						f.OnPort = f.OnPort || port == f.ServerPort
					}
					if dir == 0 {
						f.ToServer = b
					} else {
						f.ToClient = b
					}
					if p.Detect(&f) != observe.No {
						taken++
					}
				}
				if share := float64(taken) / float64(each*len(ports)); share > .01 {
					t.Errorf("%s takes %.1f %% of random first bytes (direction %d, datagram %v) for possible", p.Name, 100*share, dir, datagram)
				}
			}
		}
	}
}

// TestPatterns changes first messages of several protocols at random, and checks that no
// protocol detects bytes that its patterns and ports exclude.
func TestPatterns(t *testing.T) {
	reader, err := NewReader(Config{Protocols: Protocols()})
	if err != nil {
		t.Fatal(err)
	}
	samples := [][]byte{
		[]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01"),
		[]byte("\x00\x21\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01"),
		append([]byte("\x80\x00\x12\x34\x00\x00\x00\xa0\x11\x22\x33\x44"), make([]byte, 160)...),
		append([]byte("\x81\xc8\x00\x06\x11\x22\x33\x44"), make([]byte, 20)...),
		append([]byte("\x00\x01\x00\x08\x21\x12\xa4\x42"), make([]byte, 20)...),
		append([]byte("\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\x00\x00\x00\x00\x00\x21\x20\x22\x08\x00\x00\x00\x00\x00\x00\x00\x20"), make([]byte, 4)...),
		[]byte("\x16\x03\x01\x00\x40\x01\x00\x00\x3c\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		[]byte("\x80\x1c\x01\x03\x01\x00\x03\x00\x00\x00\x10\x00\x00\x2f\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"),
	}
	ports := []uint16{53, 137, 443, 500, 1023, 1024, 4500, 4500 + 64, 49153}
	random := rand.New(rand.NewPCG(3, 4))
	protocols, detected := Protocols(), map[string]int{}
	for n := range 200_000 {
		b := append([]byte(nil), samples[n%len(samples)]...)
		for range random.IntN(3) {
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
		server, dir := ports[random.IntN(len(ports))], observe.Direction(n/len(samples)%2)
		for i, p := range protocols {
			for _, proto := range []uint8{capture.TCP, capture.UDP} {
				f := observe.First{ClientPort: 40000, ServerPort: server, Datagram: proto == capture.UDP}
				ofProto, expected := p.Stream, p.TCP
				if f.Datagram {
					ofProto, expected = p.Datagram, p.UDP
				}
				if f.ToServer = b; dir == observe.ToClient {
					f.ToServer, f.ToClient = nil, b
				}
				f.OnPort = slices.Contains(expected, server)
				if !ofProto || p.Detect(&f) == observe.No {
					continue
				}
				detected[p.Name]++
				if reader.candidates(proto, 40000, server, dir, b)&(1<<i) == 0 {
					t.Fatalf("%s detects %x on port %d of protocol %d, which its patterns exclude", p.Name, b, server, proto)
				}
			}
		}
	}
	for _, name := range []string{"dns", "rtp", "ike", "esp", "tls"} {
		if detected[name] < 1000 {
			t.Errorf("%s was detected %d times, so little was compared", name, detected[name])
		}
	}
}
