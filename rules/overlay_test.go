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
		t.Errorf("the earlier one won: %+v", d)
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
		t.Errorf("the name was not replaced: %+v", f)
	}

	if _, err := EmbeddedWith(files, "bad.yaml"); err == nil || !strings.HasPrefix(err.Error(), "bad.yaml:3:") {
		t.Errorf("no mistake was reported: %v", err)
	}
	if _, err := EmbeddedWith(files, "missing.yaml"); err == nil {
		t.Error("a missing file caused no error")
	}
	if again, err := Embedded(); err != nil || again.Path("2010.transport.hub-hub").Name != old.Name {
		t.Errorf("the built-in packs were changed: %v", err)
	}
}

// TestEmbeddedWithPolicy verifies that a user's policy replaces the built-in one, and
// that a pack can extend a built-in one.
func TestEmbeddedWithPolicy(t *testing.T) {
	files := fstest.MapFS{
		"mine.yaml": {Data: []byte(`policy:
  exchange_roles: mailbox
  answering: [dns]
  violations: [weak-encryption]
  weak:
    - {id: ours, finding: weak-encryption, fact: tls.version, values: ["1.2"], text: "TLS {value}", grades: [{level: remark, source: us}]}
`)},
		"next.yaml": {Data: []byte(`version: "5.5"
extends: exchangese
confidence: low
append: {note: ours, source: us, confidence: low}
paths:
  - {id: 5.5.client.owa, name: ours}
`)},
	}
	packs, err := EmbeddedWith(files, "mine.yaml", "next.yaml")
	if err != nil {
		t.Fatal(err)
	}
	policy := packs.Policy()
	if len(policy.Weak) != 1 || !policy.Weak[0].Fits("tls.version", "1.2") || policy.Exchange(Hub) || !policy.Answers("dns") {
		t.Errorf("%+v", policy)
	}
	old := packs.Path("se.client.owa")
	d := packs.Path("5.5.client.owa")
	if old == nil || d == nil {
		t.Fatal("a path is missing")
	}
	if d.Name != "ours" || d.Version != "5.5" || d.Group != "5.5.https.client" || d.Confidence != "low" ||
		d.Note != old.Note+"; ours" || d.Source != old.Source+"; us" || len(d.Legs) != len(old.Legs) || d.Legs[0].Group != d.Group {
		t.Errorf("%+v\nextends %+v", d, old)
	}
	if packs.GroupName("5.5.https.client") != "HTTPS client access" || old.Group != "se.https.client" {
		t.Errorf("groups %q and %q", packs.GroupName("5.5.https.client"), old.Group)
	}
	if plain := embeddedPacks(t).Policy(); len(plain.Weak) < 5 {
		t.Errorf("the built-in policy was changed: %+v", plain)
	}
}
