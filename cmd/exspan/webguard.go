package main

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// guard returns a handler that serves only what neither a web page nor a stranger
// should be able to misuse:
//
//   - Each request must name a host of this server. Otherwise a web page could read
//     metrics through a name of its own that resolves to this server (DNS
//     rebinding).
//   - A request with another method than GET and HEAD must not come from a page of
//     another origin, and needs --web.enable-lifecycle.
func (m *monitor) guard(next http.Handler) http.Handler {
	served := m.hostNames()
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !servesHost(r.Host, served) {
			http.Error(rw, "exspan is not known by the name in this URL; use an address, or start it with --web.hostname NAME.",
				http.StatusMisdirectedRequest)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if err := origins.Check(r); err != nil {
				http.Error(rw, "The request comes from another origin.", http.StatusForbidden)
				return
			}
			if !m.lifecycle {
				http.Error(rw, "Lifecycle API is not enabled; --web.enable-lifecycle enables it.", http.StatusForbidden)
				return
			}
		}
		next.ServeHTTP(rw, r)
	})
}

// hostNames returns the names in lower case that the server has: those of the
// machine, of the listen addresses, and of --web.hostname. It asks no name server.
func (m *monitor) hostNames() []string {
	names := []string{"localhost"}
	add := func(name string) {
		if name = strings.ToLower(strings.TrimSuffix(name, ".")); name != "" {
			names = append(names, name)
		}
	}
	if name, err := os.Hostname(); err == nil {
		add(name)
		short, _, _ := strings.Cut(name, ".")
		add(short)
	}
	for _, address := range m.listen {
		if host, _, err := net.SplitHostPort(address); err == nil {
			add(host)
		}
	}
	for _, name := range m.hostnames {
		add(name)
	}
	return names
}

// servesHost reports whether a Host header (RFC 9110, section 7.2) holds an IP
// address, which nobody can rebind, or one of the names.
func servesHost(header string, names []string) bool {
	host := header
	if h, _, err := net.SplitHostPort(header); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return slices.Contains(names, strings.ToLower(strings.TrimSuffix(host, ".")))
}

// buffered returns a handler that has next write each response to memory, for one
// request after the other, and then sends it. So a client that does not read its
// response keeps others from nothing, and holds no more than the bytes of that.
func buffered(next http.Handler) http.Handler {
	var mu sync.Mutex
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		page := &pageBuffer{header: rw.Header(), code: http.StatusOK}
		func() {
			mu.Lock()
			defer mu.Unlock()
			next.ServeHTTP(page, r)
		}()
		rw.Header().Set("Content-Length", strconv.Itoa(page.Len()))
		rw.WriteHeader(page.code)
		_, _ = rw.Write(page.Bytes())
	})
}

// pageBuffer is an http.ResponseWriter in memory.
type pageBuffer struct {
	bytes.Buffer
	header http.Header
	code   int
}

func (p *pageBuffer) Header() http.Header  { return p.header }
func (p *pageBuffer) WriteHeader(code int) { p.code = code }
