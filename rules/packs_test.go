package rules

import (
	"slices"
	"strings"
	"testing"
)

// TestFirewallRules verifies that every firewall rule is listed in the paths that it
// admits.
func TestFirewallRules(t *testing.T) {
	roleNames := map[string]Role{
		"Client Access": CAS, "Hub Transport": Hub, "Edge Transport": Edge, "Mailbox": Mailbox, "Unified Messaging": UM,
	}
	packs := embeddedPacks(t)
	rows := table(t, "firewall-rules-2010.tsv")
	if len(rows) != 54 {
		t.Fatalf("the table has %d rules, not 54", len(rows))
	}
	known := map[string]bool{}
	for _, row := range rows {
		rule := row["rule"]
		known[rule] = true
		var to []Role
		for name := range strings.SplitSeq(row["roles"], ", ") {
			if name == "All roles" {
				to = []Role{CAS, Hub, Edge, Mailbox, UM}
				break
			}
			if roleNames[name] == "" {
				t.Fatalf("role %q", name)
			}
			to = append(to, roleNames[name])
		}
		admits := func(p Port) bool {
			switch row["port"] {
			case "Dynamic RPC":
				return p.Dynamic && p.TCP || p.TCP && p.From == 59531
			case "RPC-EPMap":
				return p.TCP && p.From == 135
			}
			for n := range strings.SplitSeq(strings.TrimSuffix(row["port"], " (TCP)"), ", ") {
				number, ok := portNumber(n)
				if !ok {
					t.Fatalf("%s: port %q", rule, row["port"])
				}
				if !p.Dynamic && p.TCP && p.Contains(number) {
					return true
				}
			}
			return false
		}
		n := 0
		for _, d := range packs.Paths("2010") {
			if !slices.Contains(d.FirewallRules, rule) {
				continue
			}
			n++
			if row["port"] == "Any" {
				t.Errorf("%s explains no flow, but is on %s", rule, d.ID)
				continue
			}
			if !slices.ContainsFunc(d.Legs, func(l Leg) bool {
				at := d.To
				if l.Reverse {
					at = d.From
				}
				return admits(l.Port) && slices.ContainsFunc(at, func(r Role) bool { return r == Any || slices.Contains(to, r) })
			}) {
				t.Errorf("%s does not admit %s", rule, d.ID)
			}
		}
		if n == 0 && row["port"] != "Any" {
			t.Errorf("%s is on no path", rule)
		}
	}
	for _, d := range packs.Paths("2010") {
		for _, rule := range d.FirewallRules {
			if !known[rule] {
				t.Errorf("%s: there is no rule %q", d.ID, rule)
			}
		}
		if !strings.HasPrefix(d.ID, "2010.firewall.") {
			continue
		}
		if len(d.FirewallRules) == 0 || !slices.Contains(d.From, Admin) {
			t.Errorf("%s: %+v", d.ID, d)
		}
		for _, l := range d.Legs {
			if l.MaxConfidence != "port" {
				t.Errorf("%s: leg %s is not capped", d.ID, l.Port)
			}
		}
	}
}

