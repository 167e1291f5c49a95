package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/exporter/share"
)

// fleet is a lab with three sensors and a hub. The hub is in a network namespace of its
// own, with one address for each sensor.
type fleet struct {
	*lab
	program string    // exspan-hub
	holder  *exec.Cmd // holds the namespace of the hub
	hub     *exec.Cmd
	log     syncBuffer
	files   map[string]string // what each sensor sees
	sensors map[string]*proc
	records map[string]string
	whole   map[string]string // what one sensor says that sees all, by flow
}

var sensorNames = []string{"a", "b", "c"}

// newFleet divides the recording of RPC: a sees mapper and logon, b sees what clients
// send to dynamic ports, and c sees what servers send from them.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	program := filepath.Join(t.TempDir(), "exspan-hub")
	if out, err := exec.Command("go", "build", "-o", program, "../exspan-hub").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f := &fleet{lab: newLab(t), program: program, files: map[string]string{}, sensors: map[string]*proc{}, records: map[string]string{}, whole: map[string]string{}}
	for _, tool := range []string{"nsenter", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	c, err := readFrames("../../testdata/rpc.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	dynamic := func(e netip.AddrPort) bool {
		p := e.Port()
		return p == 6002 || p == 6137 || p == 6143 || p == 17520 || p == 46861 || p >= 49152 && p < 49160
	}
	sees := map[string]func(s *segment) bool{
		"a": func(s *segment) bool { return !dynamic(s.dst) && !dynamic(s.src) },
		"b": func(s *segment) bool { return dynamic(s.dst) },
		"c": func(s *segment) bool { return dynamic(s.src) },
	}
	for _, name := range sensorNames {
		part := keep(func(s *segment, _ *capturetest.Frame, _ int) bool { return sees[name](s) })(c, nil)
		f.files[name] = writeFrames(t, f.dir, name+".pcap", part)
		f.ip("link add in" + name + " type veth peer name out" + name)
		f.ip("link set in" + name + " mtu 9000 up")
		f.ip("link set out" + name + " mtu 9000 up")
	}
	out, err := exspan(t, "analyze", "--format", "ndjson", "--site", "../../testdata/rpc.site.yaml", "../../testdata/rpc.pcapng").Output()
	if err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(f.dir, "whole")
	if err := os.WriteFile(whole, out, 0o600); err != nil {
		t.Fatal(err)
	}
	for flow, said := range f.said(whole) {
		f.whole[flow] = said
	}
	f.holder = exec.Command("sleep", "3600")
	f.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := f.holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.holder.Process.Kill(); _ = f.holder.Wait() })
	f.ip("link add tohub type veth peer name hub")
	f.ip(fmt.Sprintf("link set hub netns %d", f.holder.Process.Pid))
	f.ip("addr add 10.99.0.1/24 dev tohub")
	f.ip("link set tohub up")
	f.inHub("ip link set lo up")
	for i := range sensorNames {
		f.inHub(fmt.Sprintf("ip addr add 10.99.0.%d/24 dev hub", i+2))
	}
	f.inHub("ip link set hub up")
	for _, name := range sensorNames {
		f.run("", program, "--data", filepath.Join(f.dir, "hub"), "user", "add", name, "-o", filepath.Join(f.dir, name+".nk"))
	}
	f.startHub() // once, so that there is a certificate
	f.stopHub()
	return f
}

func (f *fleet) run(stdin, name string, args ...string) {
	f.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("%s %s: %v: %s", name, args, err, out)
	}
}

func (f *fleet) inHub(command string) {
	f.t.Helper()
	f.run("", "nsenter", append([]string{"-t", fmt.Sprint(f.holder.Process.Pid), "-n"}, strings.Fields(command)...)...)
}

