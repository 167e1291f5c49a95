package judge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// Candidates returns the rows that a flow could follow: those whose port is the
// flow's, and those whose port is announced and whose protocol is the flow's.
// The chosen ones come first, then those of which least speaks against. It is for
// people who ask why; verdicts do not need it.
func (j *Judge) Candidates(s *Subject) []record.Candidate {
	v := j.Verdict(s)
	_, _, rs := j.rulesFor(s)
	if rs == nil {
		return nil
	}
	tables := []*table{&rs.paths}
	if j.platform != nil {
		tables = append(tables, &j.compiled(j.platform).paths)
	}
	var legs []*legRef
	for _, t := range tables {
		legs = append(legs, t.at(s.Port, s.Proto)...)
		for protocol, refs := range t.dynamic {
			announced := s.Announced != nil && slices.ContainsFunc(s.Announced.Services, func(x match.Service) bool { return x.Protocol == protocol })
			if protocol == s.Protocol || announced {
				legs = append(legs, refs...)
			}
		}
		for _, ref := range t.movable {
			if ref.leg.Protocol == s.Protocol {
				legs = append(legs, ref)
			}
		}
	}
	byPath := map[*rules.DataPath]*record.Candidate{}
	var list []*record.Candidate
	for _, ref := range legs {
		path := ref.row.path
		chosen := path == v.Path || slices.Contains(v.Also, path)
		c := j.candidate(s, ref, chosen)
		known := byPath[path]
		switch {
		case known == nil:
			byPath[path] = &c
			list = append(list, &c)
		case len(c.Against) < len(known.Against):
			*known = c // the leg that fits best speaks for the path
		}
	}
	slices.SortStableFunc(list, func(a, b *record.Candidate) int {
		if a.Path == v.Path || b.Path == v.Path {
			return order(a.Path == v.Path, b.Path == v.Path)
		}
		if a.Chosen != b.Chosen {
			return order(a.Chosen, b.Chosen)
		}
		if d := len(a.Against) - len(b.Against); d != 0 {
			return d
		}
		return strings.Compare(a.Path.ID, b.Path.ID)
	})
	out := make([]record.Candidate, len(list))
	for i, c := range list {
		out[i] = *c
	}
	return out
}

// order returns which of two comes first: the one that is true.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// candidate holds a subject against a leg, condition by condition.
func (j *Judge) candidate(s *Subject, ref *legRef, chosen bool) record.Candidate {
	c := record.Candidate{Path: ref.row.path, Chosen: chosen}
	hold := func(holds bool, yes, no string) {
		switch {
		case holds && yes != "":
			c.For = append(c.For, yes)
		case !holds && no != "":
			c.Against = append(c.Against, no)
		}
	}
	l := ref.leg
	service := s.serviceFor(ref)
	own := ref.content.Match(s.Facts.All())
	port := j.site.Port(l)
	if port.Dynamic {
		hold(match.Transport(port, s.Proto), "", "documented for "+port.String())
		if service >= 0 || !own.Contradicted { // else the facts tell
			hold(service >= 0 || s.Protocol != "" && own.Complete, s.announcedText(service),
				"neither content nor an announcement speaks for "+legName(ref))
		}
	} else {
		fits := match.Port(port, s.Port, s.Proto)
		if !fits && l.Configurable && own.Complete {
			fits = true // an administrator may have changed it
		}
		hold(fits, "port "+s.portName(), "documented for "+port.String())
	}
	if s.Protocol != "" && l.Protocol != "" {
		hold(s.Protocol == l.Protocol, s.Protocol+" was read", s.Protocol+" was read, "+l.Protocol+" is documented")
	}
	if s.Protocol == l.Protocol {
		j.holdFacts(s, ref, own, hold)
	}
	from, to := ref.row.sides(l)
	hold(ref.row.side(s.Client, from) >= match.Likely, "the client is "+s.Client.Text, "the client is "+s.Client.Text+", documented is "+match.Join(from))
	hold(ref.row.side(s.Server, to) >= match.Likely, "the server is "+s.Server.Text, "the server is "+s.Server.Text+", documented is "+match.Join(to))
	if one := ref.row.path.OneEnd; len(one) > 0 {
		hold(max(s.Client.Fits(one), s.Server.Fits(one)) >= match.Likely, "", "neither end is "+match.Join(one))
	}
	switch {
	case ref.row.fits(s, l) == match.No && len(c.Against) == 0:
		c.Against = append(c.Against, "its conditions leave out one of the two hosts")
	case !ref.admits(s, own) && len(c.Against) == 0:
		c.Against = append(c.Against, "its conditions ask for content that was not read")
	}
	if !chosen && len(c.Against) == 0 {
		why := "another row fits the content more closely"
		if ref.row.path.LastResort() {
			why = "its document is weak on ports or ends, and another row explains the flow"
		}
		c.Against = append(c.Against, why)
	}
	return c
}

// holdFacts holds the facts that were read against those that a leg asks for.
func (j *Judge) holdFacts(s *Subject, ref *legRef, own match.Result, hold func(bool, string, string)) {
	for _, name := range ref.content.Names() {
		var seen []string
		for _, f := range s.Facts.All() {
			if f.Name == name {
				seen = append(seen, f.Value)
			}
		}
		var wanted []string
		for _, f := range slices.Concat(ref.leg.Facts, ref.leg.Either) {
			if f.Name == name {
				wanted = f.Values
			}
		}
		want := strings.Join(wanted, " or ")
		switch {
		case len(seen) == 0:
			hold(false, "", "") // nothing was read of it: neither for nor against
		case own.Contradicted && !slices.ContainsFunc(seen, func(v string) bool {
			one := match.Compile(&rules.Match{Facts: []rules.Fact{{Name: name, Values: wanted}}})
			return one.Match([]observe.Fact{{Name: name, Value: v}}).Complete
		}):
			hold(false, "", fmt.Sprintf("%s is %s, documented is %s", name, strings.Join(seen, ", "), want))
		default:
			hold(true, name+"="+strings.Join(seen, ", "), "")
		}
	}
}

// announcedText words the announcement of the service with an index.
func (s *Subject) announcedText(service int) string {
	if service < 0 {
		return "the content says which service it is"
	}
	x := &s.Announced.Services[service]
	return fmt.Sprintf("%s was announced at this port (%s)", x.Name, x.Source)
}

// legName names what a leg with an announced port is for.
func legName(ref *legRef) string {
	for _, f := range ref.leg.Facts {
		return strings.Join(f.Values, " or ")
	}
	return ref.leg.Protocol
}
