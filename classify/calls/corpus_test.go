package calls

import (
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
	"github.com/exspan/exspan/classify/observe/rtp"
	"github.com/exspan/exspan/classify/observe/sip"
)

// flow is one conversation in replay.
type flow struct {
	client, server netip.AddrPort
	udp            bool
	proto          string
	obs            observe.Observer
	tried          bool
	report         observe.Report
	held           [2][]byte
	first          int
}

// replayed is what a capture file gave.
type replayed struct {
	calls []Call
	loose []Stream
	flows []*flow
	table *Table
}

// replay drives the SIP and RTP observers over a capture file as an engine
// would, with tshark as the frame decoder. TCP bytes are taken in order of
// arrival.
func replay(t *testing.T, file string) replayed {
	t.Helper()
	args := []string{"-n", "-r", file, "-T", "fields", "-E", "occurrence=l", "-o", "tcp.desegment_tcp_streams:false",
		"-Y", "(udp or tcp) and not icmp and not icmpv6"}
	for _, f := range []string{"frame.number", "frame.time_epoch", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "udp.srcport", "udp.dstport",
		"udp.payload", "tcp.srcport", "tcp.dstport", "tcp.payload"} {
		args = append(args, "-e", f)
	}
	text, _ := exec.Command("tshark", args...).Output() // of a damaged file, what could be read
	type key struct {
		a, b netip.AddrPort
		udp  bool
	}
	flows := map[key]*flow{}
	announced := map[netip.AddrPort]string{}
	scopes := map[string][]netip.AddrPort{}
	out := replayed{table: New()}
	for line := range strings.Lines(string(text)) {
		r := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for len(r) < 12 {
			r = append(r, "")
		}
		src, dst, sport, dport, payload := r[2], r[3], r[6], r[7], r[8]
		if r[4] != "" { // GTP carries IPv6 within IPv4 here
			src, dst = r[4], r[5]
		}
		udp := r[9] == ""
		if !udp {
			sport, dport, payload = r[9], r[10], r[11]
		}
		from, err1 := netip.ParseAddrPort(net(src, sport))
		to, err2 := netip.ParseAddrPort(net(dst, dport))
		data, err3 := hex.DecodeString(strings.ReplaceAll(payload, ":", ""))
		if err1 != nil || err2 != nil || err3 != nil || len(data) == 0 {
			continue
		}
		number, _ := strconv.Atoi(r[0])
		k := key{from, to, udp}
		if to.Compare(from) < 0 {
			k = key{to, from, udp}
		}
		f := flows[k]
		if f == nil {
			f = &flow{client: from, server: to, udp: udp, first: number}
			if from.Port() < to.Port() {
				f.client, f.server = to, from
			}
			flows[k] = f
			out.flows = append(out.flows, f)
		}
		if f.tried && f.obs == nil {
			continue
		}
		service := announced[f.server]
		if service == "" {
			service = announced[f.client]
		}
		in := observe.Input{Time: nanos(r[1]), Number: uint64(number), Datagram: udp, Announced: service, Flow: observetest.Between(f.client, f.server)}
		if from == f.server && from != to {
			in.Dir = observe.ToClient
		}
		if f.obs == nil {
			first := observe.First{Datagram: udp, Announced: service, ClientPort: f.client.Port(), ServerPort: f.server.Port()}
			if in.Dir == observe.ToServer {
				first.ToServer = data
			} else {
				first.ToClient = data
			}
			for _, p := range []observe.Protocol{sip.Protocol(), rtp.Protocol()} {
				if udp && !p.Datagram || !udp && !p.Stream {
					continue
				}
				m := p.Detect(&first)
				f.tried = f.tried || m == observe.No
				if m == observe.Yes {
					f.obs, f.proto, f.tried = p.New(), p.Name, true
					break
				}
			}
			if f.obs == nil {
				f.tried = false // the lookups of a few datagrams cost nothing here
				continue
			}
		}
		in.Data = data
		if !udp {
			f.held[in.Dir] = append(f.held[in.Dir], data...)
			in.Data = f.held[in.Dir]
		}
		n, err := f.obs.Observe(&in, &f.report)
		if err == observe.ErrReversed {
			f.client, f.server = f.server, f.client
			in.Flow, in.Dir = observetest.Between(f.client, f.server), in.Dir.Reverse()
			f.obs = sip.Protocol().New()
			n, err = f.obs.Observe(&in, &f.report)
		}
		if err != nil {
			f.obs, f.proto = nil, ""
			continue
		}
		if !udp {
			f.held[in.Dir] = f.held[in.Dir][min(n, len(f.held[in.Dir])):]
		}
		for i := range f.report.Calls {
			out.table.Add(&f.report.Calls[i])
		}
		for _, e := range f.report.Endpoints {
			if e.End {
				for _, a := range scopes[e.Scope] {
					delete(announced, a)
				}
			} else if e.UDP {
				announced[e.Server] = e.Service
				scopes[e.Scope] = append(scopes[e.Scope], e.Server)
			}
		}
		f.report.Calls, f.report.Endpoints = f.report.Calls[:0], f.report.Endpoints[:0]
	}
	for _, f := range out.flows {
		if fin, ok := f.obs.(observe.Finisher); ok {
			fin.Finish(&f.report)
			out.table.AddStreams(f.report.Streams)
		}
	}
	out.calls, out.loose = out.table.Calls()
	return out
}

