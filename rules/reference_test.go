package rules

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// table reads a tab-separated file with a header line.
func table(t *testing.T, file string) []map[string]string {
	t.Helper()
	data, err := os.ReadFile("../testdata/reference/" + file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	heading := strings.Split(lines[0], "\t")
	var rows []map[string]string
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, cell := range strings.Split(line, "\t") {
			row[heading[i]] = cell
		}
		rows = append(rows, row)
	}
	return rows
}

func embeddedPacks(t *testing.T) *Packs {
	t.Helper()
	p, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func joined[T ~string](list []T) string {
	s := make([]string, len(list))
	for i := range list {
		s[i] = string(list[i])
	}
	return strings.Join(s, "|")
}

// column is a column of a table with its value in the packs.
type column struct{ name, got string }

// wording maps terms in the tables that only their authors understand to the terms in the
// packs. "The seed" is the reference from which a table was made.
var wording = []struct {
	table *regexp.Regexp
	packs string
}{
	{regexp.MustCompile(`\bseed 003 for the defaults of 2007`), "Ports used by Exchange 2007, for the defaults of 2007"},
	{regexp.MustCompile(`\bThe seed\b`), "The reference"},
	{regexp.MustCompile(`\bseed([^-\w]|$)`), "reference$1"},
	{regexp.MustCompile(`rpc-interfaces\.tsv`), "packs/exchange.yaml, interfaces"},
	{regexp.MustCompile(`version-map\.tsv`), "packs/builds.yaml"},
	{regexp.MustCompile(`PROTOCOLS\.md 0, item 5`), "a measured recording"},
	{regexp.MustCompile(`^PROTOCOLS\.md 1\.2$`), "expert knowledge"},
	{regexp.MustCompile(`; PROTOCOLS\.md(;|$)`), "$1"},
	{regexp.MustCompile(`PROTOCOLS\.md \((one third-party nmap -sV scan of a 2013-or-later server, one of a 2010 server)\)`), "$1"},
}

// compare compares a row with the packs.
func compare(t *testing.T, row map[string]string, columns []column) {
	t.Helper()
	for _, c := range columns {
		want, ok := row[c.name]
		for _, w := range wording {
			want = w.table.ReplaceAllString(want, w.packs)
		}
		if !ok {
			t.Errorf("there is no column %s", c.name)
		} else if c.got != want {
			t.Errorf("%s: %s\nis         %q\nthe row has %q", row["id"], c.name, c.got, want)
		}
	}
}

// versionsOf returns the versions of a row in the spelling of the packs.
func versionsOf(s string) string { return strings.ReplaceAll(s, "se", "SE") }

// TestDataPaths compares every row of every version with the packs, field by field.
func TestDataPaths(t *testing.T) {
	packs := embeddedPacks(t)
	rows := table(t, "data-paths.tsv")
	yes := map[bool]string{true: "yes", false: "no"}
	count := map[string]int{}
	for _, row := range rows {
		d := packs.Path(row["id"])
		if d == nil {
			t.Errorf("there is no path %s", row["id"])
			continue
		}
		count[d.Version]++
		group := d.Group
		if group == d.ID && row["group"] == "" {
			group = "" // a path without a group is its own group
		}
		compare(t, row, []column{
			{"id", d.ID},
			{"version", strings.ToLower(d.Version)},
			{"table", d.Table},
			{"name", d.Name},
			{"from", joined(d.From)},
			{"to", joined(d.To)},
			{"one_end", joined(d.OneEnd)},
			{"external", yes[d.External]},
			{"ports", d.Ports},
			{"default_auth", joined(d.DefaultAuth)},
			{"supported_auth", joined(d.SupportedAuth)},
			{"encryption", joined(d.Encryption)},
			{"by_default", d.ByDefault},
			{"group", group},
			{"local", yes[d.Local]},
			{"conditions", strings.Join(d.Conditions.Words(), ";")},
			{"note", d.Note},
			{"firewall_rules", strings.Join(d.FirewallRules, ";")},
			{"source", d.Source},
			{"confidence", d.Confidence},
		})
		if d.Ports != legTexts(d.Legs) || d.Source != strings.Join(d.Documents, "; ") || d.NotUsed != (row["table"] == "not-used") {
			t.Errorf("%s: %+v", d.ID, d)
		}
	}
	n := 0
	for _, k := range packs.All() {
		n += len(k.Paths)
	}
	if len(rows) != 549 || n != 549 {
		t.Errorf("%d rows, %d paths, not 549", len(rows), n)
	}
	want := map[string]int{"2003": 48, "2007": 65, "2010": 97, "2013": 76, "2016": 78, "2019": 67, "SE": 67, "windows": 51}
	if fmt.Sprint(count) != fmt.Sprint(want) {
		t.Errorf("paths by version: %v, want %v", count, want)
	}
	if got := packs.Versions(); !slices.Equal(got, []string{"2003", "2007", "2010", "2013", "2016", "2019", "SE"}) {
		t.Errorf("versions: %v", got)
	}
}

var legForm = regexp.MustCompile(`^(dynamic|-|\d+)(?:-(\d+))?/(tcp|udp|tcp\+udp|icmp|icmp6|esp|ah)(?: ([a-z][a-z0-9-]*)(?:\[(.*)\])?)?((?: (?:reverse|dynamic|static|n/a|configurable|multicast))*)$`)

// TestLegs parses the legs of every row independently of the packs and compares the
// fields.
func TestLegs(t *testing.T) {
	n := 0
	legs := func(id string, legs []Leg, text string) {
		texts := strings.Split(text, ";")
		if len(legs) != len(texts) {
			t.Errorf("%s: %d legs, want %d", id, len(legs), len(texts))
			return
		}
		for i, text := range texts {
			n++
			m := legForm.FindStringSubmatch(text)
			if m == nil {
				t.Errorf("%s: the test cannot read %q", id, text)
				continue
			}
			l := &legs[i]
			flags := strings.Fields(m[6])
			has := func(f string) bool { return slices.Contains(flags, f) }
			port := Port{TCP: strings.Contains(m[3], "tcp"), UDP: strings.Contains(m[3], "udp"), Dynamic: m[1] == "dynamic" || has("dynamic")}
			if from, err := strconv.Atoi(m[1]); err == nil {
				port.From, port.To = uint16(from), uint16(from)
			}
			if to, err := strconv.Atoi(m[2]); err == nil {
				port.To = uint16(to)
			}
			if m[1] == "-" {
				port.IP = m[3]
			}
			protocol := m[4]
			switch protocol {
			case "n": // "636/udp n/a" has no protocol
				protocol = ""
			case "cotp":
				protocol = "x400"
			}
			na := ""
			if has("n/a") {
				na = NotApplicable
			}
			if l.Port != port || l.Protocol != protocol || l.Reverse != has("reverse") || l.Static != has("static") ||
				l.Configurable != has("configurable") || l.Multicast != has("multicast") || l.Auth != na || l.Encryption != na {
				t.Errorf("%s: %q is %+v", id, text, l)
			}
			if want := wantedOf(protocol, m[5]); want != contentOf(l) {
				t.Errorf("%s: %q requires %s, want %s", id, text, contentOf(l), want)
			}
		}
	}
	packs := embeddedPacks(t)
	for _, row := range table(t, "data-paths.tsv") {
		if d := packs.Path(row["id"]); d != nil {
			legs(d.ID, d.Legs, row["ports"])
		}
	}
	if n < 1150 {
		t.Errorf("%d legs only", n)
	}
}

// wantedOf returns the requirements of the details of a leg.
func wantedOf(protocol, details string) string {
	if details == "" {
		return ""
	}
	list := strings.Split(details, ",")
	switch protocol {
	case "dcerpc":
		return "rpc.interface=" + details
	case "tls":
		if !strings.Contains(details, ".") {
			return "inside " + details
		}
		return "tls.server_name=" + details
	case "nmf":
		return "nmf.uri=*" + details
	case "smb":
		if details == strings.ToUpper(details) {
			return "smb.share=" + details
		}
		return "smb.pipe=" + details
	case "http":
		either := false
		for i, d := range list {
			either = either || d[0] != '/'
			if d[0] == '/' && d != "/" && !strings.HasSuffix(d, "*") {
				list[i] += "*"
			}
		}
		if !either {
			return "http.path=" + strings.Join(list, ",")
		}
		hosts := slices.DeleteFunc(slices.Clone(list), func(d string) bool { return d[0] == '/' })
		return "http.host=" + strings.Join(hosts, ",") + " or http.path=" + strings.Join(list, ",")
	}
	return "?"
}

// contentOf returns the requirements of a leg.
func contentOf(l *Leg) string {
	facts := func(list []Fact, between string) string {
		var s []string
		for _, f := range list {
			s = append(s, f.Name+"="+strings.Join(f.Values, ","))
		}
		return strings.Join(s, between)
	}
	s := facts(l.Facts, " and ") + facts(l.Either, " or ")
	if l.Inside != "" {
		s += "inside " + l.Inside
	}
	return s
}

// TestGroups verifies that every group of a row has a display name, and members that tie.
func TestGroups(t *testing.T) {
	packs := embeddedPacks(t)
	members := packs.members()
	for _, k := range packs.All() {
		for i := range k.Paths {
			d := &k.Paths[i]
			for _, g := range append([]string{d.Group}, groupsOf(d)...) {
				if g != d.ID && packs.Path(g) == nil && (packs.GroupName(g) == "" || members[g] < 2 || !strings.HasPrefix(g, idPrefix(k.Version))) {
					t.Errorf("%s: group %q is named %q and has %d members", d.ID, g, packs.GroupName(g), members[g])
				}
			}
			for _, l := range d.Legs {
				mapper := l.Auth == NotApplicable && l.Protocol == "dcerpc" && l.Port.From == 135 && len(l.Facts) == 1 &&
					slices.Equal(l.Facts[0].Values, []string{"epmapper"})
				if mapper && k.Version != Platform && l.Group != idPrefix(k.Version)+"rpc.mapper" {
					t.Errorf("%s: the mapper's leg is in group %q", d.ID, l.Group)
				}
			}
		}
		for _, g := range k.Groups {
			if members[g.ID] == 0 {
				t.Errorf("group %s has no members", g.ID)
			}
		}
	}
	for id, want := range map[string]string{
		"2010.rpc.mapper": "endpoint mapper", "se.rpc.mapper": "endpoint mapper", "2016.https.client": "HTTPS client access", "2010.mailbox.mapi": "",
	} {
		if got := packs.GroupName(id); got != want {
			t.Errorf("group %s is named %q, want %q", id, got, want)
		}
	}
}

func groupsOf(d *DataPath) []string {
	var list []string
	for _, l := range d.Legs {
		list = append(list, l.Group)
	}
	return list
}

// TestAbsent compares what versions must not have with the table.
func TestAbsent(t *testing.T) {
	packs := embeddedPacks(t)
	byID := map[string]*Absent{}
	for _, k := range packs.All() {
		for i := range k.Absent {
			byID[k.Absent[i].ID] = &k.Absent[i]
		}
	}
	rows := table(t, "not-in-version.tsv")
	if len(rows) != 52 || len(byID) != 52 {
		t.Errorf("%d rows, %d in the packs, not 52", len(rows), len(byID))
	}
	for _, row := range rows {
		a := byID[row["id"]]
		if a == nil {
			t.Errorf("there is no %s", row["id"])
			continue
		}
		row["version"] = versionsOf(row["version"])
		compare(t, row, []column{
			{"version", joined(a.Versions)}, {"what", a.What}, {"from", joined(a.From)}, {"to", joined(a.To)}, {"ports", a.Ports},
			{"note", a.Note}, {"source", a.Source}, {"confidence", a.Confidence},
		})
		for _, v := range a.Versions {
			if !slices.Contains(packs.Absent(v), a) {
				t.Errorf("%s is not absent from %s", a.ID, v)
			}
		}
		if slices.Contains(packs.Absent("2000"), a) != slices.Contains(a.Versions, "2003") {
			t.Errorf("%s: 2000 differs from 2003", a.ID)
		}
		if a.Weakness != "" && !slices.ContainsFunc(packs.Policy().Weak, func(w Weakness) bool { return w.ID == a.Weakness }) {
			t.Errorf("%s: there is no weakness %q", a.ID, a.Weakness)
		}
	}
	// A path or method inside TLS is visible only if the request was read.
	for _, id := range []string{"not.mapi-http", "not.rest", "not.powershell", "not.ecp", "not.ews-autodiscover", "not.webdav", "not.mrs",
		"not.rpc-http-2000"} {
		if !slices.ContainsFunc(byID[id].Legs, func(l Leg) bool { return l.Port.From == 443 && l.ContentOnly }) {
			t.Errorf("%s matches on TLS alone", id)
		}
	}
}

// TestBuilds compares the version map with the table, and the numbers of each update with
// Identify.
func TestBuilds(t *testing.T) {
	packs := embeddedPacks(t)
	var builds []*Build
	for _, k := range packs.All() {
		for i := range k.Builds {
			builds = append(builds, &k.Builds[i])
		}
	}
	rows := table(t, "version-map.tsv")
	if len(rows) != 446 || len(builds) != len(rows) {
		t.Fatalf("%d rows, %d builds, not 446", len(rows), len(builds))
	}
	for i, row := range rows {
		b := builds[i]
		row["id"] = row["build"]
		row["version"] = versionsOf(row["version"])
		compare(t, row, []column{
			{"build", b.Number}, {"version", b.Version}, {"name", b.Name}, {"date", b.Date}, {"long_build", b.Long}, {"note", b.Note},
			{"source", b.Source}, {"confidence", b.Confidence},
		})
		if strings.HasSuffix(b.Number, ".*") {
			continue
		}
		for _, number := range []string{row["build"], row["long_build"]} {
			if number == "" {
				continue
			}
			if id := packs.Identify(number); id.Version != row["version"] || id.Build != row["build"] || id.Name == "" {
				t.Errorf("%s is %+v, want version %s", number, id, row["version"])
			}
		}
	}
}

func TestIdentify(t *testing.T) {
	packs := embeddedPacks(t)
	for _, tt := range []struct{ build, version, text string }{
		{"15.1.2507.6", "2016", "15.1.2507.6 (2016 CU23)"},
		{"15.01.2507.006", "2016", "15.1.2507.6 (2016 CU23)"},
		{"15.1.2507.9999", "2016", "15.1.2507.9999"},
		{"15.2.1544.4", "2019", "15.2.1544.4 (2019 CU14)"},
		{"15.2.2561.9", "2019", "15.2.2561.9"},
		{"15.02.2562.037", "SE", "15.2.2562.37 (SE RTM Feb26SU)"},
		{"15.2.2562.17", "SE", "15.2.2562.17 (SE RTM)"},
		{"15.2.3000.1", "SE", "15.2.3000.1"},
		{"15.2", "", "15.2"},
		{"15.20.4500.6", Online, "15.20.4500.6"},
		{"15.20", Online, "15.20"},
		{"15.0", "2013", "15.0"},
		{"15.00.1497.048", "2013", "15.0.1497.48 (2013 CU23 Mar23SU)"},
		{"15.1", "2016", "15.1"},
		{"14.3", "2010", "14.3"},
		{"14.3.439.0", "2010", "14.3.439.0"},
		{"8.1.240.6", "2007", "8.1.240.6 (2007 SP1)"},
		{"6.5.7638.1", "2003", "6.5.7638.1"},
		{"6.0.6249.0", "2003", "6.0.6249.0"},
		{"5.5.2653.13", "5.5", "5.5.2653.13"},
		{"15.3.1.1", "", "15.3.1.1"},
		{"16.0", "", "16.0"},
		{"", "", ""},
		{"15", "", ""},
		{"15.2.", "", ""},
		{"15.2.-1", "", ""},
		{"+15.2", "", ""},
		{"a.b", "", ""},
		{"15.2.1.2.3", "", ""},
		{"99999999999999999999.1", "", ""},
	} {
		id := packs.Identify(tt.build)
		if id.Version != tt.version || id.String() != tt.text {
			t.Errorf("%q: version %q, text %q, want %q and %q", tt.build, id.Version, id, tt.version, tt.text)
		}
	}
}

// TestPinned compares the services whose ports can be pinned with the table.
func TestPinned(t *testing.T) {
	packs := embeddedPacks(t)
	var pinned []*Pinned
	for _, k := range packs.All() {
		for i := range k.Pinned {
			pinned = append(pinned, &k.Pinned[i])
		}
	}
	rows := table(t, "static-ports.tsv")
	if len(rows) != 39 || len(pinned) != 39 {
		t.Fatalf("%d rows, %d services, not 39", len(rows), len(pinned))
	}
	for i, row := range rows {
		p := pinned[i]
		row["id"] = row["service"]
		row["version"] = versionsOf(row["version"])
		compare(t, row, []column{
			{"version", joined(p.Versions)}, {"service", p.Service}, {"interface", joined(p.Interfaces)}, {"default", p.Default},
			{"pinned_by", p.By}, {"location", p.Where}, {"value", p.Value}, {"type", p.Type}, {"range", p.Range}, {"since", p.Since},
			{"restart", p.Restart}, {"caveat", p.Note}, {"source", p.Source}, {"confidence", p.Confidence},
		})
		for _, name := range p.Interfaces {
			if _, known := packs.Interface(name); p.Site && (!known || !slices.Contains(pinnable(), name)) {
				t.Errorf("%s: %s cannot be used in a site file", p.Service, name)
			}
		}
	}
	for _, tt := range []struct{ version, name, want string }{
		{"2010", "emsmdb", "emsmdb|asyncemsmdb"},
		{"2010", "rfr", "nspi|rfr"},
		{"2007", "rfr", "rfr"},
		{"2000", "emsmdb", "emsmdb"},
		{"2013", "emsmdb", ""},
		{"2010", "unnamed", ""},
		{Platform, "netlogon", "netlogon"},
	} {
		if got := joined(packs.PinnedWith(tt.version, tt.name)); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.version, tt.name, got, tt.want)
		}
	}
}
