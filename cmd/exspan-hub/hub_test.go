package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/exporter/share"
)

// running is a hub that runs in the test.
type running struct {
	*hub
	t    *testing.T
	stop func()
	keys string // folder of the keys of users
}

func start(t *testing.T, h *hub) *running {
	t.Helper()
	r := &running{hub: h, t: t, keys: t.TempDir()}
	r.restart()
	t.Cleanup(func() { r.stop() })
	return r
}

func newHub(t *testing.T) *hub {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return &hub{dir: t.TempDir(), listen: l.Addr().String(), maxKeys: 100_000, maxBytes: 1 << 30}
}

func (r *running) restart() {
	ctx, cancel := context.WithCancel(context.Background())
	ended, log := make(chan error, 1), &bytes.Buffer{}
	go func() { ended <- r.run(ctx, log) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the hub ended with %v\n%s", err, log)
		}
	})
	wait(r.t, "the hub", func() bool {
		c, err := net.Dial("tcp", r.listen)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func wait(t *testing.T, what string, true func() bool) {
	t.Helper()
	for range 3000 {
		if true() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("timed out waiting for %s", what)
}

// user adds a user, and returns the file of its key.
func (r *running) user(u user) string {
	r.t.Helper()
	if u.Realm == "" {
		u.Realm = "default"
	}
	file := filepath.Join(r.keys, knowledge.Token(u.Realm+" "+u.Name)+".nk")
	if err := r.add(u, file); err != nil {
		r.t.Fatal(err)
	}
	return file
}

// engine stands in for that of a sensor: it knows some facts, and keeps what it is told.
type engine struct {
	*share.Share
	mu    sync.Mutex
	knows []knowledge.Fact
	told  map[string]knowledge.Fact // by key
}

func (e *engine) learn(f knowledge.Fact) {
	e.mu.Lock()
	e.knows = append(e.knows, f)
	e.mu.Unlock()
	e.Learned(&f)
}

func (e *engine) heard(key string) (f knowledge.Fact, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f, ok = e.told[key]
	return f, ok
}

func (e *engine) len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.told)
}

func (r *running) sensor(name, key string, knows ...knowledge.Fact) *engine {
	r.t.Helper()
	e := &engine{knows: knows, told: map[string]knowledge.Fact{}}
	o := share.Options{URL: "nats://" + r.listen, Credentials: key, Realm: "default", Sensor: name, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Tell: func(list []knowledge.Told) {
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, x := range list {
				e.told[x.Fact.Key("default", x.Sensor)] = x.Fact
			}
		},
		Facts: func(yield func([]knowledge.Fact) bool) {
			e.mu.Lock()
			list := append([]knowledge.Fact(nil), e.knows...)
			e.mu.Unlock()
			yield(list)
		}}
	if err := o.Check(); err != nil {
		r.t.Fatal(err)
	}
	e.Share = share.New(o)
	e.Start()
	r.t.Cleanup(sync.OnceFunc(e.Close))
	return e
}

func fact(i int) knowledge.Fact {
	now := time.Now().UnixNano()
	return knowledge.Fact{Server: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Port: 6000, What: "emsmdb",
		Value: knowledge.Value{Proof: knowledge.TwoSided, Learned: now, Used: now, Expires: now + int64(24*time.Hour), Source: "ept_map"}}
}

// TestShares lets sensors find each other while the hub comes and goes.
func TestShares(t *testing.T) {
	h := newHub(t)
	r := &running{hub: h, t: t, keys: t.TempDir()}
	keyA, keyB := r.user(user{Name: "a"}), r.user(user{Name: "b"})
	a := r.sensor("a", keyA, fact(1)) // before the hub
	r.restart()
	defer func() { r.stop() }()
	wait(t, "a", a.Connected)
	b := r.sensor("b", keyB, fact(2))
	has := func(e *engine, sensor string, i int) func() bool {
		f := fact(i)
		return func() bool { _, ok := e.heard(f.Key("default", sensor)); return ok }
	}
	wait(t, "b to hear of 1", has(b, "a", 1))
	wait(t, "a to hear of 2", has(a, "b", 2))
	a.learn(fact(3))
	wait(t, "b to hear of 3", has(b, "a", 3))
	if a.len() != 1 || b.len() != 2 || has(a, "a", 1)() {
		t.Errorf("%v, %v", a.told, b.told)
	}
	r.stop()
	wait(t, "a to notice", func() bool { return !a.Connected() })
	a.learn(fact(4))
	b.learn(fact(5))
	r.restart()
	wait(t, "b to hear of 4", has(b, "a", 4))
	wait(t, "a to hear of 5", has(a, "b", 5))
	if n := a.Counts(); n.Connections != 2 || n.Partitions != 1 || n.Own != 3 || n.Dropped+n.Malformed+n.Wrong+n.Refused != 0 {
		t.Errorf("%+v", n)
	}
	// The hub loses everything.
	r.stop()
	wait(t, "b to notice", func() bool { return !b.Connected() })
	if err := os.RemoveAll(filepath.Join(r.dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	r.restart()
	wait(t, "a", a.Connected)
	wait(t, "b", b.Connected)
	c := r.sensor("c", r.user(user{Name: "c"}))
	wait(t, "c to hear all", func() bool { return c.len() == 5 })
	// A sensor that lost all hears from its earlier run.
	a.Close()
	again := r.sensor("a", keyA)
	wait(t, "a to hear what it knew", has(again, "a", 4))
}

// TestForeignPrefix lets a sensor try what only others may.
func TestForeignPrefix(t *testing.T) {
	r := start(t, newHub(t))
	keyA := r.user(user{Name: "a"})
	b := r.sensor("a.b", r.user(user{Name: "a.b"}), fact(1))
	r.sensor("c", r.user(user{Name: "c"}))
	wait(t, "a.b", b.Connected)
	auth, err := nats.NkeyOptionFromSeed(keyA)
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 100)
	nc, err := nats.Connect("nats://"+r.listen, auth, nats.CustomInboxPrefix("_INBOX.default.a"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	f := fact(1)
	own, foreign := "$KV.exspan."+f.Key("default", "a"), "$KV.exspan."+f.Key("default", "a.b")
	for _, subject := range []string{foreign, "$KV.exspan." + f.Key("default", "c"), "$KV.exspan." + f.Key("other", "a"), "$KV.exspan.default.a", "exspan.records.default.c",
		"exspan.state.default.c", "_INBOX.default.c.x", "$JS.API.STREAM.PURGE.KV_exspan", "$JS.API.STREAM.DELETE.KV_exspan", "$JS.API.STREAM.UPDATE.KV_exspan",
		"$JS.API.STREAM.MSG.DELETE.KV_exspan", "$JS.API.STREAM.CREATE.mine", "$JS.API.CONSUMER.CREATE.KV_exspan.x.$KV.exspan.other.>", "$JS.API.CONSUMER.CREATE.KV_exspan",
		"$JS.API.CONSUMER.DURABLE.CREATE.KV_exspan.x", "$SYS.REQ.SERVER.PING"} {
		if err := nc.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-refused:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", subject, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s is not refused", subject)
		}
	}
	for _, subject := range []string{"_INBOX.>", "_INBOX.default.c.>", "exspan.>", "exspan.state.>", "exspan.state.other.*", "exspan.records.default.*", "$KV.>"} {
		if _, err := nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		select {
		case <-refused:
		case <-time.After(5 * time.Second):
			t.Errorf("%s is not refused", subject)
		}
	}
	// A header that makes a bucket forget all others.
	for _, scope := range []string{"all", "sub"} {
		m := nats.NewMsg(own)
		m.Data = f.Encode()
		m.Header.Set("Nats-Rollup", scope)
		if reply, err := nc.RequestMsg(m, 5*time.Second); err != nil || !strings.Contains(string(reply.Data), "rollup not permitted") {
			t.Errorf("roll-up of %s: %v, %+v", scope, err, reply)
		}
	}
	// A consumer that would deliver what the sensor wrote as what another one wrote.
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(context.Background(), own, f.Encode()); err != nil {
		t.Fatalf("a cannot write its own: %v", err)
	}
	for _, target := range []string{foreign, "$KV.exspan.default.c.x"} {
		request := fmt.Sprintf(`{"stream_name":"KV_exspan","config":{"name":"x","deliver_subject":%q,"filter_subject":%q,"ack_policy":"none","deliver_policy":"all"}}`, target, own)
		reply, err := nc.Request("$JS.API.CONSUMER.CREATE.KV_exspan.x."+own, []byte(request), 5*time.Second)
		if err != nil || !strings.Contains(string(reply.Data), "cycle") {
			t.Errorf("delivery to %s: %v %+v", target, err, reply)
		}
	}
	d := r.sensor("d", r.user(user{Name: "d"}))
	wait(t, "d to hear from both", func() bool { return d.len() == 2 })
}

// TestUsers adds and removes users of a running hub.
func TestUsers(t *testing.T) {
	r := start(t, newHub(t))
	a := r.sensor("a", r.user(user{Name: "a"}), fact(1))
	wait(t, "a", a.Connected)
	if err := r.remove("default", "b"); err == nil {
		t.Error("an unknown user was removed")
	}
	if err := r.remove("default", "a"); err != nil {
		t.Fatal(err)
	}
	wait(t, "a to be disconnected", func() bool { return !a.Connected() })
	for _, name := range []string{"", strings.Repeat("x", 200), "a\nb"} {
		if err := r.add(user{Name: name, Realm: "default"}, filepath.Join(r.keys, "x")); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
	if err := os.WriteFile(r.usersFile(), []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.users(); err == nil || !strings.Contains(err.Error(), "users.json") {
		t.Errorf("a damaged file of users gives %v", err)
	}
}

// TestTLS connects to an address that others reach, with the hub's own certificate.
func TestTLS(t *testing.T) {
	h := newHub(t)
	_, port, _ := net.SplitHostPort(h.listen)
	h.listen = ":" + port
	r := start(t, h)
	key := r.user(user{Name: "a"})
	o := share.Options{URL: "tls://localhost:" + port, Credentials: key, CA: filepath.Join(h.dir, "hub.crt"), Realm: "default", Sensor: "a", Now: time.Now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Tell: func([]knowledge.Told) {}, Facts: func(func([]knowledge.Fact) bool) {}}
	for name, x := range map[string]struct {
		change func(*share.Options)
		works  bool
	}{
		"as it should be": {func(*share.Options) {}, true},
		"without CA":      {func(o *share.Options) { o.CA = "" }, false},
		"without key":     {func(o *share.Options) { o.Credentials = "" }, false},
	} {
		o := o
		x.change(&o)
		if err := o.Check(); err != nil {
			t.Fatal(err)
		}
		s := share.New(o)
		s.Start()
		if x.works {
			wait(t, name, s.Connected)
		} else if time.Sleep(1500 * time.Millisecond); s.Connected() {
			t.Errorf("%s: it is connected", name)
		}
		s.Close()
	}
	for _, bad := range []share.Options{{URL: "hub"}, {URL: "http://hub"}, {URL: "nats://"}, {URL: o.URL, Credentials: filepath.Join(h.dir, "none")}, {URL: o.URL, CA: key}, {URL: o.URL, Credentials: o.CA}} {
		if err := bad.Check(); err == nil {
			t.Errorf("%+v is right", bad)
		}
	}
	if err := (&share.Options{URL: "x://me:secret@hub"}).Check(); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows a password: %v", err)
	}
}

// TestGuard lets a sensor share more than it may.
func TestGuard(t *testing.T) {
	h := newHub(t)
	h.maxKeys = 100
	r := start(t, h)
	a := r.sensor("a", r.user(user{Name: "a"}), fact(1))
	wait(t, "a", a.Connected)
	b := r.sensor("b", r.user(user{Name: "b"}))
	wait(t, "b", b.Connected)
	for i := range 200 {
		b.Learned(new(fact(i)))
	}
	wait(t, "all", func() bool { return a.len() == 200 })
	wait(t, "the guard", func() bool {
		c := r.sensor("c", r.user(user{Name: "c"}))
		defer c.Close()
		wait(t, "c", c.Connected)
		time.Sleep(500 * time.Millisecond)
		return c.len() == 1
	})
}

// TestOutsideServer shares over a NATS server that is not ours, with the users that the
// hub would have.
func TestOutsideServer(t *testing.T) {
	path, err := exec.LookPath("nats-server")
	if err != nil {
		t.Skip("nats-server, a package of Debian, is not installed")
	}
	r := &running{hub: newHub(t), t: t, keys: t.TempDir()}
	admin, keyA, keyB := r.user(user{Name: "admin", Admin: true}), r.user(user{Name: "a"}), r.user(user{Name: "b"})
	var conf bytes.Buffer
	if err := r.config(&conf); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.keys, "nats.conf")
	if err := os.WriteFile(file, conf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(r.listen)
	cmd := exec.Command(path, "-a", host, "-p", port, "-js", "-sd", t.TempDir(), "-c", file)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	wait(t, "the server", func() bool { c, err := net.Dial("tcp", r.listen); return err == nil && c.Close() == nil })
	a := r.sensor("a", keyA, fact(1))
	time.Sleep(2 * time.Second)
	if a.Connected() {
		t.Error("there is no bucket, and a is connected")
	}
	cli := newRootCmd()
	cli.SetArgs([]string{"bucket", "--credentials", admin, "nats://" + r.listen})
	if err := cli.Execute(); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	b := r.sensor("b", keyB, fact(2))
	f := fact(1)
	wait(t, "b to hear from a", func() bool { _, ok := b.heard(f.Key("default", "a")); return ok })
	wait(t, "a to hear from b", func() bool { return a.len() == 1 })
	if n := a.Counts(); n.Connections != 1 || n.Malformed+n.Wrong != 0 {
		t.Errorf("%+v\n%s", n, log.String())
	}
}
