package classify

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/capture/capturetest/readfile"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

const reloadSite = `
exchange: "2010"
servers:
  - {name: hub1, addresses: [10.0.0.1], roles: [hub]}
  - {name: cas1, addresses: [10.0.0.4], roles: [cas], static_ports: {emsmdb: 59532}}
`

func TestReload(t *testing.T) {
	packs := testPacks(t)
	e, err := New(Config{Packs: packs, Traffic: true}, discard{})
	if err != nil {
		t.Fatal(err)
	}
	a := capture.AddrFrom(netip.MustParseAddr("10.0.0.1"))
	exchange := func(e *Engine) bool {
		r, _ := e.inventory.Host(&a, nil)
		return r.Exchange
	}
	if exchange(e) {
		t.Fatal("an unknown host is an Exchange server")
	}
	site, err := rules.LoadSite("site.yaml", []byte(reloadSite))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Reload(packs, site); err != nil {
		t.Fatal(err)
	}
	if !exchange(e) {
		t.Error("the new site file does not hold")
	}
	static := capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.4:59532"))
	if !e.inventory.Known(&static, capture.TCP, 1) {
		t.Error("the static port is not known")
	}
	// The same site file again, later: what it says goes on.
	for i := range 3 {
		e.clock = int64(i+1) * int64(time.Hour)
		if err := e.Reload(packs, site); err != nil {
			t.Fatal(err)
		}
		if !exchange(e) || !e.inventory.Known(&static, capture.TCP, e.clock+1) {
			t.Fatalf("reload %d ends what the site file says", i+1)
		}
	}
	e.cfg.Exchange = "1999"
	if err := e.Reload(packs, nil); err == nil || !exchange(e) {
		t.Error("a bad reload must change nothing")
	}
}

// ownPacks returns the packs of 2010, read anew so that a test can change them.
func ownPacks(t *testing.T) *rules.Packs {
	t.Helper()
	fsys := os.DirFS("../rules/packs")
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		version, bound := strings.CutPrefix(name, "exchange")
		return bound && version != ".yaml" && version != "2010.yaml"
	})
	packs, err := rules.Load(fsys, names...)
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

// keep is a Sink that keeps what records say of a flow, by the client's port.
type keep map[uint16]string

func (k keep) Write(r *record.Record) error {
	path := ""
	if r.Verdict.Path != nil {
		path = r.Verdict.Path.Name
	}
	text := fmt.Sprintf("%s %s [%s]", strings.Join(r.Server.Roles, ","), r.Verdict.Status, path)
	for _, f := range r.Verdict.Findings {
		text += fmt.Sprintf(" %s:%s", f.ID, f.Level)
	}
	k[r.Client.Port] = text
	return nil
}

func (keep) Close(*record.Summary) error { return nil }

// TestReloadLeavesNothing changes evidence, policy and a path: neither hosts first
// seen after the reload nor those known before it are judged by the old rules,
// though their flows say what flows before said.
func TestReloadLeavesNothing(t *testing.T) {
	const bind = `handshake pc:%[1]d > %[2]s:40001
tcp pc:%[1]d > %[2]s:40001 rpc-bind(emsmdb ntlm privacy)
tcp %[2]s:40001 > pc:%[1]d rpc-bind-ack(40001 ntlm privacy)
tcp pc:%[1]d > %[2]s:40001 rpc-auth3(ntlm privacy)
tcp pc:%[1]d > %[2]s:40001 rpc-request(0 ntlm privacy)
tcp %[2]s:40001 > pc:%[1]d rpc-response(ntlm privacy)
`
	text := "start 2026-01-01T00:00:00Z\nhost pc 10.0.0.9\nhost old 10.0.0.3\nhost new 10.0.0.4\n" +
		fmt.Sprintf(bind, 2001, "old") + "reload\n" + fmt.Sprintf(bind, 2002, "new") + fmt.Sprintf(bind, 2003, "old")
	before, after, _ := strings.Cut(text, "reload\n")
	records := keep{}
	e, err := New(Config{Packs: ownPacks(t), Hold: 1}, records)
	if err != nil {
		t.Fatal(err)
	}
	feed := func(text string, skip int) int {
		t.Helper()
		data, err := capturetest.Compile("reload.txt", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "reload.pcap")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		packets := readfile.Packets(t, file)
		if err := e.Batch(&capture.Batch{Packets: packets[skip:]}); err != nil {
			t.Fatal(err)
		}
		return len(packets)
	}
	n := feed(before, 0)
	other := ownPacks(t)
	for _, pack := range other.All() {
		for i := range pack.Evidence {
			if ev := &pack.Evidence[i]; ev.End == "server" && slices.ContainsFunc(ev.Any, func(m rules.Match) bool {
				return slices.ContainsFunc(m.Facts, func(f rules.Fact) bool { return slices.Contains(f.Values, "emsmdb") })
			}) {
				ev.Roles, ev.ByVersion = []rules.Role{rules.UM}, nil
			}
		}
		for i := range pack.Paths {
			p := &pack.Paths[i]
			p.Name = "renamed"
			if slices.Contains(p.To, rules.Mailbox) {
				p.To = append(p.To, rules.UM)
			}
		}
		if pack.Policy != nil {
			pack.Policy.Weak = append(pack.Policy.Weak, rules.Weakness{ID: "test", Finding: "weak-auth", Fact: "auth", Values: []string{"ntlm"},
				Text: "NTLM", Grades: []rules.Grade{{Level: rules.Remark}}})
		}
	}
	if err := e.Reload(other, nil); err != nil {
		t.Fatal(err)
	}
	feed(before+after, n)
	if err := e.Close(nil); err != nil {
		t.Fatal(err)
	}
	for _, port := range []uint16{2001, 2002, 2003} {
		got := records[port]
		if !strings.HasPrefix(got, "um ") || !strings.Contains(got, "[renamed]") || !strings.Contains(got, "weak-auth:remark") {
			t.Errorf("port %d: %s", port, got)
		}
	}
}
