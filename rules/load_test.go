package rules

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestParsePort(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Port
	}{
		{"25/tcp", Port{From: 25, To: 25, TCP: true}},
		{"389/tcp+udp", Port{From: 389, To: 389, TCP: true, UDP: true}},
		{"5075-5077/tcp", Port{From: 5075, To: 5077, TCP: true}},
		{"65535/udp", Port{From: 65535, To: 65535, UDP: true}},
		{"dynamic/tcp", Port{TCP: true, Dynamic: true}},
		{"dynamic/udp", Port{UDP: true, Dynamic: true}},
		{"6005-59530/tcp dynamic", Port{From: 6005, To: 59530, TCP: true, Dynamic: true}},
	} {
		got, err := ParsePort(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.text, got, err)
		}
		if got.String() != tt.text {
			t.Errorf("%s is printed as %s", tt.text, got)
		}
	}
	for _, bad := range []string{"", "/", "25", "25/", "025/tcp", "+25/tcp", "-/tcp", "1-/tcp", "-5/tcp", "1-2-3/tcp", "25/TCP",
		"25/tcp ", "99999/tcp", "dynamic", "dynamic/tcp dynamic", "25/tcp+udp+tcp"} {
		if p, err := ParsePort(bad); err == nil {
			t.Errorf("%q is %+v", bad, p)
		}
	}
}

func TestFits(t *testing.T) {
	for _, tt := range []struct {
		pattern, value string
		want           bool
	}{
		{"emsmdb", "emsmdb", true},
		{"emsmdb", "asyncemsmdb", false},
		{"X-EXPS", "x-exps", true},
		{"*", "anything", true},
		{"*", "", false},
		{"/owa*", "/owa", true},
		{"/owa*", "/OWA/auth/logon.aspx", true},
		{"/owa*", "/ow", false},
		{"/owa*", "x/owa", false},
		{"*ready", "it is Ready", true},
		{"*ready", "ready now", false},
		{"*MAIL Service ready*", "220 h Microsoft ESMTP MAIL Service ready at Mon", true},
		{"*MAIL Service ready*", "220 h Microsoft ESMTP MAIL Service, Version: 6.0", false},
		{"**", "x", true},
	} {
		if Fits(tt.pattern, tt.value) != tt.want {
			t.Errorf("Fits(%q, %q) is not %v", tt.pattern, tt.value, tt.want)
		}
	}
}

