package detect

import "strings"

// nearest returns the entry of names that a mistyped name most likely stands for, or "".
func nearest(name string, names []string) string {
	if !isName(name) {
		return ""
	}
	best, minDistance := "", len(name)+1
	for _, candidate := range names {
		maxDistance := 1
		if len(candidate) > 4 {
			maxDistance = 2
		}
		if d := distance(name, candidate); d <= maxDistance && d < minDistance && d < len(candidate)-1 {
			best, minDistance = candidate, d
		}
	}
	for _, candidate := range names {
		if best == "" && candidate != auto && strings.Contains(name, candidate) { // environment, awssm, hashicorp-vault
			best = candidate
		}
	}
	return best
}

// distance returns the number of edits from a to b: a letter is changed, added or removed, or two adjacent letters are swapped.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			switch {
			case i == 0:
				rows[i][j] = j
			case j == 0:
				rows[i][j] = i
			default:
				change := 1
				if a[i-1] == b[j-1] {
					change = 0
				}
				rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
				}
			}
		}
	}
	return rows[len(a)][len(b)]
}
