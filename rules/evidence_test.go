package rules

import (
	"slices"
	"strings"
	"testing"
)

// TestEvidenceTable compares the evidence for roles with the table. otherEnd gives the
// reason where a row's side is not the end that the evidence proves.
func TestEvidenceTable(t *testing.T) {
	otherEnd := map[string]string{
		"http.path.owa-build":  "server", // the client follows the server's links
		"tls.sni":              "server", // the client names the server
		"http.rvp":             "server",
		"nns.logcopier":        "both",  // both are members of the availability group
		"dns.srv.ad":           "named", // according to its own note
		"dns.srv.autodiscover": "named",
	}
	otherVersions := map[string]string{
		"rpc.emsmdb.2010": "2003|2007|2010",              // same as rpc.emsmdb.2003, because the same bytes prove both
		"rpc.emsmdb.http": "2007|2010|2013|2016|2019|SE", // according to its own column fooled_by
	}
	// Further evidence in the packs follows from their data paths.
	further := []string{"smtp.exps.kerberos", "smtp.exps.kerberos.server", "tls.direct-trust.hub", "rpc.http-proxy", "rpc.http-banner.bound"}
	// Evidence that leaves more roles open claims less: Edge Transport offers the same
	// keywords.
	otherRoles := map[string]string{"smtp.ehlo.xshadow": "hub|edge", "smtp.ehlo.xexch50-alone": "hub|edge"}
	byID := map[string]*RoleEvidence{}
	proves := map[string]bool{}
	for _, k := range embeddedPacks(t).All() {
		for i := range k.Evidence {
			byID[k.Evidence[i].ID] = &k.Evidence[i]
			proves[k.Evidence[i].ID] = true
		}
		for i := range k.NoEvidence {
			byID[k.NoEvidence[i].ID] = &k.NoEvidence[i]
		}
	}
	rows := table(t, "roles-evidence.tsv")
	for _, id := range further {
		if e := byID[id]; e == nil || !strings.HasPrefix(e.Source, "packs, ") && !strings.Contains(e.Source, "; packs, ") {
			t.Errorf("%s does not follow from data paths", id)
		}
		delete(byID, id)
	}
	if len(rows) != 131 || len(byID) != 131 {
		t.Errorf("%d rows, %d in the packs, not 131", len(rows), len(byID))
	}
	for _, row := range rows {
		e := byID[row["id"]]
		if e == nil {
			t.Errorf("there is no evidence %s", row["id"])
			continue
		}
		// The packs list the roles in a fixed order, so equal sets have equal texts.
		roles := joined(e.Roles)
		if e.ProvesVersion {
			roles += "|version"
		}
		row["proves"], roles = sortedWords(row["proves"]), sortedWords(roles)
		if roles == "" {
			roles = "any"
		}
		if end := otherEnd[e.ID]; end != "" {
			row["side"] = end
		}
		if r := otherRoles[e.ID]; r != "" {
			row["proves"] = sortedWords(r)
		}
		row["version"] = versionsOf(row["version"])
		if v := otherVersions[e.ID]; v != "" {
			row["version"] = v
		}
		strength := "strong"
		switch {
		case e.Weak:
			strength = "weak"
		case !proves[e.ID] && !e.Vetoes:
			strength = "none"
		}
		compare(t, row, []column{
			{"proves", roles}, {"side", e.End}, {"version", joined(e.Versions)}, {"strength", strength}, {"what", e.What},
			{"fooled_by", e.FooledBy}, {"note", e.Note}, {"source", e.Source}, {"confidence", e.Confidence},
		})
		if proves[e.ID] && len(e.Any) == 0 != (e.Pending != "") {
			t.Errorf("%s: %d matches, pending %q", e.ID, len(e.Any), e.Pending)
		}
		for _, o := range e.ByVersion {
			if slices.ContainsFunc(o.Versions, func(v string) bool { return len(e.Versions) > 0 && !slices.Contains(e.Versions, v) }) ||
				slices.ContainsFunc(o.Roles, func(r Role) bool {
					// Since 2016, Client Access is part of Mailbox.
					return !slices.Contains(e.Roles, r) && !(r == Mailbox && slices.Contains(e.Roles, CAS)) && !sends(t, e, r, o.Versions)
				}) {
				t.Errorf("%s: %+v is not within %s", e.ID, o, roles)
			}
		}
		if e.Version != "" && len(e.Versions) > 0 && !slices.Equal(e.Versions, []string{e.Version}) {
			t.Errorf("%s proves %s and holds for %v", e.ID, e.Version, e.Versions)
		}
		if row["id"] == "http.x-z-push" != e.Vetoes {
			t.Errorf("%s: vetoes %t", e.ID, e.Vetoes)
		}
	}
}

