package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connection is one that a recording shows, and whether rules must let it pass.
type connection struct {
	proto          string
	client, server netip.Addr
	port           uint16
	pass           bool
	what           string
}

// connectionsOf returns the connections of a recording, by the verdicts that an expert wants
// for them. Those of which no rule is expected either way are left out.
func connectionsOf(t *testing.T, name string) []connection {
	t.Helper()
	data, err := os.ReadFile(testdata(name + ".truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var truth struct {
		Hosts []struct {
			Name, Address string
			Roles         []string
		}
	}
	if err := json.Unmarshal(data, &truth); err != nil {
		t.Fatal(err)
	}
	addr := func(host string) netip.Addr {
		if a, err := netip.ParseAddr(host); err == nil {
			return a
		}
		for _, h := range truth.Hosts {
			if h.Name == host {
				return netip.MustParseAddr(h.Address)
			}
		}
		t.Fatalf("%s: no host %s", name, host)
		return netip.Addr{}
	}
	var list []connection
	for _, row := range readTable(t, filepath.Join(testdataDir, "labels", name+".tsv")) {
		client, server, _ := strings.Cut(row["flow"], " > ")
		clientHost, _, _ := cutLast(client, ":")
		serverHost, end, _ := cutLast(server, ":")
		port, proto, _ := strings.Cut(end, "/")
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			t.Fatalf("%s: %s", name, row["flow"])
		}
		c := connection{proto, addr(clientHost), addr(serverHost), uint16(n), row["status"] != "unexpected", row["flow"] + " " + row["status"]}
		switch findings := row["findings_must"]; {
		case row["status"] != "expected" && row["status"] != "deviating" && row["status"] != "unexpected":
		case strings.Contains(findings, "wrong-direction"), strings.Contains(findings, "external-source"), strings.Contains(findings, "protocol-mismatch"):
		case slices.ContainsFunc(list, func(o connection) bool {
			return o.proto == c.proto && o.client == c.client && o.server == c.server && o.port == c.port
		}):
		default:
			list = append(list, c)
		}
	}
	// And what no recording has: a client at a port that nobody documents.
	client := addr("client1")
	for _, h := range truth.Hosts {
		if slices.ContainsFunc(h.Roles, func(r string) bool { return slices.Contains(exchangeRoles, r) }) {
			list = append(list, connection{"tcp", client, netip.MustParseAddr(h.Address), 4444, false, "client1 > " + h.Name + ":4444/tcp"})
			list = append(list, connection{"udp", client, netip.MustParseAddr(h.Address), 4444, false, "client1 > " + h.Name + ":4444/udp"})
		}
	}
	return list
}

// firewallText returns the rules for a recording.
func firewallText(t *testing.T, name string, flags ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args := append([]string{"firewall", "-q", "--site", testdata(name + ".site.yaml"), testdata(name + ".pcapng")}, flags...)
	if code := run(args, &stdout, &stderr); code != exitDone {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr.String())
	}
	return stdout.String()
}

// wall is a router between two networks, each a namespace.
type wall struct {
	t       *testing.T
	a, r, b string // names of namespaces: clients, router, servers
}

func newWall(t *testing.T) *wall {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft", "iptables-restore", "ip6tables-restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	prefix := fmt.Sprintf("exspan-%d-", os.Getpid())
	w := &wall{t, prefix + "a", prefix + "r", prefix + "b"}
	for _, n := range []string{w.a, w.r, w.b} {
		if out, err := exec.Command("ip", "netns", "add", n).CombinedOutput(); err != nil {
			t.Skipf("network namespaces are not possible: %v: %s", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n).Run() })
		w.in(n, "ip link set lo up")
	}
	for i, n := range []string{w.a, w.b} {
		w.in(w.r, fmt.Sprintf("ip link add to%d type veth peer name wan netns %s", i, n))
		w.in(w.r, fmt.Sprintf("ip addr add 169.254.%d.1/30 dev to%d", i, i))
		w.in(w.r, fmt.Sprintf("ip link set to%d up", i))
		w.in(n, fmt.Sprintf("ip addr add 169.254.%d.2/30 dev wan", i))
		w.in(n, "ip link set wan up")
		w.in(n, fmt.Sprintf("ip route add default via 169.254.%d.1", i))
	}
	w.in(w.r, "ip route add default via 169.254.0.2")
	for _, setting := range []string{"ip_forward=1", "conf.all.rp_filter=0", "conf.default.rp_filter=0", "conf.to0.rp_filter=0", "conf.to1.rp_filter=0", "icmp_ratelimit=0"} {
		w.in(w.r, "sysctl -qw net.ipv4."+setting)
	}
	return w
}

