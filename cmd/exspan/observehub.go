package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/ndjson"
	"github.com/exspan/exspan/exporter/share"
)

// hubSource returns the records of all sensors that share over the hub that --hub
// names. It reports on w how the sensors are.
func (o *observation) hubSource(server bool, w io.Writer) (*recordSource, error) {
	if server {
		return nil, errors.New("--hub and --server exclude each other")
	}
	if !o.follow {
		return nil, errors.New("--hub: needs --follow, as the hub keeps no flows")
	}
	for _, status := range o.filters.criteria.Statuses {
		if !notable(status) {
			return nil, fmt.Errorf("--hub: sensors send the flows that are unexpected or deviating alone, so --status %s would never match", status)
		}
	}
	opt := o.hub.options(&lake{realm: o.realm})
	if err := opt.Check(); err != nil {
		return nil, fmt.Errorf("--hub: %w", err)
	}
	cfg, err := o.Config()
	if err != nil {
		return nil, err
	}
	accept := func(line []byte) bool { // one sensor with records that cannot be read must not end all
		_, err := ndjson.NewReader(bytes.NewReader(line), cfg.Packs).Read()
		return err == nil
	}
	return &recordSource{name: "the hub", open: func(ctx context.Context, _ bool, _ url.Values) (io.ReadCloser, error) {
		f := &fleetState{w: w, sensors: map[string]*heardState{}}
		go f.watch(ctx)
		return share.Observe(ctx, opt, accept, f.take, func(err error) { printLines(w, fmt.Sprintf("the hub: %v", err)) })
	}}, nil
}

// fleetState is what sensors told of themselves last.
type fleetState struct {
	w       io.Writer
	mu      sync.Mutex
	sensors map[string]*heardState
}

// heardState is what a sensor told of itself last, and whether it has fallen silent since.
type heardState struct {
	health.State
	silent bool
}

// take takes in a state and reports what is new in it.
func (f *fleetState) take(s *health.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.sensors[s.Sensor]
	if old == nil && len(f.sensors) >= health.MaxSensors {
		return
	}
	s.Time = time.Now() // of here: clocks may differ
	f.sensors[s.Sensor] = &heardState{State: *s}
	switch {
	case old == nil || old.silent:
		f.say("sensor %s is there: exspan %s, rules %s, %s", s.Sensor, s.Version, s.Rules, interfacesOf(s))
	case s.Version != old.Version || s.Rules != old.Rules:
		f.say("sensor %s now runs exspan %s, rules %s", s.Sensor, s.Version, s.Rules)
	}
	if old != nil && s.Unsent > old.Unsent {
		f.say("sensor %s could not send %d records after %s; they are missing here", s.Sensor, s.Unsent-old.Unsent, old.Time.Format(time.TimeOnly))
	}
	if old != nil && s.Dropped > old.Dropped {
		f.say("sensor %s lost %d packets, at %.0f packets/s", s.Sensor, s.Dropped-old.Dropped, s.Rate)
	}
	if len(s.Down) > 0 && (old == nil || old.silent || !slices.Equal(s.Down, old.Down)) {
		f.say("sensor %s waits for its interface %s to return", s.Sensor, strings.Join(s.Down, ", "))
	}
}

func interfacesOf(s *health.State) string {
	if len(s.Interfaces) == 0 {
		return "no interface"
	}
	return strings.Join(s.Interfaces, ", ")
}

func (f *fleetState) say(format string, args ...any) { printLines(f.w, fmt.Sprintf(format, args...)) }

// watch reports sensors that fall silent, until ctx ends.
func (f *fleetState) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.mu.Lock()
		for name, s := range f.sensors {
			if !s.silent && time.Since(s.Time) > health.Silent {
				s.silent = true
				f.say("sensor %s is silent", name)
			}
		}
		f.mu.Unlock()
	}
}
