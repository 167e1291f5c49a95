package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/capture/live"
	"github.com/exspan/exspan/cmd/internal/flagfile"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": 4096, "10B": 10, "64KiB": 64 << 10, "64 MiB": 64 << 20, "2GiB": 2 << 30, "100MB": 100e6, "1KB": 1000, "3TiB": 3 << 40,
	} {
		var s size
		if err := s.Set(text); err != nil || int64(s) != want {
			t.Errorf("%q is %d, %v; want %d", text, s, err, want)
		}
		var again size
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%q is shown as %q", text, s.String())
		}
	}
	for _, text := range []string{"", "x", "-1", "1.5MiB", "MiB", "1 2", "99999999999999999999", "9999999999TiB"} {
		var s size
		if err := s.Set(text); err == nil {
			t.Errorf("%q is taken for %d", text, s)
		}
	}
}

// TestMonitorMistakes has a case for every mistake that the monitor checks for.
func TestMonitorMistakes(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "web.yml")
	if err := os.WriteFile(bad, []byte("tls_server_config: [\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{"", `nothing to read: name an interface with -i, or a file with -r`},
		{"eth9", `unexpected argument "eth9"; interfaces are given with -i, files with -r`},
		{"-i a -r b", `--read and --interface exclude each other`},
		{"-i a -i a", `--interface: a is given twice`},
		{"-i a --capture x", `--capture: unknown "x"; known are auto, pcap, afpacket`},
		{"-i a --workers 0", `--workers: 0 is not between 1 and 64`},
		{"-i a --snaplen 10", `--snaplen: 10 is not between 64 and 262144`},
		{"-i a --buffer-size 10", `--buffer-size: 10 is not between 1MiB and 2GiB`},
		{"-i a --hold 0", `--hold: must be more than 0s`},
		{"-i a --max-held 0", `--max-held: 0 is less than 1`},
		{"-i a --interim -1s", `--interim: -1s is less than 0`},
		{"-i a --write-status x", `--write-status: unknown "x"; known are expected, deviating, unexpected, unrelated, undetermined`},
		{"-i a -w -", `--write: needs the name of a file`},
		{"-i a -w x --ndjson x", `--write and --ndjson name the same file`},
		{"-i a --write-buffer 1", `--write-buffer: 1 is less than 1MiB`},
		{"-i a --queue-size 1", `--queue-size: 1 is less than 64KiB`},
		{"-i a --rotate-size 1", `--rotate-size: 1 is less than 64KiB`},
		{"-i a --rotate-interval 1ms", `--rotate-interval: 1ms is less than 1s`},
		{"-i a --rotate-keep -1", `--rotate-keep: -1 is less than 0`},
		{"-i a --file-mode 999", `"999" is not the mode of a file that its owner reads and writes; write 0640 or 0600`},
		{"-i a --file-mode 0044", `"0044" is not the mode of a file that its owner reads and writes`},
		{"-i a --file-group no-such-group", `--file-group: unknown group no-such-group`},
		{"-i a --sensor a\u202eb", `--sensor: want at most 128 bytes of printable text`},
		{"-i a --state-interval 1h", `--state-interval: 1h0m0s is not between 1s and 1m`},
		{"-i a --log.level x", `--log.level: unknown "x"; known are debug, info, warn, error`},
		{"-i a --log.format x", `--log.format: unknown "x"; known are logfmt, json`},
		{"-i a --web.config.file " + bad, `--web.config.file: yaml: line 1: did not find expected node content`},
		{"-i a host", `filter "host": can't parse filter expression: syntax error`},
		{"-i a --exchange 1999 --web.listen-address=", `no rules for Exchange 1999`},
		{"-i a --web.listen-address x", `--web.listen-address: listen tcp: address x: missing port in address`},
		{"-i no-such-if --capture pcap --web.listen-address=", `interface no-such-if: `},
		{"-i a --config.file " + dir + "/none", `/none: no such file`},
		{"-r /dev/null --web.listen-address= --user no-such-user", `--user: unknown user no-such-user`},
	} {
		var stderr bytes.Buffer
		if code := run(append([]string{"monitor"}, strings.Fields(tt.args)...), &bytes.Buffer{}, &stderr); code != exitUsage {
			t.Errorf("%s: exit code %d", tt.args, code)
		}
		if !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%s: %q, want %q", tt.args, stderr.String(), tt.want)
		}
	}
}

