// Package table writes the summary that a person reads: one line a data path,
// then what is wrong, then what was learned, and what could not be read.
//
// It keeps aggregates only, each capped, so that its memory does not grow with
// the number of flows. Its text is for people and may change from version to
// version; programs read the ndjson or csv output.
package table

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// Caps of what is kept, and of what is shown of it.
const (
	maxKept     = 4096 // different lines of one section
	maxMechs    = 16   // different mechanisms of one path
	maxExamples = 2    // flows quoted for one finding
	maxShown    = 10   // lines of one list in "what is wrong"
	maxLearned  = 50   // hosts, and endpoints
)

// Options say how the table looks.
type Options struct {
	// Width is the number of columns to fill at most; 0 means 120.
	Width int
	// Color uses ANSI escape sequences.
	Color bool
}

// Sink collects records and writes the table on Close.
type Sink struct {
	w io.Writer
	o Options

	flows     statuses
	bytes     uint64
	paths     tally[string, path]
	findings  tally[findingKey, finding]
	offPath   tally[offPathKey, offPath]
	blocked   tally[blockedKey, blocked]
	unclear   tally[record.Reason, traffic]
	unrelated tally[string, traffic]
	words     []string // names of protocols and reasons: there are few
}

// New returns a sink that writes to w when it is closed.
func New(w io.Writer, o Options) *Sink {
	if o.Width <= 0 {
		o.Width = 120
	}
	return &Sink{w: w, o: o}
}

// statuses counts flows by status: there are five.
type statuses []struct {
	status record.Status
	flows  uint64
}

func (l *statuses) count(status record.Status) {
	for i := range *l {
		if (*l)[i].status == status {
			(*l)[i].flows++
			return
		}
	}
	*l = append(*l, statuses{{status, 1}}...)
}

func (l statuses) of(status record.Status) uint64 {
	for i := range l {
		if l[i].status == status {
			return l[i].flows
		}
	}
	return 0
}

// tally maps keys to counters and refuses new keys when it is full.
type tally[K comparable, V any] struct {
	m    map[K]*V
	more uint64 // flows of refused keys
	// recent holds what was asked for lately: most flows are like one before.
	recent [1 << 9]struct {
		k K
		v *V
	}
}

// at returns the counters of k, or nil when the tally is full. hint is a number
// that is the same for the same key, and best not for others.
func (t *tally[K, V]) at(k K, hint int) *V {
	r := &t.recent[uint(hint)%uint(len(t.recent))]
	if r.v == nil || r.k != k {
		r.k, r.v = k, t.m[k]
		if r.v == nil {
			r.v = t.add(k)
		}
	}
	return r.v
}

func (t *tally[K, V]) add(k K) *V {
	if len(t.m) >= maxKept {
		t.more++
		return nil
	}
	if t.m == nil {
		t.m = map[K]*V{}
	}
	v := new(V)
	t.m[k] = v
	return v
}

// hint returns a number that differs between most servers.
func hint(server netip.AddrPort) int {
	addr := server.Addr().As16()
	return int(server.Port())*31 + int(addr[15])
}

// number returns the number of a word.
func (s *Sink) number(word string) uint16 {
	i := slices.Index(s.words, word)
	if i < 0 {
		i = len(s.words)
		s.words = append(s.words, word)
	}
	return uint16(i)
}

// traffic is an amount of it.
type traffic struct {
	flows, packets, bytes uint64
}

func (t *traffic) count(r *record.Record) {
	t.flows++
	t.packets += r.Packets[0] + r.Packets[1]
	t.bytes += r.Bytes[0] + r.Bytes[1]
}

// path is one line of the first section: a data path, or a group of them that
// packets cannot tell apart.
type path struct {
	traffic
	label, name         string   // a path's id, or a group's
	ids                 []string // of all paths that its flows may follow
	path                *rules.DataPath
	also                []*rules.DataPath // with path those of the flow before
	tied                uint64            // flows that may follow more than one
	lowSource           bool
	expected, deviating uint64
	weakest, strongest  record.Confidence
	auth, encryption    mechanisms
}

