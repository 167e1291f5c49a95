package main

import (
	"io"

	"github.com/exspan/exspan/exporter"
	"github.com/exspan/exspan/rules"
)

// pathJSON is a data path in JSON. Absent values are left out.
type pathJSON struct {
	ID            string       `json:"id"`
	Exchange      string       `json:"exchange"`
	Table         string       `json:"table,omitempty"`
	Name          string       `json:"name"`
	Group         string       `json:"group"`
	GroupName     string       `json:"group_name,omitempty"`
	From          []rules.Role `json:"from"`
	To            []rules.Role `json:"to"`
	OneEnd        []rules.Role `json:"one_end,omitempty"`
	External      bool         `json:"external,omitempty"`
	Local         bool         `json:"local,omitempty"`
	NotUsed       bool         `json:"not_used,omitempty"`
	Conditions    []string     `json:"conditions,omitempty"`
	Ports         string       `json:"ports,omitempty"`
	DefaultAuth   []string     `json:"default_auth,omitempty"`
	SupportedAuth []string     `json:"supported_auth,omitempty"`
	Encryption    []string     `json:"encryption,omitempty"`
	ByDefault     string       `json:"encrypted_by_default,omitempty"`
	Note          string       `json:"note,omitempty"`
	Reference     string       `json:"reference"`
	Documents     []string     `json:"documents,omitempty"`
	Confidence    string       `json:"source_confidence"`
	FirewallRules []string     `json:"firewall_rules,omitempty"`
	Legs          []legJSON    `json:"legs"`
}

type legJSON struct {
	Text          string              `json:"text"`
	Port          string              `json:"port"`
	Protocol      string              `json:"protocol,omitempty"`
	Inside        string              `json:"inside,omitempty"`
	Facts         map[string][]string `json:"facts,omitempty"`
	Either        map[string][]string `json:"either,omitempty"`
	ContentOnly   bool                `json:"content_only,omitempty"`
	Reverse       bool                `json:"reverse,omitempty"`
	Static        bool                `json:"static,omitempty"`
	Configurable  bool                `json:"configurable,omitempty"`
	Multicast     bool                `json:"multicast,omitempty"`
	Group         string              `json:"group,omitempty"` // where it is not the path's
	Auth          string              `json:"auth,omitempty"`
	Encryption    string              `json:"encryption,omitempty"`
	MaxConfidence string              `json:"max_confidence,omitempty"`
	SitePort      string              `json:"site_port,omitempty"`
}

func pathsJSON(w io.Writer, packs *rules.Packs, paths []*rules.DataPath) error {
	list := make([]pathJSON, len(paths))
	for i, p := range paths {
		list[i] = pathJSON{
			ID: p.ID, Exchange: p.Version, Table: p.Table, Name: p.Name, Group: p.Group, GroupName: packs.GroupName(p.Group), From: p.From,
			To: p.To, OneEnd: p.OneEnd, External: p.External, Local: p.Local, NotUsed: p.NotUsed, Conditions: p.Conditions.Words(),
			Ports: p.Ports, DefaultAuth: p.DefaultAuth, SupportedAuth: p.SupportedAuth, Encryption: p.Encryption, ByDefault: p.ByDefault,
			Note: p.Note, Reference: p.Source, Documents: p.Documents, Confidence: p.Confidence, FirewallRules: p.FirewallRules,
			Legs: legsJSON(p.Legs, p.Group),
		}
	}
	return exporter.JSON(w, list)
}

func legsJSON(legs []rules.Leg, group string) []legJSON {
	list := make([]legJSON, len(legs))
	for i, l := range legs {
		list[i] = legJSON{
			Text: l.Text, Port: l.Port.String(), Protocol: l.Protocol, Inside: l.Inside, Facts: factsJSON(l.Facts), Either: factsJSON(l.Either),
			ContentOnly: l.ContentOnly, Reverse: l.Reverse, Static: l.Static, Configurable: l.Configurable, Multicast: l.Multicast, Auth: l.Auth,
			Encryption: l.Encryption, MaxConfidence: l.MaxConfidence, SitePort: l.SitePort,
		}
		if l.Group != group {
			list[i].Group = l.Group
		}
	}
	return list
}

func factsJSON(facts []rules.Fact) map[string][]string {
	m := map[string][]string{}
	for _, f := range facts {
		m[f.Name] = f.Values
	}
	return m
}

func absentJSON(w io.Writer, a *rules.Absent) error {
	return exporter.JSON(w, struct {
		ID         string       `json:"id"`
		Versions   []string     `json:"absent_from"`
		What       string       `json:"what"`
		From       []rules.Role `json:"from"`
		To         []rules.Role `json:"to,omitempty"`
		Weakness   string       `json:"policy,omitempty"`
		Methods    []string     `json:"http_methods,omitempty"`
		Note       string       `json:"note,omitempty"`
		Reference  string       `json:"reference"`
		Confidence string       `json:"source_confidence"`
		Legs       []legJSON    `json:"legs,omitempty"`
	}{a.ID, a.Versions, a.What, a.From, a.To, a.Weakness, a.Methods, a.Note, a.Source, a.Confidence, legsJSON(a.Legs, a.ID)})
}
