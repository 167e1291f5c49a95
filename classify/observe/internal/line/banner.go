package line

import "strings"

// Banner returns the wording of a server's greeting in a form that is the same
// for every server of a kind and every session: without brackets' contents,
// host names, mail addresses, session identifiers and dates.
//
// That is: what stands in <> or [] is left out; so is a word in () behind a
// version number (old Exchange servers put their name there), and a word that
// is a host name, a mail address, or letters and digits mixed in a way that no
// version is. The text ends before "ready at" or "at", the name of a day, or a
// semicolon, whatever of them comes first, and is at most 120 bytes long.
func Banner(b []byte) string {
	var words [16]string // more than most have
	out := words[:0]
	var version bool
	depth := 0
	for w := range strings.FieldsSeq(strings.ToValidUTF8(string(b[:min(len(b), 512)]), "?")) {
		if depth > 0 || w[0] == '<' || w[0] == '[' {
			depth = 0
			if !strings.ContainsAny(w, ">]") {
				depth = 1
			}
			continue
		}
		plain := strings.Trim(w, "().,;:!")
		if day(plain) {
			break
		}
		if strings.HasPrefix(w, "(") && version {
			version = false
			continue
		}
		last := strings.HasSuffix(w, ";")
		version = isVersion(plain)
		if !strings.Contains(w, "@") && !hostName(plain) && !identifier(plain) {
			out = append(out, strings.TrimSuffix(w, ";"))
		}
		if last {
			break
		}
	}
	for i, w := range out {
		if w == "at" && (i > 0 && out[i-1] == "ready" || i == len(out)-1) {
			out = out[:i]
			if i > 0 && out[i-1] == "ready" {
				out = out[:i-1]
			}
			break
		}
	}
	s := strings.Join(out, " ")
	if len(s) > 120 {
		s = strings.ToValidUTF8(s[:120], "")
	}
	return strings.TrimRight(s, " ,-")
}

func day(w string) bool {
	if len(w) > 3 {
		w = strings.TrimSuffix(w, ",")
	}
	switch w {
	case "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday":
		return true
	}
	// 2026-11-21, 21/11/2026, 21.11.2026
	digits := 0
	for _, c := range w {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c != '-' && c != '/':
			return false
		}
	}
	return digits >= 6 && digits <= 8 && strings.ContainsAny(w, "-/")
}

// isVersion says whether w consists of numbers with dots.
func isVersion(w string) bool {
	for _, c := range w {
		if (c < '0' || c > '9') && c != '.' {
			return false
		}
	}
	return strings.Contains(w, ".")
}

// hostName says whether w is a name of several labels, or an IP address in
// brackets: dots, no version, and a last label of two letters or more.
func hostName(w string) bool {
	i := strings.LastIndexByte(w, '.')
	if i < 1 || len(w)-i < 3 {
		return false
	}
	for _, c := range w[i+1:] {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	for _, c := range w {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// identifier says whether letters and digits change places four times or more,
// as in "s4si9696358qcc.63"; "IMAP4rev1" has three.
func identifier(w string) bool {
	changes, last := 0, byte(0)
	for i := range len(w) {
		k := byte(0)
		switch c := w[i]; {
		case c >= '0' && c <= '9':
			k = '0'
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			k = 'a'
		}
		if k != 0 && last != 0 && k != last {
			changes++
		}
		if k != 0 {
			last = k
		}
	}
	return changes >= 4 || len(w) > 40
}