// sends reports whether evidence may leave one more role open than its row, because a
// data path of each version documents that hosts with that role send mail like the
// others. Evidence that leaves more roles open claims less.
func sends(t *testing.T, e *RoleEvidence, role Role, versions []string) bool {
	t.Helper()
	return e.ID == "smtp.verb.x-anonymoustls" && !slices.ContainsFunc(versions, func(v string) bool {
		return !slices.ContainsFunc(table(t, "data-paths.tsv"), func(row map[string]string) bool {
			return row["version"] == v && row["from"] == string(role) && strings.Contains(row["to"], "hub") && strings.Contains(row["ports"], "25/tcp smtp")
		})
	})
}

func sortedWords(s string) string {
	words := strings.FieldsFunc(s, func(r rune) bool { return r == '|' })
	slices.Sort(words)
	return strings.Join(words, "|")
}

// facts parses "name=value name=value". "_" means a blank in a value.
func facts(s string) map[string][]string {
	m := map[string][]string{}
	for _, f := range strings.Fields(s) {
		name, value, _ := strings.Cut(f, "=")
		m[name] = append(m[name], strings.ReplaceAll(value, "_", " "))
	}
	return m
}

// proofsOf returns the ids of the evidence that the facts of a protocol at a port show.
func proofsOf(p *Packs, list func(*Pack) []RoleEvidence, protocol, shown string, port uint16) string {
	have := facts(shown)
	var ids []string
	for _, k := range p.All() {
		for _, e := range list(k) {
			for _, m := range e.Any {
				ok := (m.Protocol == "" || m.Protocol == protocol) && (m.Port == Port{} || m.Port.Contains(port))
				for _, f := range m.Facts {
					ok = ok && slices.ContainsFunc(f.Values, func(w string) bool {
						return slices.ContainsFunc(have[f.Name], func(v string) bool { return Fits(w, v) })
					})
				}
				for _, f := range m.Without {
					ok = ok && !slices.ContainsFunc(f.Values, func(w string) bool {
						return slices.ContainsFunc(have[f.Name], func(v string) bool { return Fits(w, v) })
					})
				}
				if ok && !slices.Contains(ids, e.ID) {
					ids = append(ids, e.ID)
				}
			}
		}
	}
	return strings.Join(ids, " ")
}

