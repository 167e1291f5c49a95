package rules

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestAccept(t *testing.T) {
	site, err := LoadSite("site.yaml", []byte(`
servers:
  - {name: cas1, addresses: [10.0.0.5], roles: [cas]}
accept:
  - {finding: cleartext, path: 2010.cas.*, from: client, to: CAS1, until: 2026-11-30}
  - {finding: weak-auth, from: 10.9.1.0/24, to: 10.0.0.5}
  - {finding: refused}
`))
	if err != nil {
		t.Fatal(err)
	}
	host := func(addr, name string, roles ...Role) *Host {
		return &Host{netip.MustParseAddr(addr), name, func(r Role) bool { return slices.Contains(roles, r) }}
	}
	pc, cas1 := host("10.9.1.7", "", Client), host("10.0.0.5", "cas1", CAS)
	for _, tt := range []struct {
		accept         int
		finding, path  string
		client, server *Host
		want           bool
	}{
		{0, "cleartext", "2010.cas.pop3", pc, cas1, true},
		{0, "weak-auth", "2010.cas.pop3", pc, cas1, false},
		{0, "cleartext", "2010.mailbox.mapi", pc, cas1, false},
		{0, "cleartext", "2010.cas.pop3", host("10.9.1.7", "", Admin), cas1, false},
		{0, "cleartext", "2010.cas.pop3", pc, host("10.0.0.5", "cas2", CAS), false},
		{0, "cleartext", "2010.cas.pop3", cas1, pc, false},
		{1, "weak-auth", "2010.cas.imap4", pc, cas1, true},
		{1, "weak-auth", "2010.cas.imap4", host("::ffff:10.9.1.7", ""), host("10.0.0.5", ""), true},
		{1, "weak-auth", "2010.cas.imap4", host("10.9.2.7", ""), cas1, false},
		{1, "weak-auth", "2010.cas.imap4", pc, host("10.0.0.6", "cas1"), false},
		{2, "refused", "", pc, cas1, true},
		{2, "unanswered", "", pc, cas1, false},
	} {
		if got := site.Accept[tt.accept].Fits(tt.finding, tt.path, tt.client, tt.server); got != tt.want {
			t.Errorf("%d: %s on %s from %s to %s: %t, want %t", tt.accept, tt.finding, tt.path, tt.client.Addr, tt.server.Addr, got, tt.want)
		}
	}
	for at, want := range map[string]bool{
		"2026-11-29T23:00:00Z": false, "2026-11-30T00:00:00Z": false, "2026-11-30T23:59:59Z": false, "2026-12-01T00:00:00Z": true,
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := site.Accept[0].Expired(when); got != want {
			t.Errorf("%s: %t, want %t", at, got, want)
		}
		if site.Accept[1].Expired(when) {
			t.Errorf("%s: an acceptance without an end expires", at)
		}
	}
}
