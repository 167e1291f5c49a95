package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/net/netutil"

	capturelive "github.com/exspan/exspan/capture/live"
	"github.com/exspan/exspan/exporter/live"
)

// listeners opens the sockets on which metrics are served.
func (m *monitor) listeners() ([]net.Listener, error) {
	if m.systemdSocket {
		list, err := activation.Listeners()
		if err == nil && len(list) == 0 {
			err = errors.New("systemd passed no socket")
		}
		if err != nil {
			return nil, fmt.Errorf("--web.systemd-socket: %w", err)
		}
		return list, nil
	}
	var list []net.Listener
	for _, address := range m.listen {
		if address == "" {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("--web.listen-address: %w", err)
		}
		list = append(list, l)
	}
	return list, nil
}

// handler returns the handler of all pages.
func (w *watch) handler() (http.Handler, error) {
	mux := http.NewServeMux()
	options := promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true}
	all := promhttp.InstrumentMetricHandler(w.registerer, promhttp.HandlerFor(w.registry, options))
	mux.Handle("/metrics", buffered(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if path := r.URL.Query().Get("path"); path != "" {
			promhttp.HandlerFor(ofPath{w.registry, path}, options).ServeHTTP(rw, r)
			return
		}
		all.ServeHTTP(rw, r)
	})))
	mux.HandleFunc("/-/healthy", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "exspan is healthy.") })
	mux.HandleFunc("/-/ready", func(rw http.ResponseWriter, _ *http.Request) {
		if !w.capturing() {
			http.Error(rw, "exspan is not capturing.", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(rw, "exspan is capturing.")
	})
	mux.HandleFunc("/-/reload", func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost && r.Method != http.MethodPut {
			rw.Header().Set("Allow", "POST, PUT")
			http.Error(rw, "Only POST and PUT requests reload.", http.StatusMethodNotAllowed)
			return
		}
		if err := w.reload.now(); err != nil {
			http.Error(rw, "failed to reload: "+err.Error(), http.StatusInternalServerError)
		}
	})
	landing := web.LandingConfig{
		Name: "exspan", Description: "Microsoft Exchange traffic by documented data path", Version: versionNumber(), Profiling: "false",
		Links: []web.LandingLinks{
			{Address: "/metrics", Text: "Metrics"},
			{Address: "/-/healthy", Text: "Health", Description: "whether the process is alive"},
			{Address: "/-/ready", Text: "Readiness", Description: "whether it is capturing"},
		},
	}
	if w.page != nil {
		for _, path := range live.Paths() {
			mux.Handle(path, w.m.private(w.page))
		}
		landing.Links = slices.Insert(landing.Links, 0,
			web.LandingLinks{Address: live.PagePath, Text: "Live", Description: "what flows, and what needs attention; on this machine or with a password only"},
			web.LandingLinks{Address: live.ReportPath, Text: "Report", Description: "as of now"})
	}
	if w.m.flows {
		mux.Handle("/flows", w.recent)
		landing.Links = append(landing.Links, web.LandingLinks{Address: "/flows?path=none", Text: "Flows", Description: "the last ones of a data path"})
	}
	if w.m.pprof {
		landing.Profiling = "true"
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	page, err := web.NewLandingPage(landing)
	if err != nil {
		return nil, err
	}
	mux.Handle("/", page)
	return w.m.guard(mux), nil
}

// capturing reports whether packets are read, from at least one interface if not
// from a file.
func (w *watch) capturing() bool {
	return w.ready.Load() && (w.live == nil || slices.ContainsFunc(w.live.Interfaces(), func(i capturelive.Interface) bool { return i.Up }))
}

// Limits of the web server. A scrape takes milliseconds, and Prometheus keeps its
// connection from one scrape to the next.
const (
	maxConnections = 256 // on one listener
	maxHeader      = 64 << 10
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second // package pprof extends it for its own responses
	idleTimeout    = 3 * time.Minute
)

// serve serves pages on the listeners until the returned function is called.
func (w *watch) serve(listeners []net.Listener) (stop func()) {
	if len(listeners) == 0 {
		return func() {}
	}
	handler, err := w.handler()
	if err != nil {
		w.log.Error("Cannot create the landing page", "err", err)
		handler = http.NotFoundHandler()
	}
	server := &http.Server{Handler: handler, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader}
	limited := make([]net.Listener, len(listeners))
	for i, l := range listeners {
		limited[i] = netutil.LimitListener(l, maxConnections)
	}
	go func() {
		err := web.ServeMultiple(limited, server, &web.FlagConfig{WebConfigFile: &w.m.webConfig}, w.log)
		if err != nil && !errors.Is(err, http.ErrServerClosed) {
			w.log.Error("Serving metrics failed", "err", err)
		}
	}()
	return func() {
		if w.page != nil {
			_ = w.page.Close(nil) // its streams would not end by themselves
		}
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	}
}
