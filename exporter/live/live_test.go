package live

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/filter"
	"github.com/exspan/exspan/exporter/ndjson"
	"github.com/exspan/exspan/exporter/recent"
	"github.com/exspan/exspan/exporter/report"
	"github.com/exspan/exspan/rules"
)

func newTestServer(t *testing.T) *Server {
	t.Helper()
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Report: report.Options{Packs: packs, Format: report.HTML, Title: "test", Assumed: "2010"},
		Summary: func() *record.Summary { return &record.Summary{} }, Now: func() []string { return []string{"Now."} }, Clock: time.Now,
		Criteria: func(q url.Values) (*filter.Criteria, error) {
			c := &filter.Criteria{}
			for name, values := range q {
				if name != "status" {
					return nil, errors.New("unknown " + name)
				}
				c.Statuses = append(c.Statuses, record.Status(values[0]))
			}
			return c, nil
		},
		Fields: func(q url.Values) []report.Field { return []report.Field{{Name: "status", Value: q.Get("status")}} }})
	t.Cleanup(func() { _ = s.Close(nil) })
	return s
}

func testRecord(n int, status record.Status) *record.Record {
	return &record.Record{Number: uint64(n), State: "ended", Proto: 6, First: time.Unix(int64(n), 0).UTC(), Last: time.Unix(int64(n), 0).UTC(),
		Client:  record.Host{Addr: netip.AddrFrom4([4]byte{10, 9, byte(n >> 8), byte(n)}), Port: 1050},
		Server:  record.Host{Addr: netip.MustParseAddr("10.0.0.5"), Port: 4444, Roles: []string{"cas"}},
		Verdict: record.Verdict{Status: status, Reason: record.NoPath, Why: "no path"}}
}

func get(t *testing.T, at string) (int, string) {
	t.Helper()
	resp, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestRecords reads the records that are kept, all and chosen.
func TestRecords(t *testing.T) {
	s := newTestServer(t)
	server := httptest.NewServer(s)
	defer server.Close()
	for n := range 10 {
		status := record.Unexpected
		if n%2 == 0 {
			status = record.Undetermined
		}
		_ = s.Write(testRecord(n, status))
	}
	packs, _ := rules.Embedded()
	for query, want := range map[string][]int{"": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, "?status=unexpected": {1, 3, 5, 7, 9}, "?status=deviating": nil} {
		code, body := get(t, server.URL+RecordsPath+query)
		r := ndjson.NewReader(strings.NewReader(body), packs)
		var got []int
		for {
			rec, err := r.Read()
			if err != nil {
				break
			}
			got = append(got, int(rec.First.Unix()))
		}
		if code != http.StatusOK || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %d, flows %v, want %v", query, code, got, want)
		}
	}
	if code, body := get(t, server.URL+RecordsPath+"?x=1"); code != http.StatusBadRequest || body != "unknown x\n" {
		t.Errorf("a bad query: %d %q", code, body)
	}
	if code, body := get(t, server.URL+FlowsPath+"?x=1"); code != http.StatusBadRequest || !strings.Contains(body, "unknown x") {
		t.Errorf("a bad query for the list: %d %q", code, body)
	}
	resp, err := http.Post(server.URL+RecordsPath, "text/plain", nil)
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v %v", resp, err)
	}
	_ = resp.Body.Close()
}

// TestFollow follows records as lines and as events, longer than the server gives a request.
func TestFollow(t *testing.T) {
	s := newTestServer(t)
	server := httptest.NewUnstartedServer(s)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 200*time.Millisecond, 200*time.Millisecond
	server.Start()
	defer server.Close()
	_ = s.Write(testRecord(1, record.Unexpected))
	_ = s.Write(testRecord(2, record.Undetermined))
	for _, accept := range []string{"application/x-ndjson", "text/event-stream"} {
		req, _ := http.NewRequest(http.MethodGet, server.URL+RecordsPath+"?status=unexpected&follow=true", nil)
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); got != accept {
			t.Errorf("%s: the type is %s", accept, got)
		}
		lines := bufio.NewScanner(resp.Body)
		next := func(want int64) {
			t.Helper()
			for lines.Scan() && lines.Text() == "" {
				continue
			}
			var x struct{ First time.Time }
			text, is := strings.CutPrefix(lines.Text(), "data: ")
			if err := json.Unmarshal([]byte(text), &x); err != nil || x.First.Unix() != want || is != (accept != "application/x-ndjson") {
				t.Errorf("%s: got %q (%v), want the flow of %d", accept, lines.Text(), err, want)
			}
		}
		next(1)
		time.Sleep(500 * time.Millisecond) // longer than the time-outs
		_ = s.Write(testRecord(3, record.Undetermined))
		_ = s.Write(testRecord(4, record.Unexpected))
		next(4)
		s.mu.Lock()
		s.ring = recent.Ring{}
		s.mu.Unlock()
		_ = s.Write(testRecord(1, record.Unexpected))
	}
}

