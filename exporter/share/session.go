package share

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/exporter/health"
)

// session is one connection.
type session struct {
	s       *Share
	nc      *nats.Conn
	js      jetstream.JetStream
	kv      jetstream.KeyValue
	watcher jetstream.KeyWatcher
	updates <-chan jetstream.KeyValueEntry
	initial bool             // the bucket is being read for the first time
	again   bool             // it is being read once more
	before  []knowledge.Told // facts of an earlier run of this sensor
	told    []knowledge.Told // to be taken in
	facts   []knowledge.Fact // used again
}

var errClosed = errors.New("the connection broke")

// watch reads the bucket, and what changes in it from then on.
func (x *session) watch(ctx context.Context) error {
	w, err := x.kv.Watch(ctx, knowledge.Token(x.s.opt.Realm)+".>")
	if err != nil {
		return fmt.Errorf("bucket %s: %w", Bucket, err)
	}
	if old := x.watcher; old != nil {
		go func() { // it may be about to deliver something, and ends after that
			for range old.Updates() {
			}
		}()
		_ = old.Stop()
	}
	x.watcher, x.updates = w, w.Updates()
	return nil
}

// loop shares until the connection breaks.
func (x *session) loop(ctx context.Context, closed <-chan struct{}) error {
	s := x.s
	walk, state := time.NewTicker(fullWalk), time.NewTicker(stateEvery)
	defer walk.Stop()
	defer state.Stop()
	behind := time.NewTicker(time.Second)
	defer behind.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return x.last()
		case <-closed:
			return errClosed
		case e, ok := <-x.updates:
			if !ok {
				return errClosed
			}
			err = x.take(e)
		case f := <-s.queue:
			err = x.writeQueued(f)
		case line := <-s.lines:
			err = x.nc.Publish(RecordsSubject(s.opt.Realm, s.opt.Sensor), line)
		case <-s.reread:
			x.again = true
			err = x.watch(ctx)
		case <-walk.C:
			err = x.writeAll(nil)
		case <-behind.C:
			if s.behind.Swap(false) {
				err = x.writeAll(nil)
			}
		case <-state.C:
			err = x.sendState()
		}
		if err != nil {
			return err
		}
	}
}

