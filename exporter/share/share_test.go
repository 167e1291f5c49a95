package share

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/exporter/health"
)

// newServer starts a NATS server and returns its URL.
func newServer(t *testing.T, change func(*server.Options)) string {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()}
	if change != nil {
		change(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s.ClientURL()
}

// engine stands in for that of a sensor.
type engine struct {
	*Share
	log   bytes.Buffer // read it after Close
	mu    sync.Mutex
	knows []knowledge.Fact
	told  []knowledge.Told
	most  int // facts told at once
}

// newEngine returns a sensor that is not started.
func newEngine(url, sensor string, knows ...knowledge.Fact) *engine {
	e := &engine{knows: knows}
	e.Share = New(Options{URL: url, Realm: "default", Sensor: sensor, Now: time.Now, Log: slog.New(slog.NewTextHandler(&e.log, nil)),
		Tell: func(list []knowledge.Told) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.told, e.most = append(e.told, list...), max(e.most, len(list))
		},
		Facts: func(yield func([]knowledge.Fact) bool) {
			e.mu.Lock()
			list := slices.Clone(e.knows)
			e.mu.Unlock()
			yield(list)
		},
		State: func() health.State {
			return health.State{Version: "1.2", Rules: "2010", Packets: 7, Interfaces: []string{"eth0"}}
		}})
	return e
}

// run starts a sensor and waits until it has read the bucket.
func (e *engine) run(t *testing.T) *engine {
	t.Helper()
	e.Start()
	t.Cleanup(e.Close)
	wait(t, "a connection of "+e.opt.Sensor, e.Connected)
	return e
}

func (e *engine) heard() []knowledge.Told {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.told)
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

func fact(i int) knowledge.Fact {
	now := time.Now().UnixNano()
	return knowledge.Fact{Server: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Port: 6000, What: "emsmdb",
		Value: knowledge.Value{At: now, Proof: knowledge.TwoSided, Learned: now, Used: now, Expires: now + int64(24*time.Hour), Source: "ept_map"}}
}

// bucketOf connects to the bucket as somebody who may do all.
func bucketOf(t *testing.T, url string) (*nats.Conn, jetstream.Stream) {
	t.Helper()
	if err := CreateBucket(t.Context(), Options{URL: url, Log: slog.New(slog.DiscardHandler)}, -1); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "KV_"+Bucket)
	if err != nil {
		t.Fatal(err)
	}
	return nc, stream
}

// put writes a value into the bucket and waits until it is there.
func put(t *testing.T, nc *nats.Conn, key string, value []byte) {
	t.Helper()
	reply, err := nc.Request("$KV."+Bucket+"."+key, value, 5*time.Second)
	if err != nil || strings.Contains(string(reply.Data), "error") {
		t.Fatalf("%s: %v %+v", key, err, reply)
	}
}

