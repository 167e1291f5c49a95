package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestStreamsAgreeWithTshark compares the media streams of every recording of Unified
// Messaging with tshark's list. Each stream must be found, and packets, loss and jitter
// must agree within rounding. For streams of several payload types (telephone events
// within voice), only the packets are compared.
func TestStreamsAgreeWithTshark(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("no tshark")
	}
	files, err := filepath.Glob("../../testdata/um-*.pcapng")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings of Unified Messaging")
	}
	type stream struct {
		SSRC, From, To          string
		Packets, Expected, Lost int
		Duplicates, Reordered   int
		JitterMS                float64 `json:"jitter_ms"`
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run([]string{"analyze", "-q", "--calls", "--format", "ndjson", file}, &stdout, &stderr); code != 0 {
				t.Fatalf("exit %d: %s", code, stderr.String())
			}
			// A call can have two successive streams with one SSRC, which tshark lists as
			// one.
			got := map[string]stream{}
			loose := 0
			for line := range strings.Lines(stdout.String()) {
				var c struct {
					Streams []stream
					Stream  *stream
				}
				if err := json.Unmarshal([]byte(line), &c); err != nil {
					t.Fatal(err)
				}
				if c.Stream != nil {
					// Without its SDP, tshark does not recognise a stream.
					got[fmt.Sprintf("%s > %s %s", c.Stream.From, c.Stream.To, c.Stream.SSRC)] = *c.Stream
					loose++
				}
				for _, s := range c.Streams {
					got[fmt.Sprintf("%s > %s %s", s.From, s.To, s.SSRC)] = s
				}
			}
			out, err := exec.Command("tshark", "-n", "-q", "-r", file, "-z", "rtp,streams").Output()
			if err != nil {
				t.Fatal(err)
			}
			listed := 0
			for line := range strings.Lines(string(out)) {
				f := strings.Fields(line)
				ssrc := slices.IndexFunc(f, func(s string) bool { return strings.HasPrefix(s, "0x") })
				share := slices.IndexFunc(f, func(s string) bool { return strings.HasPrefix(s, "(") && strings.HasSuffix(s, "%)") })
				if ssrc != 6 || share < 0 {
					continue
				}
				listed++
				key := fmt.Sprintf("%s:%s > %s:%s %s", f[2], f[3], f[4], f[5], strings.ToLower(f[6]))
				packets, _ := strconv.Atoi(f[share-2])
				lost, _ := strconv.Atoi(f[share-1])
				jitter, _ := strconv.ParseFloat(f[share+5], 64)
				s, ok := got[key]
				if !ok {
					t.Errorf("tshark lists %s, exspan does not", key)
					continue
				}
				if s.Packets != packets {
					t.Errorf("%s: %d packets, tshark has %d", key, s.Packets, packets)
				}
				if strings.Contains(strings.Join(f[7:share-2], " "), ",") || strings.Contains(line, "telephone-event") {
					continue
				}
				// tshark's loss is the expected number minus the received number, as in
				// RFC 3550.
				if s.Expected-s.Packets != lost {
					t.Errorf("%s: %d expected and %d packets, tshark has %d lost", key, s.Expected, s.Packets, lost)
				}
				// RFC 3550 uses packets in the order of arrival. tshark treats late
				// packets and copies differently.
				if s.Duplicates+s.Reordered == 0 && math.Abs(s.JitterMS-jitter) > 0.002 {
					t.Errorf("%s: jitter %.3f ms, tshark has %.3f", key, s.JitterMS, jitter)
				}
			}
			if listed == 0 || len(got)-loose != listed {
				t.Errorf("%d streams in calls, tshark lists %d", len(got)-loose, listed)
			}
		})
	}
}