func net(addr, port string) string {
	if strings.Contains(addr, ":") {
		return "[" + addr + "]:" + port
	}
	return addr + ":" + port
}

func nanos(s string) int64 {
	sec, frac, _ := strings.Cut(s, ".")
	n, _ := strconv.ParseInt(sec, 10, 64)
	f, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	return n*1e9 + f
}

// wireStream is a line of tshark's table of RTP streams.
type wireStream struct {
	src, dst               string
	ssrc                   uint32
	payload                string
	packets, lost          int
	maxDelta, mean, maxJit float64
}

func tsharkStreams(t *testing.T, file string) []wireStream {
	t.Helper()
	out, err := exec.Command("tshark", "-n", "-q", "-r", file, "-z", "rtp,streams").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []wireStream
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		at := slices.IndexFunc(f, func(s string) bool { return strings.HasPrefix(s, "0x") })
		pct := slices.IndexFunc(f, func(s string) bool { return strings.HasPrefix(s, "(") && strings.HasSuffix(s, "%)") })
		if at != 6 || pct < 0 {
			continue
		}
		w := wireStream{src: net(f[2], f[3]), dst: net(f[4], f[5]), payload: strings.Join(f[7:pct-2], " ")}
		ssrc, _ := strconv.ParseUint(f[6][2:], 16, 32)
		w.ssrc = uint32(ssrc)
		w.packets, _ = strconv.Atoi(f[pct-2])
		w.lost, _ = strconv.Atoi(f[pct-1])
		w.maxDelta, _ = strconv.ParseFloat(f[pct+3], 64)
		w.mean, _ = strconv.ParseFloat(f[pct+5], 64)
		w.maxJit, _ = strconv.ParseFloat(f[pct+6], 64)
		list = append(list, w)
	}
	return list
}