// TestLoad reads one small pack that uses all formats and all default values.
func TestLoad(t *testing.T) {
	pack := `
version: "2010"
source: a book
confidence: high
leg_sets:
  find:
    - {port: 135/tcp, protocol: dcerpc, facts: {rpc.interface: epmapper}, group: 2010.finder, auth: n/a, encryption: n/a}
paths:
  - id: 2010.one
    name: One
    from: client|admin
    to: cas
    external: true
    one_end: lb
    default_auth: ntlm
    supported_auth: ntlm|kerberos
    by_default: yes
    firewall_rules: [A - B (TCP-In)]
    legs:
      - find
      - {port: dynamic/tcp, protocol: dcerpc, facts: {rpc.interface: [x, unnamed]}, reverse: true, max_confidence: pattern}
  - {id: 2010.two, name: Two, from: any, to: hub, group: 2010.one, source: b, confidence: low, legs: [find]}
`
	common := `
source: c
confidence: medium
interfaces:
  - {name: x, uuid: 00000000-ca47-1067-b31f-00dd010662da, version: 1.10|2.0, title: X}
  - {name: epmapper, uuid: 00000001-ca47-1067-b31f-00dd010662da, version: "?", title: E, confidence: low}
evidence:
  - roles: mailbox|cas
    end: server
    any: [{port: 6001/tcp, protocol: dcerpc}, {facts: {rpc.interface: x}}]
    version: "2007"
    note: n
    source: s
    weak: true
`
	p, err := Load(fstest.MapFS{"b.yaml": {Data: []byte(pack)}, "c.yaml": {Data: []byte(common)}})
	if err != nil {
		t.Fatal(err)
	}
	all := p.All()
	if len(all) != 2 || all[0].Name != "c" || all[1].Name != "b" {
		t.Fatalf("%+v", all)
	}
	find := Leg{
		Match: Match{Port: Port{From: 135, To: 135, TCP: true}, Protocol: "dcerpc", Facts: []Fact{{"rpc.interface", []string{"epmapper"}}}},
		Text:  "135/tcp dcerpc", Group: "2010.finder", Auth: NotApplicable, Encryption: NotApplicable,
	}
	want := []DataPath{
		{
			ID: "2010.one", Version: "2010", Name: "One", Group: "2010.one",
			From: []Role{Client, Admin}, To: []Role{CAS}, OneEnd: []Role{LB}, External: true,
			DefaultAuth: []string{"ntlm"}, SupportedAuth: []string{"ntlm", "kerberos"}, ByDefault: "yes", Ports: "135/tcp dcerpc;dynamic/tcp dcerpc",
			Source: "a book", Documents: []string{"a book"}, Confidence: "high",
			FirewallRules: []string{"A - B (TCP-In)"},
			Legs: []Leg{find, {
				Match: Match{Port: Port{Dynamic: true, TCP: true}, Protocol: "dcerpc", Facts: []Fact{{"rpc.interface", []string{"x", "unnamed"}}}},
				Text:  "dynamic/tcp dcerpc", Group: "2010.one", Reverse: true, MaxConfidence: "pattern",
			}},
		},
		{
			ID: "2010.two", Version: "2010", Name: "Two", Group: "2010.one",
			From: []Role{Any}, To: []Role{Hub}, Ports: "135/tcp dcerpc", Source: "b", Documents: []string{"b"}, Confidence: "low",
			Legs: []Leg{find},
		},
	}
	if !reflect.DeepEqual(all[1].Paths, want) {
		t.Errorf("got  %+v\nwant %+v", all[1].Paths, want)
	}
	evidence := []RoleEvidence{{
		Roles: []Role{Mailbox, CAS}, End: "server", Version: "2007", Note: "n", Source: "s", Confidence: "medium", Weak: true,
		Any: []Match{
			{Port: Port{From: 6001, To: 6001, TCP: true}, Protocol: "dcerpc"},
			{Facts: []Fact{{"rpc.interface", []string{"x"}}}},
		},
	}}
	if !reflect.DeepEqual(all[0].Evidence, evidence) {
		t.Errorf("got  %+v\nwant %+v", all[0].Evidence, evidence)
	}
	for v, want := range map[string]string{"1.10": "x", "2.0": "x", "1.1": ""} {
		if name, _ := p.InterfaceName("00000000-ca47-1067-b31f-00dd010662da", v); name != want {
			t.Errorf("v%s: %q", v, name)
		}
	}
	if d := p.Path("2010.two"); d == nil || d.Name != "Two" || p.Path("2010.three") != nil {
		t.Error("Path")
	}
	if f, ok := p.Interface("epmapper"); !ok || f.Version != "?" || f.Confidence != "low" || f.Source != "c" {
		t.Errorf("%+v", f)
	}
	if v := p.Versions(); !slices.Equal(v, []string{"2010"}) {
		t.Error(v)
	}
}

const smallPack = `version: "2010"
source: a
confidence: high
paths:
  - {id: 2010.a, name: A, from: client, to: cas, legs: [{port: 25/tcp}]}
`