// mechanisms counts flows per mechanism, in the order first seen.
type mechanisms []mechanism

type mechanism struct {
	name  string
	flows uint64
}

func (m *mechanisms) count(name string) {
	for i := range *m {
		if (*m)[i].name == name {
			(*m)[i].flows++
			return
		}
	}
	if len(*m) < maxMechs {
		*m = append(*m, mechanism{strings.Clone(name), 1})
	}
}

type findingKey struct {
	level record.Level
	id    record.FindingID
	path  string
}

type finding struct {
	flows    uint64
	examples []example
}

type example struct {
	client, server netip.AddrPort
	text           string
}

// offPathKey is made of numbers side by side: most flows off path differ in it,
// and a map hashes them at once.
type offPathKey struct {
	server                        [16]byte
	port, proto, reason, protocol uint16 // the last two as numbers of words
}

type offPath struct {
	traffic
	reason   record.Reason
	server   netip.AddrPort
	proto    uint8
	protocol string
	client   netip.AddrPort
	outcome  record.Outcome
	why      string
}

type blockedKey struct {
	outcome record.Outcome
	path    string
	server  netip.AddrPort
	proto   uint8
}

type blocked struct {
	flows  uint64
	client netip.Addr
}

// Write adds r to the aggregates.
func (s *Sink) Write(r *record.Record) error {
	if r.State == "active" {
		return nil // an interim record; the last one counts
	}
	v := &r.Verdict
	s.flows.count(v.Status)
	s.bytes += r.Bytes[0] + r.Bytes[1]
	switch v.Status {
	case record.Unrelated:
		if t := s.unrelated.at(r.Protocol, len(r.Protocol)); t != nil {
			t.count(r)
		}
	case record.Undetermined:
		if t := s.unclear.at(v.Reason, len(v.Reason)); t != nil {
			t.count(r)
		}
	case record.Unexpected:
		server := netip.AddrPortFrom(r.Server.Addr, r.Server.Port)
		k := offPathKey{r.Server.Addr.As16(), r.Server.Port, uint16(r.Proto), s.number(string(v.Reason)), s.number(r.Protocol)}
		if u := s.offPath.at(k, hint(server)); u != nil {
			if u.flows == 0 {
				u.reason, u.server, u.proto, u.protocol = v.Reason, server, r.Proto, r.Protocol
				u.client, u.outcome, u.why = netip.AddrPortFrom(r.Client.Addr, r.Client.Port), r.Outcome, v.Why
			}
			u.count(r)
		}
	}
	if v.Path != nil {
		s.onPath(r)
	}
	return nil
}

func (s *Sink) onPath(r *record.Record) {
	v := &r.Verdict
	label := cmp.Or(v.Group, v.Path.ID)
	p := s.paths.at(label, len(label))
	if p == nil {
		return
	}
	if p.flows == 0 {
		p.label, p.name, p.weakest = label, v.Path.Name, v.Confidence
	}
	if p.path != v.Path || !slices.Equal(p.also, v.Also) {
		p.path, p.also = v.Path, append(p.also[:0], v.Also...)
		p.lowSource = p.lowSource || v.Path.Confidence == "low"
		p.mayBe(v.Path.ID)
		for _, a := range v.Also {
			p.mayBe(a.ID)
		}
	}
	if len(v.Also) > 0 {
		p.tied++
	}
	p.count(r)
	if v.Status == record.Deviating {
		p.deviating++
	} else {
		p.expected++
	}
	p.weakest, p.strongest = min(p.weakest, v.Confidence), max(p.strongest, v.Confidence)
	if r.Facts != nil {
		for _, f := range r.Facts.All() {
			switch f.Name {
			case observe.Auth:
				p.auth.count(f.Value)
			case observe.Encryption:
				p.encryption.count(f.Value)
			}
		}
	}
	for i := range v.Findings {
		s.finding(r, &v.Findings[i], label)
	}
	switch r.Outcome {
	case record.Refused, record.Unanswered, record.Prohibited:
		server := netip.AddrPortFrom(r.Server.Addr, r.Server.Port)
		if b := s.blocked.at(blockedKey{r.Outcome, label, server, r.Proto}, hint(server)); b != nil {
			if b.flows == 0 {
				b.client = r.Client.Addr
			}
			b.flows++
		}
	}
}

