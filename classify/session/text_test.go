package session

import (
	"testing"

	"github.com/exspan/exspan/classify/observe"
)

// TestText asks the protocols that begin with text about all first bytes that
// are text, with others and more text behind them.
func TestText(t *testing.T) {
	protocols := Protocols()
	refuses := func(p *observe.Protocol, b []byte) {
		for _, more := range []string{"", " sip:a@b.example SIP/2.0\r\n", " / HTTP/1.1\r\n", " OK example ready\r\n"} {
			data := append(b, more...)
			for _, f := range []observe.First{{ToServer: data}, {ToClient: data}} {
				f.ClientPort, f.ServerPort = anyPort, anyPort
				for _, f.Datagram = range []bool{false, true} {
					for _, f.OnPort = range []bool{false, true} {
						if p.Detect(&f) != observe.No {
							t.Errorf("%s does not refuse %q (datagram %v, on its port %v)", p.Name, data, f.Datagram, f.OnPort)
						}
					}
				}
			}
		}
	}
	for i := range protocols {
		p := &protocols[i]
		for first := range 256 {
			for second := range 256 {
				switch {
				case !p.Text || !isText(byte(first)):
				case !isText(byte(second)):
					refuses(p, []byte{byte(first), byte(second)})
				default:
					for _, third := range []byte{0, 0x1f, 0x7f, 0x80, 0xff} {
						refuses(p, []byte{byte(first), byte(second), third})
					}
				}
			}
		}
	}
}
