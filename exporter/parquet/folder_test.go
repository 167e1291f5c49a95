package parquet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/ndjson"
)

// files returns the names of the files in a folder, without those of parts.
func files(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "realm=*/sensor=*/date=*/*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// rows reads files with the reader of parquet-go.
func rows(t testing.TB, names ...string) []row {
	t.Helper()
	var all []row
	for _, name := range names {
		list, err := parquet.ReadFile[row](name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, list...)
	}
	return all
}

// like returns r as NDJSON has it, decoded, and with what Parquet has besides.
func like(t testing.TB, r *record.Record) map[string]any {
	t.Helper()
	var b bytes.Buffer
	if err := ndjson.New(&b).Write(r); err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	d := json.NewDecoder(&b)
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// asJSON returns a row in the form of NDJSON.
func asJSON(t testing.TB, r *row) map[string]any {
	t.Helper()
	m := map[string]any{"community_id": r.CommunityID, "proto": r.Proto}
	put := func(m map[string]any, name string, v any) {
		switch v := v.(type) {
		case string:
			if v != "" {
				m[name] = v
			}
		case []string:
			if len(v) > 0 {
				list := make([]any, len(v))
				for i := range v {
					list[i] = v[i]
				}
				m[name] = list
			}
		case int64:
			m[name] = json.Number(fmt.Sprint(v))
		}
	}
	at := func(m map[string]any, name string, ns int64) {
		if ns != 0 {
			put(m, name, time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000000Z"))
		}
	}
	end := func(h *host) map[string]any {
		m := map[string]any{}
		put(m, "ip", h.IP)
		put(m, "port", int64(h.Port))
		put(m, "name", h.Name)
		put(m, "roles", h.Roles)
		if h.IP != "" && netip.AddrFrom16(h.Addr).Unmap() != netip.MustParseAddr(h.IP) && netip.AddrFrom16(h.Addr) != netip.MustParseAddr(h.IP).WithZone("") {
			t.Errorf("the 16 bytes of %s are %v", h.IP, h.Addr)
		}
		return m
	}
	both := func(a, b int64) map[string]any {
		m := map[string]any{}
		put(m, "to_server", a)
		put(m, "to_client", b)
		return m
	}
	at(m, "first", r.First)
	at(m, "last", r.Last)
	put(m, "sensor", r.Sensor)
	put(m, "interface", r.Interface)
	put(m, "conversation", r.Conversation)
	m["client"], m["server"] = end(&r.Client), end(&r.Server)
	put(m, "vlan", r.VLAN)
	m["packets"], m["bytes"] = both(r.Packets.ToServer, r.Packets.ToClient), both(r.Bytes.ToServer, r.Bytes.ToClient)
	if r.GapBytes != (lost{}) {
		m["gap_bytes"] = both(r.GapBytes.ToServer, r.GapBytes.ToClient)
	}
	put(m, "state", r.State)
	put(m, "outcome", r.Outcome)
	if r.SetupUS != 0 {
		put(m, "setup_us", r.SetupUS)
	}
	put(m, "protocol", r.Protocol)
	put(m, "given_up", r.GivenUp)
	if len(r.Facts) > 0 {
		f := map[string]any{}
		for name, values := range r.Facts {
			put(f, name, values)
		}
		m["facts"] = f
	}
	if e := r.Endpoint; e != nil {
		f := map[string]any{}
		put(f, "service", e.Service)
		put(f, "annotation", e.Annotation)
		put(f, "source", e.Source)
		put(f, "from", e.From)
		put(f, "announced", e.Announced)
		at(f, "learned", e.Learned)
		m["endpoint"] = f
	}
	v := map[string]any{"status": r.Verdict.Status}
	for name, text := range map[string]string{"path": r.Verdict.Path, "group": r.Verdict.Group, "confidence": r.Verdict.Confidence,
		"source_confidence": r.Verdict.SourceConfidence, "version": r.Verdict.Version, "version_source": r.Verdict.VersionSource,
		"reason": r.Verdict.Reason, "why": r.Verdict.Why} {
		put(v, name, text)
	}
	put(v, "also", r.Verdict.Also)
	var findings []any
	for _, f := range r.Verdict.Findings {
		m := map[string]any{}
		put(m, "id", f.ID)
		put(m, "level", f.Level)
		put(m, "detail", f.Detail)
		findings = append(findings, m)
	}
	if len(findings) > 0 {
		v["findings"] = findings
	}
	m["verdict"] = v
	return m
}

func sorted(t testing.TB, list []map[string]any) []string {
	t.Helper()
	var lines []string
	for _, m := range list {
		b, err := json.Marshal(m) // sorts keys
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(b))
	}
	slices.Sort(lines)
	return lines
}

// compare holds rows against records.
func compare(t testing.TB, got []row, want []*record.Record) {
	t.Helper()
	var a, b []map[string]any
	for i := range got {
		a = append(a, asJSON(t, &got[i]))
	}
	for _, r := range want {
		b = append(b, like(t, r))
	}
	x, y := sorted(t, a), sorted(t, b)
	if len(x) != len(y) {
		t.Fatalf("%d rows, want %d", len(x), len(y))
	}
	for i := range x {
		if x[i] != y[i] {
			t.Fatalf("row\n%s\nwant\n%s", x[i], y[i])
		}
	}
}

// TestEqualsNDJSON writes the records of all recordings both ways.
func TestEqualsNDJSON(t *testing.T) {
	records := readAll(t, recordings(t))
	if len(records) < 300 {
		t.Fatalf("%d records only", len(records))
	}
	for _, r := range records[:20] { // which no recording has
		r.VLANs, r.Interface, r.GivenUp = []string{"100", "7.8"}, "eth\xff", "too-many"
		r.GapBytes = record.Count{0, 7}
		r.Client.Addr = netip.MustParseAddr("2001:db8::1")
	}
	var b bytes.Buffer
	f := NewFile(&b, "v1")
	for i, r := range records {
		if i%2 == 0 {
			r.Sensor = "a/b=c"
		}
		if err := f.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(nil); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "x.parquet")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	compare(t, rows(t, name), records)
	file, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := file.Lookup("exspan.schema"); v != fmt.Sprint(SchemaVersion) {
		t.Errorf("the schema has the version %q", v)
	}

	// In folders, the name of one has the sensor.
	dir := t.TempDir()
	folder, err := Open(Options{Dir: dir, Realm: "r 1"})
	if err != nil {
		t.Fatal(err)
	}
	write(t, folder, records)
	if err := folder.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	sensors := map[string]bool{}
	for _, n := range files(t, dir) {
		sensors[filepath.Base(filepath.Dir(filepath.Dir(n)))] = true
	}
	if len(sensors) != 2 || !sensors["sensor=a%2Fb%3Dc"] || !sensors["sensor=default"] {
		t.Errorf("folders %v", sensors)
	}
	for _, r := range records {
		r.Sensor = ""
	}
	compare(t, rows(t, files(t, dir)...), records)
	if _, err := os.Stat(filepath.Join(dir, staging)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of parts is still there: %v", err)
	}

	// The same once more changes nothing.
	before := files(t, dir)
	if folder, err = Open(Options{Dir: dir, Realm: "r 1"}); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(records)
	for i, r := range records {
		if r.Sensor = ""; (len(records)-1-i)%2 == 0 {
			r.Sensor = "a/b=c"
		}
	}
	write(t, folder, records)
	if err := folder.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("files %v, want %v", after, before)
	}
}

func write(t testing.TB, f *Folder, records []*record.Record) {
	t.Helper()
	s := NewSink(f)
	for _, r := range records {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
}

// flow returns a record of number n that ends at a time.
func flow(n int, end time.Time) *record.Record {
	a := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
	return &record.Record{Proto: 6, First: end.Add(-time.Second), Last: end, Client: record.Host{Addr: a, Port: uint16(n)},
		Server: record.Host{Addr: netip.MustParseAddr("10.0.0.1"), Port: 443}, State: "ended", Verdict: record.Verdict{Status: record.Unrelated}}
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 500 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(what)
}

// TestHours follows a monitor over a few hours: a file appears some time after its
// hour, and what comes later makes another one.
func TestHours(t *testing.T) {
	dir := t.TempDir()
	day := time.Date(2026, 3, 1, 22, 0, 0, 0, time.UTC)
	c := &clock{now: day}
	f, err := Open(Options{Dir: dir, Keep: true, Now: c.Now, Mode: 0o604, Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	all := func() []string { return files(t, dir) }
	write(t, f, []*record.Record{flow(1, day.Add(time.Second)), flow(2, day.Add(time.Hour-time.Nanosecond))})
	c.set(day.Add(time.Hour + 14*time.Minute))
	write(t, f, []*record.Record{flow(3, day.Add(time.Hour)), flow(4, day.Add(time.Hour-time.Second))})
	f.Flush()
	time.Sleep(50 * time.Millisecond)
	if n := all(); len(n) != 0 {
		t.Fatalf("files before their time: %v", n)
	}
	c.set(day.Add(time.Hour + 16*time.Minute))
	f.Flush()
	eventually(t, "no file of the first hour", func() bool { return len(all()) == 1 })
	if n := all()[0]; !strings.Contains(n, "realm=default/sensor=default/date=2026-03-01/22-") {
		t.Error(n)
	} else if st, err := os.Stat(n); err != nil || st.Mode().Perm() != 0o604 {
		t.Errorf("mode %v %v", st.Mode(), err)
	} else if got := rows(t, n); len(got) != 3 {
		t.Errorf("%d rows", len(got))
	}
	// A flow that comes after the file of its hour.
	write(t, f, []*record.Record{flow(5, day.Add(time.Minute))})
	c.set(day.Add(2*time.Hour + 17*time.Minute))
	f.Flush()
	eventually(t, "no file of the late flow", func() bool { return len(all()) == 3 })
	c.set(day.Add(3 * time.Hour))
	write(t, f, []*record.Record{flow(6, day.Add(2*time.Hour))})
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := all(); len(n) != 4 || !strings.Contains(n[3], "date=2026-03-02/00-") {
		t.Errorf("files %v", n)
	}
	if got := rows(t, all()...); len(got) != 6 {
		t.Errorf("%d rows", len(got))
	}
}

// TestManyHours writes flows in no order of time, as those are that wait to the end of
// the input.
func TestManyHours(t *testing.T) {
	dir := t.TempDir()
	var written, all []uint64 // what Progress is told
	f, err := Open(Options{Dir: dir, Progress: func(w, a uint64) { written, all = append(written, w), append(all, a) }})
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	const n, hours = 60000, 300
	for i := range n {
		write(t, f, []*record.Record{flow(i, day.Add(time.Duration(i*7919%hours)*time.Hour+time.Duration(i)))})
		if f.waits > maxWaits {
			t.Fatalf("%d bytes wait", f.waits)
		}
	}
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	names := files(t, dir)
	if got := rows(t, names...); len(names) != hours || len(got) != n {
		t.Errorf("%d rows in %d files", len(got), len(names))
	}
	if len(written) < hours || !slices.IsSorted(written) || written[len(written)-1] != n || slices.Min(all) != n {
		t.Errorf("progress was told %d times, up to %d of %d", len(written), written[len(written)-1], slices.Min(all))
	}
}

// TestTorn cuts a part, as a crash may: the blocks before stay,
// and what is left is no row.
func TestTorn(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	f, err := Open(Options{Dir: dir, Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, []*record.Record{flow(1, at), flow(2, at)})
	f.Flush()
	size := f.parts[target{"", at.Unix() / 3600}].size
	write(t, f, []*record.Record{flow(3, at)})
	f.Flush()
	name := filepath.Join(f.own, "000001"+partSuffix)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f.unlock() // as the kernel does when a process ends
	for cut := 0; cut <= len(whole); cut++ {
		if cut > 20 && cut < int(size)-20 && cut%499 > 0 || cut > int(size)+20 && cut < len(whole)-20 && cut%7 > 0 {
			continue // like its neighbours
		}
		to := t.TempDir()
		own := filepath.Join(to, staging, "keep-1")
		if err := os.MkdirAll(own, 0o700); err != nil {
			t.Fatal(err)
		}
		part := slices.Clone(whole[:cut])
		if cut == len(whole)-1 {
			part = append(part, whole[cut]^1) // changed, not cut
		}
		if err := os.WriteFile(filepath.Join(own, "000001"+partSuffix), part, 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := Open(Options{Dir: to, Keep: true, Failed: func(err error) { t.Errorf("cut at %d: %v", cut, err) }})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := 0
		switch {
		case cut == len(whole):
			want = 3
		case int64(cut) >= size:
			want = 2
		}
		if got := rows(t, files(t, to)...); len(got) != want {
			t.Fatalf("cut at %d of %d: %d rows, want %d", cut, len(whole), len(got), want)
		}
		if _, err := os.Stat(filepath.Join(to, staging)); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("cut at %d: parts are left", cut)
		}
	}
}

// TestOthers leaves parts alone that another process uses, and those that are not of the
// own kind.
func TestOthers(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	open := func(keep bool) *Folder {
		f, err := Open(Options{Dir: dir, Keep: keep})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	a, b := open(true), open(false)
	write(t, a, []*record.Record{flow(1, at)})
	write(t, b, []*record.Record{flow(2, at)})
	a.Flush()
	b.Flush()
	c, d := open(true), open(false)
	for _, f := range []*Folder{c, d} {
		if err := f.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := files(t, dir); len(n) != 0 {
		t.Errorf("files of others: %v", n)
	}
	// One is killed, the other given up.
	a.unlock()
	b.Abandon()
	if err := open(false).Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := files(t, dir); len(n) != 0 {
		t.Errorf("files of others: %v", n)
	}
	if err := open(true).Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := rows(t, files(t, dir)...); len(got) != 1 || got[0].Client.IP != "10.0.0.1" {
		t.Errorf("rows %v", got)
	}
}

// TestInterrupted ends Close before it is done: what is left is finished later.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(Options{Dir: dir, Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, []*record.Record{flow(1, time.Unix(0, 0))})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.stop()
	if err := f.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if f, err = Open(Options{Dir: dir, Keep: true}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := rows(t, files(t, dir)...); len(got) != 1 {
		t.Errorf("%d rows", len(got))
	}
}

func FuzzRow(f *testing.F) {
	f.Add(appendRow(nil, flow(1, time.Unix(1, 2))))
	s := schemaOf[0]()
	dec := newDecoder(columnsOf(schemaOf[1]()), s)
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			_, row, rest, err := next(b)
			if err != nil {
				return
			}
			if _, err := sensorOf(row); err != nil {
				return
			}
			if _, err := dec.row(nil, row); err != nil {
				return
			}
			b = rest
		}
	})
}
