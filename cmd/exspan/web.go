package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	promversion "github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/exspan/exspan/exporter/prometheus"
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

// register creates the registry that /metrics serves.
func (w *watch) register() {
	w.registry = prom.NewRegistry()
	promversion.Version = versionNumber()
	w.registry.MustRegister(w.exporter, w.reload.success, w.reload.at, versioncollector.NewCollector("exspan"),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), (*watchCollector)(w), pendingCollector{w.recent})
	if w.live == nil {
		return
	}
	w.exporter.Interfaces = func() []prometheus.Interface {
		var list []prometheus.Interface
		for _, i := range w.live.Interfaces() {
			list = append(list, prometheus.Interface{Name: i.Name, Packets: i.Frames,
				Dropped: map[string]uint64{"kernel": i.Kernel, "interface": i.Iface}})
		}
		return list
	}
}

// watchCollector exports what the monitor itself counts.
type watchCollector watch

var (
	behindDesc = prom.NewDesc("exspan_capture_behind_seconds",
		"Wall-clock time minus the time stamp of the last packet processed.", nil, nil)
	duplicatesDesc = prom.NewDesc("exspan_capture_duplicate_packets_total",
		"Packets seen twice within 2 ms that were not left out as copies; they count as traffic twice.", nil, nil)
	upDesc = prom.NewDesc("exspan_capture_interface_up",
		"Whether the monitor reads an interface (1) or waits for it to return (0).", []string{"interface"}, nil)
	lostDesc = prom.NewDesc("exspan_output_lost_total",
		"Records or packets lost because an output was full, closed or slow.", []string{"output"}, nil)
	errorsDesc = prom.NewDesc("exspan_output_errors_total",
		"Errors while writing to an output.", []string{"output"}, nil)
	writtenDesc = prom.NewDesc("exspan_write_packets_total",
		"Packets of selected flows passed to the packet file.", nil, nil)
	undecidedDesc = prom.NewDesc("exspan_write_undecided_packets_total",
		"Packets dropped from the write buffer, to make room, before the status of their flow was known.", nil, nil)
)

func (c *watchCollector) Describe(ch chan<- *prom.Desc) {
	for _, d := range []*prom.Desc{behindDesc, duplicatesDesc, upDesc, lostDesc, errorsDesc, writtenDesc, undecidedDesc} {
		ch <- d
	}
}

func (c *watchCollector) Collect(ch chan<- prom.Metric) {
	gauge := func(d *prom.Desc, v float64, labels ...string) {
		ch <- prom.MustNewConstMetric(d, prom.GaugeValue, v, labels...)
	}
	counter := func(d *prom.Desc, v uint64, labels ...string) {
		ch <- prom.MustNewConstMetric(d, prom.CounterValue, float64(v), labels...)
	}
	if c.live != nil {
		gauge(behindDesc, float64(c.behind.Load())/1e9)
		counter(duplicatesDesc, c.span.Duplicates())
		for _, i := range c.live.Interfaces() {
			up := 0.0
			if i.Up {
				up = 1
			}
			gauge(upDesc, up, i.Name)
		}
	}
	for _, o := range c.outputs {
		kind := "ndjson"
		if o == c.packets {
			kind = "packets"
		}
		counter(lostDesc, o.Lost(), kind)
		counter(errorsDesc, o.Errors(), kind)
	}
	if c.delay != nil {
		counter(writtenDesc, c.delay.Written())
		counter(undecidedDesc, c.delay.Dropped())
	}
}

// handler returns the handler of all pages.
func (w *watch) handler() (http.Handler, error) {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.InstrumentMetricHandler(w.registry, promhttp.HandlerFor(w.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true, MaxRequestsInFlight: 8})))
	mux.HandleFunc("/-/healthy", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "exspan is healthy.") })
	mux.HandleFunc("/-/ready", func(rw http.ResponseWriter, _ *http.Request) {
		if !w.ready.Load() {
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
	return mux, nil
}

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
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		err := web.ServeMultiple(listeners, server, &web.FlagConfig{WebConfigFile: &w.m.webConfig}, w.log)
		if err != nil && !errors.Is(err, http.ErrServerClosed) {
			w.log.Error("Serving metrics failed", "err", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	}
}