func TestInterfaces(t *testing.T) {
	packs := embeddedPacks(t)
	rows := table(t, "rpc-interfaces.tsv")
	n := 0
	for _, k := range packs.All() {
		n += len(k.Interfaces)
	}
	// The two interfaces of certificate enrolment are not in the table, but data paths
	// need them.
	if len(rows) != 77 || n != 79 {
		t.Fatalf("%d rows, %d interfaces, not 77 and 79", len(rows), n)
	}
	for _, row := range rows {
		for v := range strings.SplitSeq(row["version"], "|") {
			if v == "?" {
				v = "7.1"
			}
			name, ok := packs.InterfaceName(row["uuid"], v)
			f, known := packs.Interface(name)
			if !ok || !known {
				t.Errorf("%s v%s has no name", row["uuid"], v)
				continue
			}
			grade := strings.FieldsFunc(row["confidence"], func(r rune) bool { return r == ' ' || r == ':' })[0]
			service := strings.TrimPrefix(row["service"], "-")
			if f.UUID != row["uuid"] || f.Version != row["version"] || f.Title != row["name"] || f.Service != service ||
				f.Source != row["source"] || f.Confidence != grade || f.Use != strings.TrimPrefix(row["data_path_id_guess"], "-") {
				t.Errorf("%+v\nis not %v", f, row)
			}
		}
	}
	for _, tt := range []struct{ uuid, version, name string }{
		{"a4f1db00-ca47-1067-b31f-00dd010662da", "0.81", "emsmdb"},
		{"a4f1db00-ca47-1067-b31f-00dd010662da", "0.82", ""},
		{"a4f1db00-ca47-1067-b31e-00dd010662da", "1.0", "storeadmin1"},
		{"5261574a-4572-206e-b268-6b199213b4e4", "0.1", "asyncemsmdb"},
		{"f5cc5a18-4264-101a-8c59-08002b2f8426", "56.0", "nspi"},
		{"1544f5e0-613c-11d1-93df-00c04fd7bd09", "1.0", "rfr"},
		{"f5cc59b4-4264-101a-8c59-08002b2f8426", "1.1", "frsrpc"},
		{"f5cc59b4-4264-101a-8c59-08002b2f8426", "21.0", "exchange-drs"},
		{"e1af8308-5d1f-11c9-91a4-08002b14a0fa", "3.0", "epmapper"},
		{"12345678-1234-abcd-ef00-01234567cffb", "1.0", "netlogon"},
		{"12345678-1234-abcd-ef00-0123456789ab", "1.0", "spoolss"},
		{"12345778-1234-abcd-ef00-0123456789ab", "0.0", "lsarpc"},
		{"12345778-1234-abcd-ef00-0123456789ac", "1.0", "samr"},
		{"e3514235-4b06-11d1-ab04-00c04fc2dcd2", "4.0", "drsuapi"},
		{"338cd001-2244-31f1-aaaa-900038001003", "1.0", "winreg"},
		{"ecec0d70-a603-11d0-96b1-00a0c91ece30", "2.0", "ntdsbackup"},
		{"52c80b95-c1ad-4240-8d89-72e9fa84025e", "12.7", "clusconfig"},
		{"00000000-0000-0000-0000-000000000000", "1.0", ""},
	} {
		if name, ok := packs.InterfaceName(tt.uuid, tt.version); name != tt.name || ok != (tt.name != "") {
			t.Errorf("%s v%s: %q, want %q", tt.uuid, tt.version, name, tt.name)
		}
	}
}

// flowLike is a simplified flow: the content read, and the roles of both ends.
type flowLike struct {
	client, server Role
	port           uint16
	udp            bool
	protocol       string
	fact, value    string
}

// pathsOf returns the paths and groups that fit a flow exactly: roles, port, protocol and
// facts.
func pathsOf(p *Packs, f flowLike) (ids []string, groups []string) {
	has := func(list []Role, r Role) bool {
		return slices.Contains(list, r) || slices.Contains(list, Any) || r.Exchange() && slices.Contains(list, AnyExchange)
	}
	for _, d := range p.Paths("2010") {
		for _, l := range d.Legs {
			from, to := d.From, d.To
			if l.Reverse {
				from, to = to, from
			}
			fits := has(from, f.client) && has(to, f.server) && (len(d.OneEnd) == 0 || has(d.OneEnd, f.client) || has(d.OneEnd, f.server)) &&
				(l.Port.TCP && !f.udp || l.Port.UDP && f.udp) && l.Port.Contains(f.port) && l.Protocol == f.protocol
			for _, want := range l.Facts {
				fits = fits && want.Name == f.fact && slices.ContainsFunc(want.Values, func(v string) bool {
					return Fits(v, f.value) || v == Unnamed && want.Name == "rpc.interface" && f.value == "unknown-uuid"
				})
			}
			if fits {
				ids = append(ids, strings.TrimPrefix(d.ID, "2010."))
				if !slices.Contains(groups, l.Group) {
					groups = append(groups, l.Group)
				}
				break
			}
		}
	}
	return ids, groups
}

