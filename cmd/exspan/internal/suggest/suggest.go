// Package suggest finds the word that a person meant.
package suggest

import (
	"fmt"
	"strings"
)

// Near returns the word of known that is closest to word, or "" if none is
// close. Words are close if one becomes the other by at most one insertion,
// deletion, substitution or transposition for every three of its letters, or if
// one begins with the other.
func Near(word string, known []string) string {
	word = strings.ToLower(word)
	best, least := "", len(word)/3+2
	for _, k := range known {
		d := distance(word, strings.ToLower(k))
		if len(word) >= 3 && strings.HasPrefix(strings.ToLower(k), word) {
			d = min(d, 1)
		}
		if d < least && d <= max(len(word), len(k))/3 {
			best, least = k, d
		}
	}
	return best
}

// Hint returns ` (did you mean "x"?)` with the word of known that is closest to
// word, or "".
func Hint(word string, known []string) string {
	if near := Near(word, known); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}

// distance is the restricted Damerau-Levenshtein distance of two words, in
// bytes.
func distance(a, b string) int {
	before := make([]int, len(b)+1) // the row before the last one
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