func (s *Sink) finding(r *record.Record, f *record.Finding, label string) {
	switch f.ID {
	case record.FindingRefused, record.FindingUnanswered:
		return // told under Blocked
	}
	x := s.findings.at(findingKey{f.Level, f.ID, label}, len(f.ID)<<6+len(label))
	if x == nil {
		return
	}
	x.flows++
	if f.Level == record.Violation && len(x.examples) < maxExamples {
		text := f.Detail
		if r.Verdict.Why != "" {
			text = strings.TrimPrefix(text+"; "+r.Verdict.Why, "; ")
		}
		e := example{netip.AddrPortFrom(r.Client.Addr, r.Client.Port), netip.AddrPortFrom(r.Server.Addr, r.Server.Port), strings.Clone(text)}
		if !slices.Contains(x.examples, e) {
			x.examples = append(x.examples, e)
		}
	}
}

// mayBe adds a path that a flow may follow. The packs bound their number.
func (p *path) mayBe(id string) {
	if !slices.Contains(p.ids, id) {
		p.ids = append(p.ids, id)
	}
}

// Close writes the table.
func (s *Sink) Close(sum *record.Summary) error {
	p := &printer{width: s.o.Width, color: s.o.Color}
	s.head(p, sum)
	s.writePaths(p)
	s.writeDeviating(p)
	s.writeUnexpected(p)
	s.writeBlocked(p, sum.Drops)
	if n := s.flows.of(record.Expected); n > 0 && n == s.related() && len(s.blocked.m) == 0 && len(neverCaptured(sum.Drops)) == 0 {
		p.heading("Nothing wrong: no deviating, unexpected or blocked flow")
	}
	s.writeRemarks(p)
	writeHosts(p, sum.Hosts)
	writeEndpoints(p, sum)
	writeDrops(p, sum.Drops)
	s.writeRest(p)
	writeTrouble(p, sum)
	_, err := s.w.Write(p.b)
	return err
}

func (s *Sink) related() uint64 {
	var n uint64
	for _, x := range s.flows {
		if x.status != record.Unrelated {
			n += x.flows
		}
	}
	return n
}

func (s *Sink) head(p *printer, sum *record.Summary) {
	var flows uint64
	for _, x := range s.flows {
		flows += x.flows
	}
	line := count(sum.Packets, "packet") + ", " + size(sum.IPBytes) + " in " + count(flows, "flow")
	if !sum.First.IsZero() {
		line += ", " + moment(sum.First) + " to " + after(sum.First, sum.Last) + " UTC (" + span(sum.Last.Sub(sum.First)) + ")"
	}
	p.wrap(0, 0, line)
	var parts []string
	for _, status := range []record.Status{record.Expected, record.Deviating, record.Unexpected, record.Undetermined, record.Unrelated} {
		if n := s.flows.of(status); n > 0 {
			parts = append(parts, thousands(n)+" "+string(status))
		}
	}
	if len(parts) > 0 {
		p.wrap(0, 0, strings.Join(parts, ", "))
	}
}

