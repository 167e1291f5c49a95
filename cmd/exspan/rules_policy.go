package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/exporter"
	"github.com/exspan/exspan/rules"
)

func newRulesPolicyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Show which mechanisms are weak, and by which document",
		Long: `The policy holds what is true of traffic whatever its data path: which
mechanisms are weak, how grave that is for each version of Exchange and by which
document, and which roles are those of Exchange servers.`,
		Args: noArguments,
	}
	format := formatFlag(cmd, showFormats...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(*format, showFormats); err != nil {
			return err
		}
		packs, err := rules.Embedded()
		if err != nil {
			return err
		}
		if *format == "json" {
			return policyJSON(cmd.OutOrStdout(), packs.Policy())
		}
		return policyText(cmd.OutOrStdout(), packs.Policy())
	}
	return cmd
}

func policyText(w io.Writer, p *rules.Policy) error {
	var b strings.Builder
	line := func(label, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-16s %s\n", label, value)
		}
	}
	for i := range p.Weak {
		k := &p.Weak[i]
		fmt.Fprintf(&b, "%s\n", k.ID)
		line("finding", k.Finding)
		line("where", k.Fact+" is "+strings.Join(k.Values, ", "))
		if k.Encryption != "" {
			line("only if", "the documented encryption is "+k.Encryption)
		}
		for j := range k.Grades {
			g := &k.Grades[j]
			line(string(g.Level), gradedVersions(k, g))
			if g.Rule != "" {
				line("  row", g.Rule)
			}
			line("  note", g.Note)
			line("  document", g.Source)
		}
		b.WriteByte('\n')
	}
	line("Exchange roles", roleList(p.ExchangeRoles))
	line("answering", strings.Join(p.Answering, ", "))
	line("beginnings", strings.Join(p.Beginnings, ", "))
	line("movable", strings.Join(p.Movable, ", "))
	line("unannounced", strings.Join(p.Unannounced, ", "))
	for i := range p.Announced {
		label := ""
		if i == 0 {
			label = "announced"
		}
		line(label, p.Announced[i].Protocol+" by "+strings.Join(p.Announced[i].By, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// gradedVersions names the versions that a grade holds for.
func gradedVersions(w *rules.Weakness, g *rules.Grade) string {
	switch {
	case len(g.Versions) > 0:
		return "Exchange " + strings.Join(g.Versions, ", ")
	case slices.ContainsFunc(w.Grades, func(o rules.Grade) bool { return len(o.Versions) > 0 }):
		return "every other version"
	}
	return "every version"
}

type weaknessJSON struct {
	ID         string      `json:"id"`
	Finding    string      `json:"finding"`
	Fact       string      `json:"fact"`
	Values     []string    `json:"values"`
	Encryption string      `json:"documented_encryption,omitempty"`
	Grades     []gradeJSON `json:"grades"`
}

type gradeJSON struct {
	Versions  []string    `json:"versions,omitempty"` // absent for all others
	Level     rules.Level `json:"level"`
	Rule      string      `json:"rule,omitempty"`
	Note      string      `json:"note,omitempty"`
	Reference string      `json:"reference"`
}

type announcedJSON struct {
	By       []string `json:"by"`
	Protocol string   `json:"protocol"`
}

func policyJSON(w io.Writer, p *rules.Policy) error {
	out := struct {
		Weak          []weaknessJSON  `json:"weak"`
		ExchangeRoles []rules.Role    `json:"exchange_roles"`
		Answering     []string        `json:"answering"`
		Beginnings    []string        `json:"beginnings"`
		Movable       []string        `json:"movable"`
		Unannounced   []string        `json:"unannounced"`
		Announced     []announcedJSON `json:"announced"`
	}{ExchangeRoles: p.ExchangeRoles, Answering: p.Answering, Beginnings: p.Beginnings, Movable: p.Movable, Unannounced: p.Unannounced}
	for _, k := range p.Weak {
		j := weaknessJSON{ID: k.ID, Finding: k.Finding, Fact: k.Fact, Values: k.Values, Encryption: k.Encryption}
		for _, g := range k.Grades {
			j.Grades = append(j.Grades, gradeJSON{g.Versions, g.Level, g.Rule, g.Note, g.Source})
		}
		out.Weak = append(out.Weak, j)
	}
	for _, a := range p.Announced {
		out.Announced = append(out.Announced, announcedJSON(a))
	}
	return exporter.JSON(w, out)
}
