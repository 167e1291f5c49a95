package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture/capturetest"
)

// ehloKeywords lists the words of an answer to EHLO that other answers do not contain.
var ehloKeywords = strings.Fields("SIZE PIPELINING DSN ENHANCEDSTATUSCODES STARTTLS X-ANONYMOUSTLS AUTH X-EXPS 8BITMIME BINARYMIME CHUNKING XEXCH50 XRDST XSHADOW " +
	"XSHADOWREQUEST X-LINK2STATE ETRN VRFY TURN SMTPUTF8 HELP")

// tsharkFact maps a field of tshark to a fact and its protocol.
type tsharkFact struct {
	field, protocol, fact string
	value                 func(string) string // converts tshark's value; "" for none
}

func same(s string) string { return s }

func word(values map[string]string) func(string) string {
	return func(s string) string { return values[strings.TrimPrefix(strings.ToLower(s), "0x0000000")] }
}

// tsharkFacts lists the facts to compare. The fact "protocol" holds the protocols that
// tshark recognised.
var tsharkFacts = []tsharkFact{
	{"smtp.req.command", "smtp", "smtp.mail", word(map[string]string{"mail": "yes"})},
	{"smtp.rsp.parameter", "smtp", "smtp.keywords", func(s string) string {
		first, _, _ := strings.Cut(s, " ")
		if slices.Contains(ehloKeywords, first) {
			return first
		}
		return ""
	}},
	{"http.request.method", "http", "http.method", same},
	{"http.response.code", "http", "http.status", same},
	{"http.host", "http", "http.host", same},
	{"pop.request.command", "pop3", "auth", word(map[string]string{"pass": "user-pass"})},
	{"imap.request.command", "imap", "auth", word(map[string]string{"login": "login"})},
	{"smb2.filename", "smb", "smb.pipe", strings.ToLower},
	{"smb2.tree", "smb", "smb.share", func(s string) string { return strings.ToUpper(s[strings.LastIndexByte(s, '\\')+1:]) }},
	{"smb2.cmd", "smb", "", nil},
	{"smb.cmd", "smb", "", nil},
	{"dcerpc.cn_bind_to_uuid", "dcerpc", "rpc.uuid", strings.ToLower},
	{"dcerpc.auth_level", "dcerpc", "rpc.auth_level", word(map[string]string{"1": "none", "2": "connect", "5": "integrity", "6": "privacy"})},
	{"dcerpc.cn_ack_result", "dcerpc", "rpc.ack", func(string) string { return "yes" }},
	{"ldap.authentication", "ldap", "ldap.bind", word(map[string]string{"0": "simple", "3": "sasl"})},
	{"kerberos.msg_type", "kerberos", "kerberos.message", word(map[string]string{"10": "as-req", "11": "as-rep", "12": "tgs-req", "13": "tgs-rep", "30": "error"})},
	{"tls.handshake.extensions_server_name", "tls", "tls.server_name", same},
	{"ntlmssp.challenge.target_info.dns_computer_name", "ntlm", "ntlm.server", same},
	{"sip.Method", "sip", "sip.method", same},
}

// flowFacts holds the facts of flows: flow, then fact, then its values.
type flowFacts map[string]map[string]map[string]bool

func (f flowFacts) add(flow, fact, value string) {
	if f[flow] == nil {
		f[flow] = map[string]map[string]bool{}
	}
	if f[flow][fact] == nil {
		f[flow][fact] = map[string]bool{}
	}
	f[flow][fact][value] = true
}

