package main

import (
	"fmt"
	"path"
	"slices"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/filter"
	"github.com/exspan/exspan/rules"
)

// filterFlags holds the flags that choose flows.
type filterFlags struct {
	status, reason, finding, path, host, role, port []string

	criteria filter.Criteria
}

func (x *filterFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&x.status, "status", nil, "flows with one of these statuses (`LIST`, comma-separated)")
	f.StringSliceVar(&x.reason, "reason", nil, "flows that are unexpected or undetermined for one of these reasons (`LIST`)")
	f.StringSliceVar(&x.finding, "finding", nil, "flows with one of these findings (`LIST`); blocked stands for all that were refused, prohibited or never answered")
	f.StringSliceVar(&x.path, "path", nil, "flows on one of these data paths or groups: ids, patterns such as '2010.cas.*', or names (`LIST`)")
	f.StringSliceVar(&x.host, "host", nil, "flows of one of these hosts: addresses, networks or names (`LIST`)")
	f.StringSliceVar(&x.role, "role", nil, "flows of hosts with one of these roles (`LIST`)")
	f.StringSliceVar(&x.port, "port", nil, "flows to one of these server ports, such as 25, 25/tcp or 6000-6010 (`LIST`)")
	for name, words := range map[string][]string{"status": statuses, "reason": reasonWords(), "finding": findingWords(), "role": roleWords()} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
}

func reasonWords() []string { return stringsOf(record.Reasons()) }

// blockedWord is what --finding takes for flows whose set-up failed in whatever way.
const blockedWord = "blocked"

func findingWords() []string {
	return append([]string{blockedWord}, stringsOf(record.Findings())...)
}

// roleWords returns the roles that site files can name.
func roleWords() []string { return stringsOf(rules.Roles()) }

// any reports whether flows are chosen.
func (x *filterFlags) any() bool {
	return len(x.status)+len(x.reason)+len(x.finding)+len(x.path)+len(x.host)+len(x.role)+len(x.port) > 0
}

// check returns the mistakes in the flags, and sets the criteria.
func (x *filterFlags) check() []error {
	errs := []error{
		checkWords("status", x.status, statuses), checkWords("reason", x.reason, reasonWords()),
		checkWords("finding", x.finding, findingWords()), checkWords("role", x.role, roleWords()),
	}
	x.criteria = filter.Criteria{Paths: x.path, Roles: x.role, Statuses: toStatuses(x.status)}
	for _, w := range x.reason {
		x.criteria.Reasons = append(x.criteria.Reasons, record.Reason(w))
	}
	for _, w := range x.finding {
		if w == blockedWord {
			x.criteria.Blocked = true
			continue
		}
		x.criteria.Findings = append(x.criteria.Findings, record.FindingID(w))
	}
	for _, w := range x.path {
		if _, err := path.Match(w, ""); err != nil {
			errs = append(errs, fmt.Errorf("--path: %q is no pattern: %w", w, err))
		}
	}
	for _, w := range x.host {
		x.criteria.Hosts = append(x.criteria.Hosts, filter.ParseHost(w))
	}
	for _, w := range x.port {
		p, err := filter.ParsePort(w)
		if err != nil {
			errs = append(errs, fmt.Errorf("--port: %w", err))
		}
		x.criteria.Ports = append(x.criteria.Ports, p)
	}
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}
