package main

import (
	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/exspan/exspan/exporter/recent"
)

// pendingCollector exports how many flows need attention and are not final yet,
// so that they show at once and not when their records are written.
type pendingCollector struct{ flows *recent.Table }

var (
	pendingUnexpectedDesc = prom.NewDesc("exspan_pending_unexpected_flows",
		"Unexpected flows whose verdict is not final, by reason.", []string{"reason"}, nil)
	pendingDeviatingDesc = prom.NewDesc("exspan_pending_deviating_flows",
		"Deviating flows whose verdict is not final, by data path.", []string{"path"}, nil)
	pendingBlockedDesc = prom.NewDesc("exspan_pending_blocked_flows",
		"Flows whose set-up failed and whose verdict is not final, by data path and outcome.", []string{"path", "outcome"}, nil)
)

// Describe implements prometheus.Collector.
func (c pendingCollector) Describe(ch chan<- *prom.Desc) {
	ch <- pendingUnexpectedDesc
	ch <- pendingDeviatingDesc
	ch <- pendingBlockedDesc
}

// Collect implements prometheus.Collector.
func (c pendingCollector) Collect(ch chan<- prom.Metric) {
	p := c.flows.Pending()
	for reason, n := range p.Unexpected {
		ch <- prom.MustNewConstMetric(pendingUnexpectedDesc, prom.GaugeValue, float64(n), string(reason))
	}
	for label, n := range p.Deviating {
		ch <- prom.MustNewConstMetric(pendingDeviatingDesc, prom.GaugeValue, float64(n), label)
	}
	for k, n := range p.Blocked {
		ch <- prom.MustNewConstMetric(pendingBlockedDesc, prom.GaugeValue, float64(n), k[0], k[1])
	}
}
