package rules

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestEmbeddedWith(t *testing.T) {
	plain, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	old := plain.Path("2010.transport.hub-hub")
	pack := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	files := fstest.MapFS{
		"mine.yaml": pack(`version: "2010"
source: us
confidence: high
paths:
  - id: 2010.transport.hub-hub
    name: our own
    table: transport
    from: hub
    to: hub
    ports: 2525/tcp
    legs:
      - {port: 2525/tcp, protocol: smtp}
  - id: 2010.ours.new
    name: new
    table: transport
    from: hub
    to: any
    ports: 9999/tcp
    legs:
      - {port: 9999/tcp, protocol: dcerpc, facts: {rpc.interface: ours}}
interfaces:
  - {uuid: a4f1db00-ca47-1067-b31f-00dd010662da, version: "0.81", name: renamed, title: x, service: y}
  - {uuid: 11111111-2222-3333-4444-555555555555, version: "1.0", name: ours, title: x, service: y}
  - {uuid: 11111111-2222-3333-4444-555555555556, version: "1.0", name: emsmdb, title: x, service: y}
`),
		"later.yaml": pack(`version: "2010"
source: us
confidence: low
paths:
  - id: 2010.ours.new
    name: newer
    table: transport
    from: hub
    to: any
    ports: 9999/tcp
    legs:
      - {port: 9999/tcp, protocol: smtp}
`),
		"bad.yaml": pack("version: \"2010\"\npaths:\n  - {id: 2010.x}\n"),
	}
	got, err := EmbeddedWith(files, "mine.yaml", "later.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if d := got.Path("2010.transport.hub-hub"); d == nil || d.Name != "our own" || d == old {
		t.Errorf("not replaced: %+v", d)
	}
	if d := got.Path("2010.ours.new"); d == nil || d.Name != "newer" || d.Confidence != "low" {
		t.Errorf("the later one does not count: %+v", d)
	}
	before, after := plain.Paths("2010"), got.Paths("2010")
	if len(after) != len(before)+1 || after[0].ID != before[0].ID || after[len(after)-1].ID != "2010.ours.new" {
		t.Errorf("%d paths, want %d, the new one last", len(after), len(before)+1)
	}
	packs := 0
	for _, p := range got.All() {
		if p.Version == "2010" && len(p.Paths) > 0 {
			packs++
		}
	}
	if packs != 1 {
		t.Errorf("%d packs of 2010 have paths", packs)
	}
	if name, _ := got.InterfaceName("a4f1db00-ca47-1067-b31f-00dd010662da", "0.81"); name != "renamed" {
		t.Errorf("the interface is named %q", name)
	}
	if f, ok := got.Interface("emsmdb"); !ok || f.UUID != "11111111-2222-3333-4444-555555555556" {
		t.Errorf("the name was not taken over: %+v", f)
	}

	if _, err := EmbeddedWith(files, "bad.yaml"); err == nil || !strings.HasPrefix(err.Error(), "bad.yaml:3:") {
		t.Errorf("no mistake is told: %v", err)
	}
	if _, err := EmbeddedWith(files, "missing.yaml"); err == nil {
		t.Error("a missing file is no error")
	}
	if again, err := Embedded(); err != nil || again.Path("2010.transport.hub-hub").Name != old.Name {
		t.Errorf("the built-in packs were changed: %v", err)
	}
}