// tsharkReads returns tshark's reading of the TCP flows of a capture.
func tsharkReads(t *testing.T, file string, fields []tsharkFact) flowFacts {
	t.Helper()
	args := []string{"-n", "-r", file, "-Y", "tcp", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=\x1f", "-E", "separator=/t",
		"-e", "ip.src", "-e", "ipv6.src", "-e", "tcp.srcport", "-e", "ip.dst", "-e", "ipv6.dst", "-e", "tcp.dstport"}
	for _, f := range fields {
		args = append(args, "-e", f.field)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil && len(out) == 0 {
		t.Fatalf("tshark: %v", err)
	}
	facts := flowFacts{}
	for line := range strings.Lines(string(out)) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(cells) != 6+len(fields) {
			continue // a value that contains a tab
		}
		last := func(i int) string {
			all := strings.Split(cells[i], "\x1f")
			return all[len(all)-1]
		}
		s := segment{proto: "tcp", src: addrPort(last(0) + last(1) + ":" + last(2)), dst: addrPort(last(3) + last(4) + ":" + last(5))}
		for i, f := range fields {
			if cells[6+i] == "" {
				continue
			}
			facts.add(s.flow(), "protocol", f.protocol)
			if f.value == nil {
				continue
			}
			for _, v := range strings.Split(cells[6+i], "\x1f") {
				if v = f.value(v); v != "" {
					facts.add(s.flow(), f.fact, v)
				}
			}
		}
	}
	return facts
}

// exspanReads returns exspan's reading of the same facts, and of the authentication and
// encryption of flows.
func exspanReads(t *testing.T, file string) flowFacts {
	t.Helper()
	records, err := analyzed(file)
	if err != nil && !strings.HasPrefix(err.Error(), "exit code 1: ") {
		t.Fatal(err)
	}
	facts := flowFacts{}
	for _, r := range records {
		if r.text("proto") != "tcp" {
			continue
		}
		if p := r.text("protocol"); p != "" {
			facts.add(flowOf(r), "protocol", p)
		}
		read := r.object("facts")
		for name := range read {
			for _, v := range read.list(name) {
				switch name {
				case "rpc.uuid":
					v, _, _ = strings.Cut(v, " ")
				case "ldap.bind":
					v, _, _ = strings.Cut(strings.Replace(v, "anonymous", "simple", 1), ":")
				}
				facts.add(flowOf(r), name, v)
			}
		}
	}
	return facts
}

// withoutSegment removes the nth data segment of one side, and its repetitions, from
// every TCP flow. The first side is the one that sends the first data of the flow. It
// returns nil if no flow has such a segment.
func withoutSegment(c *capturetest.Capture, first bool, nth int) *capturetest.Capture {
	type side struct {
		seen []uint32 // sequence numbers of data segments
	}
	leader := map[string]string{}
	sides := map[string]*side{}
	cut := 0
	out := keep(func(s *segment, f *capturetest.Frame, _ int) bool {
		if s.proto != "tcp" || len(s.payload) == 0 {
			return true
		}
		if leader[s.flow()] == "" {
			leader[s.flow()] = s.src.String()
		}
		if (leader[s.flow()] == s.src.String()) != first {
			return true
		}
		key := s.flow() + s.src.String()
		if sides[key] == nil {
			sides[key] = &side{}
		}
		d := sides[key]
		i := slices.Index(d.seen, s.seq)
		if i < 0 && len(d.seen) < nth {
			d.seen = append(d.seen, s.seq)
			i = len(d.seen) - 1
		}
		if i == nth-1 {
			cut++
			return false
		}
		return true
	})(c, nil)
	if cut == 0 {
		return nil
	}
	return out
}

