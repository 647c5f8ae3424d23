package knowledge

import (
	"fmt"
	"iter"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// pattern is a compiled pattern, and what every text that it matches holds, what tells most first.
type pattern struct {
	*regexp.Regexp
	needs   []need
	literal int // how many characters all needs have
}

func compile(text string, named map[string]string) (pattern, error) {
	expanded, err := expand(text, named)
	if err != nil {
		return pattern{}, err
	}
	re, err := regexp.Compile(spaced(expanded))
	if err != nil {
		return pattern{}, err
	}
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return pattern{}, err
	}
	needs := required(tree.Simplify())
	slices.SortStableFunc(needs, func(n, m need) int { return m.compare(n) })
	p := pattern{Regexp: re, needs: needs}
	for _, n := range needs {
		p.literal += n.shortest()
	}
	return p, nil
}

// expand replaces <name>. Named patterns may use others.
func expand(text string, named map[string]string) (string, error) {
	var out strings.Builder
	const deepest = 100
	for range deepest {
		at := strings.Index(text, "<")
		if at < 0 {
			return out.String() + text, nil
		}
		if strings.HasSuffix(text[:at], "?P") || strings.HasSuffix(text[:at], `\`) { // a group, or a character
			out.WriteString(text[:at+1])
			text = text[at+1:]
			continue
		}
		name, rest, ok := strings.Cut(text[at+1:], ">")
		if !ok || named[name] == "" {
			return "", fmt.Errorf("no pattern is called <%s>", name)
		}
		out.WriteString(text[:at])
		text = named[name] + rest
	}
	return "", fmt.Errorf("more than %d named patterns and groups", deepest)
}

// spaced lets each space outside a class stand for any white space, line breaks included: documents and terminals wrap. What
// is said of the space ( ?) is said of the whole.
func spaced(text string) string {
	var out strings.Builder
	class := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text):
			out.WriteByte(c)
			i++
			c = text[i]
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == ' ' && !class:
			out.WriteString(`(?:\s+)`)
			continue
		}
		out.WriteByte(c)
	}
	return out.String()
}

// required returns what every match holds.
func required(re *syntax.Regexp) []need {
	switch re.Op { //nolint:exhaustive // of all others nothing is certain
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return []need{{string(re.Rune)}}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpConcat:
		var all []need
		for _, sub := range re.Sub {
			all = append(all, required(sub)...)
		}
		return all
	case syntax.OpAlternate:
		var either need
		for _, sub := range re.Sub {
			needs := required(sub)
			if len(needs) == 0 {
				return nil
			}
			either = append(either, slices.MaxFunc(needs, need.compare)...)
		}
		return []need{either}
	}
	return nil
}

// need is a list of words, one of which must be there.
type need []string

// compare orders needs by how much they tell: by their shortest word.
func (n need) compare(m need) int { return n.shortest() - m.shortest() }

func (n need) shortest() int {
	return len(slices.MinFunc(n, func(a, b string) int { return len(a) - len(b) }))
}

// index returns where in a text the first of the words stands, -1 where none does.
func (n need) index(text string) int {
	first := -1
	for _, word := range n {
		if at := strings.Index(text, word); at >= 0 {
			first, text = at, text[:at] // only an earlier one matters from here on
		}
	}
	return first
}

// around is how much of a text before and behind a word is searched. No message that is worth explaining is longer.
const around = 1024

// windows returns the parts of a text in which the pattern can match, from and to where. Go's regular expressions take their
// time, if never more than in proportion to the text: searching only near the pattern's words costs little even in a long one.
func (p *pattern) windows(text string) iter.Seq2[int, int] {
	return func(yield func(from, to int) bool) {
		if len(p.needs) == 0 {
			yield(0, len(text))
			return
		}
		for at := 0; at < len(text); {
			next := p.needs[0].index(text[at:])
			if next < 0 {
				return
			}
			next += at
			from, to := runeStart(text, max(next-around, 0)), runeStart(text, min(next+4*around, len(text)))
			if p.near(text[from:to]) && !yield(from, to) || to == len(text) {
				return
			}
			at = to - around // a word before that had enough of the text behind it
		}
	}
}

// runeStart returns where the character begins that a place in a text is in.
func runeStart(text string, at int) int {
	for at > 0 && at < len(text) && !utf8.RuneStart(text[at]) {
		at--
	}
	return at
}

// near reports whether a text holds all that the pattern needs.
func (p *pattern) near(text string) bool {
	for _, n := range p.needs {
		if n.index(text) < 0 {
			return false
		}
	}
	return true
}