func (s *Sink) writePaths(p *printer) {
	if len(s.paths.m) == 0 {
		p.heading("No flow follows a documented data path")
		return
	}
	rows := values(s.paths.m)
	slices.SortFunc(rows, func(a, b *path) int { return cmp.Compare(a.label, b.label) })
	low := false
	cells := [][]string{{"PATH", "FLOWS", "BYTES", "PACKETS", "EXPECTED", "DEVIATING", "CONFIDENCE"}}
	for _, r := range rows {
		mark := ""
		if r.lowSource {
			mark, low = "*", true
		}
		cells = append(cells, []string{
			r.label + mark, thousands(r.flows), size(r.bytes), thousands(r.packets), dash(r.expected), dash(r.deviating),
			confidences(r.weakest, r.strongest),
		})
	}
	p.gap()
	lines := align(cells, "lrrrrrl")
	p.styled(bold, lines[0])
	for i, r := range rows {
		style := plain
		if r.deviating > 0 {
			style = red
		}
		p.styled(style, lines[i+1])
		detail := r.name
		if m := r.auth.String(); m != "" {
			detail += "; auth " + m
		}
		if m := r.encryption.String(); m != "" {
			detail += "; encryption " + m
		}
		p.wrap(4, 6, detail)
		if r.tied > 0 {
			which := "one of "
			if r.tied < r.flows {
				which = thousands(r.tied) + " of them one of "
			}
			p.wrap(4, 6, which+strings.Join(r.ids, ", "))
		}
	}
	p.more(s.paths.more)
	if low {
		p.line(0, "* the reference itself is uncertain about this path")
	}
}

func (s *Sink) writeDeviating(p *printer) {
	rows := s.findingsOf(record.Violation)
	if len(rows) == 0 {
		return
	}
	p.heading("Deviating: " + count(s.flows.of(record.Deviating), "flow"))
	for i, k := range rows {
		if i == maxShown {
			p.rest(len(rows)-i, "line")
			break
		}
		f := s.findings.m[k]
		p.styled(red, "  "+printable(string(k.id))+"  "+printable(k.path)+"  "+count(f.flows, "flow"))
		for _, e := range f.examples {
			p.wrap(6, 8, e.client.String()+" > "+e.server.String()+": "+e.text)
		}
	}
	p.more(s.findings.more)
}

func (s *Sink) findingsOf(level record.Level) []findingKey {
	var rows []findingKey
	for k := range s.findings.m {
		if k.level == level {
			rows = append(rows, k)
		}
	}
	slices.SortFunc(rows, func(a, b findingKey) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.path, b.path))
	})
	return rows
}

func (s *Sink) writeUnexpected(p *printer) {
	if s.flows.of(record.Unexpected) == 0 {
		return
	}
	p.heading("Unexpected: " + count(s.flows.of(record.Unexpected), "flow"))
	type rows struct {
		shown []*offPath // sorted; there may be thousands of others
		count int
		flows uint64
	}
	byReason := map[record.Reason]*rows{}
	for _, u := range s.offPath.m {
		r := byReason[u.reason]
		if r == nil {
			r = &rows{}
			byReason[u.reason] = r
		}
		r.count++
		r.flows += u.flows
		if n := len(r.shown); n == maxShown && r.shown[n-1].flows > u.flows {
			continue
		}
		i, _ := slices.BinarySearchFunc(r.shown, u, func(a, b *offPath) int {
			if c := cmp.Compare(b.flows, a.flows); c != 0 {
				return c
			}
			return cmp.Or(a.server.Compare(b.server), cmp.Compare(a.proto, b.proto), cmp.Compare(a.protocol, b.protocol))
		})
		if i < maxShown {
			r.shown = slices.Insert(r.shown[:min(len(r.shown), maxShown-1)], i, u)
		}
	}
	for _, reason := range sortedKeys(byReason) {
		r := byReason[reason]
		p.styled(red, "  "+printable(string(reason))+"  "+count(r.flows, "flow"))
		for _, u := range r.shown {
			text := u.server.String() + "/" + transport(u.proto) + " " + name(u.protocol) + ": " + count(u.flows, "flow") + ", " +
				size(u.bytes) + ", first from " + u.client.String()
			if u.outcome != "" && u.outcome != record.Answered {
				text += " (" + string(u.outcome) + ")"
			}
			if u.why != "" {
				text += ": " + u.why
			}
			p.wrap(6, 8, text)
		}
		if n := r.count - len(r.shown); n > 0 {
			p.rest(n, "server port")
		}
	}
	p.more(s.offPath.more)
}

