// Package share exchanges what sensors learn, over a bucket of NATS JetStream. A
// sensor writes its own facts under its own prefix, and reads those of all sensors of
// its realm. Packets never wait for the network: what is to be told waits in a bounded
// queue, and what is told is taken in between two batches.
//
// While there is no connection, nothing is kept for later. Each connection begins with
// a snapshot: the sensor reads the whole bucket, and writes what that does not have.
package share

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/exporter/health"
)

// Options say with whom a sensor shares what.
type Options struct {
	// URL is that of a NATS server: nats://host:port or tls://host:port, with
	// user:password@ before the host if the server wants these.
	URL string
	// Credentials is a file with the seed of an nkey or with the credentials of a user,
	// or empty. CA is a file of certificates that sign the server's, or empty for those
	// of the system.
	Credentials, CA string
	// Realm names the address space of the sensor: sensors with the same private
	// addresses for different hosts must have different realms.
	Realm, Sensor string
	// Hold is how long flows wait for what may explain them.
	Hold time.Duration
	// Tell takes in what others told. Facts calls yield with all that the sensor has
	// learned itself, a part at a time, until yield returns false.
	Tell  func([]knowledge.Told)
	Facts func(yield func([]knowledge.Fact) bool)
	// State returns the state of the sensor; nil if it tells none.
	State func() health.State
	Now   func() time.Time
	Log   *slog.Logger
}

const (
	queued     = 4096 // facts that wait to be written
	lines      = 1024 // records that wait to be sent
	part       = 256  // facts written or taken in at a time
	fullWalk   = time.Minute
	stateEvery = 10 * time.Second
	refresh    = int64(time.Hour) // of the last use of a fact that is otherwise the same
	retry      = time.Second
	ackWait    = 5 * time.Second
	// rate bounds the facts that one sensor may tell in a second, and burst those that it
	// may tell at once, a snapshot excepted.
	rate, burst = 2000, 100_000
	pause       = 4 // times as long as the engine was kept from packets, it is left alone
)

// Counts are what a Share counts.
type Counts struct {
	Own                           int    // facts of this sensor in the bucket
	Dropped, Unsent               uint64 // facts and records that found the queue full
	Malformed, Newer, Rate, Wrong uint64 // facts refused: unreadable, of a later version, too many, not to be believed
	Refused                       uint64 // writes that the server refused
	States                        uint64 // states of sensors that were unreadable, too many or too frequent
	// Partitions are times without a connection after there was one; Long are those of
	// them that lasted longer than Options.Hold.
	Connections, Partitions, Long uint64
}

// A Share exchanges what sensors learn.
type Share struct {
	opt    Options
	queue  chan knowledge.Fact
	lines  chan []byte
	reread chan struct{} // holds one if the bucket has to be read again
	stop   context.CancelFunc
	done   chan struct{}

	connected atomic.Bool
	broke     time.Time   // when there was a connection last; zero while there is one
	behind    atomic.Bool // a fact was dropped since the last walk
	at        int64       // of the last value written
	// hub holds what is known to be in the bucket under this sensor's prefix, by key.
	hub    map[string]stored
	counts struct {
		own                                                                                            atomic.Int64
		dropped, unsent, malformed, newer, rate, wrong, refused, states, connections, partitions, long atomic.Uint64
	}
	speed map[string]*speed // by sensor
	fleet others
}

// stored is a value in the bucket: a hash of what it says, and the last use.
type stored struct {
	hash uint64
	used int64
}

var seed = maphash.MakeSeed()

func storedAs(v *knowledge.Value) stored {
	return stored{maphash.Comparable(seed, v.Undated()), v.Used}
}

// speed is how fast a sensor tells.
type speed struct {
	left float64
	last time.Time
}

// Check returns what is wrong with options, so that a mistake is seen at once. It makes
// no connection.
func (o *Options) Check() error {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
		return fmt.Errorf("%q is not the URL of a NATS server, such as nats://hub.example.com:4222 or tls://hub.example.com", redacted(o.URL))
	}
	for _, name := range []string{o.Realm, o.Sensor} {
		if name != "" {
			if err := knowledge.CheckName(name); err != nil {
				return err
			}
		}
	}
	if o.CA != "" {
		if _, err := o.roots(); err != nil {
			return err
		}
	}
	_, err = o.auth()
	return err
}

// redacted returns a URL without its password.
func redacted(s string) string {
	if u, err := url.Parse(s); err == nil {
		return u.Redacted()
	}
	return "this text"
}

func (o *Options) roots() (*x509.CertPool, error) {
	pem, err := os.ReadFile(o.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: there is no certificate in PEM form", o.CA)
	}
	return pool, nil
}

// secure returns the option that trusts the certificates of CA alone.
func (o *Options) secure() (nats.Option, error) {
	pool, err := o.roots()
	if err != nil {
		return nil, err
	}
	return nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}), nil
}

