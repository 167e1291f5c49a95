package pcapng

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

const packets = `start 2026-01-01T00:00:00Z
tcp 10.0.0.1:1050 > 10.0.0.5:80 S vlan=10
icmp 10.0.0.254 > 10.0.0.1 prohibited tcp 10.0.0.1:1050 > 10.0.0.5:80 vlan=10
tcp 10.0.0.1:1050 > 10.0.0.5:80 S seq=7000 vlan=20
tcp 10.0.0.5:80 > 10.0.0.1:1050 SA vlan=20
udp 10.0.0.1:1050 > 10.0.0.5:80 "other"
`

func open(t *testing.T) *capture.Files {
	t.Helper()
	data, err := capturetest.Compile("packets", []byte(packets))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "a.pcap")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	src, err := capture.OpenFiles([]string{name}, capture.Options{KeepFrames: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	return src
}

func flowRecord(number uint64, last int, status record.Status, vlan string) *record.Record {
	return &record.Record{
		Number: number, Proto: capture.TCP, VLANs: []string{vlan},
		Last:   time.Date(2026, 1, 1, 0, 0, 0, last*1e6, time.UTC),
		Client: record.Host{Addr: netip.MustParseAddr("10.0.0.1"), Port: 1050},
		Server: record.Host{Addr: netip.MustParseAddr("10.0.0.5"), Port: 80},
		Verdict: record.Verdict{Status: status, Reason: record.NoPath, Why: "because \xff",
			Path: &rules.DataPath{ID: "2010.a"}, Also: []*rules.DataPath{{ID: "2010.b"}},
			Confidence: record.ByPort, Findings: []record.Finding{{ID: "refused"}}},
	}
}

func TestCopy(t *testing.T) {
	const comment = "exspan: unexpected 2010.a|2010.b, confidence port, no-path, refused: because ?"
	first, second := flowRecord(1, 1, record.Unexpected, "10"), flowRecord(3, 3, record.Expected, "20")
	tests := []struct {
		name    string
		records []*record.Record
		vlans   bool
		limit   uint64
		want    uint64
	}{
		{"the first of two flows with the same ends, and the ICMP error about it", []*record.Record{first, second}, false, 99, 2},
		{"the second", []*record.Record{flowRecord(1, 1, record.Expected, "10"), flowRecord(3, 3, record.Unexpected, "20")}, false, 99, 2},
		{"both", []*record.Record{first, flowRecord(3, 3, record.Unexpected, "20")}, false, 99, 4},
		{"one flow over all VLANs", []*record.Record{flowRecord(1, 9, record.Unexpected, "10")}, false, 99, 4},
		{"one VLAN", []*record.Record{flowRecord(1, 9, record.Unexpected, "20")}, true, 99, 2},
		{"up to a limit", []*record.Record{first}, false, 1, 1},
		{"none", []*record.Record{second}, false, 99, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewSelection([]record.Status{record.Unexpected}, tt.vlans)
			for _, r := range tt.records {
				if err := s.Write(r); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			got, err := s.Copy(&out, open(t), tt.limit)
			if err != nil || got != tt.want {
				t.Errorf("%d packets, %v; want %d", got, err, tt.want)
			}
			if n := bytes.Count(out.Bytes(), []byte(comment)); uint64(n) != tt.want {
				t.Errorf("%d comments, want %d", n, tt.want)
			}
			name := filepath.Join(t.TempDir(), "out.pcapng")
			if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			src, err := capture.OpenFiles([]string{name}, capture.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var read uint64
			for {
				b, err := src.Read()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				read += uint64(len(b.Packets))
				b.Release()
			}
			if read != tt.want || len(src.Errors()) > 0 {
				t.Errorf("%d packets read back, %v; want %d", read, src.Errors(), tt.want)
			}
		})
	}
}

func TestBounded(t *testing.T) {
	s := NewSelection([]record.Status{record.Unexpected}, false)
	r := flowRecord(1, 1, record.Unexpected, "")
	for i := range MaxFlows + 3 {
		r.Number = uint64(i)
		_ = s.Write(r)
	}
	if s.Refused != 3 || s.kept != MaxFlows {
		t.Errorf("refused %d, kept %d", s.Refused, s.kept)
	}
}
