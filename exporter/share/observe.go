package share

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/exporter/health"
)

// Limits of what waits for a slow reader before some is lost.
const (
	waiting      = 64 << 10 // records
	waitingBytes = 64 << 20
)

// Observe returns what all sensors of a realm report from now on, as lines of NDJSON,
// until ctx ends or the reader is closed, or the hub refuses to be connected again.
// Records that claim to be of another sensor, and lines that accept refuses, are left out.
// It calls state for each state of a sensor, and lost with what went wrong while it goes
// on: a broken connection, which it mends, and which records are missing because of that
// or because they came faster than they were read.
func Observe(ctx context.Context, o Options, accept func(line []byte) bool, state func(*health.State), lost func(error)) (io.ReadCloser, error) {
	auth, err := o.auth()
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	var heard atomic.Int64 // when the hub was heard last, in ns of Unix time
	now := func() string { return time.Unix(0, heard.Load()).Format(time.TimeOnly) }
	hear := func() { heard.Store(o.Now().UnixNano()) }
	broke := "" // since when there is no connection; of the goroutine that calls handlers
	opts := []nats.Option{auth, nats.Name("exspan observe"), nats.MaxReconnects(-1), nats.ReconnectWait(retry), nats.Timeout(5 * time.Second), nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if !nc.IsClosed() {
				broke = now()
				lost(fmt.Errorf("the connection broke (%w); records are missing from %s on", cmp.Or(err, io.EOF), broke))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			hear()
			lost(fmt.Errorf("connected again; what sensors sent between %s and %s is missing", broke, now()))
		}),
		nats.ClosedHandler(func(nc *nats.Conn) { _ = w.CloseWithError(cmp.Or(nc.LastError(), errClosed)) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if sub != nil && errors.Is(err, nats.ErrSlowConsumer) {
				n, _ := sub.Dropped()
				err = fmt.Errorf("messages of sensors came faster than they were read; %d of them are missing so far", n)
			}
			lost(err)
		})}
	if o.CA != "" {
		secure, err := o.secure()
		if err != nil {
			return nil, err
		}
		opts = append(opts, secure)
	}
	nc, err := nats.Connect(o.URL, opts...)
	if err != nil {
		return nil, err
	}
	hear()
	realm := knowledge.Token(o.Realm)
	records, err := nc.Subscribe("exspan.records."+realm+".*", func(m *nats.Msg) {
		hear()
		var r struct{ Sensor string }
		if json.Unmarshal(m.Data, &r) == nil && m.Subject == RecordsSubject(o.Realm, r.Sensor) && bytes.IndexByte(m.Data, '\n') == len(m.Data)-1 && accept(m.Data) {
			_, _ = w.Write(m.Data) // fails once the reader is closed
		}
	})
	if err == nil {
		err = records.SetPendingLimits(waiting, waitingBytes)
	}
	if err == nil {
		_, err = nc.Subscribe(statesOf(o.Realm), func(m *nats.Msg) {
			hear()
			if s, err := decodeState(o.Realm, m); err == nil {
				state(s)
			}
		})
	}
	if err == nil {
		err = nc.FlushTimeout(5 * time.Second)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = w.Close() })
	return observed{r, nc}, nil
}

// decodeState reads the state of a sensor of a realm. It is an error if that is not the
// sensor to which the subject of the message belongs.
func decodeState(realm string, m *nats.Msg) (*health.State, error) {
	if len(m.Data) > knowledge.MaxValue {
		return nil, fmt.Errorf("a state of %d bytes, at most %d can be", len(m.Data), knowledge.MaxValue)
	}
	s := new(health.State)
	if err := json.Unmarshal(m.Data, s); err != nil {
		return nil, err
	}
	if m.Subject != StateSubject(realm, s.Sensor) || s.Realm != realm {
		return nil, errors.New("the state of another sensor than that of the subject")
	}
	return s, s.Check()
}

// observed is a reader that ends the connection, too.
type observed struct {
	io.ReadCloser
	nc *nats.Conn
}

func (o observed) Close() error {
	o.nc.Close()
	return o.ReadCloser.Close()
}
