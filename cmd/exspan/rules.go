package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/rules"
)

func newRulesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List, show and check the documented data paths",
		Long: `The data paths are what Microsoft documents of the network traffic of Exchange:
who talks to whom, on which ports, and with which authentication and encryption.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRulesListCmd(), newRulesShowCmd(), newRulesPolicyCmd(), newRulesCheckCmd(), newSchemaCmd("packs of rules", "rules", rules.PackSchema))
	return cmd
}

// formatFlag adds --format and returns where its value goes. The first word is
// the default.
func formatFlag(cmd *cobra.Command, words ...string) *string {
	return cmd.Flags().String("format", words[0], "`FORMAT` of the output: "+orList(words))
}

var (
	listFormats = []string{"table", "tsv", "json"}
	showFormats = []string{"table", "json"}
)

func checkFormat(format string, words []string) error {
	if !slices.Contains(words, format) {
		return fmt.Errorf("--format: unknown %q; known are %s", format, strings.Join(words, ", "))
	}
	return nil
}

// pathFilter holds the flags that choose data paths.
type pathFilter struct {
	version, role, port, table string

	number uint16 // of port, or 0
	proto  string // "tcp", "udp" or empty for both
}

func (f *pathFilter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.version, "version", "", "only paths of the Exchange `VERSION`, or of windows (default all)")
	cmd.Flags().StringVar(&f.version, "exchange", "", "the same as --version")
	cmd.Flags().StringVar(&f.role, "role", "", "only paths from or to the `ROLE`")
	cmd.Flags().StringVar(&f.port, "port", "", "only paths with the `PORT`: 25, 25/tcp or dynamic")
	cmd.Flags().StringVar(&f.table, "table", "", "only paths of the `TABLE` of the reference: transport, mailbox ...")
	cmd.MarkFlagsMutuallyExclusive("version", "exchange")
	if err := cmd.Flags().MarkHidden("exchange"); err != nil {
		panic(err) // the flag is defined above
	}
}

// check reports mistakes in the flags, and names the words that they may have.
func (f *pathFilter) check(packs *rules.Packs) error {
	if f.version != "" {
		known := append(packs.Versions(), rules.Platform)
		i := slices.IndexFunc(known, func(v string) bool { return strings.EqualFold(v, f.version) })
		switch {
		case f.version == "2000":
			f.version = "2003" // which are listed together
		case i < 0:
			return fmt.Errorf("--version: no data paths of %q; known are %s", f.version, strings.Join(known, ", "))
		default:
			f.version = known[i]
		}
	}
	if f.role != "" && !slices.Contains(rules.Roles(), rules.Role(f.role)) {
		return fmt.Errorf("--role: unknown role %q%s; known are %s", f.role, didYouMean(f.role, roleWords()), strings.Join(roleWords(), ", "))
	}
	if f.port != "" && f.port != "dynamic" {
		number, proto, _ := strings.Cut(f.port, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 || !slices.Contains([]string{"", "tcp", "udp"}, proto) {
			return fmt.Errorf("--port: %q is no port; ports are written as 25, 25/tcp or dynamic", f.port)
		}
		f.number, f.proto = uint16(n), proto
	}
	if f.table != "" {
		var known []string
		for _, p := range allPaths(packs) {
			if !slices.Contains(known, p.Table) {
				known = append(known, p.Table)
			}
		}
		if !slices.Contains(known, f.table) {
			return fmt.Errorf("--table: unknown table %q; known are %s", f.table, strings.Join(known, ", "))
		}
	}
	return nil
}

// fits reports whether a path is wanted.
func (f *pathFilter) fits(p *rules.DataPath) bool {
	role := rules.Role(f.role)
	return (f.version == "" || p.Version == f.version) && (f.table == "" || p.Table == f.table) &&
		(f.role == "" || hasRole(p.From, role) || hasRole(p.To, role)) &&
		(f.port == "" || slices.ContainsFunc(p.Legs, func(l rules.Leg) bool { return f.fitsPort(&l.Port) }))
}

func (f *pathFilter) fitsPort(p *rules.Port) bool {
	if f.number == 0 {
		return p.Dynamic
	}
	return !p.Dynamic && p.From != 0 && p.Contains(f.number) && (f.proto == "" || f.proto == "tcp" && p.TCP || f.proto == "udp" && p.UDP)
}

// hasRole reports whether a list of roles holds a role, by itself or with a word
// for many.
func hasRole(list []rules.Role, role rules.Role) bool {
	return slices.Contains(list, role) || slices.Contains(list, rules.AnyExchange) && role.Exchange() || slices.Contains(list, rules.Any)
}

func newRulesListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the data paths",
		Example: `  exspan rules list --version 2016 --role edge
  exspan rules list --port 443/tcp
  exspan rules list --format tsv`,
		Args: noArguments,
	}
	format := formatFlag(cmd, listFormats...)
	var filter pathFilter
	filter.flags(cmd)
	var text look
	cmd.Flags().IntVar(&text.width, "width", 0, "columns of the table; 0 means those of the terminal, else $COLUMNS, else 100")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(*format, listFormats); err != nil {
			return err
		}
		text.color = colorWords[0]
		if err := text.check(); err != nil {
			return err
		}
		packs, err := rules.Embedded()
		if err == nil {
			err = filter.check(packs)
		}
		if err != nil {
			return err
		}
		var paths []*rules.DataPath
		for _, p := range allPaths(packs) {
			if filter.fits(p) {
				paths = append(paths, p)
			}
		}
		w := cmd.OutOrStdout()
		switch *format {
		case "json":
			return pathsJSON(w, packs, paths)
		case "tsv":
			return pathsTSV(w, paths)
		}
		return pathsTable(w, paths, text.columns(w))
	}
	return cmd
}

func newRulesShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a path, a group, or what versions must not have",
		Example: `  exspan rules show 2010.mailbox.mapi
  exspan rules show 2010.https.client
  exspan rules show not.mapi-tcp`,
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
	format := formatFlag(cmd, showFormats...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkFormat(*format, showFormats); err != nil {
			return err
		}
		packs, err := rules.Embedded()
		if err != nil {
			return err
		}
		if a := findAbsent(packs, args[0]); a != nil {
			if *format == "json" {
				return absentJSON(cmd.OutOrStdout(), a)
			}
			return showAbsent(cmd.OutOrStdout(), a)
		}
		paths, err := findPaths(packs, args[0])
		if err != nil {
			return err
		}
		if *format == "json" {
			return pathsJSON(cmd.OutOrStdout(), packs, paths)
		}
		return showPaths(cmd.OutOrStdout(), packs, paths)
	}
	return cmd
}

func newRulesCheckCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Check packs of rules and site files",
		Long: `Reads each file, a pack of rules or a site file, and prints every mistake in it
as file:line:column.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []error
			for _, file := range args {
				data, err := pipeline.ReadFile(file)
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

// allPaths returns every data path, by version; those of Windows come last.
func allPaths(packs *rules.Packs) []*rules.DataPath {
	var list []*rules.DataPath
	for _, v := range append(packs.Versions(), rules.Platform) {
		list = append(list, packs.Paths(v)...)
	}
	return list
}

// findAbsent returns the row with the id of what some versions must not have, or
// nil.
func findAbsent(packs *rules.Packs, id string) *rules.Absent {
	for _, k := range packs.All() {
		for i := range k.Absent {
			if k.Absent[i].ID == id {
				return &k.Absent[i]
			}
		}
	}
	return nil
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

// inGroup reports whether a path is in a group, by itself or with one of its legs.
func inGroup(p *rules.DataPath, group string) bool {
	return p.Group == group || slices.ContainsFunc(p.Legs, func(l rules.Leg) bool { return l.Group == group })
}
