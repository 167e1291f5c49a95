// Package diff tells what differs between two runs: data paths, pairs of
// hosts, findings and learned endpoints that are new, gone or changed. Order and
// time do not matter.
package diff

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// State is how a thing differs.
type State string

// The states.
const (
	New     State = "new"
	Gone    State = "gone"
	Changed State = "changed"
)

// States returns every state.
func States() []State { return []State{New, Gone, Changed} }

// Kind is what kind of thing differs.
type Kind string

// The kinds, in the order in which they are written.
const (
	Path     Kind = "path"
	Finding  Kind = "finding"
	Service  Kind = "unexpected"
	Pair     Kind = "pair"
	Endpoint Kind = "endpoint"
	Other    Kind = "unrelated"
)

var kinds = []Kind{Path, Finding, Service, Pair, Endpoint, Other}

// Change is one difference.
type Change struct {
	Kind  Kind   `json:"kind"`
	State State  `json:"state"`
	What  string `json:"what"`
	// ID is the id of the path or finding, if there is one.
	ID  string `json:"id,omitempty"`
	Was string `json:"was,omitempty"`
	Now string `json:"now,omitempty"`
}

// Run collects what is compared of one run. It is a sink.
type Run struct {
	t    tally.Tally
	sum  record.Summary
	name func(id string) string
}

// NewRun returns a Run. Packs gives the names of groups of paths.
func NewRun(packs *rules.Packs) *Run {
	r := &Run{name: packs.GroupName}
	r.t.Options.Pairs = true
	return r
}

// Write counts r.
func (r *Run) Write(rec *record.Record) error {
	r.t.Add(rec)
	return nil
}

// Close keeps what the summary says of hosts and endpoints.
func (r *Run) Close(sum *record.Summary) error {
	r.sum.Hosts, r.sum.Endpoints = slices.Clone(sum.Hosts), slices.Clone(sum.Endpoints)
	return nil
}

// thing is what is compared: its name for people and its value.
type thing struct {
	what, id, value string
}

func (r *Run) host(addr netip.Addr, name string) string {
	for i := range r.sum.Hosts {
		if r.sum.Hosts[i].Addr == addr && r.sum.Hosts[i].Name != "" {
			return r.sum.Hosts[i].Name
		}
	}
	return cmp.Or(name, addr.String())
}

// things returns what is compared of a kind, by a key that is the same in both
// runs. counts makes the number of flows a part of a pair's value.
func (r *Run) things(kind Kind, counts bool) map[string]thing {
	list := map[string]thing{}
	switch kind {
	case Path:
		for label, p := range r.t.Paths.All() {
			value := "as documented"
			switch {
			case p.Blocked == p.Flows:
				value = "blocked"
			case p.Deviating > 0:
				value = "deviating"
			}
			list[label] = thing{tally.PathName(label, p.Path, r.name), label, value}
		}
	case Finding:
		for k, f := range r.t.Findings.All() {
			list[string(k.ID)+" "+k.Path] = thing{string(k.ID) + " on " + tally.PathName(k.Path, f.Path, r.name), string(k.ID), string(k.Level)}
		}
	case Service:
		for _, u := range r.t.Unexpected.All() {
			what := fmt.Sprintf("%s:%d/%s %s", r.host(u.Server.Addr(), ""), u.Server.Port(), capture.ProtoName(u.Proto), u.Protocol)
			list[fmt.Sprint(u.Server, u.Proto, u.Protocol, u.Reason)] = thing{strings.TrimSpace(what), string(u.Reason), ""}
		}
	case Pair:
		for k, p := range r.t.Pairs.All() {
			what := r.host(k.Client, p.Client) + " > " + r.host(k.Server, p.Server) + "  " + tally.PathName(k.Label, p.Path, r.name)
			value := ""
			if counts {
				value = text.Count(p.Flows, "flow")
			}
			list[fmt.Sprint(k.Client, k.Server, k.Label)] = thing{what, k.Label, value}
		}
	case Endpoint:
		r.endpoints(list)
	case Other:
		for protocol, t := range r.t.Unrelated.All() {
			value := ""
			if counts {
				value = text.Count(t.Flows, "flow")
			}
			list[protocol] = thing{cmp.Or(protocol, "not recognised"), "", value}
		}
	}
	return list
}

