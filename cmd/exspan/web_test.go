package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
)

// TestGuard sends requests as web pages and strangers send them.
func TestGuard(t *testing.T) {
	const here = "localhost:10135"
	for _, tt := range []struct {
		name, method, host string
		header             map[string]string
		lifecycle          bool
		want               int
	}{
		{"a scrape", "GET", here, nil, false, http.StatusOK},
		{"an address", "GET", "192.0.2.1:10135", nil, false, http.StatusOK},
		{"an IPv6 address", "GET", "[2001:db8::1]:10135", nil, false, http.StatusOK},
		{"an IPv6 address without port", "GET", "[::1]", nil, false, http.StatusOK},
		{"a name of --web.hostname", "GET", "Sensor1.example.com.:443", nil, false, http.StatusOK},
		{"a name of --web.listen-address", "GET", "metrics.example.com", nil, false, http.StatusOK},
		{"a rebound name", "GET", "evil.example.net:10135", nil, false, http.StatusMisdirectedRequest},
		{"a rebound name that begins well", "GET", "localhost.example.net", nil, false, http.StatusMisdirectedRequest},
		{"no name", "GET", "", nil, false, http.StatusMisdirectedRequest},
		{"a name that is only a port", "GET", ":10135", nil, false, http.StatusMisdirectedRequest},
		{"a page may link", "GET", here, map[string]string{"Sec-Fetch-Site": "cross-site"}, false, http.StatusOK},
		{"no lifecycle", "POST", here, nil, false, http.StatusForbidden},
		{"no lifecycle, PUT", "PUT", here, nil, false, http.StatusForbidden},
		{"no lifecycle, a method of their own", "FROB", here, nil, false, http.StatusForbidden},
		{"curl", "POST", here, nil, true, http.StatusOK},
		{"our page", "POST", here, map[string]string{"Origin": "http://" + here}, true, http.StatusOK},
		{"another page", "POST", here, map[string]string{"Origin": "http://evil.example.net"}, true, http.StatusForbidden},
		{"a file", "POST", here, map[string]string{"Origin": "null"}, true, http.StatusForbidden},
		{"another port", "POST", here, map[string]string{"Origin": "http://localhost:8080"}, true, http.StatusForbidden},
		{"another page, says the browser", "POST", here, map[string]string{"Sec-Fetch-Site": "cross-site"}, true, http.StatusForbidden},
		{"a sister page", "PUT", here, map[string]string{"Sec-Fetch-Site": "same-site"}, true, http.StatusForbidden},
		{"a rebound name with its own origin", "POST", "evil.example.net", map[string]string{"Origin": "http://evil.example.net", "Sec-Fetch-Site": "same-origin"}, true,
			http.StatusMisdirectedRequest},
	} {
		m := &monitor{lifecycle: tt.lifecycle, hostnames: []string{"sensor1.example.com"}, listen: []string{"metrics.example.com:443", ":1"}}
		r := httptest.NewRequest(tt.method, "/-/reload", nil)
		r.Host = tt.host
		for k, v := range tt.header {
			r.Header.Set(k, v)
		}
		rec := httptest.NewRecorder()
		m.guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(rec, r)
		if rec.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, rec.Code, tt.want)
		}
	}
}

// TestStuckClients starts clients that never read the response.
func TestStuckClients(t *testing.T) {
	w := &watch{m: &monitor{}, log: slog.New(slog.DiscardHandler), registry: prom.NewRegistry(), registerer: prom.NewRegistry()}
	big := prom.NewGaugeVec(prom.GaugeOpts{Name: "big", Help: strings.Repeat("x", 1000)}, []string{"n"})
	for i := range 1000 { // 10 MB, more than sockets buffer
		big.WithLabelValues(strings.Repeat("y", 10_000) + fmt.Sprint(i)).Set(1)
	}
	w.registry.MustRegister(big)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer w.serve([]net.Listener{l})()
	for range 20 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		if _, err := fmt.Fprintf(c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(500 * time.Millisecond) // their buffers are full
	client := &http.Client{Timeout: 20 * time.Second}
	resp, err := client.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "y999\"") {
		t.Errorf("a further client gets %d and %d bytes (%v)", resp.StatusCode, len(body), err)
	}
}

// TestSlowRequest starts a request and does not complete it.
func TestSlowRequest(t *testing.T) {
	t.Parallel()
	w := &watch{m: &monitor{}, log: slog.New(slog.DiscardHandler), registry: prom.NewRegistry(), registerer: prom.NewRegistry()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer w.serve([]net.Listener{l})()
	var conns []net.Conn
	for _, begun := range []string{"GET /metrics HTT", "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, begun)
		conns = append(conns, c)
	}
	for i, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(readTimeout + 5*time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("request %d: the connection stays open (%v)", i, err)
		}
	}
}
