package record

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxUnreadNames is how many kinds of frames Warning names.
const maxUnreadNames = 5

// unnamedSkips words the reasons for which frames were skipped that Summary.Unread does
// not name by what they are.
var unnamedSkips = map[string]string{
	"truncated": "cut too short",
	"malformed": "malformed",
	"limit":     "over a limit",
	"panic":     "not decoded because of a fault",
}

// Warning returns what more than a tenth of the frames was that became no packet,
// or "" if there were fewer: what was not read may be what is looked for. ARP and
// the like do not count.
func (s *Summary) Warning() string {
	if s.Missed == 0 || s.Missed*10 <= s.Frames {
		return ""
	}
	text := fmt.Sprintf("%d of %d frames (%d %%) were not read", s.Missed, s.Frames, s.Missed*100/s.Frames)
	causes := slices.Clone(s.Unread)
	for _, n := range s.Skipped {
		if words, ok := unnamedSkips[n.ID]; ok {
			causes = append(causes, NamedCount{ID: n.ID, Name: words, Count: n.Count})
		}
	}
	if len(causes) == 0 {
		causes = slices.Clone(s.Skipped)
	}
	slices.SortStableFunc(causes, func(a, b NamedCount) int { return cmp.Compare(b.Count, a.Count) })
	var names []string
	for _, c := range causes[:min(len(causes), maxUnreadNames)] {
		names = append(names, fmt.Sprintf("%s %d", c.Name, c.Count))
	}
	return text + ": " + strings.Join(names, ", ")
}

// SnapNote returns what the snap length of the capture cut off, or "" if it cut
// nothing.
func (s *Summary) SnapNote() string {
	switch {
	case s.Truncated == 0:
		return ""
	case s.Truncated == 1:
		return fmt.Sprintf("1 packet was cut by the snap length; a snap length of %d bytes would have taken it whole", s.SnapLength)
	}
	return fmt.Sprintf("%d packets were cut by the snap length; a snap length of %d bytes would have taken them whole", s.Truncated, s.SnapLength)
}