// tsharkFactNames returns the names of the facts that correspond to a field of tshark, and
// more.
func tsharkFactNames(more ...string) []string {
	names := append(more, "protocol")
	for _, f := range tsharkFacts {
		if f.fact != "" && f.fact != "rpc.ack" { // which only says that a bind was accepted
			names = append(names, f.fact)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestLoss removes one data segment from every TCP flow, each of the first three of
// either side in turn, and compares exspan's reading with tshark's reading of the same
// file. A fact is missed if tshark reads it in the cut file and exspan does not, although
// exspan reads it in the whole file. A fact is wrong if exspan reads it only in the cut
// file. The number of flows with missed facts is listed in testdata/loss.txt by file and
// protocol, and can only shrink. With EXSPAN_LOSS, the test uses all recordings and the
// corpus; without it, one recording.
func TestLoss(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("no tshark")
	}
	files := []string{filepath.Join(testdataDir, "mail.pcapng")}
	if os.Getenv("EXSPAN_LOSS") != "" {
		files = nil
		for _, r := range recordings(t) {
			files = append(files, r.capture())
		}
		if corpus := os.Getenv("EXSPAN_CORPUS"); corpus != "" {
			for _, folder := range []string{"ad", "epm", "http", "mapi", "pop-imap", "smtp", "span"} {
				more, _ := filepath.Glob(filepath.Join(corpus, folder, "*.*cap*"))
				files = append(files, more...)
			}
		}
	}
	dir := t.TempDir()
	differ := map[string][]string{}
	groups := newTally()
	for _, file := range files {
		if strings.HasSuffix(file, ".gz") {
			continue
		}
		c, err := readFrames(file)
		if err != nil {
			t.Logf("skipped: %v", err)
			continue
		}
		name := filepath.Base(file)
		whole := exspanReads(t, file)
		for _, first := range []bool{true, false} {
			for nth := 1; nth <= 3; nth++ {
				changed := withoutSegment(c, first, nth)
				if changed == nil {
					continue
				}
				cut := writeFrames(t, dir, "cut.pcap", changed)
				compareLoss(groups, differ, name, fmt.Sprintf("first side %t, segment %d", first, nth), whole, exspanReads(t, cut), tsharkReads(t, cut, tsharkFacts))
			}
		}
	}
	groups.report(t, "loss")
	checkCounts(t, filepath.Join(testdataDir, "loss.txt"), differ)
}

// compareLoss compares the readings of a cut file, flow by flow.
func compareLoss(groups *tally, differ map[string][]string, name, what string, whole, ours, theirs flowFacts) {
	for _, flow := range slices.Sorted(maps.Keys(whole)) {
		protocol := strings.Join(slices.Sorted(maps.Keys(whole[flow]["protocol"])), "+")
		if protocol == "" {
			continue
		}
		key := func(kind string) string { return name + ": " + protocol + " " + kind }
		for _, kind := range []string{"missed", "wrong"} {
			if differ[key(kind)] == nil {
				differ[key(kind)] = []string{}
			}
		}
		var missed, wrong []string
		compared := 0
		for fact, values := range theirs[flow] {
			if fact == "rpc.uuid" && theirs[flow]["rpc.ack"] == nil {
				continue // a bind without an answer was accepted by no server
			}
			for v := range values {
				if !whole[flow][fact][v] {
					continue
				}
				compared++
				if !ours[flow][fact][v] {
					missed = append(missed, fact)
				}
			}
		}
		for _, fact := range tsharkFactNames("auth", "encryption") { // what a loss must not falsify
			for v := range ours[flow][fact] {
				if !whole[flow][fact][v] && !theirs[flow][fact][v] && !(fact == "http.status" && strings.HasSuffix(v, "xx")) { // tshark has no classes
					wrong = append(wrong, fact+"="+v)
				}
			}
		}
		slices.Sort(missed)
		slices.Sort(wrong)
		if compared > 0 {
			groups.count(protocol+", nothing missed", len(missed) == 0)
		}
		groups.count(protocol+", nothing wrong", len(wrong) == 0)
		if len(missed) > 0 {
			differ[key("missed")] = append(differ[key("missed")], fmt.Sprintf("%s, %s: %s", flow, what, strings.Join(slices.Compact(missed), " ")))
		}
		if len(wrong) > 0 {
			differ[key("wrong")] = append(differ[key("wrong")], fmt.Sprintf("%s, %s: %s", flow, what, strings.Join(wrong, " ")))
		}
	}
}
