package classify_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/ndjson"
	"github.com/exspan/exspan/rules"
)

// corpus returns the folder of captures by others, or skips.
func corpus(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("EXSPAN_CORPUS")
	if dir == "" {
		t.Skip("EXSPAN_CORPUS is not set")
	}
	return dir
}

// kept is a Sink that keeps what records say.
type kept struct {
	flows   []flowSaid
	quotes  map[quote]uint64 // ICMP errors, by what they quote
	summary *record.Summary
}

type quote struct {
	proto    uint8
	src, dst netip.AddrPort
}

type flowSaid struct {
	proto          uint8
	client, server netip.AddrPort
	packets, bytes uint64
	protocol       string
	interfaces     []string
	service        string // of the learned endpoint
	status         record.Status
	path           string
	confidence     record.Confidence
}

func (k *kept) Write(r *record.Record) error {
	f := flowSaid{proto: r.Proto, client: netip.AddrPortFrom(r.Client.Addr, r.Client.Port), server: netip.AddrPortFrom(r.Server.Addr, r.Server.Port),
		packets: r.Packets[0] + r.Packets[1], bytes: r.Bytes[0] + r.Bytes[1], protocol: r.Protocol, interfaces: r.Facts.Values("rpc.interface"),
		status: r.Verdict.Status, confidence: r.Verdict.Confidence}
	if r.Endpoint != nil {
		f.service = r.Endpoint.Service
	}
	if r.Verdict.Path != nil {
		f.path = r.Verdict.Path.ID
	}
	k.flows = append(k.flows, f)
	return nil
}

func (k *kept) Close(s *record.Summary) error {
	k.summary = s
	return nil
}

// analyse runs files through an engine that counts traffic as it passes.
func analyse(t *testing.T, sink record.Sink, files ...string) []error {
	t.Helper()
	return analyseWith(t, classify.Config{Traffic: true}, sink, false, files...)
}

