package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/exspan/exspan/exporter/folder"
	"github.com/exspan/exspan/exporter/share"
)

// hub holds the flags.
type hub struct {
	dir, listen, cert, key, configFile string
	maxKeys, maxBytes                  int64
}

const (
	usersEvery = time.Second      // how soon a change of the users is seen
	guardEvery = 10 * time.Second // how soon a sensor that shares too much is
)

// run serves until ctx ends.
func (h *hub) run(ctx context.Context, stderr io.Writer) error {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	admin, err := nkeys.CreateUser() // of this run, and known to nobody else
	if err != nil {
		return err
	}
	opts, err := h.options(admin)
	if err != nil {
		return err
	}
	lock, err := folder.Lock(h.dir)
	if err == nil && lock == nil {
		err = errInUse
	}
	if err != nil {
		return runError{fmt.Errorf("--data %s: %w", h.dir, err)}
	}
	defer func() { _ = lock.Close() }() // which gives it up
	if err := canListen(opts); err != nil {
		return runError{fmt.Errorf("--listen: %w", err)}
	}
	s, err := server.NewServer(opts.Clone())
	if err != nil {
		return err
	}
	s.SetLoggerV2(serverLog{log}, false, false, false)
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(20 * time.Second) {
		return runError{fmt.Errorf("the server does not listen on %s", h.listen)}
	}
	pub, _ := admin.PublicKey()
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.Nkey(pub, admin.Sign))
	if err != nil {
		return runError{err}
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return runError{err}
	}
	stream, err := js.CreateOrUpdateStream(ctx, share.Stream(h.maxBytes))
	if err != nil {
		return runError{fmt.Errorf("bucket %s: %w", share.Bucket, err)}
	}
	log.Info("Sensors can share", "address", s.Addr(), "tls", opts.TLSConfig != nil, "users", len(opts.Nkeys)-1, "data", h.dir)
	h.keep(ctx, log, s, stream, admin)
	log.Info("Ending")
	return nil
}

// errInUse is returned where two hubs would write the same files.
var errInUse = errors.New("another exspan-hub uses this folder")

// canListen returns why the server could not listen. The server itself would only log that,
// and try on.
func canListen(o *server.Options) error {
	l, err := net.Listen("tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	if err != nil {
		return err
	}
	return l.Close()
}

// keep takes in changes of the users, and bounds what each sensor shares, until ctx
// ends.
func (h *hub) keep(ctx context.Context, log *slog.Logger, s *server.Server, stream jetstream.Stream, admin nkeys.KeyPair) {
	changed := modified(h.usersFile())
	users, guard := time.NewTicker(usersEvery), time.NewTicker(guardEvery)
	defer users.Stop()
	defer guard.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-users.C:
			now := modified(h.usersFile())
			if now.Equal(changed) {
				continue
			}
			changed = now
			opts, err := h.options(admin)
			if err == nil {
				err = s.ReloadOptions(opts)
			}
			if err != nil {
				log.Error("The users were not taken in; those before stay", "err", err)
			} else {
				log.Info("Took in the users", "users", len(opts.Nkeys)-1)
			}
		case <-guard.C:
			if err := h.guard(ctx, log, stream); err != nil && ctx.Err() == nil {
				log.Error("Cannot look at what sensors share", "err", err)
			}
		}
	}
}

func modified(name string) time.Time {
	st, err := os.Stat(name)
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

// guard deletes what a sensor shares if that is more than it may: the bucket has room for
// all, not for one that floods it.
func (h *hub) guard(ctx context.Context, log *slog.Logger, stream jetstream.Stream) error {
	info, err := stream.Info(ctx)
	if err != nil || info.State.Msgs <= uint64(h.maxKeys) {
		return err
	}
	info, err = stream.Info(ctx, jetstream.WithSubjectFilter("$KV."+share.Bucket+".>"))
	if err != nil {
		return err
	}
	facts := map[string]int64{} // by the subject's first four tokens
	for subject := range info.State.Subjects {
		if t := strings.SplitN(subject, ".", 5); len(t) == 5 {
			facts[strings.Join(t[:4], ".")]++
		}
	}
	for prefix, n := range facts {
		if n <= h.maxKeys {
			continue
		}
		log.Warn("A sensor shares too much; what it shared is deleted", "subject", prefix, "facts", n, "limit", h.maxKeys)
		if err := stream.Purge(ctx, jetstream.WithPurgeSubject(prefix+".>")); err != nil {
			return err
		}
	}
	return nil
}

// options returns the configuration of the server, with the users there are now.
func (h *hub) options(admin nkeys.KeyPair) (*server.Options, error) {
	host, port, err := net.SplitHostPort(h.listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 {
		return nil, fmt.Errorf("--listen: bad port %q", port)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if h.maxKeys < 1 || h.maxBytes < 1<<20 {
		return nil, errors.New("--max-facts must be at least 1, and --max-size at least 1048576")
	}
	users, err := h.users()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, err
	}
	o := &server.Options{ServerName: "exspan-hub", Host: host, Port: n, NoSigs: true, NoLog: true, JetStream: true, StoreDir: filepath.Join(h.dir, "jetstream"),
		MaxPayload: 256 << 10, MaxControlLine: 4096, JetStreamMaxStore: 2 * h.maxBytes}
	key, err := admin.PublicKey()
	if err != nil {
		return nil, err
	}
	o.Nkeys = append(o.Nkeys, &server.NkeyUser{Nkey: key})
	for i := range users {
		publish, subscribe := users[i].permissions()
		p := &server.Permissions{Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe}}
		if publish == nil {
			p.Publish.Deny = []string{">"}
		}
		o.Nkeys = append(o.Nkeys, &server.NkeyUser{Nkey: users[i].Key, Permissions: p})
	}
	if err := h.tls(o, host); err != nil {
		return nil, err
	}
	return o, nil
}

// serverLog passes on what the server logs.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l serverLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l serverLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l serverLog) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l serverLog) Debugf(string, ...any)           {}
func (l serverLog) Tracef(string, ...any)           {}
