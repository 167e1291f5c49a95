package main

import (
	"slices"
	"sync"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/exspan/exspan/rules"
)

// reloader replaces the rules and the site file of a running monitor.
type reloader struct {
	mu      sync.Mutex
	w       *watch
	success prom.Gauge
	at      prom.Gauge
	trusted []string // sensors that the site file names
}

func (r *reloader) init(w *watch, site *rules.Site) {
	r.w, r.trusted = w, trustedBy(site)
	r.success = prom.NewGauge(prom.GaugeOpts{Name: "exspan_config_last_reload_successful",
		Help: "Whether the last reload of the rules and the site file succeeded."})
	r.at = prom.NewGauge(prom.GaugeOpts{Name: "exspan_config_last_reload_success_timestamp_seconds",
		Help: "Time of the last successful reload of the rules and the site file."})
	r.done(nil)
}

func (r *reloader) done(err error) {
	if err != nil {
		r.success.Set(0)
		return
	}
	r.success.Set(1)
	r.at.Set(float64(time.Now().UnixMilli()) / 1e3)
}

// trustedBy returns the sensors whose knowledge a site file believes; none for all.
func trustedBy(site *rules.Site) []string {
	if site == nil {
		return nil
	}
	return site.Sensors
}

// now reloads the rules and the site file. If they have a mistake, those in use
// stay.
func (r *reloader) now() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg, err := r.w.m.engineConfig()
	if err == nil {
		err = r.w.eng.Reload(cfg.Packs, cfg.Site)
	}
	r.done(err)
	if err != nil {
		r.w.log.Error("Reload failed; the current rules and site file stay in use", "err", err)
		return err
	}
	r.w.exporter.Reload(cfg.Packs)
	if r.w.page != nil {
		r.w.page.Reload(cfg.Packs, drawDiagram(cfg.Site))
	}
	r.w.sink.reload(cfg.Site)
	r.w.current.reload(cfg.Site)
	trusted := trustedBy(cfg.Site)
	if r.w.share != nil && !slices.Equal(trusted, r.trusted) {
		r.w.share.Reread() // what was refused or forgotten is told again
	}
	r.trusted = trusted
	r.w.log.Info("Reloaded the rules and the site file")
	return nil
}