func (f *fleet) startHub() {
	f.t.Helper()
	f.hub = exec.Command("nsenter", "-t", fmt.Sprint(f.holder.Process.Pid), "-n", f.program, "--data", filepath.Join(f.dir, "hub"), "--listen", ":4222")
	f.hub.Stderr = &f.log
	f.hub.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	before := strings.Count(f.log.String(), "Sensors can share")
	if err := f.hub.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { f.stopHub() })
	for range 600 { // it takes long on a busy machine
		if strings.Count(f.log.String(), "Sensors can share") > before {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.t.Fatalf("the hub does not start\n%s", &f.log)
}

// stopHub kills the hub.
func (f *fleet) stopHub() {
	if f.hub != nil {
		_ = f.hub.Process.Kill()
		_ = f.hub.Wait()
		f.hub = nil
	}
}

// start starts a sensor.
func (f *fleet) start(name string) {
	f.t.Helper()
	i := strings.Index("abc", name)
	f.records[name] = filepath.Join(f.dir, fmt.Sprintf("%s.%d.ndjson", name, time.Now().UnixNano()))
	f.sensors[name] = f.monitor(9000+i, "-i", "out"+name, "--sensor", name, "--site", "../../testdata/rpc.site.yaml", "--ndjson", f.records[name], "--interim", "0",
		"--share", fmt.Sprintf("tls://10.99.0.%d:4222", i+2), "--share-credentials", filepath.Join(f.dir, name+".nk"), "--share-ca", filepath.Join(f.dir, "hub", "hub.crt"))
}

func (f *fleet) replayAll(names ...string) {
	f.t.Helper()
	var all []*exec.Cmd
	for _, name := range names {
		cmd := exec.Command("tcpreplay", "-q", "-x", "4", "-i", "in"+name, f.files[name])
		if err := cmd.Start(); err != nil {
			f.t.Fatal(err)
		}
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fleet) connected(names ...string) {
	f.t.Helper()
	for _, name := range names {
		var last float64
		for range 180 { // a reconnection waits for the pings that find the partition
			if last = f.sensors[name].metrics().sum("exspan_share_connected"); last == 1 {
				break
			}
			time.Sleep(500 * time.Millisecond)
		}
		if last != 1 {
			f.t.Fatalf("%s does not connect\n%s\n%s", name, f.sensors[name].log, &f.log)
		}
	}
}

// heard waits until b and c know the endpoints that a knows.
func (f *fleet) heard(want float64, names ...string) {
	f.t.Helper()
	for _, name := range names {
		var got float64
		for range 120 {
			if got = f.sensors[name].metrics().sum("exspan_share_facts", "of", "endpoints"); got >= want {
				break
			}
			time.Sleep(500 * time.Millisecond)
		}
		if got < want {
			f.t.Fatalf("%s knows %v endpoints of others, want %v\n%s\n%s", name, got, want, f.sensors[name].log, &f.log)
		}
	}
}

// endpointsOfA is the number of endpoints that the mappers of the recording announce.
const endpointsOfA = 8

// said returns status and path of each flow of a file of records.
func (f *fleet) said(file string) map[string]string {
	f.t.Helper()
	said := map[string]string{}
	for _, r := range recordsOf(f.t, file) {
		if r["state"] != "ended" {
			continue
		}
		r := jsonRecord(r)
		c, s, v := r.object("client"), r.object("server"), r.object("verdict")
		said[fmt.Sprintf("%s %s:%d > %s:%d", r.text("proto"), c.text("addr"), c.number("port"), s.text("addr"), s.number("port"))] = v.text("status") + " " + v.text("path") + " " + v.text("group")
	}
	return said
}

// check ends sensors and holds what they say against what one says that sees all.
func (f *fleet) check(names ...string) {
	f.t.Helper()
	for _, name := range names {
		f.sensors[name].stop(syscall.SIGTERM)
		said := f.said(f.records[name])
		if len(said) < 15 {
			f.t.Errorf("%s saw %d flows", name, len(said))
		}
		learned := 0
		for flow, got := range said {
			want, ok := f.whole[flow]
			if want == "unexpected  " && got == "undetermined  " {
				continue // it saw the reset of a refused connection alone
			}
			if !ok || got != want {
				f.t.Errorf("%s says of %s %q, want %q", name, flow, got, want)
			}
			if strings.HasPrefix(got, "expected") {
				learned++
			}
		}
		if name != "a" && learned < 10 {
			f.t.Errorf("%s found %d flows expected", name, learned)
		}
		if name == "c" && !strings.Contains(string(mustRead(f.t, f.records[name])), "by sensor a") {
			f.t.Errorf("no verdict of %s names the sensor", name)
		}
	}
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestShareOrder starts the hub before, during and after the traffic.
func TestShareOrder(t *testing.T) {
	f := newFleet(t)
	for _, when := range []string{"before", "during", "after"} {
		if when == "before" {
			f.startHub()
		}
		for _, name := range sensorNames {
			f.start(name)
		}
		if when == "before" {
			f.connected(sensorNames...)
		}
		var replays []*exec.Cmd
		for _, name := range sensorNames {
			cmd := exec.Command("tcpreplay", "-q", "-x", "4", "-i", "in"+name, f.files[name])
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			replays = append(replays, cmd)
		}
		if when == "during" {
			time.Sleep(3 * time.Second)
			f.startHub()
		}
		for _, cmd := range replays {
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		if when == "after" {
			f.startHub()
		}
		f.connected(sensorNames...)
		f.heard(endpointsOfA, "b", "c")
		f.check(sensorNames...)
		f.stopHub()
		f.run("", "rm", "-r", filepath.Join(f.dir, "hub", "jetstream"))
		if t.Failed() {
			t.Fatalf("the hub was started %s the traffic", when)
		}
	}
}

// TestShareKilled kills the hub, a sensor that knows, and one that wants to know.
func TestShareKilled(t *testing.T) {
	f := newFleet(t)
	f.startHub()
	for _, name := range sensorNames {
		f.start(name)
	}
	f.connected(sensorNames...)
	f.replayAll("a")
	f.heard(endpointsOfA, "b", "c")
	f.stopHub()
	f.sensors["a"].stop(syscall.SIGKILL)
	f.sensors["b"].stop(syscall.SIGKILL)
	f.start("b")
	f.replayAll("c")
	f.startHub()
	f.connected("b", "c")
	f.heard(endpointsOfA, "b") // from what the hub kept
	f.replayAll("b")
	f.start("a")
	f.heard(endpointsOfA, "a") // from its earlier run
	f.check("b", "c")
}

// drop drops packets that the sensors get or send, with rules of nftables.
func (f *fleet) drop(table, in, out string) {
	f.t.Helper()
	f.run(fmt.Sprintf("table inet %s {\nchain in {\ntype filter hook input priority 0;\n%s\n}\nchain out {\ntype filter hook output priority 0;\n%s\n}\n}\n", table, in, out), "nft", "-f", "-")
}

// partition is how long TestSharePartition drops packets; "make share" sets 60 s.
func partition() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("EXSPAN_PARTITION")); err == nil {
		return d
	}
	return 8 * time.Second
}

// TestSharePartition cuts one sensor off.
func TestSharePartition(t *testing.T) {
	f := newFleet(t)
	f.startHub()
	for _, name := range sensorNames {
		f.start(name)
	}
	f.connected(sensorNames...)
	f.drop("cut", "ip saddr 10.99.0.3 drop", "ip daddr 10.99.0.3 drop")
	begin := time.Now()
	f.replayAll(sensorNames...)
	f.heard(endpointsOfA, "c")
	if n := f.sensors["b"].metrics().sum("exspan_share_facts", "of", "endpoints"); n != 0 {
		t.Errorf("b heard of %v endpoints", n)
	}
	time.Sleep(time.Until(begin.Add(partition())))
	f.run("", "nft", "delete", "table", "inet", "cut")
	healed := time.Now()
	f.heard(endpointsOfA, "b")
	t.Logf("a partition of %.0f s was over for the sensor %.1f s after it had healed", partition().Seconds(), time.Since(healed).Seconds())
	if n := f.sensors["b"].metrics().sum("exspan_share_partitions_total"); partition() > 20*time.Second && n != 1 {
		t.Errorf("b counts %v partitions", n)
	}
	f.check(sensorNames...)
}

// TestShareFlooder is a sensor that floods the hub, for TestShareFlood.
func TestShareFlooder(t *testing.T) {
	url := os.Getenv("EXSPAN_FLOOD_URL")
	if url == "" {
		t.Skip("it is run by another test")
	}
	facts := manyFacts(9, 100_000)
	s := share.New(share.Options{URL: url, Credentials: os.Getenv("EXSPAN_FLOOD_KEY"), CA: os.Getenv("EXSPAN_FLOOD_CA"), Realm: "default", Sensor: "flood", Now: time.Now,
		Log: slog.New(slog.DiscardHandler), Tell: func([]knowledge.Told) {}, Facts: func(yield func([]knowledge.Fact) bool) { yield(nil) }})
	s.Start()
	for i := 0; ; i++ {
		f := facts[i%len(facts)]
		f.Annotation = fmt.Sprint(i) // so that it is news each time
		s.Learned(&f)
		if i%64 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// TestShareFlood lets one sensor flood the hub while another one captures at the rate
// that it manages without the flood: the flood may not make it lose packets.
func TestShareFlood(t *testing.T) {
	f := newFleet(t)
	f.run("", f.program, "--data", filepath.Join(f.dir, "hub"), "user", "add", "flood", "-o", filepath.Join(f.dir, "flood.nk"))
	f.startHub()
	f.start("a")
	f.connected("a")
	p := f.sensors["a"]
	// send sends packets at a rate for some seconds. It returns the rate that they had, and
	// whether all were read.
	send := func(pps int) (sent int, lossless bool) {
		before := p.metrics().sum("exspan_capture_dropped_packets_total")
		out, err := exec.Command("tcpreplay", "-q", "-K", "-i", "ina", "--loop", fmt.Sprint(max(3*pps/900, 1)), "--pps", fmt.Sprint(pps), "--unique-ip", f.files["a"]).CombinedOutput()
		if err != nil {
			t.Fatalf("tcpreplay: %v: %s", err, out)
		}
		time.Sleep(200 * time.Millisecond)
		return int(number(`([\d.]+) pps`, string(out))), p.metrics().sum("exspan_capture_dropped_packets_total") == before
	}
	rate := func(from int) int {
		for pps := from; pps >= 1000; pps = pps * 2 / 3 {
			if sent, lossless := send(pps); lossless {
				return sent
			}
		}
		return 0
	}
	from := 60_000
	if os.Getenv("EXSPAN_SHARE") != "" {
		from = 400_000
	}
	quiet := rate(from)
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestShareFlooder$")
	cmd.Env = append(os.Environ(), "EXSPAN_FLOOD_URL=tls://10.99.0.3:4222", "EXSPAN_FLOOD_KEY="+filepath.Join(f.dir, "flood.nk"), "EXSPAN_FLOOD_CA="+filepath.Join(f.dir, "hub", "hub.crt"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	told := func() float64 {
		s := p.metrics()
		return s.sum("exspan_share_facts", "of", "endpoints") + s.sum("exspan_share_rejected_total")
	}
	for i := 0; told() < 5000; i++ {
		if i == 600 {
			t.Fatalf("there is no flood\n%s", &f.log)
		}
		time.Sleep(100 * time.Millisecond)
	}
	begin, before := time.Now(), f.hubBytes()
	flooded := rate(quiet)
	flood := (f.hubBytes() - before) / time.Since(begin).Seconds()
	t.Logf("no packet is lost at %d packets/s without a flood, and at %d with one; to the hub and from it go %.1f MB/s", quiet, flooded, flood/1e6)
	if flooded < quiet/4 || flooded == 0 {
		t.Errorf("a flood from another sensor costs packets: %d packets/s instead of %d", flooded, quiet)
	}
	if flood < 50e3 {
		t.Error("that was no flood")
	}
	// Packets come first, so what the flood tells may be read only now.
	refused := func() float64 {
		s := p.metrics()
		return s.sum("exspan_share_rejected_total", "reason", "quota") + s.sum("exspan_share_rejected_total", "reason", "rate")
	}
	for i := 0; refused() == 0; i++ {
		if i == 600 {
			t.Fatal("no fact of the flood was refused")
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.stop(syscall.SIGTERM)
}

// hubBytes returns how many bytes went to the hub and came from it.
func (f *fleet) hubBytes() float64 {
	f.t.Helper()
	const others = `(?:\s+\d+){7}`
	dev := string(mustRead(f.t, "/proc/thread-self/net/dev"))
	return number(`tohub:\s*(\d+)`, dev) + number(`tohub:\s*\d+`+others+`\s+(\d+)`, dev)
}