// analyseWith runs files through an engine, reading and tracking ahead of it
// or not.
func analyseWith(t *testing.T, cfg classify.Config, sink record.Sink, ahead bool, files ...string) []error {
	t.Helper()
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Packs = packs
	e, err := classify.New(cfg, sink)
	if err != nil {
		t.Fatal(err)
	}
	src, err := capture.OpenFiles(files, capture.Options{Pieces: ahead})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	err = e.Feed(src, ahead, func(b *capture.Batch) error {
		if k, ok := sink.(*kept); ok {
			for _, p := range b.Packets {
				if p.Quoted != 0 {
					if k.quotes == nil {
						k.quotes = map[quote]uint64{}
					}
					k.quotes[quote{p.Quoted, p.Src.AddrPort(), p.Dst.AddrPort()}]++
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(src.Errors()); err != nil {
		t.Fatal(err)
	}
	if !cfg.Traffic {
		return src.Errors()
	}
	// Every byte is counted under one label, or was pending no longer.
	s := e.Snapshot()
	total := s.PendingBytes
	for _, p := range s.Paths {
		total += p.Bytes[0] + p.Bytes[1]
		if p.Active != 0 {
			t.Errorf("%s has %d active flows at the end", p.Label, p.Active)
		}
	}
	if total != s.IPBytes || s.PendingBytes != 0 {
		t.Errorf("%d bytes are counted by path, %d pending, of %d", total, s.PendingBytes, s.IPBytes)
	}
	return src.Errors()
}

// names of interfaces as the ground truth writes them, where they are not ours
// in capitals.
var truthNames = map[string]string{"emsmdb(mapi)": "emsmdb", "epm": "epmapper", "itaskscheduler": "tsch", "eventlog6": "even6"}

func ourName(s string) string {
	s = strings.ToLower(s)
	if n, ok := truthNames[s]; ok {
		return n
	}
	return s
}

var (
	truthMap  = regexp.MustCompile(`^EPM frame \d+: (\S+):135 maps (\S+) -> (\S+) \((\d+) flow`)
	truthFlow = regexp.MustCompile(`^(tcp|udp) (\S+) > (\S+) frames=(\d+) (.*)$`)
)

// TestGroundTruth holds what the ground truth states of each capture against
// what the engine says: conversations and their frames, learned endpoints, RPC
// interfaces, and every flow to a learned endpoint labelled through it.
func TestGroundTruth(t *testing.T) {
	dir := corpus(t)
	text, err := os.ReadFile(filepath.Join(dir, "GROUND-TRUTH.md"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, section := range strings.Split(string(text), "\n### ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		name = strings.TrimSpace(name)
		file := filepath.Join(dir, filepath.FromSlash(name))
		if _, err := os.Stat(file); err != nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var k kept
			analyse(t, &k, file)
			for line := range strings.Lines(body) {
				line = strings.TrimSpace(line)
				if m := truthMap.FindStringSubmatch(line); m != nil {
					checked++
					checkEndpoint(t, &k, m)
				}
				if m := truthFlow.FindStringSubmatch(line); m != nil {
					checked++
					checkFlow(t, &k, m)
				}
			}
			for _, f := range k.flows {
				if f.protocol == "" && f.service == "" && f.confidence > record.ByPort {
					t.Errorf("%v > %v: nothing but the port is known, and the confidence is %v", f.client, f.server, f.confidence)
				}
			}
		})
	}
	if checked < 200 {
		t.Errorf("only %d statements of the ground truth were found", checked)
	}
}

func checkEndpoint(t *testing.T, k *kept, m []string) {
	want := netip.MustParseAddrPort(m[3])
	service := ourName(m[2])
	i := slices.IndexFunc(k.summary.Endpoints, func(e record.EndpointSummary) bool {
		return e.Server == want && (e.Service == service || strings.HasPrefix(e.Service, service+" ") || unknownHere(service)) &&
			(e.Source == observe.FromMap || e.Source == observe.FromLookup)
	})
	if i < 0 {
		t.Errorf("no endpoint %s for %s was learned", want, m[2])
		return
	}
	n := 0
	for _, f := range k.flows {
		if f.server == want && f.proto == capture.TCP {
			n++
			if f.service == "" {
				t.Errorf("%v > %v is not labelled through the endpoint", f.client, f.server)
			}
		}
	}
	if fmt.Sprint(n) != m[4] && m[4] == "0" {
		t.Errorf("%d flows to %s, the ground truth has %s", n, want, m[4])
	}
}

// unknownHere reports whether no pack names an interface that the ground truth
// names: its endpoint is then listed by UUID.
func unknownHere(service string) bool {
	switch service {
	case "windowsshutdown", "fw", "even6":
		return true
	}
	return false
}

func checkFlow(t *testing.T, k *kept, m []string) {
	a, errA := netip.ParseAddrPort(bracket(m[2]))
	b, errB := netip.ParseAddrPort(bracket(m[3]))
	if errA != nil || errB != nil {
		t.Fatalf("cannot read %q", m[0])
	}
	proto := map[string]uint8{"tcp": capture.TCP, "udp": capture.UDP}[m[1]]
	var packets uint64
	var all []flowSaid
	for _, f := range k.flows {
		if f.proto == proto && (f.client == a && f.server == b || f.client == b && f.server == a) {
			packets += f.packets
			all = append(all, f)
		}
	}
	if len(all) == 0 && strings.HasSuffix(m[5], "gtp") {
		return // outer ports beside inner addresses: tshark's reading of ICMPv6 in a tunnel
	}
	if len(all) == 0 {
		t.Errorf("no flow %s", m[0])
		return
	}
	// tshark counts an ICMP error to the conversation that it quotes.
	if n := packets + k.quotes[quote{proto, a, b}] + k.quotes[quote{proto, b, a}]; fmt.Sprint(n) != m[4] {
		t.Errorf("%d frames: %s", n, m[0])
	}
	words := strings.Fields(m[5])
	if slices.Contains(words, "syn") && all[0].client != a {
		t.Errorf("client and server are the wrong way round: %s", m[0])
	}
	if i := slices.Index(words, "dcerpc"); i >= 0 && i+1 < len(words) {
		want := ourName(words[i+1])
		if !slices.ContainsFunc(all, func(f flowSaid) bool { return slices.Contains(f.interfaces, want) }) {
			t.Errorf("interfaces %v: %s", all[0].interfaces, m[0])
		}
	}
}

// bracket makes an address and port of what the ground truth writes: IPv6
// addresses have no brackets there.
func bracket(s string) string {
	i := strings.LastIndexByte(s, ':')
	if strings.Count(s, ":") > 1 {
		return "[" + s[:i] + "]" + s[i:]
	}
	return s
}

// same analyses captures in one goroutine that counts traffic too, and then with
// everything ahead that can be, on two and on more processors: the output has to
// be the same to the byte. It does so with flows that are held to the end, and
// with such as are judged soon.
func same(t *testing.T, files ...string) {
	t.Helper()
	for _, hold := range []time.Duration{0, 2 * time.Second} {
		run := func(procs int) string {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			var b bytes.Buffer
			analyseWith(t, classify.Config{Traffic: procs == 1, Hold: hold}, ndjson.New(&b), procs > 1, files...)
			return b.String()
		}
		want := run(1)
		for _, procs := range []int{2, 4} {
			if run(procs) != want {
				t.Errorf("%s with %d processors: the output differs", files[0], procs)
			}
		}
	}
}

// TestDeterministic holds the output of every capture against that of other
// numbers of processors.
func TestDeterministic(t *testing.T) {
	dir := corpus(t)
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures in %s", dir)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return strings.Contains(f, "malformed") })
	for _, f := range files {
		same(t, f)
	}
	same(t, files...)
}

// TestAhead does the same with the recordings that come with the source.
func TestAhead(t *testing.T) {
	files, err := filepath.Glob("../testdata/*.pcapng")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings in testdata")
	}
	for _, f := range files {
		same(t, f)
	}
	same(t, files...)
}

// stubborn is a Sink that takes nothing.
type stubborn struct{}

var errStubborn = errors.New("no room")

func (stubborn) Write(*record.Record) error  { return errStubborn }
func (stubborn) Close(*record.Summary) error { return nil }

// TestFeedStops lets the sink, the caller and the source fail in the middle:
// Feed returns why, and nothing is left behind.
func TestFeedStops(t *testing.T) {
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	errCaller := errors.New("enough")
	for _, ahead := range []bool{false, true} {
		for _, want := range []error{errStubborn, errCaller, nil} {
			var sink record.Sink = &kept{}
			if errors.Is(want, errStubborn) {
				sink = stubborn{}
			}
			e, err := classify.New(classify.Config{Packs: packs, Hold: time.Millisecond, Limits: classify.Limits{MaxFlows: 4}}, sink) // so few that flows end
			if err != nil {
				t.Fatal(err)
			}
			src, err := capture.OpenFiles([]string{"../testdata/mail.pcapng"}, capture.Options{Pieces: ahead})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			err = e.Feed(src, ahead, func(*capture.Batch) error {
				n++
				switch {
				case errors.Is(want, errCaller) && n == 2:
					return errCaller
				case want == nil && n == 2:
					return src.Close() // as an interrupt does
				}
				return nil
			})
			if !errors.Is(err, want) {
				t.Errorf("ahead %v: %v, want %v", ahead, err, want)
			}
			if err := e.Close(nil); err != nil && !errors.Is(err, errStubborn) {
				t.Error(err)
			}
			_ = src.Close()
		}
	}
}

// TestMalformed reads every damaged capture: nothing panics, and each ends
// without an error or with one that names the file.
func TestMalformed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus(t), "malformed", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures")
	}
	for _, f := range files {
		errs := analyse(t, &kept{}, f)
		if len(errs) > 1 || len(errs) == 1 && !strings.Contains(errs[0].Error(), filepath.Base(f)) {
			t.Errorf("%s: %v", f, errs)
		}
	}
}