// TestEvidence verifies what facts prove, by the ids of the evidence.
func TestEvidence(t *testing.T) {
	packs := embeddedPacks(t)
	proofs := func(k *Pack) []RoleEvidence { return k.Evidence }
	none := func(k *Pack) []RoleEvidence { return k.NoEvidence }
	for _, tt := range []struct {
		protocol, facts string
		port            uint16
		want            string
	}{
		{"dcerpc", "rpc.interface=emsmdb", 1032, "rpc.emsmdb.2010 rpc.client"},
		{"dcerpc", "rpc.interface=emsmdb", 6001, "rpc.emsmdb.2010 rpc.emsmdb.http rpc.client"},
		{"irc", "irc.server=Default-Chat-Community", 6667, "irc.chat"},
		{"smb", "smb.share=dag1.example.com", 445, "smb.witness"},
		{"smb", "smb.share=disk", 445, ""},
		{"dcerpc", "rpc.interface=rfr", 1032, "rpc.rfr rpc.client"},
		{"dcerpc", "rpc.interface=nspi", 4997, "rpc.nspi rpc.client"},
		{"dcerpc", "rpc.interface=drsuapi", 49155, "rpc.netlogon"},
		{"dcerpc", "rpc.interface=netlogon", 49155, "rpc.netlogon"},
		{"smb", "rpc.interface=netlogon", 445, ""},
		{"smb", "rpc.interface=samr", 445, ""},
		{"dcerpc", "rpc.interface=epmapper", 135, ""},
		{"dcerpc", "kerberos.service=exchangeMDB/mb1.example.com", 6010, "rpc.spn"},
		{"kerberos", "kerberos.service=exchangeMDB/mb1.example.com kerberos.message=tgs-req", 88, "rpc.spn.request"},
		{"kerberos", "kerberos.message=tgs-req", 88, ""},
		{"kerberos", "kerberos.message=tgs-rep", 88, "krb.kdc"},
		{"ldap", "ldap.cldap=netlogon", 389, ""},
		{"ldap", "ldap.cldap=netlogon ldap.netlogon=ldap ldap.netlogon=kdc", 389, "ldap.cldap"},
		{"ldap", "", 389, ""},
		{"ldap", "ldap.base=CN=Configuration,DC=example,DC=com", 389, ""},
		{"ldap", "ldap.entry=CN=Configuration,DC=example,DC=com", 10389, "ldap.config-nc"},
		{"ldap", "ldap.entry=CN=Configuration,CN={0E2A}", 50389, ""},
		{"ldap", "ldap.base=CN=Microsoft_Exchange,CN=Services,CN=Configuration,DC=example,DC=com", 389, "ldap.search.exchange"},
		{"ldap", "", 3268, ""},
		{"ldap", "auth=kerberos", 3268, "ldap.gc-port"},
		{"ldap", "auth=kerberos", 389, ""},
		{"dns", "", 53, "dns.server"},
		{"smtp", "smtp.keywords=X-ANONYMOUSTLS", 25, "smtp.ehlo.x-anonymoustls"},
		{"smtp", "smtp.keywords=X-EXPS", 25, "smtp.ehlo.x-exps"},
		{"smtp", "smtp.keywords=XSHADOW", 25, ""},
		{"smtp", "smtp.keywords=XSHADOW smtp.keywords=XEXCH50", 25, "smtp.ehlo.xshadow"},
		{"smtp", "smtp.list=complete smtp.keywords=XSHADOW smtp.keywords=XEXCH50", 25, "smtp.ehlo.xshadow"},
		{"smtp", "smtp.keywords=XEXCH50", 25, ""},
		{"smtp", "smtp.list=complete smtp.keywords=XEXCH50", 25, "smtp.ehlo.xexch50-alone"},
		{"smtp", "smtp.list=complete smtp.keywords=X-EXPS smtp.keywords=XRDST", 25, "smtp.ehlo.x-exps smtp.ehlo.frontend"},
		{"smtp", "smtp.list=complete smtp.keywords=X-EXPS smtp.keywords=XRDST smtp.keywords=XEXCH50", 25, "smtp.ehlo.x-exps smtp.ehlo.xexch50-alone"},
		{"smtp", "smtp.keywords=XSHADOWREQUEST smtp.keywords=XEXCH50 smtp.keywords=XRDST", 25, "smtp.ehlo.xshadowrequest"},
		{"smtp", "smtp.keywords=SMTPUTF8", 25, ""},
		{"smtp", "smtp.keywords=SMTPUTF8 smtp.keywords=XRDST", 25, "smtp.ehlo.smtputf8"},
		{"smtp", "smtp.keywords=X-LINK2STATE", 25, "smtp.ehlo.link2state"},
		{"smtp", "smtp.keywords=STARTTLS", 25, ""},
		{"smtp", "smtp.banner=Microsoft_ESMTP_MAIL_Service_ready", 25, "smtp.banner.ready smtp.banner.upper"},
		{"smtp", "smtp.banner=Microsoft_ESMTP_MAIL_Service,_Version:_6.0.3790.1830", 25, "smtp.banner.iis"},
		{"smtp", "smtp.banner=ESMTP_Postfix", 25, "relay.banner"},
		{"smtp", "smtp.tls=x-anonymoustls", 25, "smtp.verb.x-anonymoustls"},
		{"smtp", "smtp.exps=GSSAPI", 25, "smtp.verb.x-exps"},
		{"smtp", "smtp.exps=GSSAPI auth=kerberos", 25, "smtp.verb.x-exps smtp.exps.kerberos smtp.exps.kerberos.server"},
		{"smtp", "smtp.exps=NTLM auth=ntlm", 25, ""},
		{"smtp", "smtp.tls=x-anonymoustls tls.self_signed=yes tls.client_self_signed=yes", 25, "smtp.verb.x-anonymoustls tls.direct-trust tls.direct-trust.hub"},
		{"imap", "imap.banner=The_Microsoft_Exchange_IMAP4_service_is_ready.", 143, "imap.banner.2010plus"},
		{"imap", "imap.banner=The_Microsoft_Exchange_IMAP4_service_is_ready._[TQBX]", 143, "imap.banner.online"},
		{"pop3", "pop3.banner=The_Microsoft_Exchange_POP3_service_is_ready.", 110, "pop3.banner.2010plus"},
		{"imap", "imap.banner=Microsoft_Exchange_Server_2007_IMAP4_service_ready", 143, "imap.banner.2007"},
		{"pop3", "pop3.banner=Microsoft_Exchange_Server_2003_POP3_server_version_6.5.7638.1_ready.", 110, "pop3.banner.2003"},
		{"imap", "imap.banner=Microsoft_Exchange_2000_IMAP4rev1_server_version_6.0.6249.0", 143, "imap.banner.2003"},
		{"imap", "imap.banner=Dovecot_ready.", 143, ""},
		{"http", "http.header=X-OWA-Version exchange.version=14.3.439.0", 80, "http.x-owa-version"},
		{"http", "activesync.version=8.3", 80, "http.ms-server-activesync"},
		{"http", "http.header=X-FEServer", 80, "http.x-feserver"},
		{"http", "http.header=X-BEServer", 80, ""},
		{"http", "http.header=X-BEServer", 81, "http.x-beserver"},
		{"http", "http.client_id=00000002-0000-0ff1-ce00-000000000000", 80, "http.bearer-client-id"},
		{"http", "http.client_id=00000003-0000-0ff1-ce00-000000000000", 80, ""},
		{"http", "http.answer=401_/EWS/Exchange.asmx", 80, "http.path.answer"},
		{"http", "http.answer=404_/owa", 80, ""},
		{"http", "http.answer=200_/mapi/emsmdb", 80, "http.path.mapi"},
		{"http", "http.path=/owa", 80, ""},
		{"tls", "", 443, ""},
		{"tls", "", 50636, "edge.edgesync"},
		{"tls", "tls.san=*.outlook.com", 443, "tls.cert.outlook"},
		{"tls", "tls.san=autodiscover.example.com", 443, "tls.cert.autodiscover"},
		{"http", "http.method=GET tls.san=autodiscover.example.com tls.certificate=host", 443, "tls.cert.self-signed tls.cert.autodiscover"},
		{"http", "http.method=CONNECT tls.san=autodiscover.example.com tls.certificate=host tls.server_name=autodiscover.example.com", 3128, ""},
		{"socks", "socks.reply=granted tls.san=autodiscover.example.com tls.san=*.outlook.com tls.certificate=host", 1080, ""},
		{"nns", "", 64327, "nns.logcopier"},
		{"nns", "", 9000, ""},
		{"sip", "sip.server=Asterisk", 5060, ""},
		{"sip", "sip.server=RTCC/5.0.0.0_MSExchangeUM/15.01.2507.017", 5062, "sip.server.um"},
		{"sip", "sip.server=RTC/6.0", 5061, "sip.server.rtc"},
		{"sip", "sip.method=INVITE sip.status=403", 5060, ""},
		{"sip", "sip.status=302 sip.redirect=5060", 5060, ""},
		{"sip", "sip.status=302 sip.redirect=5065", 5060, "sip.redirect um.sip.old"},
		{"sip", "sip.method=INVITE sip.status=200", 5060, "sip.invite"},
	} {
		if got := proofsOf(packs, proofs, tt.protocol, tt.facts, tt.port); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.protocol, tt.facts, got, tt.want)
		}
	}
	for _, tt := range []struct{ protocol, facts, want string }{
		{"http", "http.header=X-Z-Push-Version", "http.x-z-push"},
		{"http", "http.server=Microsoft-IIS/10.0", "http.iis"},
		{"tls", "tls.subject=CN=Microsoft_Exchange_Server_Auth_Certificate", "tls.cert.auth"},
		{"dcerpc", "ntlm.server=mb1.example.com", "ntlm.challenge"},
	} {
		if got := proofsOf(packs, none, tt.protocol, tt.facts, 1); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.protocol, tt.facts, got, tt.want)
		}
	}
}

