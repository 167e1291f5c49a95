package observetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
)

// CheckLoss drops each of the first three segments in either direction in turn. It
// reports each gap once immediately and once only with the next bytes of its direction.
// It fails t if the loss makes the observer report a fact that it does not report for the
// whole conversation: a loss may hide facts, but must not create any. exempt lists, by
// name, the values of facts that only describe how far the observer got; "*" exempts all
// values. CheckLoss returns the number of facts compared and how many of them were
// missing.
func CheckLoss(t testing.TB, p observe.Protocol, conv []Segment, o Options, exempt map[string][]string) (compared, missed int) {
	t.Helper()
	if o.Datagram {
		return 0, 0
	}
	all := Run(p, conv, o)
	whole := all.Lines()
	var nth [2]int
	for i, s := range conv {
		if s.Gap > 0 || len(s.Data) == 0 {
			continue
		}
		if nth[s.Dir]++; nth[s.Dir] > 3 {
			continue
		}
		for _, late := range []bool{false, true} {
			cut := lose(conv, i, late)
			r := Run(p, cut, o)
			if r.Err == observe.ErrViolation && len(r.Facts.All()) == 0 {
				continue
			}
			lines := r.Lines()
			for _, l := range lines {
				if slices.Contains(whole, l) || strings.HasPrefix(l, "endpoint ") || strings.HasPrefix(l, "rejected ") {
					continue
				}
				name, value, _ := strings.Cut(l, "=")
				if e := exempt[name]; slices.Contains(e, "*") || slices.Contains(e, value) {
					continue
				}
				t.Errorf("%d bytes lost %v (segment %d, reported late: %v): observer reports %s, which it does not report without loss", len(s.Data), s.Dir, i, late, l)
			}
			for _, l := range whole {
				if strings.Contains(l, "=") {
					compared++
					if !slices.Contains(lines, l) && !strings.Contains(string(s.Data), l[strings.IndexByte(l, '=')+1:]) {
						missed++
					}
				}
			}
		}
	}
	return compared, missed
}

// lose returns conv without segment i. The gap replaces it, or comes before the next
// segment of its direction.
func lose(conv []Segment, i int, late bool) []Segment {
	gap := Lost(conv[i].Dir, len(conv[i].Data))
	out := slices.Clone(conv[:i])
	rest := conv[i+1:]
	if late {
		next := slices.IndexFunc(rest, func(s Segment) bool { return s.Dir == gap.Dir })
		if next < 0 {
			return append(out, rest...)
		}
		out = append(out, rest[:next]...)
		rest = rest[next:]
	}
	return append(append(out, gap), rest...)
}
