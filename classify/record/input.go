package record

import (
	"fmt"
	"strings"
)

// maxUnreadNames is how many kinds of frames Warning names.
const maxUnreadNames = 5

// Warning returns what more than a tenth of the frames was that became no packet,
// or "" if there were fewer: what was not read may be what is looked for. ARP and
// the like do not count.
func (s *Summary) Warning() string {
	if s.Missed == 0 || s.Missed*10 <= s.Frames {
		return ""
	}
	text := fmt.Sprintf("%d of %d frames (%d %%) were not read", s.Missed, s.Frames, s.Missed*100/s.Frames)
	var names []string
	for _, u := range s.Unread {
		if len(names) < maxUnreadNames {
			names = append(names, fmt.Sprintf("%s %d", u.Name, u.Count))
		}
	}
	if len(names) == 0 {
		for _, n := range s.Skipped {
			names = append(names, fmt.Sprintf("%s %d", n.Name, n.Count))
		}
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