// TestRolesFor covers evidence that proves different roles in different versions.
func TestRolesFor(t *testing.T) {
	byID := map[string]*RoleEvidence{}
	for _, k := range embeddedPacks(t).All() {
		for i := range k.Evidence {
			byID[k.Evidence[i].ID] = &k.Evidence[i]
		}
	}
	for _, tt := range []struct {
		id, version string
		port        uint16
		want        string
	}{
		{"smtp.banner.ready", "2010", 25, "hub|edge"},
		{"smtp.banner.ready", "2013", 717, "edge|cas"},
		{"smtp.banner.ready", "2013", 2525, "mailbox"},
		{"smtp.banner.ready", "SE", 2525, "edge|mailbox|cas"},
		{"smtp.banner.ready", "", 25, "hub|edge|mailbox|cas"},
		{"smtp.banner.ready", "2003", 25, ""},
		{"rpc.emsmdb.2010", "2000", 1032, "mailbox"},
		{"rpc.emsmdb.2010", "2010", 1032, "mailbox|cas"},
		{"imap.banner.2010plus", "2019", 143, "mailbox|cas"},
		{"imap.banner.2010plus", "2010", 143, "cas"},
		{"krb.kdc", "2010", 88, "dc"},
	} {
		if got := joined(byID[tt.id].RolesFor(tt.version, tt.port)); got != tt.want {
			t.Errorf("%s in %q at %d: %q, want %q", tt.id, tt.version, tt.port, got, tt.want)
		}
	}
}