func (w *wall) in(namespace, command string) {
	w.t.Helper()
	if out, err := exec.Command("ip", append([]string{"netns", "exec", namespace}, strings.Fields(command)...)...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// load gives text to a program in the router.
func (w *wall) load(text string, command ...string) {
	w.t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", w.r}, command...)...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %v: %s\n%s", command, err, out, text)
	}
}

// enter runs f on a thread inside a namespace.
func (w *wall) enter(namespace string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks: the thread ends
		fd, err := unix.Open("/var/run/netns/"+namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// serve answers on ports of an address in the servers' namespace until stop is called.
func (w *wall) serve(server netip.Addr, ports []connection) (stop func()) {
	w.t.Helper()
	var open []interface{ Close() error }
	err := w.enter(w.b, func() error {
		for _, c := range ports {
			end := netip.AddrPortFrom(server, c.port)
			if c.proto == "udp" {
				u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(end))
				if err != nil {
					return err
				}
				open = append(open, u)
				go func() {
					b := make([]byte, 10)
					for {
						n, from, err := u.ReadFrom(b)
						if err != nil {
							return
						}
						_, _ = u.WriteTo(b[:n], from)
					}
				}()
				continue
			}
			l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(end))
			if err != nil {
				return err
			}
			open = append(open, l)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return func() {
		for _, c := range open {
			_ = c.Close()
		}
	}
}

// reaches tries a connection, and returns why it failed.
func (w *wall) reaches(c *connection) error {
	return w.enter(w.a, func() error {
		d := net.Dialer{Timeout: 3 * time.Second}
		if c.proto == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.client, 0))
		} else {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.client, 0))
		}
		x, err := d.Dial(c.proto+"4", netip.AddrPortFrom(c.server, c.port).String())
		if err != nil {
			return err
		}
		defer x.Close()
		if c.proto == "udp" {
			_ = x.SetDeadline(time.Now().Add(3 * time.Second))
			if _, err = x.Write([]byte("x")); err == nil {
				_, err = x.Read(make([]byte, 10))
			}
		}
		return err
	})
}

// try makes all connections, and wants those to pass that must, and the others to be
// rejected at once.
func (w *wall) try(what string, list []connection) {
	w.t.Helper()
	servers := map[netip.Addr][]connection{}
	hosts := map[netip.Addr]bool{}
	for _, c := range list {
		hosts[c.client], hosts[c.server] = true, true
		if !slices.ContainsFunc(servers[c.server], func(o connection) bool { return o.proto == c.proto && o.port == c.port }) {
			servers[c.server] = append(servers[c.server], c)
		}
	}
	for h := range hosts {
		w.in(w.a, "ip addr add "+h.String()+"/32 dev lo")
	}
	passed, rejected := 0, 0
	for server, ports := range servers {
		w.in(w.a, "ip addr del "+server.String()+"/32 dev lo")
		w.in(w.b, "ip addr add "+server.String()+"/32 dev lo")
		w.in(w.r, "ip route add "+server.String()+"/32 via 169.254.1.2")
		stop := w.serve(server, ports)
		for _, c := range list {
			if c.server != server || c.client == server {
				continue
			}
			start := time.Now()
			err := w.reaches(&c)
			switch {
			case c.pass && err != nil:
				w.t.Errorf("%s: %s: %v", what, c.what, err)
			case !c.pass && err == nil:
				w.t.Errorf("%s: %s passes", what, c.what)
			case !c.pass && time.Since(start) > 2*time.Second:
				w.t.Errorf("%s: %s was not rejected but dropped: %v", what, c.what, err)
			case c.pass:
				passed++
			default:
				rejected++
			}
		}
		stop()
		w.in(w.r, "ip route del "+server.String()+"/32")
		w.in(w.b, "ip addr del "+server.String()+"/32 dev lo")
		w.in(w.a, "ip addr add "+server.String()+"/32 dev lo")
	}
	for h := range hosts {
		w.in(w.a, "ip addr del "+h.String()+"/32 dev lo")
	}
	w.t.Logf("%s: %d connections pass, %d are rejected", what, passed, rejected)
	if passed == 0 {
		w.t.Errorf("%s: nothing passes", what)
	}
}

