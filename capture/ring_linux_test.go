//go:build linux && cgo

package capture

import (
	"io"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/afpacket"
)

// tagged reports a tag beside each frame, as an AF_PACKET ring does.
type tagged struct{ fakeSource }

func (t *tagged) ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	b, info, err := t.fakeSource.ZeroCopyReadPacketData()
	info.AncillaryData = []any{afpacket.AncillaryVLAN{VLAN: 7}}
	return b, info, err
}

func TestRingTag(t *testing.T) {
	in := &tagged{fakeSource{frames: frames(t, "udp 10.0.0.1:1 > 10.0.0.2:1 zero(40)\nudp 10.0.0.1:1 > 10.0.0.2:1 zero(40) vlan=20"), end: io.EOF}}
	s, err := NewSource(in, LinkEthernet, Options{KeepFrames: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bt, err := s.Read()
	if err != nil || len(bt.Packets) != 2 {
		t.Fatalf("%+v %v", bt, err)
	}
	a, b := bt.Packets[0], bt.Packets[1]
	if a.VLANs.String() != "7" || b.VLANs.String() != "7.20" || a.Frame.WireLength != 86 || len(a.Frame.Data) != 86 || b.Frame.WireLength != 90 || a.Length != 68 {
		t.Errorf("%+v\n%+v", a, b)
	}
}