// TestStreamsAgreeWithTshark compares every stream that tshark lists.
func TestStreamsAgreeWithTshark(t *testing.T) {
	for _, name := range []string{"1filtered.cap", "FAX-Call-t38-CA-TDM-SIP-FB-1.pcap", "SIP_DTMF2.pcap", "gtp-iphone.pcap",
		"nb6-telephone.pcap",
		"port-16_vlan24_200.pcap", "rtp_conversacion.pcap", "sip-rtp-g711.pcap"} {
		t.Run(name, func(t *testing.T) {
			file := observetest.Corpus(t, filepath.Join("sip-rtp", name))
			got := replay(t, file)
			want := tsharkStreams(t, file)
			if len(want) == 0 {
				t.Fatal("tshark lists no stream")
			}
			var joined int
			for _, w := range want {
				var s *Stream
				for i := range got.calls {
					for j := range got.calls[i].Streams {
						if q := &got.calls[i].Streams[j]; q.SSRC == w.ssrc && q.Src.String() == w.src && q.Dst.String() == w.dst {
							s = q
							joined++
						}
					}
				}
				if s == nil {
					t.Errorf("stream %s > %s 0x%08x belongs to no call", w.src, w.dst, w.ssrc)
					continue
				}
				// A re-INVITE to T.38 that was refused makes tshark read the rest of
				// the voice as T.38.
				misread := len(observetest.Tshark(t, file, fmt.Sprintf("t38 && udp.payload[0] >= 80 && udp.payload[8:4] == %08x", s.SSRC),
					[]string{"frame.number"}))
				if misread > 0 {
					if int(s.Packets) != w.packets+misread {
						t.Errorf("0x%08x: %d packets, tshark has %d and %d as T.38", w.ssrc, s.Packets, w.packets, misread)
					}
					continue
				}
				if int(s.Packets) != w.packets {
					t.Errorf("0x%08x: %d packets, tshark has %d", w.ssrc, s.Packets, w.packets)
				}
				if got := int(s.Expected) - int(s.Packets); got != w.lost {
					t.Errorf("0x%08x: %d lost (expected %d), tshark has %d", w.ssrc, got, s.Expected, w.lost)
				}
				if s.Duplicates == 0 && s.Restarts == 0 && int(s.Lost) != w.lost {
					t.Errorf("0x%08x: %d lost in the window, tshark has %d", w.ssrc, s.Lost, w.lost)
				}
				if strings.Contains(w.payload, ",") || w.payload == "CN" {
					continue // events and comfort noise have a jitter of their own here
				}
				if len(s.Payloads) != 1 || s.Rate == 0 {
					t.Errorf("0x%08x: %d payload types, codec %q at %d Hz", w.ssrc, len(s.Payloads), s.Codec, s.Rate)
					continue
				}
				for _, v := range []struct {
					name      string
					got, want float64
				}{{"mean jitter", ms(s.Jitter.Mean), w.mean}, {"largest jitter", ms(s.Jitter.Max), w.maxJit}, {"largest gap", ms(s.LargestGap),
					w.maxDelta}} {
					if math.Abs(v.got-v.want) > 0.002 && w.packets > 1 {
						t.Errorf("0x%08x: %s %.3f ms, tshark has %.3f", w.ssrc, v.name, v.got, v.want)
					}
				}
			}
			total := 0
			for _, c := range got.calls {
				total += len(c.Streams)
			}
			if total != len(want) {
				t.Errorf("%d streams in calls, tshark lists %d", total, len(want))
			}
		})
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// TestNoFalseStreams runs over every capture file at hand: streams and calls
// are only where there are some.
func TestNoFalseStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("reads every capture file")
	}
	root := filepath.Dir(filepath.Dir(observetest.Corpus(t, "sip-rtp/g711a.pcap")))
	var files []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Ext(path) != ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name, _ := filepath.Rel(root, file)
		got := replay(t, file)
		streams := len(got.loose)
		for _, c := range got.calls {
			streams += len(c.Streams)
		}
		if strings.HasPrefix(name, "sip-rtp") {
			continue
		}
		if streams > 0 {
			t.Errorf("%s: %d streams", name, streams)
		}
		for _, f := range got.flows {
			if f.proto == "rtp" && f.report.Len() > 0 {
				t.Errorf("%s: %s > %s read as %s: %v", name, f.client, f.server, f.proto, f.report.All())
			}
		}
	}
}

// TestLooseStreams holds the streams without a call to what is known of the
// files: voice without signalling, and an H.323 call.
func TestLooseStreams(t *testing.T) {
	for name, want := range map[string]string{
		"g711a.pcap":    "10.1.3.143:5000 > 10.1.6.18:2006 PCMA 236",
		"1filtered.cap": "174.120.125.35:18530 > 174.132.174.114:21980 G729 17",
	} {
		got := replay(t, observetest.Corpus(t, filepath.Join("sip-rtp", name)))
		if len(got.loose) != 1 {
			t.Errorf("%s: %d loose streams", name, len(got.loose))
			continue
		}
		s := got.loose[0]
		if line := fmt.Sprintf("%s > %s %s %d", s.Src, s.Dst, s.Codec, s.Packets); line != want {
			t.Errorf("%s: %s, want %s", name, line, want)
		}
	}
}