// TestFirewallRules loads the rules for recordings into a router and makes the
// connections of these recordings through it: what is documented passes, what is
// unexpected is rejected.
func TestFirewallRules(t *testing.T) {
	w := newWall(t)
	for _, name := range []string{"rpc", "mail", "web", "org"} {
		list := connectionsOf(t, name)
		// Ports of unfiltered pairs are free unless --strict: what is unexpected among
		// those passes then.
		strict := list
		w.load(firewallText(t, name, "--strict", "--format", "nftables"), "nft", "-f", "-")
		w.try(name+", nftables, strict", strict)
		w.load("flush ruleset", "nft", "-f", "-")
		open := slices.DeleteFunc(slices.Clone(list), func(c connection) bool { return !c.pass && !strings.HasPrefix(c.what, "client") })
		w.load(firewallText(t, name, "--format", "nftables"), "nft", "-f", "-")
		w.try(name+", nftables", open)
		w.load("flush ruleset", "nft", "-f", "-")
		rules := firewallText(t, name, "--strict", "--format", "iptables")
		w.load(rules, "iptables-restore", "--test", "--noflush")
		w.load(rules, "iptables-restore", "--noflush")
		w.try(name+", iptables, strict", strict)
		w.load("flush ruleset", "nft", "-f", "-")
	}
}

// TestFirewallSyntax gives the rules for all that is documented of each version to the
// programs that load them, with names that try to break out of a comment, and addresses
// of both families.
func TestFirewallSyntax(t *testing.T) {
	w := newWall(t)
	dir := t.TempDir()
	for _, version := range []string{"2003", "2007", "2010", "2013", "2016", "2019", "SE"} {
		site := filepath.Join(dir, version+".yaml")
		roles := "mailbox"
		if version == "2013" { // clients speak to Client Access servers alone
			roles = "cas, mailbox"
		}
		text := strings.Replace(pathSite(version), "servers:\n", "servers:\n"+
			"  - {name: \"x\\\" accept }\\n; reboot & calc % $(id)\", addresses: [\"2001:db8::5\", 10.7.0.5], roles: ["+roles+"]}\n", 1)
		text = strings.Replace(text, "networks:\n", "networks:\n  - {cidr: \"2001:db8:9::/48\", role: client}\n", 1) +
			"allow:\n  - {from: client, to: any, port: 3389/tcp, note: \"remote \\\" desktop\"}\n"
		if err := os.WriteFile(site, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for format, command := range map[string][]string{
			"nftables": {"nft", "-c", "-f", "-"}, "iptables": {"iptables-restore", "--test", "--noflush"},
			"ip6tables": {"ip6tables-restore", "--test", "--noflush"},
		} {
			least, other := 10, map[string]string{"iptables": "2001:db8", "ip6tables": "10.7.0.5"}[format]
			if format == "ip6tables" {
				least = 8 // it has one server
			}
			for _, strict := range []string{"--strict", "--strict=false"} {
				var stdout, stderr bytes.Buffer
				if code := run([]string{"firewall", "--site", site, "--format", format, strict}, &stdout, &stderr); code != exitDone {
					t.Fatalf("exit code %d: %s", code, stderr.String())
				}
				w.load(stdout.String(), command...)
				if n := strings.Count(stdout.String(), "accept comment") + strings.Count(stdout.String(), "-j ACCEPT"); n < least {
					t.Errorf("%s, %s: %d rules", version, format, n)
				}
				if other != "" && strings.Contains(stdout.String(), other) {
					t.Errorf("%s, %s: an address of the other family:\n%s", version, format, stdout.String())
				}
				if format == "ip6tables" && !strings.Contains(stdout.String(), "-s 2001:db8:9::/48 -d 2001:db8::5 -p tcp -m multiport --dports ") {
					t.Errorf("%s: no rule for clients in\n%s", version, stdout.String())
				}
			}
		}
	}
}
