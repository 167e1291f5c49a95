package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/rules"
)

func newRulesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List, show and check the documented data paths",
		Long: `The data paths are what Microsoft documents of the network traffic of Exchange: who
talks to whom, on which ports, and with which authentication and encryption.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRulesListCmd(), newRulesShowCmd(), newRulesPolicyCmd(), newRulesCheckCmd())
	return cmd
}

// formatFlag adds --format and returns where its value goes.
func formatFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("format", "table", "`FORMAT` of the output: table or json")
}

func checkFormat(format string) error {
	if format != "table" && format != "json" {
		return fmt.Errorf("--format: unknown %q; known are table, json", format)
	}
	return nil
}

func newRulesListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the data paths",
		Example: `  exspan rules list
  exspan rules list --exchange 2010 --format json`,
		Args: cobra.NoArgs,
	}
	format := formatFlag(cmd)
	version := cmd.Flags().String("exchange", "", "list the paths of one Exchange `VERSION` (default all)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(*format); err != nil {
			return err
		}
		versions := rules.EmbeddedVersions()
		if *version != "" {
			i := slices.IndexFunc(versions, func(v string) bool { return strings.EqualFold(v, *version) })
			if i < 0 {
				return fmt.Errorf("--exchange: no data paths of %q; known are %s", *version, strings.Join(versions, ", "))
			}
			versions = versions[i : i+1]
		}
		packs, err := rules.Embedded(versions...)
		if err != nil {
			return err
		}
		var paths []*rules.DataPath
		for _, v := range versions {
			paths = append(paths, packs.Paths(v)...)
		}
		if *format == "json" {
			return pathsJSON(cmd.OutOrStdout(), paths)
		}
		return pathsTable(cmd.OutOrStdout(), paths)
	}
	return cmd
}

func newRulesShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a data path, or the paths of a group",
		Example: `  exspan rules show 2010.mailbox.mapi
  exspan rules show 2010.https.client`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			packs, err := rules.Embedded()
			if err != nil || len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var ids []string
			for _, p := range allPaths(packs) {
				if strings.HasPrefix(p.ID, prefix) {
					ids = append(ids, p.ID+"\t"+p.Name)
				}
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
	}
	format := formatFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkFormat(*format); err != nil {
			return err
		}
		packs, err := rules.Embedded()
		if err != nil {
			return err
		}
		paths, err := findPaths(packs, args[0])
		if err != nil {
			return err
		}
		if *format == "json" {
			return pathsJSON(cmd.OutOrStdout(), paths)
		}
		return showPaths(cmd.OutOrStdout(), packs, paths)
	}
	return cmd
}

func newRulesCheckCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Check packs of rules and site files",
		Long:  `Reads each file, a pack of rules or a site file, and prints every mistake in it as file:line:column.`,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []error
			for _, file := range args {
				data, err := os.ReadFile(file)
				if err == nil {
					err = rules.Check(file, data)
				}
				if err != nil {
					all = append(all, err)
				}
			}
			return errors.Join(all...)
		},
	}
}

func allPaths(packs *rules.Packs) []*rules.DataPath {
	var list []*rules.DataPath
	for _, v := range packs.Versions() {
		list = append(list, packs.Paths(v)...)
	}
	return list
}

// findPaths returns the path with the id, or the members of the group.
func findPaths(packs *rules.Packs, id string) ([]*rules.DataPath, error) {
	if p := packs.Path(id); p != nil {
		return []*rules.DataPath{p}, nil
	}
	var members []*rules.DataPath
	var like []string
	for _, p := range allPaths(packs) {
		if inGroup(p, id) {
			members = append(members, p)
		}
		if strings.Contains(strings.ToLower(p.ID), strings.ToLower(id)) {
			like = append(like, p.ID)
		}
	}
	switch {
	case len(members) > 0:
		return members, nil
	case len(like) > 0:
		return nil, fmt.Errorf("no data path %q; there are %s", id, strings.Join(like[:min(len(like), 10)], ", "))
	}
	return nil, fmt.Errorf("no data path %q; exspan rules list prints them all", id)
}

// inGroup says whether a path is in a group, by itself or with one of its legs.
func inGroup(p *rules.DataPath, group string) bool {
	return p.Group == group || slices.ContainsFunc(p.Legs, func(l rules.Leg) bool { return l.Group == group })
}

func roleList(list []rules.Role) string {
	s := make([]string, len(list))
	for i := range list {
		s[i] = string(list[i])
	}
	return strings.Join(s, "|")
}

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

// shortPorts leaves the names of services out of the reference's text:
// "135/tcp rpc;dynamic/tcp rpc" becomes "135/tcp, dynamic/tcp".
func shortPorts(s string) string {
	var list []string
	for part := range strings.SplitSeq(s, ";") {
		part = strings.TrimSpace(part)
		word, _, _ := strings.Cut(part, " ")
		if !strings.Contains(word, "/") {
			word = part // "Dynamic RPC"
		}
		if !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	return strings.Join(list, ", ")
}

func pathsTable(w io.Writer, paths []*rules.DataPath) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tFROM\tTO\tPORTS\tDEFAULT AUTH\tSUPPORTED AUTH\tENCRYPTION\tREFERENCE")
	for _, p := range paths {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.ID, roleList(p.From), roleList(p.To), orDash(shortPorts(p.Ports)),
			orDash(strings.Join(p.DefaultAuth, "|")), orDash(strings.Join(p.SupportedAuth, "|")), protection(p), p.Source)
	}
	return tw.Flush()
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

func showPath(b *strings.Builder, packs *rules.Packs, p *rules.DataPath) {
	line := func(label, value string) {
		if value != "" {
			fmt.Fprintf(b, "%-16s %s\n", label, value)
		}
	}
	fmt.Fprintf(b, "%s\n", p.ID)
	line("name", p.Name)
	line("exchange", p.Version)
	line("table", p.Table)
	line("from", roleList(p.From))
	line("to", roleList(p.To))
	line("one end", roleList(p.OneEnd))
	if p.External {
		line("external", "the client may be on the internet")
	}
	line("ports", p.Ports)
	line("default auth", orDash(strings.Join(p.DefaultAuth, "|")))
	line("supported auth", orDash(strings.Join(p.SupportedAuth, "|")))
	line("encryption", protection(p))
	line("note", p.Note)
	line("reference", p.Source)
	line("confidence", p.Confidence)
	if p.Group != p.ID || slices.ContainsFunc(allPaths(packs), func(o *rules.DataPath) bool { return o != p && o.Group == p.ID }) {
		line("group", p.Group)
		for _, o := range allPaths(packs) {
			if o != p && o.Group == p.Group {
				line("", "  ties with "+o.ID)
			}
		}
	}
	for i, rule := range p.FirewallRules {
		label := ""
		if i == 0 {
			label = "firewall rules"
		}
		line(label, rule)
	}
	for i := range p.Legs {
		label := ""
		if i == 0 {
			label = "legs"
		}
		line(label, legText(p, &p.Legs[i]))
	}
}

// legText writes a leg on one line.
func legText(p *rules.DataPath, l *rules.Leg) string {
	s := l.Port.String()
	if l.Protocol != "" {
		s += " " + l.Protocol
	}
	for _, f := range l.Facts {
		s += fmt.Sprintf(" %s=%s", f.Name, strings.Join(f.Values, ","))
	}
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
	if len(notes) > 0 {
		s += " (" + strings.Join(notes, "; ") + ")"
	}
	return s
}

// pathJSON is a data path in JSON. Absent values are left out.
type pathJSON struct {
	ID            string       `json:"id"`
	Exchange      string       `json:"exchange"`
	Table         string       `json:"table,omitempty"`
	Name          string       `json:"name"`
	Group         string       `json:"group"`
	From          []rules.Role `json:"from"`
	To            []rules.Role `json:"to"`
	OneEnd        []rules.Role `json:"one_end,omitempty"`
	External      bool         `json:"external,omitempty"`
	Ports         string       `json:"ports,omitempty"`
	DefaultAuth   []string     `json:"default_auth,omitempty"`
	SupportedAuth []string     `json:"supported_auth,omitempty"`
	Encryption    []string     `json:"encryption,omitempty"`
	ByDefault     string       `json:"encrypted_by_default,omitempty"`
	Note          string       `json:"note,omitempty"`
	Reference     string       `json:"reference"`
	Confidence    string       `json:"source_confidence"`
	FirewallRules []string     `json:"firewall_rules,omitempty"`
	Legs          []legJSON    `json:"legs"`
}

type legJSON struct {
	Port          string              `json:"port"`
	Protocol      string              `json:"protocol,omitempty"`
	Facts         map[string][]string `json:"facts,omitempty"`
	Reverse       bool                `json:"reverse,omitempty"`
	Group         string              `json:"group,omitempty"` // where it is not the path's
	Auth          string              `json:"auth,omitempty"`
	Encryption    string              `json:"encryption,omitempty"`
	MaxConfidence string              `json:"max_confidence,omitempty"`
	SitePort      string              `json:"site_port,omitempty"`
}

func pathsJSON(w io.Writer, paths []*rules.DataPath) error {
	list := make([]pathJSON, len(paths))
	for i, p := range paths {
		j := pathJSON{
			ID: p.ID, Exchange: p.Version, Table: p.Table, Name: p.Name, Group: p.Group, From: p.From, To: p.To, OneEnd: p.OneEnd,
			External: p.External, Ports: p.Ports, DefaultAuth: p.DefaultAuth, SupportedAuth: p.SupportedAuth, Encryption: p.Encryption,
			ByDefault: p.ByDefault, Note: p.Note, Reference: p.Source, Confidence: p.Confidence, FirewallRules: p.FirewallRules,
		}
		for _, l := range p.Legs {
			leg := legJSON{
				Port: l.Port.String(), Protocol: l.Protocol, Facts: factsJSON(l.Facts), Reverse: l.Reverse, Auth: l.Auth, Encryption: l.Encryption,
				MaxConfidence: l.MaxConfidence, SitePort: l.SitePort,
			}
			if l.Group != p.Group {
				leg.Group = l.Group
			}
			j.Legs = append(j.Legs, leg)
		}
		list[i] = j
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(list)
}

func factsJSON(facts []rules.Fact) map[string][]string {
	m := map[string][]string{}
	for _, f := range facts {
		m[f.Name] = f.Values
	}
	return m
}