// TestSlowReaders starts clients that read nothing. No record waits for them, and they are
// cut off.
func TestSlowReaders(t *testing.T) {
	s := newTestServer(t)
	server := httptest.NewServer(s)
	defer server.Close()
	const slow = 5
	for range slow {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		fmt.Fprintf(c, "GET %s?follow HTTP/1.1\r\nHost: localhost\r\n\r\n", RecordsPath)
	}
	wait(t, "the clients to follow", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.streams) == slow
	})
	big := testRecord(1, record.Unexpected)
	big.Verdict.Why = strings.Repeat("x", 20_000)
	start := time.Now()
	for range 2 * maxWaiting {
		_ = s.Write(big)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("writing took %s", took)
	}
	wait(t, "the clients to be cut off", func() bool { return s.Dropped() == slow })
	wait(t, "their places", func() bool { return s.clients.Load() == 0 })
}

// TestManyReaders starts more streams than there are places.
func TestManyReaders(t *testing.T) {
	s := newTestServer(t)
	server := httptest.NewServer(s)
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: 200}}
	ask := func() *http.Response {
		resp, err := client.Get(server.URL + RecordsPath + "?follow")
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	var open []*http.Response
	for range maxClients {
		resp := ask()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("stream %d: %s", len(open), resp.Status)
		}
		open = append(open, resp)
	}
	if resp := ask(); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more stream: %s", resp.Status)
	}
	if code, _ := get(t, server.URL+PagePath); code != http.StatusOK {
		t.Errorf("the page is not served beside streams: %d", code)
	}
	_ = open[0].Body.Close()
	wait(t, "a place", func() bool { return s.clients.Load() == maxClients-1 })
	resp := ask()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a place is free: %s", resp.Status)
	}
	for _, r := range append(open[1:], resp) {
		_ = r.Body.Close()
	}
}

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestEvents verifies that a client that has the page is sent what changed, and no more.
func TestEvents(t *testing.T) {
	s := newTestServer(t)
	server := httptest.NewServer(s)
	defer server.Close()
	_ = s.Write(testRecord(1, record.Unexpected))
	_, page := get(t, server.URL+PagePath)
	_, events, ok := strings.Cut(page, `data-events="`)
	events, _, _ = strings.Cut(events, `"`)
	if !ok || !strings.HasPrefix(events, eventsPath+"?of=") {
		t.Fatalf("no address of events in the page: %q", events)
	}
	resp, err := http.Get(server.URL + events)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	next := func() update {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				var u update
				if err := json.Unmarshal([]byte(data), &u); err != nil {
					t.Fatal(err)
				}
				return u
			}
		}
	}
	if u := next(); len(u.Parts) != 0 || len(u.Order) < 3 {
		t.Errorf("first %d parts of %q, want none: the client has them", len(u.Parts), u.Order)
	}
	_ = s.Write(testRecord(2, record.Unexpected))
	u := next()
	for _, id := range []string{"head", "flows", "unexpected"} {
		if !strings.Contains(u.Parts[id], "2") {
			t.Errorf("%s is not in the update", id)
		}
	}
	if u.Parts["coverage"] != "" || u.Parts["contents"] != "" {
		t.Error("parts that did not change are in the update")
	}
	_ = s.Close(nil)
	if rest, err := io.ReadAll(lines); err != nil || !strings.Contains(string(rest), "event: end") {
		t.Errorf("at the end: %q, %v", rest, err)
	}
}

// TestPageIsMadeOnce asks for the page often within its age.
func TestPageIsMadeOnce(t *testing.T) {
	s := newTestServer(t)
	now := time.Unix(1000, 0)
	s.o.Clock = func() time.Time { return now }
	made := 0
	s.o.Summary = func() *record.Summary { made++; return &record.Summary{} }
	for range 10 {
		s.page()
	}
	if made != 1 {
		t.Errorf("made %d times", made)
	}
	now = now.Add(interval)
	s.page()
	if made != 2 {
		t.Errorf("made %d times after %s", made, interval)
	}
}