// last sends what waits.
func (x *session) last() error {
	for {
		select {
		case f := <-x.s.queue:
			if err := x.writeQueued(f); err != nil {
				return err
			}
		case line := <-x.s.lines:
			if err := x.nc.Publish(RecordsSubject(x.s.opt.Realm, x.s.opt.Sensor), line); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// take takes in entries of the bucket: the one given and those that are there already.
// A nil entry is the end of what was in the bucket when the connection began.
func (x *session) take(e jetstream.KeyValueEntry) error {
	for ok := true; ok; {
		if e == nil {
			x.tell()
			x.again = false
			if err := x.synchronised(); err != nil {
				return err
			}
		} else {
			x.entry(e)
		}
		if len(x.told) >= part {
			break
		}
		select {
		case e, ok = <-x.updates:
		default:
			ok = false
		}
	}
	x.tell()
	return nil
}

// tell gives the engine what was told, and then leaves it alone for some time: packets
// come first.
func (x *session) tell() {
	if len(x.told) == 0 {
		return
	}
	begin := x.s.opt.Now()
	x.s.opt.Tell(x.told)
	clear(x.told)
	x.told = x.told[:0]
	if took := x.s.opt.Now().Sub(begin); took > 100*time.Microsecond {
		time.Sleep(min(pause*took, 50*time.Millisecond))
	}
}

// entry decodes an entry of the bucket.
func (x *session) entry(e jetstream.KeyValueEntry) {
	s, c := x.s, &x.s.counts
	if e.Operation() != jetstream.KeyValuePut {
		return // facts end by their values
	}
	own := strings.HasPrefix(e.Key(), knowledge.Prefix(s.opt.Realm, s.opt.Sensor))
	if !own && !x.initial && !x.again && !s.mayTell(e.Key()) {
		c.rate.Add(1)
		return
	}
	f, _, sensor, err := knowledge.Decode(e.Key(), e.Value())
	switch {
	case errors.Is(err, knowledge.ErrNewer):
		c.newer.Add(1)
		return
	case err != nil:
		c.malformed.Add(1)
		return
	}
	if err := errors.Join(knowledge.CheckName(sensor), f.Check(e.Created().UnixNano())); err != nil {
		c.wrong.Add(1)
		return
	}
	if own {
		if x.initial {
			x.before = append(x.before, knowledge.Told{Sensor: sensor, Fact: f})
		}
		s.hub[e.Key()] = storedAs(&f.Value)
		c.own.Store(int64(len(s.hub)))
		return
	}
	s.fleet.list.Know(sensor, s.opt.Realm, time.Unix(0, f.At), s.opt.Now())
	x.told = append(x.told, knowledge.Told{Sensor: sensor, Fact: f})
}

// mayTell reports whether the sensor of a key tells no faster than it may.
func (s *Share) mayTell(key string) bool {
	_, rest, _ := strings.Cut(key, ".")
	sensor, _, _ := strings.Cut(rest, ".")
	now := s.opt.Now()
	v := s.speed[sensor]
	if v == nil && len(s.speed) >= health.MaxSensors {
		sensor = "" // all others share one
		v = s.speed[sensor]
	}
	if v == nil {
		v = &speed{left: burst}
		s.speed[sensor] = v
	} else {
		v.left = min(v.left+now.Sub(v.last).Seconds()*rate, burst)
	}
	v.last = now
	if v.left < 1 {
		return false
	}
	v.left--
	return true
}

// synchronised is called when the whole bucket was read. It writes what the bucket does
// not have. What the sensor told before and does not know any more is told to it: an
// earlier run learned that.
func (x *session) synchronised() error {
	if !x.initial {
		return nil
	}
	x.initial = false
	s := x.s
	s.behind.Store(false)
	s.connected.Store(true)
	s.counts.connections.Add(1)
	if !s.broke.IsZero() && s.opt.Now().Sub(s.broke) > s.opt.Hold {
		s.counts.long.Add(1)
	}
	s.broke = time.Time{}
	s.opt.Log.Info("Sharing knowledge", "url", redacted(s.opt.URL), "realm", s.opt.Realm, "sensor", s.opt.Sensor)
	known := map[string]bool{}
	if err := x.writeAll(known); err != nil {
		return err
	}
	for _, t := range x.before {
		if !known[t.Fact.Key(s.opt.Realm, s.opt.Sensor)] {
			x.told = append(x.told, t)
			if len(x.told) >= part {
				x.tell()
			}
		}
	}
	x.before = nil
	x.tell()
	return x.sendState()
}

// writeAll writes all that the sensor knows and the bucket does not have. It adds the
// keys of all to known, unless that is nil.
func (x *session) writeAll(known map[string]bool) (err error) {
	s := x.s
	s.opt.Facts(func(list []knowledge.Fact) bool {
		for i := range list {
			if known != nil {
				known[list[i].Key(s.opt.Realm, s.opt.Sensor)] = true
			}
		}
		for len(list) > 0 && err == nil {
			n := min(len(list), part)
			err = x.write(list[:n])
			list = list[n:]
		}
		return err == nil
	})
	return err
}

// writeQueued writes a fact and those that wait behind it.
func (x *session) writeQueued(f knowledge.Fact) error {
	x.facts = append(x.facts[:0], f)
	for len(x.facts) < part {
		select {
		case f := <-x.s.queue:
			x.facts = append(x.facts, f)
			continue
		default:
		}
		break
	}
	return x.write(x.facts)
}

// write writes those facts that the bucket does not have, and waits until it has them.
func (x *session) write(list []knowledge.Fact) error {
	type sent struct {
		key string
		f   *knowledge.Fact
		ack jetstream.PubAckFuture
	}
	var all []sent
	s := x.s
	for i := range list {
		f := &list[i]
		key := f.Key(s.opt.Realm, s.opt.Sensor)
		if old, ok := s.hub[key]; ok && old.hash == storedAs(&f.Value).hash && f.Used-old.used < refresh {
			continue
		}
		s.at = max(s.opt.Now().UnixNano(), s.at+1)
		f.At = s.at
		ack, err := x.js.PublishAsync("$KV."+Bucket+"."+key, f.Encode())
		if err != nil {
			return err
		}
		all = append(all, sent{key, f, ack})
	}
	timeout := time.NewTimer(ackWait)
	defer timeout.Stop()
	for _, m := range all {
		select {
		case <-m.ack.Ok():
			s.hub[m.key] = storedAs(&m.f.Value)
		case err := <-m.ack.Err():
			s.counts.refused.Add(1)
			return err
		case <-timeout.C:
			return errors.New("the hub does not confirm what is written")
		}
	}
	s.counts.own.Store(int64(len(s.hub)))
	return nil
}