// auth returns the option that shows who the sensor is; it does nothing without
// credentials.
func (o *Options) auth() (nats.Option, error) {
	if o.Credentials == "" {
		return func(*nats.Options) error { return nil }, nil
	}
	data, err := os.ReadFile(o.Credentials)
	if err != nil {
		return nil, err
	}
	if strings.Contains(string(data), "BEGIN NATS USER JWT") {
		return nats.UserCredentials(o.Credentials), nil
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "SU") {
			if _, err := nkeys.FromSeed([]byte(line)); err != nil {
				return nil, fmt.Errorf("%s: a bad seed of an nkey: %w", o.Credentials, err)
			}
			return nats.NkeyOptionFromSeed(o.Credentials)
		}
	}
	return nil, fmt.Errorf("%s: neither the seed of an nkey, which begins with SU, nor the credentials of a user", o.Credentials)
}

// New returns a Share that connects once Start is called.
func New(o Options) *Share {
	return &Share{opt: o, queue: make(chan knowledge.Fact, queued), lines: make(chan []byte, lines), reread: make(chan struct{}, 1), done: make(chan struct{}), speed: map[string]*speed{}}
}

// Start begins to connect, for as long as it takes.
func (s *Share) Start() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.run(ctx)
}

// Close ends the connection after what waits was sent, or after two seconds.
func (s *Share) Close() {
	s.stop()
	select {
	case <-s.done:
	case <-time.After(2 * time.Second): // it is trying to connect
	}
}

// Learned takes in a fact that the sensor has just learned. It never waits.
func (s *Share) Learned(f *knowledge.Fact) {
	if !s.connected.Load() {
		return // the next connection begins with all that is known
	}
	select {
	case s.queue <- *f:
	default:
		s.counts.dropped.Add(1)
		s.behind.Store(true)
	}
}

// Write takes in a record as one line. It never waits, and never fails.
func (s *Share) Write(line []byte) (int, error) {
	if s.connected.Load() {
		select {
		case s.lines <- append([]byte(nil), line...):
			return len(line), nil
		default:
		}
	}
	s.counts.unsent.Add(1)
	return len(line), nil
}

// Reread has the bucket read again, so that Tell is called for all facts of others. That is
// for when other sensors are believed than before.
func (s *Share) Reread() {
	select {
	case s.reread <- struct{}{}:
	default: // it waits for that already
	}
}

// Connected reports whether there is a connection, and the bucket was read.
func (s *Share) Connected() bool { return s.connected.Load() }

// Counts returns what was counted.
func (s *Share) Counts() Counts {
	c := &s.counts
	return Counts{Own: int(c.own.Load()), Dropped: c.dropped.Load(), Unsent: c.unsent.Load(), Malformed: c.malformed.Load(), Newer: c.newer.Load(),
		Rate: c.rate.Load(), Wrong: c.wrong.Load(), Refused: c.refused.Load(), States: c.states.Load(), Connections: c.connections.Load(), Partitions: c.partitions.Load(), Long: c.long.Load()}
}

// run connects again and again.
func (s *Share) run(ctx context.Context) {
	defer close(s.done)
	log, last := s.opt.Log, ""
	for {
		err := s.session(ctx)
		if was := s.connected.Swap(false); was && ctx.Err() == nil {
			s.counts.partitions.Add(1)
			s.broke, last = s.opt.Now(), ""
		}
		if ctx.Err() != nil {
			return
		}
		if text := fmt.Sprint(err); text != last { // it may last for days
			last = text
			log.Warn("No knowledge is shared: there is no connection to the hub", "url", redacted(s.opt.URL), "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry):
		}
	}
}

// connect opens a connection that is not mended once it breaks. closed is closed then.
func (s *Share) connect() (nc *nats.Conn, closed chan struct{}, err error) {
	o := &s.opt
	auth, err := o.auth()
	if err != nil {
		return nil, nil, err
	}
	closed = make(chan struct{})
	opts := []nats.Option{auth, nats.Name("exspan " + o.Sensor), nats.NoReconnect(), nats.Timeout(5 * time.Second), nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2), nats.CustomInboxPrefix(inbox(o.Realm, o.Sensor)),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			switch {
			case !errors.Is(err, nats.ErrPermissionViolation):
			case strings.Contains(err.Error(), statesOf(o.Realm)):
				s.fleet.refused(o.Log)
			default:
				s.counts.refused.Add(1)
				o.Log.Error("The hub refuses what this sensor does; its user has to be that of this realm and sensor", "realm", o.Realm, "sensor", o.Sensor, "err", err)
			}
		})}
	if o.CA != "" {
		secure, err := o.secure()
		if err != nil {
			return nil, nil, err
		}
		opts = append(opts, secure)
	}
	nc, err = nats.Connect(o.URL, opts...)
	return nc, closed, err
}

// session shares knowledge over one connection, until that breaks or ctx ends.
func (s *Share) session(ctx context.Context) error {
	nc, closed, err := s.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(2*part), jetstream.WithDefaultTimeout(ackWait))
	if err != nil {
		return err
	}
	if err := ensureBucket(ctx, js); err != nil {
		return err
	}
	kv, err := js.KeyValue(ctx, Bucket)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", Bucket, err)
	}
	if err := s.hearStates(nc); err != nil {
		return err
	}
	s.hub = map[string]stored{}
	x := &session{s: s, nc: nc, js: js, kv: kv, initial: true}
	select { // the bucket is read anyway
	case <-s.reread:
	default:
	}
	if err := x.watch(ctx); err != nil {
		return err
	}
	err = x.loop(ctx, closed)
	if ctx.Err() != nil { // the end of the sensor
		_ = nc.FlushTimeout(time.Second)
		return nil
	}
	return err
}