func TestConfigFile(t *testing.T) {
	apply := func(text string, args ...string) (*monitor, string, error) {
		cmd := newMonitorCmd()
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		filter := ""
		err := flagfile.Apply(cmd.Flags(), &filter, "c.yaml", []byte(text), notInFile...)
		m := &monitor{}
		m.interfaces, _ = cmd.Flags().GetStringArray("interface")
		m.Hold, _ = cmd.Flags().GetDuration("hold")
		m.rings, _ = cmd.Flags().GetInt("workers")
		m.promiscuous, _ = cmd.Flags().GetBool("promiscuous")
		m.writeStatus, _ = cmd.Flags().GetStringSlice("write-status")
		m.Exchange, _ = cmd.Flags().GetString("exchange")
		m.logLevel, _ = cmd.Flags().GetString("log.level")
		m.listen, _ = cmd.Flags().GetStringArray("web.listen-address")
		return m, filter + "|" + cmd.Flags().Lookup("rotate-size").Value.String(), err
	}
	m, more, err := apply(`# sensor
interface: [eth1, eth2]
hold: 90s
workers: 2
promiscuous: false
write-status: [unexpected]
exchange: 2010
rotate-size: 100MiB
log.level: warn
web.listen-address: ["127.0.0.1:1", "[::1]:1"]
filter: "host 10.0.0.5"
`, "--workers", "3", "--log.level", "error")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.interfaces, []string{"eth1", "eth2"}) || m.Hold != 90*time.Second || m.promiscuous || m.Exchange != "2010" ||
		!slices.Equal(m.writeStatus, []string{"unexpected"}) || !slices.Equal(m.listen, []string{"127.0.0.1:1", "[::1]:1"}) ||
		more != "host 10.0.0.5|100MiB" {
		t.Errorf("flags are %+v, %s", m, more)
	}
	if m.rings != 3 || m.logLevel != "error" {
		t.Error("the command line does not take precedence")
	}
	if _, _, err := apply(""); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	for text, want := range map[string]string{
		"interfaces: [eth1]":        `c.yaml:1:1: unknown key "interfaces"; the keys are the flags' long names, and filter`,
		"hold: 5m\nworkers: many":   `c.yaml:2:10: workers: strconv.ParseInt: parsing "many": invalid syntax`,
		"hold: [1s, 2s]":            `c.yaml:1:1: hold: want one value, not 2`,
		"hold: {a: b}":              `c.yaml:1:7: hold: want a value or a list of values`,
		"hold:":                     `hold: want a value or a list of values`,
		"- hold":                    `want one mapping from flags to values`,
		"config.file: x":            `c.yaml:1:1: unknown key "config.file"`,
		"filter: [a, b]":            `c.yaml:1:1: filter: want one value`,
		"interim: 1s\ninterim: 2s":  `c.yaml`,
		"rotate-size: 1 mile":       `c.yaml:1:14: rotate-size: "1 mile" is not a size`,
		"a: b\nc: d":                "c.yaml:1:1: unknown key \"a\"; the keys are the flags' long names, and filter\nc.yaml:2:1:",
		"hold: 5m\n  bad indent: [": `c.yaml`,
	} {
		_, _, err := apply(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestMonitorReads reads a file with monitor and expects the output of analyze.
func TestMonitorReads(t *testing.T) {
	file, site := testdata("rpc.pcapng"), testdata("rpc.site.yaml")
	var want, got, stderr bytes.Buffer
	if code := run([]string{"analyze", "--hold", "5m", "--format", "ndjson", "--site", site, file}, &want, &stderr); code != 0 {
		t.Fatal(code, stderr.String())
	}
	args := []string{"monitor", "-r", file, "--site", site, "--interim", "0", "--ndjson", "-", "--web.listen-address="}
	if code := run(args, &got, &stderr); code != 0 {
		t.Fatal(code, stderr.String())
	}
	if want.Len() == 0 || want.String() != got.String() {
		t.Errorf("monitor writes %d bytes, analyze %d", got.Len(), want.Len())
	}
}

// TestMonitorWrites verifies that exactly the packets of flows with one status are kept.
func TestMonitorWrites(t *testing.T) {
	dir := t.TempDir()
	data, err := capturetest.Compile("packets", []byte(`start 2010-03-04T09:14:00Z
handshake 10.0.0.5:1050 > 10.0.0.2:3268
tcp 10.0.0.5:1050 > 10.0.0.2:3268 zero(100)
udp 10.0.0.9:2000 > 10.0.0.8:9999 zero(72)
handshake 10.0.0.5:1051 > 10.0.0.2:4444
tcp 10.0.0.5:1051 > 10.0.0.2:4444 zero(10)
@20 tcp 10.0.0.5:1051 > 10.0.0.2:4444 zero(11)
`))
	if err != nil {
		t.Fatal(err)
	}
	in, site, out := filepath.Join(dir, "in.pcap"), filepath.Join(dir, "site.yaml"), filepath.Join(dir, "out.pcapng")
	for name, b := range map[string][]byte{in: data,
		site: []byte("servers: [{name: mb, addresses: [10.0.0.5], roles: [mailbox]}, {name: dc, addresses: [10.0.0.2], roles: [dc, gc]}]\n")} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run([]string{"monitor", "-r", in, "--site", site, "-w", out, "--write-status", "unexpected", "--web.listen-address="}, &stdout, &stderr); code != 0 {
		t.Fatal(code, stderr.String())
	}
	stdout.Reset()
	if code := run([]string{"analyze", "--site", site, "--format", "csv", out}, &stdout, &stderr); code != 0 {
		t.Fatal(code, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[1], "4444") {
		t.Errorf("the file of packets holds\n%s", stdout.String())
	}
}

func TestInterfacesLists(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run([]string{"interfaces"}, &stdout, &stderr); code != 0 {
		t.Fatal(code, stderr.String())
	}
	devices, err := live.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if !strings.Contains(stdout.String(), d.Name) {
			t.Errorf("%s is not listed", d.Name)
		}
	}
	if runtime.GOOS == "linux" && !strings.Contains(stdout.String(), "lo ") {
		t.Errorf("the loopback interface is not listed:\n%s", stdout.String())
	}
}

func TestDumpFilter(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run([]string{"monitor", "-d", "port", "25"}, &stdout, &stderr); code != 0 {
		t.Fatal(code, stderr.String())
	}
	if got := stdout.String(); !strings.Contains(got, "(port 25)") || !strings.Contains(got, "vlan") {
		t.Errorf("the filter is %q", got)
	}
}
