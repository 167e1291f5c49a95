package sip

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/sdp"
)

// describe reads the session descriptions in a body and reports the addresses at which
// their sender wants to receive.
func (o *observer) describe(r *observe.Report, m *message, ev *observe.CallEvent, body []byte, cut bool) {
	if len(body) == 0 || len(m.contentEncoding) > 0 && !bytes.EqualFold(m.contentEncoding, []byte("identity")) {
		return
	}
	sdpParts(m.contentType, body, cut, func(part []byte, cut bool) {
		s, ok := sdp.Parse(part, cut)
		if !ok {
			return
		}
		if n := sdp.MaxMedia - len(ev.Media); len(s.Media) > n {
			s.Dropped, s.Media = s.Dropped+len(s.Media)-n, s.Media[:n]
		}
		if s.Dropped > 0 {
			r.Add(Violation, "sdp-limit")
		}
		if ev.Media == nil {
			ev.Media = s.Media
		} else {
			ev.Media = append(ev.Media, s.Media...)
		}
	})
	for i := range ev.Media {
		md := &ev.Media[i]
		addUpTo(r, SDPMedia, []byte(md.Kind), maxValues)
		for _, c := range md.Codecs {
			if c.Name != "" && c.Rate > 0 {
				var buf [64]byte
				addUpTo(r, SDPCodec, strconv.AppendInt(append(append(buf[:0], c.Name...), '/'), int64(c.Rate), 10), maxValues)
			}
		}
		// The answer to OPTIONS describes capabilities, not a session (RFC 3261 section
		// 11.2).
		if ev.Method != "OPTIONS" {
			o.announce(r, ev, md)
		}
	}
}

// announce reports the endpoints of one medium.
func (o *observer) announce(r *observe.Report, ev *observe.CallEvent, md *observe.Media) {
	service, control := "rtp", "rtcp"
	switch {
	case len(md.Proto) == 5 && bytes.EqualFold([]byte(md.Proto), []byte("udptl")):
		service, control = "t38", ""
	case len(md.Codecs) == 0:
		return // not RTP over UDP
	case md.Encryption == "srtp":
		service, control = "srtp", "srtcp"
	}
	learn := func(a netip.AddrPort, service string) {
		// Port 9 is discard, a placeholder until candidates are known.
		if !a.Addr().IsValid() || a.Addr().IsUnspecified() || a.Port() == 0 || a.Port() == 9 {
			return
		}
		e := observe.Endpoint{Server: a, UDP: true, Service: service, Source: observe.FromSDP, From: ev.Src, Scope: ev.CallID, Idle: mediaIdle}
		if a.Addr().Unmap() != ev.Src.Addr().Unmap() {
			e.Codecs = codecs(md)
		}
		r.Learn(e)
	}
	if md.Addr.Port() == 0 {
		return
	}
	for i := range md.Ports {
		if p := int(md.Addr.Port()) + 2*i; p <= 65535 {
			learn(netip.AddrPortFrom(md.Addr.Addr(), uint16(p)), service)
		}
		if p := int(md.RTCP.Port()) + 2*i; control != "" && md.RTCP.Port() > 0 && p <= 65535 {
			learn(netip.AddrPortFrom(md.RTCP.Addr(), uint16(p)), control)
		}
	}
	for _, c := range md.Candidates {
		if c != md.Addr && c != md.RTCP {
			learn(c, service)
		}
	}
}

// codecs returns the codecs of a medium, named as in RTP facts.
func codecs(md *observe.Media) string {
	var b strings.Builder
	for _, c := range md.Codecs {
		name, _ := sdp.StaticPayload(c.Type)
		if name == "" {
			name = "dynamic-" + strconv.Itoa(int(c.Type))
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(name)
	}
	return b.String()
}

// redirect reports the targets of a 3xx answer to an INVITE.
func (o *observer) redirect(in *observe.Input, r *observe.Report, m *message, ev *observe.CallEvent) {
	if m.code < 300 || m.code > 399 || ev.Method != "INVITE" {
		return
	}
	for _, list := range m.contacts {
		for tries := 0; len(list) > 0 && tries < 2*maxTargets && len(ev.Targets) < maxTargets; tries++ {
			var text []byte
			text, _, list = nameAddr(list)
			u := parseURI(text)
			if u.scheme == "" || len(u.host) == 0 || len(u.host) > 253 {
				continue
			}
			t := observe.Target{Host: printable(u.host), Addr: u.addr(), Port: u.port, Transport: u.transport}
			if u.scheme == "sips" {
				t.Transport = "tls"
			}
			if t.Transport == "" {
				t.Transport = "udp"
				if ev.TCP {
					t.Transport = "tcp"
				}
			}
			if t.Port == 0 {
				t.Port = 5060
				if t.Transport == "tls" {
					t.Port = 5061
				}
			}
			ev.Targets = append(ev.Targets, t)
			if in.Dir == observe.ToClient {
				var buf [8]byte
				addUpTo(r, Redirect, strconv.AppendUint(buf[:0], uint64(t.Port), 10), maxTargets)
			}
			e := observe.Endpoint{
				Server: netip.AddrPortFrom(t.Addr, t.Port), UDP: t.Transport == "udp", Service: "sip",
				Source: observe.FromRedirect, From: ev.Src, Scope: ev.CallID, Idle: mediaIdle,
			}
			if t.Transport == "tls" {
				e.Service = "sips"
			}
			if !t.Addr.IsValid() {
				// A host name. The worker of a Unified Messaging service runs on the same
				// host, which is the best guess without resolving the name.
				e.Server, e.Weak = netip.AddrPortFrom(ev.Src.Addr(), t.Port), true
			}
			r.Learn(e)
		}
	}
}
