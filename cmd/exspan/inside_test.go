package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture/capturetest"
)

// A greeting of Exchange 2010 with its keywords, sent to 10.1.1.9.
const insideFlow = `
start 2026-03-01T09:00:00Z
handshake 10.1.4.5:2001 > 10.1.1.9:25
tcp 10.1.1.9:25 > 10.1.4.5:2001 "220 hub1 Microsoft ESMTP MAIL Service ready at Sun, 1 Mar 2026 09:00:00 +0000\r\n"
tcp 10.1.4.5:2001 > 10.1.1.9:25 "EHLO client\r\n"
tcp 10.1.1.9:25 > 10.1.4.5:2001 "250-hub1 Hello\r\n250-X-ANONYMOUSTLS\r\n250-X-EXPS GSSAPI NTLM\r\n250-XEXCH50\r\n250 XSHADOW\r\n"
`

// What 10.1.1.9 serves besides. It proves nothing of Exchange.
const outsideFlow = `
start 2026-03-01T09:01:00Z
handshake 10.1.4.5:2002 > 10.1.1.9:3389
handshake 10.1.4.5:2003 > 10.1.1.9:25
tcp 10.1.1.9:25 > 10.1.4.5:2003 "220 mail ESMTP\r\n"
`

func framesOf(t *testing.T, text string, wrap func([]byte) []byte) []capturetest.Frame {
	t.Helper()
	c, err := capturetest.Parse("text", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Frames {
		f := &c.Frames[i]
		f.Data = wrap(f.Data)
		f.Wire = len(f.Data)
	}
	return c.Frames
}

func asIs(f []byte) []byte { return f }

// TestInsideTunnels wraps what proves a Hub Transport server in each tunnel. It proves
// nothing of the same address outside it, nor in another tunnel, unless the site file
// names the tunnel's end as a mirror. In the tunnel it holds.
func TestInsideTunnels(t *testing.T) {
	dir := t.TempDir()
	mirrors := filepath.Join(dir, "mirrors.yaml")
	if err := os.WriteFile(mirrors, []byte("mirrors: [10.99.0.1]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := inIP(4, beforeIP("")) // between the same ends, and no GRE
	for _, c := range []struct {
		name            string
		inside, outside func([]byte) []byte
		args            []string
		hub             bool
	}{
		{"gre", inIP(47, beforeIP("0000 0800")), asIs, nil, false},
		{"vxlan", inUDP(4789, before("08000000 00000700")), asIs, nil, false},
		{"geneve", inUDP(6081, before("0000 6558 00000700")), asIs, nil, false},
		{"erspan ii", inIP(47, before("1000 88be 00000001 1064 0001 00000000")), asIs, nil, false},
		{"two tunnels", inIP(47, beforeIP("0000 0800")), other, nil, false},
		{"the same tunnel", other, other, nil, true},
		{"the wire", asIs, asIs, nil, true},
		{"the wire knows, a tunnel asks", asIs, other, nil, true},
		{"a mirror", inUDP(4789, before("08000000 00000700")), asIs, []string{"--site", mirrors}, true},
		{"a tunnel that is no mirror's", inIP(47, beforeIP("0000 0800")), asIs, []string{"--site", mirrors}, false},
	} {
		all := &capturetest.Capture{LinkType: linkEthernet, Frames: slices.Concat(framesOf(t, insideFlow, c.inside), framesOf(t, outsideFlow, c.outside))}
		records, err := analyzed(append(c.args, writeFrames(t, dir, strings.ReplaceAll(c.name, " ", "")+".pcap", all))...)
		if err != nil || len(records) != 3 {
			t.Fatalf("%s: %d records, %v", c.name, len(records), err)
		}
		for _, r := range records {
			in := r.object("client").number("port") == 2001
			if roles := r.object("server").list("roles"); slices.Contains(roles, "hub|edge") != (in || c.hub) {
				t.Errorf("%s: flow from %d has a server of roles %v", c.name, r.object("client").number("port"), roles)
			}
			if v := r.object("verdict"); v.text("version_source") == "traffic" != (in || c.hub) {
				t.Errorf("%s: flow from %d: %v", c.name, r.object("client").number("port"), v)
			}
		}
	}
}