// endpoints adds the ports of each announced service.
func (r *Run) endpoints(list map[string]thing) {
	ports := map[string][]string{}
	for i := range r.sum.Endpoints {
		e := &r.sum.Endpoints[i]
		if e.Service == "rtp" || e.Service == "rtcp" {
			continue // every call has its own
		}
		proto := "tcp"
		if e.UDP {
			proto = "udp"
		}
		key := e.Server.Addr().String() + " " + e.Service + " " + proto
		port := fmt.Sprintf("%d/%s", e.Server.Port(), proto)
		if !slices.Contains(ports[key], port) {
			ports[key] = append(ports[key], port)
		}
		list[key] = thing{r.host(e.Server.Addr(), "") + "  " + e.Service, e.Service, ""}
	}
	for key, p := range ports {
		slices.Sort(p)
		t := list[key]
		t.value = strings.Join(p, ", ")
		list[key] = t
	}
}

// Refused returns the number of flows that were left out of the comparison
// because there were too many pairs of hosts or services.
func (r *Run) Refused() uint64 { return r.t.Pairs.More + r.t.Unexpected.More + r.t.Paths.More }

// Compare returns the differences, by kind and state. With counts, a pair whose
// number of flows differs has changed.
func Compare(a, b *Run, counts bool) []Change {
	var list []Change
	for _, kind := range kinds {
		was, now := a.things(kind, counts), b.things(kind, counts)
		var changes []Change
		for key, t := range was {
			n, ok := now[key]
			switch {
			case !ok:
				changes = append(changes, Change{Kind: kind, State: Gone, What: t.what, ID: t.id, Was: t.value})
			case n.value != t.value:
				changes = append(changes, Change{Kind: kind, State: Changed, What: n.what, ID: n.id, Was: t.value, Now: n.value})
			}
		}
		for key, t := range now {
			if _, ok := was[key]; !ok {
				changes = append(changes, Change{Kind: kind, State: New, What: t.what, ID: t.id, Now: t.value})
			}
		}
		slices.SortFunc(changes, func(a, b Change) int {
			return cmp.Or(cmp.Compare(slices.Index(States(), a.State), slices.Index(States(), b.State)), cmp.Compare(a.What, b.What), cmp.Compare(a.ID, b.ID))
		})
		list = append(list, changes...)
	}
	return list
}

// Options say how differences are written.
type Options struct {
	JSON  bool
	Color bool
}

// Write writes differences for people or programs.
func Write(w io.Writer, changes []Change, o Options) error {
	if o.JSON {
		if changes == nil {
			changes = []Change{}
		}
		return exporter.JSON(w, changes)
	}
	var b strings.Builder
	titles := map[Kind]string{Path: "DATA PATHS", Finding: "FINDINGS", Service: "UNEXPECTED SERVICES", Pair: "WHO TALKS TO WHOM", Endpoint: "LEARNED ENDPOINTS",
		Other: "UNRELATED FLOWS, BY PROTOCOL"}
	var last Kind
	for i := range changes {
		c := &changes[i]
		if c.Kind != last {
			if last != "" {
				b.WriteByte('\n')
			}
			last = c.Kind
			b.WriteString(titles[c.Kind] + "\n")
		}
		line := fmt.Sprintf("  %-8s %s", c.State, c.What)
		switch {
		case c.State == Changed:
			line += ": " + c.Was + ", now " + c.Now
		case c.State == New && c.Now != "" && c.Kind != Pair && c.Kind != Finding:
			line += ": " + c.Now
		case c.State == Gone && c.Was != "" && c.Kind != Pair && c.Kind != Finding:
			line += ": was " + c.Was
		}
		line = text.Printable(line)
		if o.Color && c.State != Changed {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		b.WriteString(line + "\n")
	}
	if len(changes) == 0 {
		b.WriteString("No difference.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Found returns the states of words that occur, with their numbers.
func Found(changes []Change, words []string) []string {
	var found []string
	for _, w := range words {
		n := uint64(0)
		for i := range changes {
			if string(changes[i].State) == w || string(changes[i].State)+"-"+string(changes[i].Kind) == w {
				n++
			}
		}
		if n > 0 {
			found = append(found, fmt.Sprintf("%s in %s", w, text.Count(n, "place")))
		}
	}
	return found
}

// Words returns the words that Found takes: states, and states with kinds, such
// as new-path.
func Words() []string {
	var words []string
	for _, s := range States() {
		words = append(words, string(s))
	}
	for _, s := range States() {
		for _, k := range kinds {
			words = append(words, string(s)+"-"+string(k))
		}
	}
	return words
}
