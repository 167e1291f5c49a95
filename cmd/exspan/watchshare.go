package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/exspan/exspan/classify/inventory"
	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/share"
)

// sharing holds the flags on sharing knowledge with other sensors.
type sharing struct {
	url, credentials, ca string
}

func (s *sharing) flags(f *pflag.FlagSet) {
	f.StringVar(&s.url, "share", "", "share what is learned with other sensors, at the NATS server or exspan-hub at `URL`, such as tls://hub:4222 (needs --sensor)")
	f.StringVar(&s.credentials, "share-credentials", "", "`FILE` with the key of this sensor, from \"exspan-hub user add\", or with NATS credentials")
	f.StringVar(&s.ca, "share-ca", "", "`FILE` with the certificates that sign the server's, instead of those of the system")
}

// options returns where and as what a sensor shares.
func (s *sharing) options(l *lake) share.Options {
	return share.Options{URL: s.url, Credentials: s.credentials, CA: s.ca, Realm: cmp.Or(l.realm, "default"), Sensor: l.sensor, Now: time.Now}
}

// check returns the mistakes in the flags.
func (s *sharing) check(l *lake) error {
	if s.url == "" {
		if s.credentials != "" || s.ca != "" {
			return errors.New("--share-credentials and --share-ca need --share")
		}
		return nil
	}
	var errs []error
	if l.sensor == "" {
		errs = append(errs, errors.New("--share: needs --sensor, a name that no other sensor has"))
	}
	o := s.options(l)
	if err := o.Check(); err != nil {
		errs = append(errs, fmt.Errorf("--share: %w", err))
	}
	return errors.Join(errs...)
}

// newShare prepares the exchange with other sensors.
func (w *watch) newShare() {
	o := w.m.share.options(&w.m.lake)
	o.Log, o.Hold = w.log, w.m.Hold
	o.Tell = func(list []knowledge.Told) { w.eng.Share(list) }
	o.Facts = func(yield func([]knowledge.Fact) bool) {
		var walk inventory.Walk
		var list []knowledge.Fact
		for more := true; more; {
			list, more = w.eng.Facts(&walk, list[:0])
			if !yield(list) {
				return
			}
		}
	}
	o.State = w.sensorState
	w.share = share.New(o)
}

// sensorState returns the state of the sensor, for those who watch all.
func (w *watch) sensorState() health.State {
	s := health.State{Version: versionNumber(), Packets: w.eng.Snapshot().Packets, Behind: float64(w.behind.Load()) / 1e9, Facts: w.share.Counts().Own}
	if w.live != nil {
		for _, i := range w.live.Interfaces() {
			s.Dropped += i.Kernel + i.Iface
			if i.Up {
				s.Interfaces = append(s.Interfaces, i.Name)
			} else {
				s.Down = append(s.Down, i.Name)
			}
		}
	}
	for _, p := range w.packs.All() {
		if p.Version != "" {
			s.Rules = strings.TrimSpace(s.Rules + " " + p.Name)
		}
	}
	return s
}

// notable reports whether flows of a status need attention.
func notable(s record.Status) bool { return s == record.Unexpected || s == record.Deviating }

// notableSink gives a sink the last records of flows that need attention.
type notableSink struct{ record.Sink }

func (s notableSink) Write(r *record.Record) error {
	if r.State != "ended" || !notable(r.Verdict.Status) {
		return nil
	}
	return s.Sink.Write(r)
}

// shareCollector exports what sharing counts.
type shareCollector watch

var (
	shareUpDesc         = prom.NewDesc("exspan_share_connected", "Whether knowledge is shared with other sensors (1) or there is no connection (0).", nil, nil)
	shareFactsDesc      = prom.NewDesc("exspan_share_facts", "Facts that this sensor shares (own), and that others told of endpoints and hosts.", []string{"of"}, nil)
	shareRejectedDesc   = prom.NewDesc("exspan_share_rejected_total", "Facts and states of other sensors that were not taken in, by reason.", []string{"reason"}, nil)
	shareLateDesc       = prom.NewDesc("exspan_share_late_total", "Endpoints told later than flows wait for what explains them (--hold).", nil, nil)
	shareDroppedDesc    = prom.NewDesc("exspan_share_dropped_total", "Facts and records not sent because the queue was full, and records without a connection.", []string{"what"}, nil)
	shareSensorsDesc    = prom.NewDesc("exspan_share_sensors", "Sensors of the realm, this one included, by how they are; silent ones are forgotten after a day.", []string{"condition"}, nil)
	sharePartitionsDesc = prom.NewDesc("exspan_share_partitions_total", "Times that the connection broke, all of them, and those longer than --hold.", []string{"length"}, nil)
)

func (c *shareCollector) Describe(ch chan<- *prom.Desc) {
	for _, d := range []*prom.Desc{shareUpDesc, shareFactsDesc, shareRejectedDesc, shareLateDesc, shareDroppedDesc, shareSensorsDesc, sharePartitionsDesc} {
		ch <- d
	}
}

func (c *shareCollector) Collect(ch chan<- prom.Metric) {
	n := c.share.Counts()
	told, endpoints, hosts := c.eng.ToldCounts()
	up := 0.0
	if c.share.Connected() {
		up = 1
	}
	ch <- prom.MustNewConstMetric(shareUpDesc, prom.GaugeValue, up)
	for of, v := range map[string]int{"own": n.Own, "endpoints": endpoints, "hosts": hosts} {
		ch <- prom.MustNewConstMetric(shareFactsDesc, prom.GaugeValue, float64(v), of)
	}
	sensors := health.Count(c.share.Fleet().Sensors)
	for _, condition := range health.Conditions() {
		ch <- prom.MustNewConstMetric(shareSensorsDesc, prom.GaugeValue, float64(sensors[condition]), string(condition))
	}
	counter := func(d *prom.Desc, v uint64, labels ...string) {
		ch <- prom.MustNewConstMetric(d, prom.CounterValue, float64(v), labels...)
	}
	for reason, v := range map[string]uint64{"malformed": n.Malformed, "newer": n.Newer, "rate": n.Rate, "unbelievable": n.Wrong, "refused": n.Refused, "state": n.States,
		"quota": told.Quota, "untrusted": told.Untrusted, "expired": told.Expired, "unknown": told.Unknown} {
		counter(shareRejectedDesc, v, reason)
	}
	counter(shareLateDesc, told.Late)
	counter(shareDroppedDesc, n.Dropped, "facts")
	counter(shareDroppedDesc, n.Unsent, "records")
	counter(sharePartitionsDesc, n.Partitions-n.Long, "short")
	counter(sharePartitionsDesc, n.Long, "long")
}
