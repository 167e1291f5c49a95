package session

import (
	"math/rand/v2"
	"testing"

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
