package parquet

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/ndjson"
	"github.com/exspan/exspan/rules"
)

// recordings returns the records of all recordings of the repository as NDJSON.
func recordings(t testing.TB) []byte {
	t.Helper()
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../testdata/*.pcapng")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings", err)
	}
	var b bytes.Buffer
	for _, file := range files {
		name := strings.TrimSuffix(file, ".pcapng") + ".site.yaml"
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		site, err := rules.LoadSite(name, data)
		if err != nil {
			t.Fatal(err)
		}
		eng, err := classify.New(classify.Config{Packs: packs, Site: site, Limits: classify.LimitsOf(64 << 20)}, ndjson.New(&b))
		if err != nil {
			t.Fatal(err)
		}
		src, err := capture.OpenFiles([]string{file}, capture.Options{DuplicateWindow: capture.DuplicateWindow})
		if err != nil {
			t.Fatal(err)
		}
		if err := eng.Feed(src, false, func(*capture.Batch) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := eng.Close(src.Errors()); err != nil {
			t.Fatal(err)
		}
		_ = src.Close()
	}
	return b.Bytes()
}

// readAll reads NDJSON.
func readAll(t testing.TB, lines []byte) []*record.Record {
	t.Helper()
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	in := ndjson.NewReader(bytes.NewReader(lines), packs)
	var list []*record.Record
	for {
		r, err := in.Read()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
}

// elsewhere is another network with the same traffic: each address, port of a client
// and time is another one.
type elsewhere struct {
	rnd   *rand.Rand
	addrs map[netip.Addr]netip.Addr
	convs map[string]string
	shift time.Duration
	text  *strings.Replacer
}

func newElsewhere(rnd *rand.Rand, records []*record.Record, shift time.Duration) *elsewhere {
	e := &elsewhere{rnd: rnd, addrs: map[netip.Addr]netip.Addr{}, convs: map[string]string{}, shift: shift}
	for _, r := range records {
		e.addr(r.Client.Addr)
		e.addr(r.Server.Addr)
	}
	var pairs []string
	for from, to := range e.addrs {
		pairs = append(pairs, from.String(), to.String())
	}
	e.text = strings.NewReplacer(pairs...)
	return e
}

func (e *elsewhere) addr(a netip.Addr) netip.Addr {
	if !a.IsValid() {
		return a
	}
	to, ok := e.addrs[a]
	if !ok {
		b := a.AsSlice()
		for i := max(1, len(b)-8); i < len(b); i++ {
			b[i] = byte(e.rnd.Uint32())
		}
		to, _ = netip.AddrFromSlice(b)
		e.addrs[a] = to
	}
	return to
}

// time shifts a time by up to a second more, to the nanosecond.
func (e *elsewhere) time(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(e.shift + time.Duration(e.rnd.Int64N(1e9)))
}

func (e *elsewhere) record(r *record.Record) *record.Record {
	c := *r
	c.First = e.time(r.First)
	c.Last = c.First.Add(r.Last.Sub(r.First) + time.Duration(e.rnd.Int64N(1e6)))
	c.Client.Addr, c.Server.Addr = e.addr(r.Client.Addr), e.addr(r.Server.Addr)
	if c.Client.Port > 1024 {
		c.Client.Port = uint16(49152 + e.rnd.IntN(16384))
	}
	if r.Conversation != "" {
		id, ok := e.convs[r.Conversation]
		if !ok {
			var b [20]byte
			for i := range b {
				b[i] = byte(e.rnd.Uint32())
			}
			id = "1:" + base64.StdEncoding.EncodeToString(b[:])
			e.convs[r.Conversation] = id
		}
		c.Conversation = id
	}
	if r.Endpoint != nil {
		p := *r.Endpoint
		p.Learned, p.Announced = e.time(p.Learned), e.addr(p.Announced)
		if p.From.IsValid() {
			p.From = netip.AddrPortFrom(e.addr(p.From.Addr()), p.From.Port())
		}
		c.Endpoint = &p
	}
	c.Verdict.Why = e.text.Replace(r.Verdict.Why)
	c.Verdict.Findings = append([]record.Finding(nil), r.Verdict.Findings...)
	for i := range c.Verdict.Findings {
		c.Verdict.Findings[i].Detail = e.text.Replace(c.Verdict.Findings[i].Detail)
	}
	return &c
}

// TestSize writes the recordings many times over, each time with other addresses, ports
// and times, and holds the size of a row against the limit of 70 bytes.
func TestSize(t *testing.T) {
	times := 1000
	if testing.Short() {
		times = 100
	}
	records := readAll(t, recordings(t))
	dir := t.TempDir()
	folder, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var text countWriter
	all := []record.Sink{NewSink(folder), ndjson.New(&text)}
	rnd := rand.New(rand.NewPCG(1, 2))
	var spent [2]time.Duration
	for k := range times {
		e := newElsewhere(rnd, records, time.Duration(k)*2*time.Second)
		var list []*record.Record
		for _, r := range records {
			list = append(list, e.record(r))
		}
		for i, s := range all {
			begun := time.Now()
			for _, r := range list {
				if err := s.Write(r); err != nil {
					t.Fatal(err)
				}
			}
			spent[i] += time.Since(begun)
		}
	}
	folder.Flush()
	var parts int64
	for _, p := range folder.parts {
		parts += p.size
	}
	begun := time.Now()
	if err := folder.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	finish := time.Since(begun)
	names, _ := filepath.Glob(filepath.Join(dir, "realm=*/sensor=*/date=*/*"+fileSuffix))
	var size int64
	for _, name := range names {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size += st.Size()
	}
	rows := float64(len(records) * times)
	each := float64(size) / rows
	t.Logf("%.0f rows in %d files: %.1f bytes each as Parquet, %.0f in parts, %.0f as NDJSON; a row takes %.2f us to encode and %.2f us to finish, as NDJSON %.2f us",
		rows, len(names), each, float64(parts)/rows, float64(text)/rows, float64(spent[0].Nanoseconds())/rows/1e3, float64(finish.Nanoseconds())/rows/1e3,
		float64(spent[1].Nanoseconds())/rows/1e3)
	if each > 70 && times >= 1000 {
		t.Errorf("a row takes %.1f bytes, want at most 70", each)
	}
}

type countWriter int64

func (c *countWriter) Write(p []byte) (int, error) {
	*c += countWriter(len(p))
	return len(p), nil
}
