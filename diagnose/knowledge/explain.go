package knowledge

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"holdfast.dev/holdfast/report"
)

// MaxText is how much of a text Explain looks at, in bytes.
const MaxText = 1 << 20

// maxMatches is how often one pattern is looked for in one text.
const maxMatches = 1000

// Explanation is what an error text means.
type Explanation struct {
	Entry  string            `json:"entry"`
	Title  string            `json:"title"`
	Text   string            `json:"text,omitempty"`  // what was recognised
	Times  int               `json:"times,omitempty"` // how often
	Cause  string            `json:"cause"`
	Remedy string            `json:"remedy"`
	Next   []string          `json:"next,omitempty"`
	Codes  []string          `json:"codes,omitempty"` // of rules and probes that say more
	Source string            `json:"source"`
	Values map[string]string `json:"values,omitempty"` // what the text named
}

// Explain returns what is known about a text, in the text's order. Each part of it is explained by the entry that explains
// most of it, and a code by the topic that has it. What is said twice alike is said once.
func (b *Base) Explain(text string, topics []report.Topic) []Explanation {
	text = normalize(text)
	var out []Explanation
	for _, m := range b.matches(text, topics) {
		var x Explanation
		if m.entry == nil {
			x = topical(m.topic)
		} else {
			x = b.explanation(m.entry, m.values)
		}
		end := m.end
		if m.entry == nil || m.entry.General { // what it is about stands behind it
			end = lineEnd(text, end)
		}
		x.Text = shorten(text[m.start:end])
		out = add(out, &x, m.entry != nil && m.entry.Once)
	}
	return out
}

// add adds an explanation, or counts it when it was given before: of the same entry, about the same things. What else the text
// says each time (a port, a time of day) is not worth another. One in which the text names nothing adds nothing to one of the
// same entry in which it does. What is said once is not said of other things again.
func add(all []Explanation, x *Explanation, once bool) []Explanation {
	x.Times = 1
	for i := range all {
		y := &all[i]
		switch {
		case x.Entry != y.Entry:
			continue
		case len(y.Values) == 0 && len(x.Values) > 0:
			x.Times += y.Times
			*y = *x
			return all
		case len(x.Values) == 0, x.Title == y.Title && (once || slices.Equal(x.Next, y.Next)):
			y.Times++
			return all
		}
	}
	return append(all, *x)
}

// topical is what a code in a text means.
func topical(t *report.Topic) Explanation {
	return Explanation{Entry: t.Code, Title: t.Title, Cause: t.Why, Remedy: t.Fix, Codes: []string{t.Code}, Source: "Holdfast, " + t.Name}
}

// About returns what an entry says when no text fills it in.
func (b *Base) About(name string) (Explanation, bool) {
	for i := range b.entries {
		if b.entries[i].Name == name {
			return b.explanation(&b.entries[i], nil), true
		}
	}
	return Explanation{}, false
}

func (b *Base) explanation(e *Entry, values map[string]string) Explanation {
	x := Explanation{
		Entry: e.Name, Title: fill(e.Title, values), Cause: fill(e.Cause, values), Remedy: fill(e.Remedy, values),
		Codes: slices.Clone(e.Codes), Source: e.Source, Values: values,
	}
	for _, command := range e.Next {
		x.Next = append(x.Next, fillCommand(command, values))
	}
	return x
}

// match is a part of a text that an entry or a topic explains.
type match struct {
	entry      *Entry
	topic      *report.Topic // where entry is nil
	start, end int
	literal    int // how much of the pattern is literal
	values     map[string]string
}

func (m *match) general() bool { return m.entry != nil && m.entry.General }

func (m *match) name() string {
	if m.entry == nil {
		return m.topic.Code
	}
	return m.entry.Name
}

var codes = regexp.MustCompile(`(?:admission webhook "[^"\n]+" denied the request:\s+)?\b(HF[0-9]{3})\b`)

// matches returns the parts of a text that entries and topics explain, none of which overlap, in order.
func (b *Base) matches(text string, topics []report.Topic) []match {
	var all []match
	for i := range b.entries {
		for k := range b.entries[i].patterns {
			all = append(all, b.find(&b.entries[i], &b.entries[i].patterns[k], text)...)
		}
	}
	for _, at := range codes.FindAllStringSubmatchIndex(text, maxMatches) {
		code := text[at[2]:at[3]]
		if i := slices.IndexFunc(topics, func(t report.Topic) bool { return t.Code == code }); i >= 0 {
			all = append(all, match{topic: &topics[i], start: at[0], end: at[1]})
		}
	}
	// The entry that explains more of the text knows more about it; of two that explain the same, the one with more words of its own.
	slices.SortFunc(all, func(x, y match) int {
		return cmp.Or(
			boolean(x.general())-boolean(y.general()),
			(y.end-y.start)-(x.end-x.start),
			x.start-y.start,
			y.literal-x.literal,
			strings.Compare(x.name(), y.name()),
		)
	})
	var kept []match // by start
	for _, m := range all {
		at, _ := slices.BinarySearchFunc(kept, m, func(x, y match) int { return x.start - y.start })
		if at > 0 && kept[at-1].end > m.start || at < len(kept) && kept[at].start < m.end {
			continue
		}
		kept = slices.Insert(kept, at, m)
	}
	return kept
}

func (b *Base) find(e *Entry, p *pattern, text string) []match {
	var out []match
	for from, to := range p.windows(text) {
		window := text[from:to]
		for _, at := range p.FindAllStringSubmatchIndex(window, maxMatches) {
			m := match{entry: e, start: from + at[0], end: from + at[1], literal: p.literal, values: map[string]string{}}
			if m.end == m.start || len(out) > 0 && m.start < out[len(out)-1].end {
				continue // the window before had it
			}
			for i, name := range p.SubexpNames() {
				if name != "" && at[2*i] >= 0 {
					m.values[name] = strings.Join(strings.Fields(window[at[2*i]:at[2*i+1]]), " ")
				}
			}
			b.complete(m.values)
			out = append(out, m)
			if len(out) == maxMatches {
				return out
			}
		}
	}
	return out
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// normalize makes texts from terminals, logs in JSON and documents alike: no colours and control characters, plain quotation
// marks, quotes and line breaks without backslashes. A text that is too long is cut.
func normalize(text string) string {
	if len(text) > MaxText {
		text = text[:MaxText]
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = escapes.ReplaceAllLiteralString(text, "")
	text = strings.NewReplacer(`\\\"`, `"`, `\"`, `"`, `\n`, "\n", `\t`, " ", "“", `"`, "”", `"`, "„", `"`, "‘", "'", "’", "'", "\r\n", "\n").Replace(text)
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), r == '\u200b':
			return -1
		}
		return r
	}, text)
}

// lineEnd returns where the line ends that a place in a text is in, or not much behind that place where the line is long.
func lineEnd(text string, at int) int {
	end := runeStart(text, min(at+around, len(text)))
	if n := strings.IndexByte(text[at:end], '\n'); n >= 0 {
		return at + n
	}
	return end
}

// shorten returns a text on one line that a terminal can show.
func shorten(text string) string {
	const most = 300
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	r := []rune(text)
	return string(r[:most*2/3]) + "…" + string(r[len(r)-most/3+1:])
}