// TestNames lets sensors share whose names would be patterns or separators if they were not
// encoded.
func TestNames(t *testing.T) {
	url := newServer(t, nil)
	_, stream := bucketOf(t, url)
	names := []string{"a", "a.b", "a:b", "*", ">", "a.>", "a b", "=", "Zürich", strings.Repeat("x", 128)}
	for i, name := range names {
		o := Options{URL: url, Realm: "default", Sensor: name}
		if err := o.Check(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		newEngine(url, name, fact(i)).run(t)
	}
	stranger := newEngine(url, "a", fact(99))
	stranger.opt.Realm = "default.a"
	stranger.run(t)
	reader := newEngine(url, "reader").run(t)
	got := map[string]int{}
	for _, x := range reader.heard() {
		got[x.Sensor]++
		if want := fact(slices.Index(names, x.Sensor)).Server; x.Fact.Server != want {
			t.Errorf("%q tells of %s, want %s", x.Sensor, x.Fact.Server, want)
		}
	}
	for _, name := range names {
		if got[name] != 1 {
			t.Errorf("%d facts of %q", got[name], name)
		}
	}
	if len(got) != len(names) {
		t.Errorf("heard of %v", got)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil || len(info.State.Subjects) != len(names)+1 {
		t.Fatalf("%v: %d subjects", err, len(info.State.Subjects))
	}
	for subject := range info.State.Subjects {
		if strings.Count(subject, ".") != 7 || strings.ContainsAny(subject, ":*> ") {
			t.Errorf("subject %q", subject)
		}
	}
	for _, o := range []Options{{URL: url, Sensor: strings.Repeat("x", 129)}, {URL: url, Sensor: "a\x1b"}, {URL: url, Sensor: "a", Realm: "\xff"}} {
		if o.Check() == nil {
			t.Errorf("%q of realm %q may share", o.Sensor, o.Realm)
		}
	}
}

// TestForeignValues puts into the bucket what no sensor writes. None of it reaches the
// engine, each is counted, and what follows is taken in.
func TestForeignValues(t *testing.T) {
	url := newServer(t, nil)
	nc, _ := bucketOf(t, url)
	x := newEngine(url, "x").run(t)
	good := fact(1)
	key := good.Key("default", "good")
	token := knowledge.Token(good.Server.String())
	changed := func(change func(*knowledge.Fact)) []byte {
		f := fact(1)
		change(&f)
		return f.Encode()
	}
	year := int64(365 * 24 * time.Hour)
	type counts struct{ malformed, newer, wrong uint64 }
	for _, tt := range []struct {
		name, key string
		value     []byte
		want      counts
	}{
		{"no JSON", key, []byte("{"), counts{malformed: 1}},
		{"nothing", key, nil, counts{malformed: 1}},
		{"a value of version 2", key, []byte(`{"v":2}`), counts{newer: 1}},
		{"a value of version 0", key, []byte(`{"v":0}`), counts{malformed: 1}},
		{"a long value", key, append(good.Encode(), bytes.Repeat([]byte(" "), knowledge.MaxValue)...), counts{malformed: 1}},
		{"a key of five tokens", "default.y." + token + ".tcp.6000", good.Encode(), counts{malformed: 1}},
		{"a key of seven tokens", key + ".x", good.Encode(), counts{malformed: 1}},
		{"a key without an address", "default.y.x.tcp.6000.emsmdb", good.Encode(), counts{malformed: 1}},
		{"an unknown protocol", "default.y." + token + ".sctp.6000.emsmdb", good.Encode(), counts{malformed: 1}},
		{"port 65536", "default.y." + token + ".tcp.65536.emsmdb", good.Encode(), counts{malformed: 1}},
		{"another form of a key", "default.=61." + token + ".tcp.6000.emsmdb", good.Encode(), counts{malformed: 1}},
		{"a name that is cut", "default.a=6." + token + ".tcp.6000.emsmdb", good.Encode(), counts{malformed: 1}},
		{"no name", "default.=." + token + ".tcp.6000.emsmdb", good.Encode(), counts{wrong: 1}},
		{"an overlong name", good.Key("default", strings.Repeat("x", 129)), good.Encode(), counts{wrong: 1}},
		{"a name that steers terminals", good.Key("default", "a\x1b[2J"), good.Encode(), counts{wrong: 1}},
		{"port 0", "default.y." + token + ".tcp.0.emsmdb", good.Encode(), counts{wrong: 1}},
		{"no service", "default.y." + token + ".tcp.6000.=", good.Encode(), counts{wrong: 1}},
		{"no proof", key, changed(func(f *knowledge.Fact) { f.Proof = knowledge.Unproven }), counts{wrong: 1}},
		{"more proof than a sensor has", key, bytes.Replace(good.Encode(), []byte(`"two-sided"`), []byte(`"site"`), 1), counts{wrong: 1}},
		{"told tomorrow", key, changed(func(f *knowledge.Fact) { f.At += year }), counts{wrong: 1}},
		{"used tomorrow", key, changed(func(f *knowledge.Fact) { f.Used, f.Expires = f.Used+year, f.Expires+year }), counts{wrong: 1}},
		{"learned after its use", key, changed(func(f *knowledge.Fact) { f.Learned = f.Used + 1 }), counts{wrong: 1}},
		{"it never expires", key, changed(func(f *knowledge.Fact) { f.Expires += year }), counts{wrong: 1}},
		{"it expired before its use", key, changed(func(f *knowledge.Fact) { f.Expires = f.Used - 1 }), counts{wrong: 1}},
		{"a long text", key, changed(func(f *knowledge.Fact) { f.Annotation = strings.Repeat("x", 257) }), counts{wrong: 1}},
		{"a text that steers terminals", key, changed(func(f *knowledge.Fact) { f.Annotation = "\x1b[2J" }), counts{wrong: 1}},
	} {
		before := x.Counts()
		put(t, nc, tt.key, tt.value)
		wait(t, "the refusal of "+tt.name, func() bool {
			n := x.Counts()
			return n.Malformed+n.Newer+n.Wrong+n.Rate > before.Malformed+before.Newer+before.Wrong+before.Rate
		})
		n := x.Counts()
		if got := (counts{n.Malformed - before.Malformed, n.Newer - before.Newer, n.Wrong - before.Wrong}); got != tt.want {
			t.Errorf("%s: counted %+v, want %+v", tt.name, got, tt.want)
		}
	}
	marker := nats.NewMsg("$KV." + Bucket + "." + key)
	marker.Header.Set("KV-Operation", "DEL")
	if _, err := nc.RequestMsg(marker, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	put(t, nc, key, good.Encode())
	wait(t, "the good one", func() bool { return len(x.heard()) > 0 })
	if got := x.heard(); len(got) != 1 || got[0].Sensor != "good" {
		t.Errorf("told %+v", got)
	}
	if n := x.Counts(); n.Rate != 0 || n.Refused != 0 {
		t.Errorf("%+v", n)
	}
}

// TestRefresh uses a fact again and again: it is written anew when it says something else,
// and an hour after its last use that was written, with a later expiry.
func TestRefresh(t *testing.T) {
	url := newServer(t, nil)
	nc, stream := bucketOf(t, url)
	x := newEngine(url, "x").run(t)
	last := func() uint64 {
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State.LastSeq
	}
	f := fact(1)
	f.Used, f.Learned, f.Expires = f.Used-int64(10*time.Hour), f.Used-int64(10*time.Hour), f.Expires-int64(10*time.Hour)
	learned := func(what string, want bool, change func()) {
		t.Helper()
		change()
		before := last()
		x.Learned(&f)
		fence := fact(int(before) + 1000) // what is written after it
		x.Learned(&fence)
		wait(t, "the fact behind "+what, func() bool {
			m, err := nc.Request("$JS.API.DIRECT.GET.KV_"+Bucket+".$KV."+Bucket+"."+fence.Key("default", "x"), nil, time.Second)
			return err == nil && m.Header.Get("Status") == ""
		})
		if got := last()-before == 2; got != want {
			t.Errorf("%s: written %v, want %v", what, got, want)
		}
	}
	learned("a new fact", true, func() {})
	learned("a use 59 min later", false, func() { f.Used += int64(59 * time.Minute); f.Expires += int64(59 * time.Minute) })
	learned("a use 60 min later", true, func() { f.Used += int64(time.Minute); f.Expires += int64(time.Minute) })
	learned("the same again", false, func() {})
	learned("another annotation", true, func() { f.Annotation = "x" })
	learned("its end", true, func() { f.Ended = f.Used })
	if c := Stream(-1); c.MaxAge < 48*time.Hour+time.Duration(refresh) || c.MaxMsgsPerSubject != 1 || c.AllowRollup || !c.DenyDelete {
		t.Errorf("the bucket would lose what has not expired, or can be emptied: %+v", c)
	}
}

// TestSnapshot lets a sensor join that had been there before.
func TestSnapshot(t *testing.T) {
	url := newServer(t, nil)
	var list []knowledge.Fact
	for i := range 700 {
		list = append(list, fact(i))
	}
	a := newEngine(url, "a", list...).run(t)
	wait(t, "all facts in the bucket", func() bool { return a.Counts().Own == len(list) })
	x := newEngine(url, "x", fact(1), fact(2)).run(t)
	if got := len(x.heard()); got != len(list) {
		t.Errorf("told %d facts until it was connected, want %d", got, len(list))
	}
	x.mu.Lock()
	if x.most > part {
		t.Errorf("%d facts at once, want at most %d", x.most, part)
	}
	x.mu.Unlock()
	x.Close()
	again := newEngine(url, "x", fact(1)).run(t)
	wait(t, "what it knew before", func() bool { return len(again.heard()) == len(list)+1 })
	if got := again.heard()[len(list)]; got.Sensor != "x" || got.Fact.Server != fact(2).Server {
		t.Errorf("told %+v, want what an earlier run had learned", got)
	}
	if n := again.Counts(); n.Rate+n.Wrong+n.Malformed+n.Dropped != 0 || n.Own != 2 {
		t.Errorf("%+v", n)
	}
}

// TestReread reads the bucket again: all that others told is told again, at no cost for
// what they may tell in a second, and what they write goes on to arrive.
func TestReread(t *testing.T) {
	url := newServer(t, nil)
	var list []knowledge.Fact
	for i := range 600 {
		list = append(list, fact(i))
	}
	a := newEngine(url, "a", list...).run(t)
	wait(t, "all facts in the bucket", func() bool { return a.Counts().Own == len(list) })
	x := newEngine(url, "x", fact(1))
	x.Reread() // before there is a connection, which reads the bucket anyway
	x.run(t)
	for i := range 3 {
		x.Reread()
		x.Reread()
		want := (i + 2) * len(list)
		wait(t, "all facts again", func() bool { return len(x.heard()) >= want })
		time.Sleep(50 * time.Millisecond)
		x.mu.Lock()
		x.told = x.told[:min(len(x.told), want)] // two requests may become one or two
		x.mu.Unlock()
	}
	more := fact(9999)
	a.Learned(&more)
	wait(t, "a new fact", func() bool {
		return slices.ContainsFunc(x.heard(), func(x knowledge.Told) bool { return x.Fact.Server == more.Server })
	})
	for _, h := range x.heard() {
		if h.Sensor != "a" {
			t.Errorf("told of %s", h.Sensor)
		}
	}
	if n := x.Counts(); n.Rate != 0 || n.Connections != 1 || n.Partitions != 0 || n.Own != 1 {
		t.Errorf("%+v", n)
	}
}

// TestQueue learns more than the queue holds while nothing is written.
func TestQueue(t *testing.T) {
	url := newServer(t, nil)
	x := newEngine(url, "x")
	if n, err := x.Write([]byte("line\n")); n != 5 || err != nil || x.Counts().Unsent != 1 {
		t.Errorf("a record without a connection: %d, %v, %+v", n, err, x.Counts())
	}
	block, blocked := make(chan struct{}), make(chan struct{}, 1)
	tell := x.opt.Tell
	x.opt.Tell = func(list []knowledge.Told) {
		select {
		case blocked <- struct{}{}:
			<-block
		default:
		}
		tell(list)
	}
	x.run(t)
	newEngine(url, "a", fact(0)).run(t)
	<-blocked
	const more = 100
	for i := range queued + more {
		f := fact(i + 1)
		x.mu.Lock()
		x.knows = append(x.knows, f)
		x.mu.Unlock()
		x.Learned(&f)
	}
	for range lines + more {
		_, _ = x.Write([]byte("line\n"))
	}
	if n := x.Counts(); n.Dropped != more || n.Unsent != 1+more {
		t.Errorf("%d facts and %d records were dropped, want %d and %d", n.Dropped, n.Unsent, more, 1+more)
	}
	close(block)
	wait(t, "what was dropped", func() bool { return x.Counts().Own == queued+more })
}

// TestSpeed tells faster than a sensor may.
func TestSpeed(t *testing.T) {
	now := time.Unix(1000, 0)
	s := New(Options{Now: func() time.Time { return now }})
	may := func(sensor string, n int) int {
		f, took := fact(1), 0
		key := f.Key("default", sensor)
		for range n {
			if s.mayTell(key) {
				took++
			}
		}
		return took
	}
	if n := may("a", burst+500); n != burst {
		t.Errorf("%d facts at once, want %d", n, burst)
	}
	if n := may("b", 500); n != 500 {
		t.Errorf("%d facts of another sensor, want 500", n)
	}
	now = now.Add(2 * time.Second)
	if n := may("a", burst); n != 2*rate {
		t.Errorf("%d facts after two seconds, want %d", n, 2*rate)
	}
	for i := range 2 * health.MaxSensors {
		may(fmt.Sprint("s", i), 1)
	}
	if n := len(s.speed); n > health.MaxSensors+1 {
		t.Errorf("the speeds of %d sensors are kept, want at most %d", n, health.MaxSensors+1)
	}
}

// TestFleet lets two sensors hear how the other is, and somebody send what is no state.
func TestFleet(t *testing.T) {
	url := newServer(t, nil)
	nc, _ := bucketOf(t, url)
	a := newEngine(url, "a").run(t)
	b := newEngine(url, "b.c", fact(1)).run(t)
	hears := func(n int) func() bool {
		return func() bool {
			list := a.Fleet().Sensors
			return len(list) == n && !slices.ContainsFunc(list, func(s health.Sensor) bool { return s.Time.IsZero() })
		}
	}
	wait(t, "the state of b.c", hears(2))
	c := newEngine(url, "c").run(t)
	wait(t, "the state of c", hears(3))
	v := a.Fleet()
	if !v.Connected || v.Realm != "default" || v.Sensors[0].Sensor != "a" || !v.Sensors[0].Own || v.Sensors[1].Sensor != "b.c" || v.Sensors[1].Own || v.Sensors[2].Sensor != "c" {
		t.Errorf("%+v", v)
	}
	for _, s := range v.Sensors {
		if s.Version != "1.2" || s.Rules != "2010" || s.Packets != 7 || s.Condition != health.Well || time.Since(s.Heard) > time.Minute {
			t.Errorf("%+v", s)
		}
	}
	if v := c.Fleet(); len(v.Sensors) != 2 || v.Sensors[1].Sensor != "b.c" || !v.Sensors[1].Time.IsZero() {
		t.Errorf("who joins knows of sensors by their facts alone: %+v", v.Sensors)
	}
	long := strings.Repeat("x", 300)
	for _, tt := range []struct{ name, sensor, body string }{
		{"no JSON", "evil1", "{"},
		{"another sensor's", "evil2", `{"sensor":"b.c","realm":"default","version":"evil"}`},
		{"of another realm", "evil3", `{"sensor":"evil3","realm":"other"}`},
		{"a long name", long, `{"sensor":"` + long + `","realm":"default"}`},
		{"a name that steers terminals", "\x1b", `{"sensor":"\u001b","realm":"default"}`},
		{"a long version", "evil4", `{"sensor":"evil4","realm":"default","version":"` + long + `"}`},
		{"much", "evil5", `{"sensor":"evil5","realm":"default","x":"` + strings.Repeat("x", knowledge.MaxValue) + `"}`},
		{"a number that is too large", "evil6", `{"sensor":"evil6","realm":"default","packets_per_second":1e999}`},
	} {
		before := a.Counts().States
		if err := nc.Publish(StateSubject("default", tt.sensor), []byte(tt.body)); err != nil {
			t.Fatal(err)
		}
		wait(t, "the refusal of "+tt.name, func() bool { return a.Counts().States > before })
	}
	// One that tells too often, and one with the name of the sensor itself.
	for range 20 {
		_ = nc.Publish(StateSubject("default", "often"), []byte(`{"sensor":"often","realm":"default","version":"9"}`))
	}
	_ = nc.Publish(StateSubject("default", "a"), []byte(`{"sensor":"a","realm":"default","version":"evil"}`))
	_ = nc.Flush()
	wait(t, "the frequent one", func() bool { return len(a.Fleet().Sensors) == 4 })
	wait(t, "the count of all", func() bool { return a.Counts().States >= 8+19 })
	for _, s := range a.Fleet().Sensors {
		if strings.Contains(s.Sensor, "evil") || s.Version == "evil" {
			t.Errorf("%+v", s)
		}
	}
	b.Close()
	a.Close()
	if v := a.Fleet(); v.Connected || !v.Sensors[0].Own {
		t.Errorf("after the end %+v", v)
	}
}

// TestStatesDenied shares over a server that lets no sensor hear the states of others, as
// an older exspan-hub. All else works, and it is said once.
func TestStatesDenied(t *testing.T) {
	publish, subscribe := Permissions("default", "a")
	subscribe = slices.DeleteFunc(subscribe, func(s string) bool { return s == statesOf("default") })
	if len(subscribe) != 1 {
		t.Fatalf("the permissions have %q", subscribe)
	}
	url := newServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "x"},
			{Username: "a", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe}}}}
	})
	as := func(user string) string { return strings.Replace(url, "nats://", "nats://"+user+":x@", 1) }
	bucketOf(t, as("admin"))
	b := newEngine(as("admin"), "b", fact(1)).run(t)
	a := newEngine(as("a"), "a", fact(2)).run(t)
	wait(t, "both facts", func() bool { return len(a.heard()) == 1 && len(b.heard()) == 1 })
	wait(t, "the state of a", func() bool { return len(b.Fleet().Sensors) == 2 })
	if n := a.Counts(); n.Refused != 0 || n.Connections != 1 {
		t.Errorf("%+v", n)
	}
	a.Close()
	if n := strings.Count(a.log.String(), "how the others are"); n != 1 {
		t.Errorf("%d warnings\n%s", n, &a.log)
	}
}

// TestObserve follows what sensors send, and gets no state that is not that of its sensor.
func TestObserve(t *testing.T) {
	url := newServer(t, nil)
	nc, _ := bucketOf(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var states []string
	r, err := Observe(ctx, Options{URL: url, Realm: "default", Now: time.Now}, func([]byte) bool { return true },
		func(s *health.State) { mu.Lock(); states = append(states, s.Sensor); mu.Unlock() }, func(err error) { t.Log(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, body := range []string{`{"sensor":"b","realm":"default"}`, `{"sensor":"a","realm":"default","rules":"\u001b"}`, `{"sensor":"a","realm":"default"}`} {
		_ = nc.Publish(StateSubject("default", "a"), []byte(body))
	}
	_ = nc.Publish(RecordsSubject("default", "a"), []byte(`{"sensor":"a"}`+"\n"))
	buf := make([]byte, 100)
	if n, err := r.Read(buf); err != nil || string(buf[:n]) != `{"sensor":"a"}`+"\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	wait(t, "the state", func() bool { mu.Lock(); defer mu.Unlock(); return len(states) > 0 })
	if !slices.Equal(states, []string{"a"}) {
		t.Errorf("states of %q", states)
	}
}