// TestExchange2010Legs compares the rows that fit an observation with the reference.
func TestExchange2010Legs(t *testing.T) {
	packs := embeddedPacks(t)
	iface := func(client, server Role, name string) flowLike {
		return flowLike{client: client, server: server, port: 20000, protocol: "dcerpc", fact: "rpc.interface", value: name}
	}
	web := func(client, server Role, path string) flowLike {
		return flowLike{client: client, server: server, port: 80, protocol: "http", fact: "http.path", value: path}
	}
	at := func(client, server Role, port uint16, protocol string) flowLike {
		return flowLike{client: client, server: server, port: port, protocol: protocol}
	}
	rpcGroup := "2010.rpc.mailbox-mailbox"
	for _, tt := range []struct {
		flow  flowLike
		want  string
		group string // group of the first id; the id itself if empty
	}{
		{iface(Client, Mailbox, "emsmdb"), "mailbox.mapi static.public-folders", "2010.mapi.client"},
		{iface(Client, CAS, "emsmdb"), "static.rpc-client-access", "2010.mapi.client"},
		{iface(Client, CAS, "asyncemsmdb"), "static.rpc-client-access", "2010.mapi.client"},
		{iface(Client, CAS, "nspi"), "static.address-book", ""},
		{iface(Client, CAS, "rfr"), "static.address-book", ""},
		{iface(CAS, Mailbox, "emsmdb"), "mailbox.availability cas.mailbox-rpc firewall.rpc-client-access", "2010.rpc.cas-mailbox"},
		{iface(CAS, Mailbox, "storeadmin3"), "mailbox.availability cas.mailbox-rpc", "2010.rpc.cas-mailbox"},
		{iface(Hub, Mailbox, "emsmdb"), "transport.hub-mailbox-mapi firewall.rpc-client-access", ""},
		{iface(UM, Mailbox, "emsmdb"), "um.mailbox firewall.rpc-client-access", ""},
		{iface(Mailbox, Mailbox, "emsmdb"), "mailbox.assistants mailbox.sa-legacy-mapi firewall.rpc-client-access", rpcGroup},
		{iface(Mailbox, Hub, "unknown-uuid"), "transport.mailbox-hub-submission firewall.monitoring firewall.servicehost " +
			"firewall.edgesync firewall.transport-log-search firewall.transport-worker firewall.adtopology", ""},
		{iface(Mailbox, Mailbox, "unknown-uuid"), "mailbox.content-indexing mailbox.assistants mailbox.ad-topology " +
			"firewall.servicehost firewall.mail-submission firewall.migration firewall.repl firewall.throttling " +
			"firewall.transport-log-search firewall.adtopology firewall.mailbox-assistants firewall.search", rpcGroup},
		{iface(UM, CAS, "unknown-uuid"), "um.play-on-phone firewall.monitoring firewall.servicehost firewall.rpchttplbs firewall.adtopology", ""},
		{iface(CAS, UM, "unknown-uuid"), "um.play-on-phone firewall.monitoring firewall.servicehost firewall.adtopology firewall.um-worker", ""},
		{iface(Mailbox, DC, "nspi"), "mailbox.ad mailbox.sa-legacy-ad mailbox.oab-ad mailbox.rus-rpc mailbox.recipient-update-ad",
			"2010.ad.mailbox"},
		{iface(Hub, DC, "netlogon"), "transport.hub-ad", ""},
		{iface(CAS, DC, "drsuapi"), "cas.ad", ""},
		{iface(UM, DC, "samr"), "um.ad", ""},
		{iface(CAS, DC, "svcctl"), "", ""},
		{iface(Admin, Mailbox, "winreg"), "mailbox.remote-registry", ""},
		{iface(Mailbox, Mailbox, "clusapi"), "mailbox.clustering", ""},
		{iface(CAS, Mailbox, "sysatt-private"), "mailbox.sa-legacy-listen", ""},
		{iface(Admin, Mailbox, "spoolss"), "", ""},
		{flowLike{Admin, Mailbox, 445, false, "smb", "smb.pipe", "winreg"}, "mailbox.remote-registry mailbox.admin-smb", ""},
		{at(Admin, Mailbox, 445, "smb"), "mailbox.admin-smb", ""},
		{at(Backup, Mailbox, 445, "smb"), "mailbox.vss-backup", ""},
		{at(Client, Mailbox, 445, "smb"), "", ""},
		{at(Mailbox, Mailbox, 64327, "nns"), "mailbox.log-shipping mailbox.seeding", "2010.replication"},
		{flowLike{client: Mailbox, server: Mailbox, port: 3343, udp: true, protocol: "cluster"}, "mailbox.clustering", ""},
		{at(Client, CAS, 443, "tls"), "cas.autodiscover cas.availability cas.oab cas.owa cas.outlook-anywhere cas.activesync um.web-service",
			"2010.https.client"},
		{at(CAS, CAS, 443, "tls"), "cas.cas-cas-activesync cas.cas-cas-owa cas.cas-cas-ews mrsproxy.cross-forest", "2010.https.cas-cas"},
		{at(Client, LB, 443, "tls"), "diagram.load-balancer", ""},
		{at(LB, CAS, 443, "tls"), "diagram.load-balancer", ""},
		{at(Hub, ADRMS, 443, "tls"), "transport.hub-adrms", ""},
		{at(CAS, MailboxLegacy, 443, "tls"), "cas.legacy-mailbox", ""},
		{at(Client, UM, 443, "tls"), "um.web-service", "2010.https.client"},
		{web(Client, CAS, "/owa/auth/logon.aspx"), "cas.owa", "2010.https.client"},
		{web(Client, CAS, "/"), "cas.owa", "2010.https.client"},
		{web(Client, CAS, "/exchange"), "cas.owa", "2010.https.client"},
		{web(Client, CAS, "/ews/exchange.asmx"), "cas.availability", "2010.https.client"},
		{web(Client, CAS, "/Autodiscover/Autodiscover.xml"), "cas.autodiscover", "2010.https.client"},
		{web(Client, CAS, "/Microsoft-Server-ActiveSync"), "cas.activesync", "2010.https.client"},
		{web(Client, CAS, "/OAB/…"), "cas.oab", "2010.https.client"},
		{web(Client, CAS, "/rpc/rpcproxy.dll"), "cas.outlook-anywhere", "2010.https.client"},
		{web(Client, CAS, "/rpcwithcert/rpcproxy.dll"), "cas.outlook-anywhere", "2010.https.client"},
		{web(Client, CAS, "/phpmyadmin"), "", ""},
		{web(Client, UM, "/UnifiedMessaging/Service.asmx"), "um.web-service", "2010.https.client"},
		{web(CAS, CAS, "/owa"), "cas.cas-cas-owa", "2010.https.cas-cas"},
		{flowLike{CAS, CAS, 808, false, "nmf", "nmf.uri", "net.tcp://cas2/Microsoft.Exchange.MailboxReplicationService"}, "cas.mrs", ""},
		{flowLike{CAS, CAS, 6004, false, "dcerpc", "rpc.interface", "nspi"}, "rpc-http.consolidated firewall.address-book", ""},
		{at(Hub, Hub, 25, "smtp"), "transport.hub-hub", ""},
		{at(UM, Hub, 25, "smtp"), "transport.um-hub um.hub", "2010.smtp.um-hub"},
		{at(Internet, Edge, 25, "smtp"), "transport.edge-edge transport.domain-security diagram.third-party-smtp", "2010.smtp.internet"},
		{at(Edge, Internet, 25, "smtp"), "transport.edge-edge transport.domain-security diagram.third-party-smtp", "2010.smtp.internet"},
		{at(Client, Hub, 587, "smtp"), "transport.client-hub-smtp", ""},
		{at(Hub, Edge, 50636, "tls"), "transport.edgesync", ""},
		{at(Hub, Edge, 50389, "ldap"), "transport.adlds", ""},
		{at(OCS, CAS, 5076, "tls"), "cas.ocs", ""},
		{at(CAS, OCS, 5061, "tls"), "cas.ocs", ""},
		{at(OCS, CAS, 5061, "tls"), "", ""},
		{at(OCS, UM, 5066, "tls"), "diagram.lync", ""},
		{at(PBX, UM, 5060, "sip"), "um.phone", ""},
		{at(PBX, UM, 5067, "sip"), "um.phone", ""},
		{at(PBX, UM, 5068, "tls"), "um.phone", ""},
		{flowLike{client: PBX, server: UM, port: 31000, udp: true, protocol: "rtp"}, "um.phone", ""},
		{flowLike{client: UM, server: PBX, port: 31000, udp: true, protocol: "rtp"}, "um.phone", ""},
		{at(CAS, UM, 5062, "sip"), "cas.um", ""},
		{at(UM, CAS, 5075, "tls"), "um.cas", ""},
		{at(Hub, DC, 3268, "ldap"), "transport.hub-ad", ""},
		{at(Mailbox, DC, 389, "ldap"), "mailbox.ad mailbox.sa-legacy-ad mailbox.recipient-update-ad", "2010.ad.mailbox"},
		{flowLike{client: CAS, server: DC, port: 389, udp: true, protocol: "ldap"}, "cas.ad", ""},
		{flowLike{client: CAS, server: DC, port: 88, udp: true, protocol: "kerberos"}, "cas.ad", ""},
		{flowLike{Client, CAS, 135, false, "dcerpc", "rpc.interface", "epmapper"},
			"static.rpc-client-access static.address-book diagram.outlook-cas-epm", "2010.rpc.mapper"},
	} {
		ids, groups := pathsOf(packs, tt.flow)
		if got := strings.Join(ids, " "); got != tt.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", tt.flow, got, tt.want)
			continue
		}
		want := tt.group
		if want == "" && len(ids) > 0 {
			want = "2010." + ids[0]
		}
		if len(ids) > 0 && groups[0] != want {
			t.Errorf("%+v: group %s, want %s", tt.flow, groups[0], want)
		}
	}
	// A host usually has both roles. The order of the pack decides.
	var both []string
	for _, d := range packs.Paths("2010") {
		a, _ := pathsOf(packs, iface(Client, Mailbox, "emsmdb"))
		b, _ := pathsOf(packs, iface(Client, CAS, "emsmdb"))
		if id := strings.TrimPrefix(d.ID, "2010."); slices.Contains(a, id) || slices.Contains(b, id) {
			both = append(both, id)
		}
	}
	if got := strings.Join(both, " "); got != "mailbox.mapi static.rpc-client-access static.public-folders" {
		t.Errorf("emsmdb to mailbox|cas: %s", got)
	}
}

// TestExternalPaths verifies that a client that may be on the internet is a client, an
// outside server or a relay. Inside servers are not reachable from the internet.
func TestExternalPaths(t *testing.T) {
	outside := []Role{Client, Internet, Relay, LB, ExchangeOnline, Edge, OCS}
	for _, k := range embeddedPacks(t).All() {
		for _, d := range k.Paths {
			if d.External && !slices.ContainsFunc(d.From, func(r Role) bool { return slices.Contains(outside, r) }) {
				t.Errorf("%s is reached from the internet by %s", d.ID, joined(d.From))
			}
		}
	}
}
