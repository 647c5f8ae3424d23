package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// minute is a moment as people compare it with a clock.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// day is a date as it is printed.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// plural counts something.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// list prints names, the first of them where there are many.
func list(names []string) string {
	const most = 4
	switch {
	case len(names) == 0:
		return "no name"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// besides counts those that are not named; "" where one is all.
func besides(n int, one, many string) string {
	switch n {
	case 1:
		return ""
	case 2:
		return "; 1 other " + one + " is wrong too"
	}
	return fmt.Sprintf("; %d other %s are wrong too", n-1, many)
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

// unique sorts, and drops what is there twice.
func unique(in []string) []string {
	slices.Sort(in)
	return slices.Compact(in)
}

// value is a string that may be missing.
func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// speaksOf tells whether a text has one of these words.
func speaksOf(text string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}
