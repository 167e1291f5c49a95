// Package brief says in words what a run shows: what needs attention, the gravest first,
// what to do about it, and what could not be read. The report of analyze and the page of
// report use the same words.
package brief

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/glossary"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// maxNamed is the number of hosts that a sentence names.
const maxNamed = 10

// Group is one finding on all its paths.
type Group struct {
	ID    record.FindingID
	Level record.Level
	Entry *glossary.Entry
	Flows uint64
	Paths []OnPath // by label
	// Sources names the documents of the paths, Todo what to do. Both may be empty.
	Sources, Todo []string
}

// OnPath is a finding on one data path or group of them.
type OnPath struct {
	Label string
	*tally.Finding
}

// Violations returns the violations, the gravest first. Connections that a firewall
// rejected are missing, because they count as blocked.
func Violations(t *tally.Tally) []*Group {
	return slices.DeleteFunc(Groups(t, record.Violation), func(g *Group) bool { return g.ID == record.FindingProhibited })
}

// Groups returns the findings of a level, the gravest first.
func Groups(t *tally.Tally, level record.Level) []*Group {
	byID := map[record.FindingID]*Group{}
	var list []*Group
	for k, f := range t.Findings.All() {
		if f.Level != level {
			continue
		}
		g := byID[k.ID]
		if g == nil {
			g = &Group{ID: k.ID, Level: level, Entry: glossary.OfFinding(k.ID)}
			byID[k.ID] = g
			list = append(list, g)
		}
		g.Flows += f.Flows
		g.Paths = append(g.Paths, OnPath{k.Path, f})
	}
	for _, g := range list {
		slices.SortFunc(g.Paths, func(a, b OnPath) int { return cmp.Compare(a.Label, b.Label) })
		g.narrow()
		g.advise()
	}
	slices.SortFunc(list, func(a, b *Group) int {
		return cmp.Or(cmp.Compare(a.Entry.Severity, b.Entry.Severity), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// narrow makes the entry of weak authentication name passwords alone where nothing else
// was found.
func (g *Group) narrow() {
	if g.ID != record.FindingWeakAuth {
		return
	}
	for _, p := range g.Paths {
		for _, d := range p.Details {
			if !strings.HasSuffix(d.Name, inClear) {
				return
			}
		}
	}
	e := *g.Entry
	e.Title, e.Clause = "Passwords in the clear", "with passwords in the clear"
	g.Entry = &e
}

// advise sets Sources and Todo.
func (g *Group) advise() {
	for _, p := range g.Paths {
		if p.Path != nil && p.Path.Source != "" && !slices.Contains(g.Sources, p.Path.Source) {
			g.Sources = append(g.Sources, p.Path.Source)
		}
		for _, protocol := range p.Protocols {
			if a := g.Entry.For(protocol, p.Path); a != nil && !slices.Contains(g.Todo, a.Do) {
				g.Todo = append(g.Todo, a.Do)
			}
		}
	}
}

// inClear ends the detail of a finding on a password in the clear. The mechanism stands
// before it.
const inClear = " sends the password in clear"

// Split returns what was seen and what is documented according to the detail of a finding,
// with mechanisms by their names. Documented is empty if the detail does not tell.
func Split(detail string, f *tally.Finding) (seen, documented string) {
	if f.Path == nil {
		return detail, ""
	}
	if how, ok := strings.CutSuffix(detail, inClear); ok {
		if len(f.Path.Encryption) > 0 && f.Path.ByDefault == "yes" {
			documented = InWords(strings.Join(f.Path.Encryption, " or ")) + " by default"
		}
		return "the password in the clear (" + InWords(how) + ")", documented
	}
	seen, documented, ok := strings.Cut(detail, ", "+f.Path.ID+" documents ")
	if !ok {
		return detail, ""
	}
	if seen == "none" {
		seen = "no authentication"
	}
	return InWords(seen), InWords(documented)
}

// Detail words the detail of a finding as what was seen and what is documented.
func Detail(detail string, f *tally.Finding) string {
	seen, documented := Split(detail, f)
	switch {
	case documented != "":
		return "seen: " + seen + "; documented: " + documented
	case seen != detail:
		return "seen: " + seen
	}
	return detail
}

// InWords replaces the ids of mechanisms in a text by the names that administrators know
// them by.
func InWords(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		word, comma := strings.CutSuffix(w, ",")
		if name := mechanismNames[word]; name != "" {
			words[i] = name
			if comma {
				words[i] += ","
			}
		}
	}
	return strings.Join(words, " ")
}

// mechanismNames names mechanisms whose ids are not plain words.
var mechanismNames = map[string]string{
	"ssl": "SSL", "tls": "TLS", "https": "HTTPS", "ldaps": "LDAPS", "srtp": "SRTP", "sip-tls": "SIP over TLS", "rpc": "RPC encryption",
	"ntlm": "NTLM", "kerberos": "Kerberos", "login": "LOGIN", "plain": "PLAIN", "user-pass": "USER and PASS", "simple": "LDAP simple bind",
	"direct-trust": "certificates (direct trust)",
}

// Reason returns the title of a reason in the glossary, or its word.
func Reason(reason record.Reason) string {
	if e := glossary.Lookup(string(reason)); len(e) > 0 {
		return e[0].Title
	}
	return cmp.Or(string(reason), "no reason")
}

// Tied says of how many paths a flow of p may be one.
func Tied(p *tally.Path) string {
	if p.Tied < p.Flows {
		return fmt.Sprintf("%s of them may be one of %d paths", text.Thousands(p.Tied), len(p.IDs))
	}
	return fmt.Sprintf("one of %d paths that packets cannot tell apart", len(p.IDs))
}

// Known says how sure the verdicts of a path are.
func Known(p *tally.Path) string {
	if p.Weakest == p.Strongest {
		return p.Strongest.String()
	}
	return p.Weakest.String() + " to " + p.Strongest.String()
}

// Attention returns the sentence that says how many flows need attention, and why. drops
// is the number of flows of which every packet was dropped by the captured computer. The
// sentence is empty if there is no such flow.
func Attention(t *tally.Tally, drops int) string {
	attention, flows := t.Attention+uint64(drops), t.Flows()+uint64(drops)
	if attention == 0 {
		return ""
	}
	verb := "need"
	if attention == 1 {
		verb = "needs"
	}
	var parts []string
	for _, g := range Violations(t) {
		parts = append(parts, text.Thousands(g.Flows)+" "+g.Entry.Clause)
	}
	if blocked := t.BlockedFlows() + uint64(drops); blocked > 0 {
		parts = append(parts, text.Thousands(blocked)+" blocked")
	}
	if n := t.Of(record.Unexpected); n > 0 {
		parts = append(parts, text.Thousands(n)+" unexpected")
	}
	return fmt.Sprintf("%s of %s %s attention: %s.", text.Thousands(attention), text.Count(flows, "flow"), verb, strings.Join(parts, ", "))
}

// Calm returns the sentence for a run in which no flow needs attention.
func Calm(t *tally.Tally) string {
	if n := t.Of(record.Undetermined); n > 0 {
		return "No flow needs attention; " + text.Count(n, "flow") + " could not be determined."
	}
	return "Nothing needs attention: no deviating, unexpected or blocked flow."
}

// ExchangeSeen reports whether a host has a role that only Exchange servers have.
func ExchangeSeen(hosts []record.HostSummary) bool {
	for i := range hosts {
		for _, r := range hosts[i].Roles {
			for role := range strings.SplitSeq(r.Role, "|") {
				if rules.Role(role).Exchange() {
					return true
				}
			}
		}
	}
	return false
}

// Versions says which Exchange version is at hand, and how that is known, in sentences that
// begin with a space. named is the version that the operator named, with where, and assumed
// that which is taken where traffic does not tell; both may be empty.
func Versions(named, assumed string, hosts []record.HostSummary) string {
	if named != "" {
		return " Exchange " + named + "."
	}
	var proven []string
	open := false
	for i := range hosts {
		if !ExchangeSeen(hosts[i : i+1]) {
			continue
		}
		if v := hosts[i].Version; v == "" {
			open = true
		} else if !slices.Contains(proven, v) {
			proven = append(proven, v)
		}
	}
	slices.Sort(proven)
	line := ""
	if len(proven) > 0 {
		line = " Exchange " + JoinAnd(proven) + " (from traffic)."
	}
	if open && assumed != "" {
		line += " Exchange " + assumed + " is assumed where traffic does not tell; --exchange sets another."
	}
	return line
}

// NoExchange is the first sentence where no Exchange server was recognised.
const NoExchange = "No Exchange server was recognised."

// NameServers says what to do where no Exchange server was recognised. name returns the
// name of a host.
func NameServers(t *tally.Tally, name func(netip.Addr) string) string {
	servers := map[netip.Addr][]string{}
	for _, m := range t.MailLike.All() {
		port := fmt.Sprintf("%d/%s", m.Server.Port(), capture.ProtoName(m.Proto))
		if l := servers[m.Server.Addr()]; !slices.Contains(l, port) {
			servers[m.Server.Addr()] = append(l, port)
		}
	}
	if len(servers) == 0 {
		return "If hosts here are Exchange servers, name them in a site file (--site); exspan site infer begins one."
	}
	var parts []string
	for _, a := range slices.SortedFunc(maps.Keys(servers), netip.Addr.Compare) {
		slices.Sort(servers[a])
		if len(parts) == maxNamed {
			parts = append(parts, fmt.Sprintf("%d more", len(servers)-maxNamed))
			break
		}
		parts = append(parts, name(a)+" ("+strings.Join(servers[a], ", ")+")")
	}
	return "Mail protocols were seen at " + JoinAnd(parts) + ". If these are Exchange servers, name them in a site file (--site); " +
		"exspan site infer begins one."
}

// UnknownRoles names the hosts of unexpected flows whose role is not known, and says what
// to do. It returns "" if there are none.
func UnknownRoles(t *tally.Tally, name func(netip.Addr) string) string {
	unknown := map[netip.Addr]bool{}
	for _, u := range t.Unexpected.All() {
		if u.ServerRoles == "" {
			unknown[u.Server.Addr()] = true
		}
		if u.ClientRoles == "" {
			unknown[u.Client.Addr()] = true
		}
	}
	if len(unknown) == 0 {
		return ""
	}
	var names []string
	for _, a := range slices.SortedFunc(maps.Keys(unknown), netip.Addr.Compare) {
		if len(names) == maxNamed {
			names = append(names, fmt.Sprintf("%d more", len(unknown)-maxNamed))
			break
		}
		names = append(names, name(a))
	}
	verb := "The role of %s is not known. Add it"
	if len(names) > 1 {
		verb = "The roles of %s are not known. Add them"
	}
	return fmt.Sprintf(verb, JoinAnd(names)) + " to the site file, or capture a connection that proves it."
}

// NeverCaptured returns the drops of which no packet was captured, of flows that are
// known.
func NeverCaptured(drops []record.Drop) []record.Drop {
	var list []record.Drop
	for _, d := range drops {
		if !d.Captured && d.Proto != 0 {
			list = append(list, d)
		}
	}
	return list
}

// Trouble returns what stands between the input and the truth, a line each.
func Trouble(sum *record.Summary) []string {
	var list []string
	if skipped := named(sum.Skipped); skipped != "" {
		line := "Frames that are no packet of a flow: " + skipped
		if unread := named(sum.Unread); unread != "" {
			line += "; what they are: " + unread
		}
		list = append(list, line)
	}
	if warning := sum.Warning(); warning != "" {
		list = append(list, "Warning: "+warning)
	}
	if snap := sum.SnapNote(); snap != "" {
		list = append(list, "Note: "+snap)
	}
	if sum.AckedUnseen > 0.01 {
		list = append(list, "Capture loss: "+text.Percent(sum.AckedUnseen)+" of the acknowledged bytes were never captured, so nothing is called unanswered")
	}
	if reached := LimitsReached(sum); reached != "" {
		list = append(list, reached)
	}
	for _, n := range sum.Notes {
		list = append(list, "Note: "+n)
	}
	for _, err := range sum.Errors {
		list = append(list, "Error: "+err.Error())
	}
	return list
}

// LimitsReached returns a line that names the limits that were reached, with what each
// of them cost, or "" if none was. The names begin with what is counted, in the plural.
func LimitsReached(sum *record.Summary) string {
	var parts []string
	for _, l := range sum.Limits {
		name := l.Name
		if singular, rest, ok := strings.Cut(name, "s "); ok && l.Count == 1 {
			name = singular + " " + rest
		}
		if l.Count > 0 {
			parts = append(parts, text.Thousands(l.Count)+" "+name)
		}
	}
	if parts == nil {
		return ""
	}
	return "Limits reached: " + strings.Join(parts, ", ")
}

// named joins names and counts.
func named(counts []record.NamedCount) string {
	var parts []string
	for _, c := range counts {
		if c.Count > 0 {
			parts = append(parts, c.Name+" "+text.Thousands(c.Count))
		}
	}
	return strings.Join(parts, ", ")
}

// JoinAnd joins words with commas, and the last one with "and".
func JoinAnd(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
