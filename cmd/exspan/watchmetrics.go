package main

import (
	"math"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	promversion "github.com/prometheus/common/version"

	"github.com/exspan/exspan/exporter/prometheus"
)

// register creates the registry that /metrics serves.
func (w *watch) register() {
	w.registry = prom.NewRegistry()
	promversion.Version = versionNumber()
	w.registerer = w.registry
	if w.m.sensor != "" {
		w.registerer = prom.WrapRegistererWith(prom.Labels{"sensor": w.m.sensor}, w.registry)
	}
	w.registerer.MustRegister(w.exporter, w.reload.success, w.reload.at, versioncollector.NewCollector("exspan"),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), (*watchCollector)(w), pendingCollector{w.recent})
	if w.share != nil {
		w.registerer.MustRegister((*shareCollector)(w))
	}
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
	oneWayDesc = prom.NewDesc("exspan_capture_one_way_connections_ratio",
		"Share of the TCP connections of the last minute of which packets of one direction only were captured, by a sample; absent if there were too few.", nil, nil)
	unsavedDesc = prom.NewDesc("exspan_state_save_errors_total",
		"Attempts to save the state that failed.", nil, nil)
	upDesc = prom.NewDesc("exspan_capture_interface_up",
		"Whether the monitor reads an interface (1) or waits for it to return (0).", []string{"interface"}, nil)
	lostDesc = prom.NewDesc("exspan_output_lost_total",
		"Records or packets lost because an output was full, closed or slow.", []string{"output"}, nil)
	errorsDesc = prom.NewDesc("exspan_output_errors_total",
		"Errors while writing to an output.", []string{"output"}, nil)
	writtenDesc = prom.NewDesc("exspan_write_packets_total",
		"Packets of selected flows passed to the packet file.", nil, nil)
	slowDesc = prom.NewDesc("exspan_web_dropped_clients_total",
		"Readers of live pages and record streams that were cut off because they did not read.", nil, nil)
	undecidedDesc = prom.NewDesc("exspan_write_undecided_packets_total",
		"Packets not written because the write buffer had no room for them until the status of their flow was known, or none for that status.", nil, nil)
)

func (c *watchCollector) Describe(ch chan<- *prom.Desc) {
	for _, d := range []*prom.Desc{behindDesc, oneWayDesc, unsavedDesc, upDesc, lostDesc, errorsDesc, writtenDesc, undecidedDesc, slowDesc} {
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
		if share := c.oneWay.load(); !math.IsNaN(share) {
			gauge(oneWayDesc, share)
		}
		for _, i := range c.live.Interfaces() {
			up := 0.0
			if i.Up {
				up = 1
			}
			gauge(upDesc, up, i.Name)
		}
	}
	if c.m.state != "" {
		counter(unsavedDesc, c.unsaved.Load())
	}
	if c.page != nil {
		counter(slowDesc, c.page.Dropped())
	}
	for _, o := range c.outputs {
		kind := "ndjson"
		switch o {
		case c.packets:
			kind = "packets"
		case c.flows:
			kind = "parquet"
		}
		counter(lostDesc, o.Lost(), kind)
		counter(errorsDesc, o.Errors(), kind)
	}
	if c.delay != nil {
		counter(writtenDesc, c.delay.Written())
		counter(undecidedDesc, c.delay.Dropped())
	}
}