func (s *Sink) writeBlocked(p *printer, drops []record.Drop) {
	drops = neverCaptured(drops)
	if len(s.blocked.m) == 0 && len(drops) == 0 {
		return
	}
	rows := make([]blockedKey, 0, len(s.blocked.m))
	for k := range s.blocked.m {
		rows = append(rows, k)
	}
	slices.SortFunc(rows, func(a, b blockedKey) int {
		return cmp.Or(cmp.Compare(a.outcome, b.outcome), cmp.Compare(a.path, b.path), a.server.Compare(b.server), cmp.Compare(a.proto, b.proto))
	})
	p.heading("Blocked")
	for i, k := range rows {
		if i == maxShown {
			p.rest(len(rows)-i, "line")
			break
		}
		b := s.blocked.m[k]
		p.wrap(2, 6, string(k.outcome)+"  "+k.path+"  "+k.server.String()+"/"+transport(k.proto)+"  "+
			count(b.flows, "attempt")+", first from "+b.client.String())
	}
	p.more(s.blocked.more)
	writeNeverCaptured(p, drops)
}

func (s *Sink) writeRemarks(p *printer) {
	rows := s.findingsOf(record.Remark)
	if len(rows) == 0 {
		return
	}
	p.heading("Remarks")
	for len(rows) > 0 {
		id := rows[0].id
		var paths []string
		for len(rows) > 0 && rows[0].id == id {
			paths = append(paths, rows[0].path+" "+thousands(s.findings.m[rows[0]].flows))
			rows = rows[1:]
		}
		p.wrap(2, 6, string(id)+": "+strings.Join(paths, ", "))
	}
}

func writeHosts(p *printer, hosts []record.HostSummary) {
	if len(hosts) == 0 {
		return
	}
	p.heading("Hosts")
	for i, h := range hosts {
		if i == maxLearned {
			p.rest(len(hosts)-i, "host")
			break
		}
		line := h.Addr.String()
		if h.Name != "" {
			line += "  " + h.Name
		}
		if h.Version != "" {
			line += "  Exchange " + h.Version
		}
		proofs := byEvidence(h.Roles)
		if len(proofs) == 1 {
			p.wrap(2, 6, line+"  "+proofs[0])
			continue
		}
		p.wrap(2, 6, line)
		for _, proof := range proofs {
			p.wrap(6, 8, proof)
		}
	}
}

// byEvidence gives one text for each evidence, naming all roles that it proves.
func byEvidence(roles []record.RoleProof) []string {
	var list []string
	for i, r := range roles {
		if slices.ContainsFunc(roles[:i], func(x record.RoleProof) bool { return x.Evidence == r.Evidence }) {
			continue
		}
		text := r.Role
		for _, x := range roles[i+1:] {
			if x.Evidence == r.Evidence {
				text += ", " + x.Role
			}
		}
		if r.Evidence != "" {
			text += " (" + r.Evidence + ")"
		}
		list = append(list, text)
	}
	return list
}

func writeEndpoints(p *printer, sum *record.Summary) {
	endpoints := sum.Endpoints
	if len(endpoints) == 0 {
		return
	}
	p.heading("Learned endpoints")
	cells := [][]string{}
	for i, e := range endpoints {
		if i == maxLearned {
			break
		}
		proto := "/tcp"
		if e.UDP {
			proto = "/udp"
		}
		how := string(e.Source)
		if e.From.IsValid() {
			how += " from " + e.From.String()
		}
		if !e.Learned.IsZero() {
			how += " at " + after(sum.First, e.Learned)
		}
		if e.Announced.IsValid() {
			how += ", announced as " + e.Announced.String()
		}
		if e.Ended {
			how += ", ended"
		}
		if e.Annotation != "" {
			how += `, "` + e.Annotation + `"`
		}
		cells = append(cells, []string{e.Server.String() + proto, e.Service, count(e.Flows, "flow"), how})
	}
	for _, l := range align(cells, "llrl") {
		p.wrap(2, 6, l)
	}
	if n := len(endpoints) - maxLearned; n > 0 {
		p.rest(n, "endpoint")
	}
}

