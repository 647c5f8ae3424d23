package report

import (
	"strings"
	"unicode"
)

// OneLine makes text of other people's harmless to print: what moves a terminal's cursor, hides, reverses or breaks lines becomes a
// space. What looks like a step to take could otherwise be a message that somebody has made up.
func OneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			return ' '
		}
		return r
	}, text)
}

// Word makes a value of other people's fit to stand in a command that somebody will paste into a shell: what has a meaning there
// becomes an underscore, so that the command fails, or finds nothing. Names that Kubernetes has checked stay as they are.
func Word(value string) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._:/-", r):
			return r
		}
		return '_'
	}, value)
	if strings.HasPrefix(out, "-") { // an option
		return "_" + out[1:]
	}
	return out
}
