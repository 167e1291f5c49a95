package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture/capturetest"
)

// ipTunnels are the encapsulations in which anybody can send packets to anybody: IP
// carries them.
func ipTunnels() (list []encapsulation) {
	for _, e := range encapsulations {
		if e.link != linkEthernet {
			continue
		}
		switch e.name {
		case "vlan", "qinq", "vn-tag 0x8926", "e-tag 0x893f", "cmd 0x8909", "macsec, integrity only", "pbb", "mpls", "pppoe", "pppoe, protocol of one byte", "nsh":
			continue // tags and sessions of a link
		case "ah":
			continue // authenticates its sender
		}
		list = append(list, e)
	}
	return list
}

// TestForgedInTunnels forges a conversation with the endpoint mapper inside each tunnel of
// IP, between ends that the site file does not name as those of a mirror. Outside, a flow
// goes to the port that it announces. It may be whole, or its beginning may be missing.
// What a tunnel says explains nothing outside it.
func TestForgedInTunnels(t *testing.T) {
	c, err := readFrames(filepath.Join(testdataDir, "faults", "poisoning", "p_v1-epm-inside-vxlan-to-8.8.8.8.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	const outer = 14 + 20 + 8 + 8 // Ethernet, IPv4, UDP and VXLAN
	var forged, outside []capturetest.Frame
	for _, f := range c.Frames {
		if s, ok := cutSegment(c.LinkType, f.Data); ok && s.dst.Port() == 4789 {
			f.Data = f.Data[outer:]
			f.Wire = len(f.Data)
			forged = append(forged, f)
		} else {
			outside = append(outside, f)
		}
	}
	if len(forged) < 8 || len(outside) < 6 {
		t.Fatalf("%d forged frames, %d others", len(forged), len(outside))
	}
	status := func(frames []capturetest.Frame) string {
		file := writeFrames(t, t.TempDir(), "a.pcap", &capturetest.Capture{LinkType: linkEthernet, Frames: frames})
		records, err := analyzed("--site", filepath.Join(testdataDir, "faults", "poisoning", "site.yaml"), file)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if r.object("server").number("port") == 4444 {
				return r.object("verdict").text("status") + " " + r.object("verdict").text("confidence")
			}
		}
		t.Fatal("no flow to port 4444")
		return ""
	}
	late := outside[3:] // without the handshake
	if got := status(slices.Concat(forged, late)); !strings.HasPrefix(got, "expected") {
		t.Fatalf("announced outside a tunnel: %s", got) // else the test proves nothing
	}
	for _, e := range ipTunnels() {
		var inside []capturetest.Frame
		for _, f := range forged {
			f.Data = e.wrap(slices.Clone(f.Data))
			f.Wire = len(f.Data)
			inside = append(inside, f)
		}
		for name, flow := range map[string][]capturetest.Frame{"whole": outside, "late": late} {
			if got := status(slices.Concat(inside, flow)); strings.HasPrefix(got, "expected") || strings.HasSuffix(got, "learned") {
				t.Errorf("%s, %s: %s", e.name, name, got)
			}
		}
	}
}
