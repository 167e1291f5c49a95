package calls

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/calls"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
)

var start = time.Date(2010, 3, 4, 5, 6, 7, 0, time.UTC)

func summary() *record.Summary {
	a := netip.MustParseAddrPort
	stream := calls.Stream{Side: "caller", Codec: "PCMU", Rate: 8000, Loss: .01, R: 90, MOS: 4.3333, NAT: true,
		Stream: observe.Stream{SSRC: 0x1234, Src: a("10.0.0.9:4000"), Dst: a("10.0.0.2:5000"), Packets: 99, Expected: 100, Lost: 1}}
	return &record.Summary{
		Calls: []calls.Call{{Number: 7, Start: start, Answer: start.Add(time.Second), End: start.Add(61 * time.Second), Outcome: calls.Answered, Code: 200,
			HungUp: "callee", By: netip.MustParseAddr("10.0.0.2"),
			Legs: []calls.Leg{
				{From: a("10.0.0.1:5060"), To: a("10.0.0.2:5060"), TCP: true, Start: start, Code: 302, Redirect: -1,
					RedirectedTo: []observe.Target{{Host: "10.0.0.2", Port: 5065}}},
				{From: a("10.0.0.1:5061"), To: a("10.0.0.2:5065"), TCP: true, Start: start, Code: 200, Redirect: 0},
			},
			Media:   []calls.Medium{{Side: "caller", Kind: "audio", Addr: a("10.0.0.1:4000"), Encryption: "none", Codecs: []observe.Codec{{Name: "PCMU", Rate: 8000}}}},
			Streams: []calls.Stream{stream}, OneWay: true}},
		Streams: []calls.Stream{stream},
	}
}

func TestNDJSON(t *testing.T) {
	var b strings.Builder
	if err := New(&b, true).Close(summary()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want a call and a stream", len(lines))
	}
	var c map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &c); err != nil {
		t.Fatal(err)
	}
	legs := c["legs"].([]any)
	if len(legs) != 2 || legs[1].(map[string]any)["redirected_by"] != 0.0 || legs[0].(map[string]any)["redirected_by"] != nil {
		t.Errorf("the redirection is not reported: %v", legs)
	}
	for _, want := range []string{`"call":7`, `"hung_up":"callee"`, `"code":302`, `"redirected_to":["10.0.0.2:5065"]`, `"ssrc":"0x00001234"`, `"mos":4.33`, `"one_way":true`, `"nat":true`} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("no %s in %s", want, lines[0])
		}
	}
	for _, absent := range []string{`""`, "null", "caller\":\"\"", "diagnostic", "fax"} {
		if strings.Contains(lines[0], absent) {
			t.Errorf("%s in %s", absent, lines[0])
		}
	}
	if !strings.HasPrefix(lines[1], `{"stream":{"ssrc":`) {
		t.Errorf("the loose stream is %s", lines[1])
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := New(&b, false).Close(summary()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1 call, 1 media stream without a call\n",
		"2010-03-04 05:06:07  answered (200)  1m0s  callee hung up  ONE-WAY AUDIO\n",
		"leg 2  10.0.0.1:5061 > 10.0.0.2:5065 tcp  answer 200  redirected by leg 1\n",
		"99 packets, 1 lost (1.0 %)", "from another address than announced",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
