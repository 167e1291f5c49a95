package rules

import "strings"

// Near returns the word of known that is closest to word, ignoring case, or "" if none is
// close. Two words are close if at most one insertion, deletion, substitution or
// transposition for every three letters turns one into the other, or if a word of known
// begins with word.
func Near(word string, known []string) string {
	word = strings.ToLower(word)
	best, least := "", len(word)/3+2
	for _, k := range known {
		d := editDistance(word, strings.ToLower(k))
		if len(word) >= 3 && strings.HasPrefix(strings.ToLower(k), word) {
			d = min(d, 1)
		}
		if d < least && d <= max(len(word), len(k))/3 {
			best, least = k, d
		}
	}
	return best
}

// guess returns a hint that names the known word nearest to a misspelt one, or "".
func guess(wrong string, known []string) string {
	if strings.Trim(wrong, "0123456789.") == "" {
		return "" // a number is not a misspelt word
	}
	if near := Near(wrong, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// editDistance returns the restricted Damerau-Levenshtein distance of two words, in
// bytes. Words of more than 64 bytes are treated as different from all others.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	var before, row, next [65]int
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
