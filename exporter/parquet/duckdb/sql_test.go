// Package duckdb runs the SQL of the documentation of package parquet in DuckDB, over
// Parquet and over NDJSON, and holds the answers against what this test computes from
// the records.
package duckdb

import (
	"bufio"
	"bytes"
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
)

const weeks = 10 // that the flows of the recordings are repeated in

// record is what the questions are about.
type record struct {
	First, Last time.Time
	Client      host
	Server      host
	Bytes       struct {
		ToServer int64 `json:"to_server"`
		ToClient int64 `json:"to_client"`
	}
	State, Outcome, Protocol string
	Facts                    map[string][]string
	Verdict                  struct{ Status, Group, Reason string }
}

type host struct {
	IP, Name string
	Port     int
}

func (h host) name() string { return cmp.Or(h.Name, h.IP) }

// run runs a command in the folder dir.
func run(t *testing.T, dir, command string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(command, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", command, args, err, &stderr)
	}
	return out
}

// flows writes flows.ndjson: the flows of the recordings, in each of several weeks. Some
// pairs of hosts are of the last weeks alone, and some flows were refused.
func flows(t *testing.T, exspan, dir string) []record {
	t.Helper()
	recordings, err := filepath.Glob("../../../testdata/*.pcapng")
	if err != nil || len(recordings) == 0 {
		t.Fatal("no recordings", err)
	}
	var lines [][]byte
	for _, name := range recordings {
		out := run(t, ".", exspan, "analyze", "-q", "--format", "ndjson", "--site", strings.TrimSuffix(name, ".pcapng")+".site.yaml", name)
		lines = append(lines, bytes.Split(bytes.TrimSpace(out), []byte("\n"))...)
	}
	file, err := os.Create(filepath.Join(dir, "flows.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewWriter(file)
	enc := json.NewEncoder(out)
	var list []record
	for week := range weeks {
		for i, line := range lines {
			var m map[string]any
			d := json.NewDecoder(bytes.NewReader(line))
			d.UseNumber()
			if err := d.Decode(&m); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"first", "last"} {
				at, err := time.Parse(time.RFC3339Nano, m[name].(string))
				if err != nil {
					t.Fatal(err)
				}
				m[name] = at.AddDate(0, 0, -7*week).Format("2006-01-02T15:04:05.000000000Z07:00")
			}
			if (i+week)%17 == 0 {
				m["outcome"] = []string{"refused", "unanswered", "prohibited"}[i%3]
			}
			b, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			var r record
			if err := json.Unmarshal(b, &r); err != nil {
				t.Fatal(err)
			}
			h := fnv.New32a()
			h.Write([]byte(r.Client.IP + r.Server.IP))
			if week >= 3 && h.Sum32()%3 == 0 {
				continue
			}
			list = append(list, r)
			if err := enc.Encode(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return list
}

// readme returns the statements of the documentation by heading: those before the first
// question under "parquet" and "ndjson".
func readme(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	heading := ""
	block := regexp.MustCompile("(?ms)^### ([^\n]*)$|^```sql\n(.*?)^```$")
	for _, m := range block.FindAllStringSubmatch(string(data), -1) {
		switch {
		case m[1] != "":
			heading = m[1]
		case heading == "" && strings.Contains(m[2], "read_json"):
			found["ndjson"] = m[2]
		case heading == "":
			found["parquet"] = m[2]
		default:
			found[heading] = m[2]
		}
	}
	return found
}

// query returns the rows of an answer as text.
func query(t *testing.T, db *sql.DB, text string) []string {
	t.Helper()
	rows, err := db.Query(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		list = append(list, line(values...))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// line returns values as text, times to the microsecond.
func line(values ...any) string {
	var parts []string
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			parts = append(parts, "")
		case time.Time:
			parts = append(parts, v.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano))
		case *big.Int:
			parts = append(parts, v.String())
		default:
			parts = append(parts, fmt.Sprint(v))
		}
	}
	return strings.Join(parts, " | ")
}

// group is what several flows have in common.
type group struct {
	key         []string // the columns before the counts
	n, bytes    int64
	clients     map[string]bool
	first, last time.Time
}

// groups groups flows by what key returns, and leaves those out for which it returns
// nil.
func groups(list []record, key func(*record) []string) []*group {
	by := map[string]*group{}
	for i := range list {
		r := &list[i]
		k := key(r)
		if k == nil {
			continue
		}
		id := strings.Join(k, "\x00")
		g := by[id]
		if g == nil {
			g = &group{key: k, clients: map[string]bool{}, first: r.First}
			by[id] = g
		}
		g.n++
		g.bytes += r.Bytes.ToServer + r.Bytes.ToClient
		g.clients[r.Client.IP] = true
		if r.First.Before(g.first) {
			g.first = r.First
		}
		if r.Last.After(g.last) {
			g.last = r.Last
		}
	}
	var all []*group
	for _, g := range by {
		all = append(all, g)
	}
	return all
}

// byKey compares columns as text; nothing comes last, and ports compare as numbers.
func byKey(a, b *group) int {
	for i := range a.key {
		x, y := a.key[i], b.key[i]
		if x == y {
			continue
		}
		var m, n int
		if _, err := fmt.Sscanf(x+" "+y, "%d %d", &m, &n); err == nil && fmt.Sprint(m) == x && fmt.Sprint(n) == y {
			return m - n
		}
		if x == "" || y == "" {
			return cmp.Compare(y, x)
		}
		return cmp.Compare(x, y)
	}
	return 0
}

// answers computes what the questions should be answered with.
func answers(list []record) map[string][]string {
	all := map[string][]string{}
	add := func(question string, gs []*group, order func(a, b *group) int, row func(*group) []any) {
		slices.SortFunc(gs, order)
		lines := []string{}
		for _, g := range gs {
			var values []any
			for _, k := range g.key {
				values = append(values, k)
			}
			lines = append(lines, line(append(values, row(g)...)...))
		}
		all[question] = lines
	}
	most := func(a, b *group) int { return cmp.Or(cmp.Compare(b.n, a.n), byKey(a, b)) }
	add("Who talked to whom", groups(list, func(r *record) []string {
		return []string{r.Client.name(), r.Server.name(), r.Verdict.Group}
	}), most, func(g *group) []any { return []any{g.n, g.bytes, g.last} })
	add("Logons in clear text, by week", groups(list, func(r *record) []string {
		if !slices.Contains(r.Facts["encryption"], "none") || !slices.ContainsFunc(r.Facts["auth"], func(s string) bool {
			return s == "basic" || s == "login" || s == "plain" || s == "user-pass" || s == "simple"
		}) {
			return nil
		}
		day := r.Last.UTC().Truncate(24 * time.Hour)
		monday := day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
		return []string{line(monday), r.Server.name(), r.Protocol}
	}), byKey, func(g *group) []any { return []any{g.n, len(g.clients)} })
	var end time.Time
	for i := range list {
		if list[i].Last.After(end) {
			end = list[i].Last
		}
	}
	fresh := groups(list, func(r *record) []string {
		if r.Server.Port >= 49152 {
			return nil
		}
		return []string{r.Client.IP, r.Server.IP, fmt.Sprint(r.Server.Port), cmp.Or(r.Verdict.Group, r.Verdict.Reason, r.Verdict.Status)}
	})
	fresh = slices.DeleteFunc(fresh, func(g *group) bool { return g.first.Before(end.AddDate(0, -1, 0)) })
	add("Paths that are new since last month", fresh, func(a, b *group) int { return cmp.Or(a.first.Compare(b.first), byKey(a, b)) },
		func(g *group) []any { return []any{g.first, g.n} })
	add("What is blocked, by server", groups(list, func(r *record) []string {
		if r.Outcome != "refused" && r.Outcome != "unanswered" && r.Outcome != "prohibited" {
			return nil
		}
		return []string{r.Server.name(), fmt.Sprint(r.Server.Port), r.Outcome}
	}), most, func(g *group) []any { return []any{g.n, len(g.clients), g.last} })
	network := netip.MustParsePrefix("10.20.0.0/16")
	add("All of one network", groups(list, func(r *record) []string {
		if !network.Contains(netip.MustParseAddr(r.Client.IP)) {
			return nil
		}
		return []string{r.Client.IP, r.Server.IP}
	}), byKey, func(g *group) []any { return []any{g.n} })
	return all
}

func TestQuestions(t *testing.T) {
	exspan := filepath.Join(t.TempDir(), "exspan")
	run(t, "../../..", "go", "build", "-o", exspan, "./cmd/exspan")
	dir := t.TempDir()
	list := flows(t, exspan, dir)
	run(t, dir, exspan, "analyze", "-q", "-o", "report.txt", "--parquet", "flows", "flows.ndjson")
	run(t, dir, exspan, "convert", "flows.ndjson", "-o", "one.parquet")
	text, want := readme(t), answers(list)
	t.Chdir(dir)
	views := map[string]string{"Parquet": text["parquet"], "NDJSON": text["ndjson"],
		"one file": "SET TimeZone = 'UTC'; CREATE VIEW flows AS SELECT * FROM 'one.parquet'"}
	delete(text, "parquet")
	delete(text, "ndjson")
	if len(text) != len(want) {
		t.Errorf("%d questions, and answers to %d", len(text), len(want))
	}
	for kind, view := range views {
		db, err := sql.Open("duckdb", "")
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1) // the time zone is that of a connection
		defer db.Close()
		if _, err := db.Exec(view); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if got := query(t, db, "SELECT count(*), min(first), max(last) FROM flows"); len(got) != 1 || !strings.HasPrefix(got[0], fmt.Sprint(len(list))+" ") {
			t.Errorf("%s: %v, want %d flows", kind, got, len(list))
		}
		for question, statement := range text {
			if kind == "NDJSON" && strings.Contains(statement, ".addr") {
				continue
			}
			if len(want[question]) < 3 {
				t.Fatalf("%s: %d rows to compare with", question, len(want[question]))
			}
			got := query(t, db, statement)
			if !slices.Equal(got, want[question]) {
				t.Errorf("%s over %s: %d rows\n%s\nwant %d\n%s", question, kind, len(got), strings.Join(got, "\n"), len(want[question]), strings.Join(want[question], "\n"))
			}
		}
	}
}

// TestSame holds every column of Parquet against NDJSON, as DuckDB reads them.
func TestSame(t *testing.T) {
	exspan := filepath.Join(t.TempDir(), "exspan")
	run(t, "../../..", "go", "build", "-o", exspan, "./cmd/exspan")
	dir := t.TempDir()
	list := flows(t, exspan, dir)
	run(t, dir, exspan, "analyze", "-q", "-o", "report.txt", "--parquet", "flows", "flows.ndjson")
	text := readme(t)
	t.Chdir(dir)
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, name := range []string{"parquet", "ndjson"} {
		if _, err := db.Exec(strings.Replace(text[name], "VIEW flows", "VIEW "+name, 1)); err != nil {
			t.Fatal(err)
		}
	}
	// All but the folders' names and the addresses of 16 bytes.
	columns := query(t, db, "SELECT column_name FROM (DESCRIBE parquet) WHERE column_name NOT IN ('realm', 'sensor', 'date', 'client', 'server')")
	for _, end := range []string{"client", "server"} {
		for _, name := range []string{"ip", "port", "name", "roles"} {
			columns = append(columns, end+"."+name)
		}
	}
	if len(columns) < 20 {
		t.Fatalf("columns %v", columns)
	}
	for _, c := range columns {
		if !strings.Contains(c, ".") {
			c = `"` + c + `"`
		}
		// An empty group is null in NDJSON.
		a, b := c, c
		if c == `"gap_bytes"` {
			a, b = "row(gap_bytes.to_server, gap_bytes.to_client)", "row(gap_bytes.to_server, gap_bytes.to_client)"
		}
		got := query(t, db, fmt.Sprintf("SELECT count(*) FROM (SELECT community_id, first, %s::VARCHAR FROM parquet EXCEPT ALL SELECT community_id, first, %s::VARCHAR FROM ndjson)", a, b))
		if got[0] != "0" {
			t.Errorf("%s differs in %s of %d flows: %v, %v", c, got[0], len(list),
				query(t, db, "SELECT DISTINCT "+a+"::VARCHAR x FROM parquet ORDER BY x LIMIT 3"), query(t, db, "SELECT DISTINCT "+b+"::VARCHAR x FROM ndjson ORDER BY x LIMIT 3"))
		}
	}
}
