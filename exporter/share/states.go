package share

import (
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/exspan/exspan/exporter/health"
)

// others are the states of sensors: those of other ones, and the last own one.
type others struct {
	list   health.List
	denied sync.Once // what is wrong with the hub is said

	mu       sync.Mutex
	own      health.State
	dropRate float64 // of the own state, in packets per second
}

// Limits of the states that wait to be read, and of how fast one sensor may tell its own.
const (
	waitingStates     = 4096
	waitingStateBytes = 4 << 20
	stateGap          = time.Second
)

// hearStates subscribes to the states of all sensors of the realm.
func (s *Share) hearStates(nc *nats.Conn) error {
	last := map[string]time.Time{} // when each subject was heard
	sub, err := nc.Subscribe(statesOf(s.opt.Realm), func(m *nats.Msg) { s.hearState(m, last) })
	if err != nil {
		return err
	}
	return sub.SetPendingLimits(waitingStates, waitingStateBytes)
}

// hearState takes in a state, and notes in last when its subject was heard.
func (s *Share) hearState(m *nats.Msg, last map[string]time.Time) {
	if m.Subject == StateSubject(s.opt.Realm, s.opt.Sensor) {
		return
	}
	x, now := &s.fleet, s.opt.Now()
	if now.Sub(last[m.Subject]) < stateGap {
		s.counts.states.Add(1)
		return
	}
	if len(last) >= 2*health.MaxSensors {
		clear(last)
	}
	last[m.Subject] = now
	if state, err := decodeState(s.opt.Realm, m); err != nil || !x.list.Take(state, now) {
		s.counts.states.Add(1)
	}
}

// refused says once that the hub does not show the states of other sensors.
func (x *others) refused(log *slog.Logger) {
	x.denied.Do(func() {
		log.Warn("The hub does not let this sensor hear how the others are, so pages show this one alone; let a newer exspan-hub make its permissions")
	})
}

// ownState returns the state of this sensor now.
func (s *Share) ownState() (state health.State, dropRate float64) {
	x := &s.fleet
	state = s.opt.State()
	state.Sensor, state.Realm, state.Time, state.Unsent = s.opt.Sensor, s.opt.Realm, s.opt.Now().UTC(), s.counts.unsent.Load()
	x.mu.Lock()
	defer x.mu.Unlock()
	since := state.Time.Sub(x.own.Time).Seconds()
	switch {
	case x.own.Time.IsZero() || state.Packets < x.own.Packets:
		x.own = state
	case since < stateEvery.Seconds()/2: // rates are over some time
		state.Rate = x.own.Rate
	default:
		state.Rate, x.dropRate = float64(state.Packets-x.own.Packets)/since, float64(state.Dropped-min(x.own.Dropped, state.Dropped))/since
		x.own = state
	}
	return state, x.dropRate
}

// sendState tells the state of this sensor.
func (x *session) sendState() error {
	if x.s.opt.State == nil {
		return nil
	}
	state, _ := x.s.ownState()
	b, err := json.Marshal(&state)
	if err != nil {
		return err
	}
	return x.nc.Publish(StateSubject(state.Realm, state.Sensor), b)
}

// Fleet returns this sensor and the others of its realm that were heard in the last day.
// Options.State must not be nil.
func (s *Share) Fleet() *health.View {
	now := s.opt.Now()
	own, dropRate := s.ownState()
	list := append(s.fleet.list.Sensors(now), health.Own(own, dropRate, now))
	health.Sort(list)
	return &health.View{AsOf: now.UTC(), Realm: s.opt.Realm, Connected: s.Connected(), Sensors: list}
}