// writeRest writes what is no one's fault: undetermined and unrelated flows.
func (s *Sink) writeRest(p *printer) {
	if len(s.unclear.m)+len(s.unrelated.m) > 0 {
		p.gap()
	}
	if len(s.unclear.m) > 0 {
		var parts []string
		for _, reason := range sortedKeys(s.unclear.m) {
			parts = append(parts, cmp.Or(string(reason), "no reason")+" "+thousands(s.unclear.m[reason].flows))
		}
		p.wrap(0, 4, "Undetermined: "+count(s.flows.of(record.Undetermined), "flow")+": "+strings.Join(parts, ", "))
	}
	if len(s.unrelated.m) == 0 {
		return
	}
	var bytes uint64
	names := sortedKeys(s.unrelated.m)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(s.unrelated.m[b].flows, s.unrelated.m[a].flows) })
	var parts []string
	for i, n := range names {
		bytes += s.unrelated.m[n].bytes
		if i < maxShown {
			parts = append(parts, name(n)+" "+thousands(s.unrelated.m[n].flows))
		}
	}
	if n := len(names) - maxShown; n > 0 {
		parts = append(parts, "and "+count(uint64(n), "other protocol"))
	}
	p.wrap(0, 4, "Unrelated: "+count(s.flows.of(record.Unrelated), "flow")+", "+size(bytes)+": "+strings.Join(parts, ", "))
}

// writeTrouble writes what stands between the input and the truth.
func writeTrouble(p *printer, sum *record.Summary) {
	skipped, limits := named(sum.Skipped, "%[1]s %[2]s"), named(sum.Limits, "%[2]s %[1]s")
	if skipped == "" && limits == "" && len(sum.Errors) == 0 && len(sum.Notes) == 0 && sum.AckedUnseen <= 0.01 {
		return
	}
	p.gap()
	if skipped != "" {
		p.wrap(0, 4, "Frames that are no packet of a flow: "+skipped)
	}
	if sum.AckedUnseen > 0.01 {
		p.wrap(0, 4, "Capture loss: "+percent(sum.AckedUnseen)+" of the acknowledged bytes were never captured, so nothing is called unanswered")
	}
	if limits != "" {
		p.wrap(0, 4, "Limits reached: "+limits)
	}
	for _, n := range sum.Notes {
		p.wrap(0, 4, "Note: "+n)
	}
	for _, err := range sum.Errors {
		p.wrap(0, 4, "Error: "+err.Error())
	}
}

// named joins names and counts in the given form.
func named(counts []record.NamedCount, form string) string {
	var parts []string
	for _, c := range counts {
		if c.Count > 0 {
			parts = append(parts, fmt.Sprintf(form, c.Name, thousands(c.Count)))
		}
	}
	return strings.Join(parts, ", ")
}

// String lists the mechanisms, the most frequent first.
func (m mechanisms) String() string {
	m = slices.Clone(m)
	slices.SortStableFunc(m, func(a, b mechanism) int { return cmp.Or(cmp.Compare(b.flows, a.flows), cmp.Compare(a.name, b.name)) })
	var parts []string
	for _, x := range m {
		parts = append(parts, x.name+" "+thousands(x.flows))
	}
	return strings.Join(parts, ", ")
}

func confidences(weakest, strongest record.Confidence) string {
	if weakest == strongest {
		return strongest.String()
	}
	return weakest.String() + " to " + strongest.String()
}

func transport(proto uint8) string {
	if proto == capture.UDP {
		return "udp"
	}
	return "tcp"
}

// name is a protocol's name in words.
func name(protocol string) string { return cmp.Or(protocol, "not recognised") }

func dash(n uint64) string {
	if n == 0 {
		return "-"
	}
	return thousands(n)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// after is t, without its date if that is the date of start.
func after(start, t time.Time) string {
	text := moment(t)
	if day := moment(start)[:len("2006-01-02 ")]; strings.HasPrefix(text, day) {
		return text[len(day):]
	}
	return text
}

func values[K comparable, V any](m map[K]*V) []*V {
	list := make([]*V, 0, len(m))
	for _, v := range m {
		list = append(list, v)
	}
	return list
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
