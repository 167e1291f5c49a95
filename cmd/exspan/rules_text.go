package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/exspan/exspan/rules"
)

func roleList(list []rules.Role) string { return strings.Join(stringsOf(list), "|") }

// orDash stands for what the reference does not say.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// protection words the reference's encryption columns.
func protection(p *rules.DataPath) string {
	s := orDash(strings.Join(p.Encryption, "|"))
	switch p.ByDefault {
	case "yes":
		return s + ", by default"
	case "no":
		return s + ", not by default"
	}
	return s
}

// shortPorts lists the ports of a path without protocols and details: "135/tcp,
// dynamic/tcp".
func shortPorts(p *rules.DataPath) string {
	var list []string
	for i := range p.Legs {
		port := p.Legs[i].Port
		if port.Dynamic {
			port.From, port.To = 0, 0
		}
		if s := port.String(); !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return strings.Join(list, ", ")
}

// cut shortens text to a number of characters.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-3]) + "..."
}

// pathsTable writes paths as a table. Where it does not fit into the columns,
// each path has a second line with its roles and ports, so that little is cut.
// Long lists of ports are cut in either form.
func pathsTable(w io.Writer, paths []*rules.DataPath, columns int) error {
	rows := [][]string{{"ID", "NAME", "FROM", "TO", "PORTS"}}
	for _, p := range paths {
		rows = append(rows, []string{p.ID, p.Name, roleList(p.From), roleList(p.To), cut(shortPorts(p), 60)})
	}
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	const between = 2
	total := (len(width) - 1) * between
	for _, n := range width {
		total += n
	}
	var b strings.Builder
	for i, row := range rows {
		if total <= columns {
			writeCells(&b, row, width, between)
			continue
		}
		writeCells(&b, []string{row[0], cut(row[1], max(columns-width[0]-between, 12))}, width, between)
		if i > 0 {
			b.WriteString("    " + cut(row[2]+" > "+row[3]+"  "+row[4], columns-4) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeCells(b *strings.Builder, cells []string, width []int, between int) {
	var line strings.Builder
	for i, cell := range cells {
		line.WriteString(cell)
		line.WriteString(strings.Repeat(" ", max(width[i]-utf8.RuneCountInString(cell), 0)+between))
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// pathsTSV writes paths with all columns, in the form of the reference tables.
func pathsTSV(w io.Writer, paths []*rules.DataPath) error {
	yes := map[bool]string{true: "yes", false: "no"}
	var b strings.Builder
	b.WriteString("id\tversion\ttable\tname\tfrom\tto\tone_end\texternal\tports\tdefault_auth\tsupported_auth\tencryption\tby_default\t" +
		"group\tlocal\tconditions\tnote\tfirewall_rules\tsource\tconfidence\n")
	for _, p := range paths {
		group := p.Group
		if group == p.ID && !slices.ContainsFunc(paths, func(o *rules.DataPath) bool { return o != p && o.Group == p.ID }) {
			group = ""
		}
		b.WriteString(strings.Join([]string{
			p.ID, p.Version, p.Table, p.Name, roleList(p.From), roleList(p.To), roleList(p.OneEnd), yes[p.External], p.Ports,
			strings.Join(p.DefaultAuth, "|"), strings.Join(p.SupportedAuth, "|"), strings.Join(p.Encryption, "|"), p.ByDefault, group, yes[p.Local],
			strings.Join(p.Conditions.Words(), ";"), p.Note, strings.Join(p.FirewallRules, ";"), p.Source, p.Confidence,
		}, "\t"))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// conditionTexts returns conditions as sentences.
func conditionTexts(c *rules.Conditions) []string {
	var list []string
	for _, r := range c.NotFrom {
		list = append(list, "not from "+string(r))
	}
	for _, r := range c.NotTo {
		list = append(list, "not to "+string(r))
	}
	if c.NoPipe {
		list = append(list, "SMB for files: RPC over a named pipe does not fit")
	}
	if c.NamesDecide {
		list = append(list, "the flow must show one of the names or paths of its leg")
	}
	if len(c.Methods) > 0 {
		list = append(list, "HTTP requests with method "+orList(c.Methods)+" alone")
	}
	if c.UnannouncedUndetermined {
		list = append(list, "a high port that nothing announced is undetermined at most")
	}
	return list
}

func showPaths(w io.Writer, packs *rules.Packs, paths []*rules.DataPath) error {
	var b strings.Builder
	for i, p := range paths {
		if i > 0 {
			b.WriteByte('\n')
		}
		showPath(&b, packs, p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// labelled writes lines of which the first has a label.
func labelled(b *strings.Builder, label string, lines ...string) {
	for _, l := range lines {
		if l != "" {
			fmt.Fprintf(b, "%-16s %s\n", label, l)
			label = ""
		}
	}
}

func showPath(b *strings.Builder, packs *rules.Packs, p *rules.DataPath) {
	fmt.Fprintf(b, "%s\n", p.ID)
	labelled(b, "name", p.Name)
	labelled(b, "exchange", versionName(p.Version))
	labelled(b, "table", p.Table)
	labelled(b, "from", roleList(p.From))
	labelled(b, "to", roleList(p.To))
	labelled(b, "one end", roleList(p.OneEnd))
	if p.External {
		labelled(b, "external", "the client may be on the internet")
	}
	if p.Local {
		labelled(b, "local", "on the host itself alone: between hosts it is unexpected")
	}
	if p.NotUsed {
		labelled(b, "not used", "the reference says that Exchange does not use it: a flow is unexpected")
	}
	labelled(b, "conditions", conditionTexts(&p.Conditions)...)
	labelled(b, "default auth", orDash(strings.Join(p.DefaultAuth, "|")))
	labelled(b, "supported auth", orDash(strings.Join(p.SupportedAuth, "|")))
	labelled(b, "encryption", protection(p))
	labelled(b, "note", p.Note)
	labelled(b, "documents", p.Documents...)
	labelled(b, "confidence", p.Confidence+" (of ports and ends)")
	showGroup(b, packs, p)
	labelled(b, "firewall rules", p.FirewallRules...)
	var legs []string
	for i := range p.Legs {
		legs = append(legs, legText(packs, p, &p.Legs[i]))
	}
	labelled(b, "legs", legs...)
}

func versionName(version string) string {
	switch version {
	case "2003":
		return "2000 and 2003"
	case rules.Platform:
		return "every version (Windows itself)"
	}
	return version
}

// showGroup writes the group of a path with its other members.
func showGroup(b *strings.Builder, packs *rules.Packs, p *rules.DataPath) {
	var lines []string
	for _, o := range allPaths(packs) {
		if o != p && o.Group == p.Group {
			lines = append(lines, "  ties with "+o.ID)
		}
	}
	if len(lines) == 0 && p.Group == p.ID {
		return
	}
	head := p.Group
	if name := packs.GroupName(p.Group); name != "" {
		head += " (" + name + ")"
	}
	labelled(b, "group", append([]string{head}, lines...)...)
}

// legText writes a leg on one line.
func legText(packs *rules.Packs, p *rules.DataPath, l *rules.Leg) string {
	var notes []string
	if l.Reverse {
		notes = append(notes, "opened by "+roleList(p.To))
	}
	if l.Auth == rules.NotApplicable && l.Encryption == rules.NotApplicable {
		notes = append(notes, "authentication and encryption not applicable")
	}
	if l.MaxConfidence != "" {
		notes = append(notes, "unless announced, confidence is "+l.MaxConfidence+" at most")
	}
	if l.SitePort != "" {
		notes = append(notes, "the site file's "+l.SitePort+" replaces the port")
	}
	if l.ContentOnly {
		notes = append(notes, "where the content was read")
	}
	if l.Group != p.Group {
		notes = append(notes, "group "+l.Group+": "+orDash(packs.GroupName(l.Group)))
	}
	s := l.Text
	if len(notes) > 0 {
		s += " (" + strings.Join(notes, "; ") + ")"
	}
	return s
}

// showAbsent writes what some versions must not have.
func showAbsent(w io.Writer, a *rules.Absent) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", a.ID)
	labelled(&b, "what", a.What)
	labelled(&b, "absent from", strings.Join(a.Versions, ", "))
	labelled(&b, "from", roleList(a.From))
	labelled(&b, "to", roleList(a.To))
	if a.Weakness != "" {
		labelled(&b, "policy", a.Weakness)
	}
	if len(a.Methods) > 0 {
		labelled(&b, "HTTP methods", strings.Join(a.Methods, ", "))
	}
	labelled(&b, "note", a.Note)
	labelled(&b, "documents", a.Source)
	labelled(&b, "confidence", a.Confidence)
	var legs []string
	for i := range a.Legs {
		text := a.Legs[i].Text
		if a.Legs[i].ContentOnly {
			text += " (where the content was read)"
		}
		legs = append(legs, text)
	}
	labelled(&b, "legs", legs...)
	_, err := io.WriteString(w, b.String())
	return err
}
