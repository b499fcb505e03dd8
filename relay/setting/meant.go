package setting

import (
	"slices"
	"strings"
)

// Meant is the known word that was probably meant, or "".
func Meant(word string, known []string) string {
	word = plain(word)
	best, least := "", 3
	if len(word) < 5 {
		least = 2
	}
	for _, k := range known {
		if d := distance(word, plain(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" && len(word) > 2 {
		i := slices.IndexFunc(known, func(k string) bool { return strings.HasPrefix(plain(k), word) })
		if i >= 0 {
			best = known[i]
		}
	}
	return best
}

// plain is a word without what is easily mistaken.
func plain(word string) string {
	return strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(word))
}

// distance counts the letters to insert, delete or replace to make a of b
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