// TestAnnouncedAgreesWithTshark compares the media addresses of calls with the
// connection and media lines that tshark reads.
func TestAnnouncedAgreesWithTshark(t *testing.T) {
	for name, least := range map[string]int{"1filtered.cap": 4, "FAX-Call-t38-CA-TDM-SIP-FB-1.pcap": 4, "SIP_DTMF2.pcap": 2, "digium.pcap": 5,
		"gtp-iphone.pcap": 2, "ipv6frag.pcap": 4, "nb6-telephone.pcap": 2, "port-16_vlan24_200.pcap": 1, "rtp_conversacion.pcap": 2,
		"sip-rtp-g711.pcap": 3, "udp-ip-fragmented.pcap": 2} {
		t.Run(name, func(t *testing.T) {
			file := observetest.Corpus(t, filepath.Join("sip-rtp", name))
			got := map[string]bool{}
			for _, c := range replay(t, file).calls {
				for _, m := range c.Media {
					got[m.Addr.String()] = true
				}
			}
			want := 0
			for _, r := range observetest.Tshark(t, file, "sdp.media.port", []string{"frame.number", "sdp.connection_info.address",
				"sdp.media.port"}) {
				hosts, ports := strings.Split(r[1], ","), strings.Split(r[2], ",")
				for i, p := range ports {
					host := hosts[0]
					if len(hosts) == len(ports) {
						host = hosts[i]
					} else if len(hosts) > 1 {
						continue
					}
					if p == "0" {
						continue
					}
					want++
					if !got[net(host, p)] {
						t.Errorf("frame %s announces %s, which no call has", r[0], net(host, p))
					}
				}
			}
			if want < least {
				t.Errorf("tshark names %d addresses, at least %d are known", want, least)
			}
		})
	}
}

// TestReportsAgreeWithTshark compares what RTCP says of the streams.
func TestReportsAgreeWithTshark(t *testing.T) {
	file := observetest.Corpus(t, "sip-rtp/rtp_conversacion.pcap")
	type said struct {
		reports            uint64
		lost, jitter, sent string
	}
	want := map[uint32]*said{}
	get := func(id string) *said {
		n, _ := strconv.ParseUint(id, 0, 32)
		if want[uint32(n)] == nil {
			want[uint32(n)] = &said{sent: "0"}
		}
		return want[uint32(n)]
	}
	for _, r := range observetest.Tshark(t, file, "rtcp", []string{"rtcp.senderssrc", "rtcp.sender.packetcount", "rtcp.ssrc.identifier",
		"rtcp.ssrc.cum_nr", "rtcp.ssrc.jitter"}, "-E", "occurrence=f") {
		if r[1] != "" {
			get(r[0]).sent = r[1]
		}
		if r[3] != "" {
			s := get(r[2])
			s.reports++
			s.lost, s.jitter = r[3], r[4]
		}
	}
	list := replay(t, file).calls
	if len(list) != 1 || len(list[0].Streams) != 2 {
		t.Fatalf("%d calls", len(list))
	}
	for _, s := range list[0].Streams {
		w := want[s.SSRC]
		if w == nil {
			t.Errorf("tshark has no RTCP of 0x%08x", s.SSRC)
			continue
		}
		got := said{s.Reports, strconv.Itoa(int(s.ReportedLost)), strconv.Itoa(int(s.ReportedJitter)), strconv.Itoa(int(s.SenderPackets))}
		if got != *w {
			t.Errorf("0x%08x: %+v, tshark has %+v", s.SSRC, got, *w)
		}
	}
}

// TestFax: T.38 is read where it was agreed on, and not where it was refused.
func TestFax(t *testing.T) {
	for name, want := range map[string]string{"digium.pcap": "t38", "FAX-Call-t38-CA-TDM-SIP-FB-1.pcap": "rtp"} {
		var got []string
		for _, f := range replay(t, observetest.Corpus(t, filepath.Join("sip-rtp", name))).flows {
			if f.proto == "rtp" {
				got = append(got, f.report.Values(rtp.Content)...)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s, want %s", name, s, want)
		}
	}
}