// TestLoadSeveral verifies that mistakes between packs are found, and that the mistakes
// of all packs are reported together.
func TestLoadSeveral(t *testing.T) {
	path := smallPack
	_, err := Load(fstest.MapFS{
		"a.yaml": {Data: []byte(path)},
		"b.yaml": {Data: []byte(path)},
		"c.yaml": {Data: []byte("extra: 1\n")},
	})
	want := "c.yaml:1:1: unknown key \"extra\" in a pack\nb.yaml:5:10: path \"2010.a\" is already defined at a.yaml:5"
	var m Mistakes
	if !errors.As(err, &m) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := Load(fstest.MapFS{}); err == nil {
		t.Error("an empty folder was loaded")
	}
	if _, err := Load(fstest.MapFS{}, "a.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestEmbedded(t *testing.T) {
	if v := EmbeddedVersions(); !slices.Contains(v, "2010") {
		t.Error(v)
	}
	for _, v := range EmbeddedVersions() {
		p, err := Embedded(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Versions(); !slices.Equal(got, []string{v}) {
			t.Errorf("Embedded(%q) has %v", v, got)
		}
		if _, ok := p.Interface("emsmdb"); !ok {
			t.Errorf("Embedded(%q) has no interfaces", v)
		}
		if k := p.All()[len(p.All())-1]; k.Name != "exchange"+strings.ToLower(v) || k.Version != v {
			t.Errorf("pack %s has version %s", k.Name, k.Version)
		}
	}
}

// TestCheckEmbedded verifies that the built-in packs pass the check that users run on
// their own packs.
func TestCheckEmbedded(t *testing.T) {
	files, err := filepath.Glob("packs/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(f, data); err != nil {
			t.Error(err)
		}
	}
}

func seeds(f *testing.F, pattern string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		f.Fatal(pattern, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// FuzzLoad verifies that no file makes the reader panic, that refused files are refused
// with positions, and that accepted files are complete.
func FuzzLoad(f *testing.F) {
	seeds(f, "testdata/bad/pack/*.yaml")
	seeds(f, "packs/windows.yaml")
	seeds(f, "packs/exchangese.yaml")
	f.Add([]byte(smallPack))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Load(fstest.MapFS{"f.yaml": {Data: data}})
		checkMistakes(t, err)
		if err != nil {
			return
		}
		for _, k := range p.All() {
			for _, d := range k.Paths {
				if d.ID == "" || len(d.From) == 0 || len(d.To) == 0 || len(d.Legs) == 0 || d.Group == "" || d.Source == "" ||
					p.Path(d.ID) == nil {
					t.Errorf("%+v", d)
				}
				for _, l := range d.Legs {
					if l.Group == "" || l.Text == "" || l.Port.IP == "" && !l.Port.TCP && !l.Port.UDP || (l.Port.From == 0) != (l.Port.To == 0) ||
						l.Port.From == 0 && !l.Port.Dynamic && l.Port.IP == "" {
						t.Errorf("%+v", l)
					}
				}
			}
			for _, i := range k.Interfaces {
				if i.Name == "" || !validUUID(i.UUID) || i.Version == "" {
					t.Errorf("%+v", i)
				}
			}
			for _, e := range k.Evidence {
				if len(e.Roles) == 0 || len(e.Any) == 0 || e.End == "" || e.Source == "" {
					t.Errorf("%+v", e)
				}
			}
		}
	})
}

// FuzzLoadSite verifies the same for site files.
func FuzzLoadSite(f *testing.F) {
	seeds(f, "testdata/bad/site/*.yaml")
	f.Add([]byte(siteFile))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := LoadSite("f.yaml", data)
		checkMistakes(t, err)
		if err != nil {
			return
		}
		for _, v := range s.Servers {
			if len(v.Addresses) == 0 || len(v.Roles) == 0 {
				t.Errorf("%+v", v)
			}
			for service, port := range v.StaticPorts {
				if service == "" || port == 0 {
					t.Errorf("%+v", v)
				}
			}
		}
		for _, n := range s.Networks {
			if !n.Prefix.IsValid() || n.Role == "" {
				t.Errorf("%+v", n)
			}
		}
		for _, a := range s.Allow {
			if a.From == "" || a.To == "" || a.Port.From == 0 {
				t.Errorf("%+v", a)
			}
		}
	})
}

func checkMistakes(t *testing.T, err error) {
	t.Helper()
	var m Mistakes
	if err != nil && (!errors.As(err, &m) || len(m) == 0) {
		t.Fatalf("%T: %v", err, err)
	}
	for _, x := range m {
		if x.File != "f.yaml" || x.Line < 1 || x.Column < 1 || x.Message == "" || strings.Contains(x.Message, "\n") {
			t.Errorf("%+v", x)
		}
	}
}
