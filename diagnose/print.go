package diagnose

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"holdfast.dev/holdfast/report"
)

// mark is how a line begins in print.
func (s State) mark() string {
	switch s {
	case Passed:
		return "√"
	case Warning:
		return "‼"
	case Failed:
		return "×"
	case Unknown:
		return "?"
	case Skipped:
		return "»"
	case NotApplicable:
		return "-"
	}
	return "?"
}

// Print writes the report for people:
//
//	The way to the server
//	---------------------
//	√ HF209 the Service leads to the server's port: 443 to 9443
//	× HF210 the Service has ready endpoints
//	    Service holdfast-system/holdfast has no endpoints: Deployment holdfast is scaled to 0.
//	    Meanwhile pods start as if Holdfast were not there (failurePolicy Ignore).
//	    Scale it up:
//	      kubectl -n holdfast-system scale deploy/holdfast --replicas=2
//	» HF213 the Service answers with our certificate: skipped because HF210 failed
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	heading, object := "", ""
	for i := 0; i < len(r.Probes); i++ {
		l := &r.Probes[i]
		if l.Heading != heading {
			if heading != "" {
				b.WriteString("\n")
			}
			heading, object = l.Heading, ""
			b.WriteString(heading + "\n" + strings.Repeat("-", len([]rune(heading))) + "\n")
		}
		if all, n := r.nothing(i); all {
			fmt.Fprintf(&b, "%s not applicable: %s\n", l.State.mark(), l.Message)
			i += n - 1
			continue
		}
		if l.Object != object {
			object = l.Object
			b.WriteString(object + "\n")
		}
		n := r.together(i)
		what := l.Code + " " + l.Title
		if n > 1 {
			what = l.Code + " to " + r.Probes[i+n-1].Code
		}
		switch {
		case i > 0 && l.asBefore(&r.Probes[i-1]):
			fmt.Fprintf(&b, "%s %s: unknown, as %s\n", l.State.mark(), what, r.Probes[i-1].Code)
		case n > 1 && l.State == Skipped:
			fmt.Fprintf(&b, "%s %s: %s\n", l.State.mark(), what, l.Message)
		case n > 1 && l.State == NotApplicable:
			fmt.Fprintf(&b, "%s %s: not applicable: %s\n", l.State.mark(), what, l.Message)
		default:
			n = 1
			l.print(&b)
		}
		i += n - 1
	}
	b.WriteString("\n" + r.Summary() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// nothing tells whether none of the probes of the group that begins at i applies, all for one reason, and how many they are.
func (r *Report) nothing(i int) (all bool, n int) {
	begin := &r.Probes[i]
	if i > 0 && r.Probes[i-1].Heading == begin.Heading {
		return false, 0
	}
	for ; i+n < len(r.Probes) && r.Probes[i+n].Heading == begin.Heading; n++ {
		if l := &r.Probes[i+n]; l.State != NotApplicable || l.Message != begin.Message || l.Object != "" {
			return false, 0
		}
	}
	return true, n
}

// together is how many lines from i on say the same of one object: they were skipped, do not apply, or are not known.
func (r *Report) together(i int) int {
	begin, n := &r.Probes[i], 0
	if begin.State != Skipped && begin.State != NotApplicable && begin.State != Unknown {
		return 1
	}
	for i+n < len(r.Probes) {
		if l := &r.Probes[i+n]; l.State != begin.State || l.Message != begin.Message || l.Group != begin.Group || l.Object != begin.Object {
			break
		}
		n++
	}
	return n
}

// asBefore tells whether the line says of the same object what the one before it has said: nobody could tell, for one reason.
func (l *Line) asBefore(o *Line) bool {
	return l.State == Unknown && o.State == Unknown && l.Group == o.Group && l.Object == o.Object && l.Message == o.Message
}

// command tells a line of a fix that is to be pasted from prose.
func command(line string) bool {
	first, _, _ := strings.Cut(line, " ")
	name, _, assigns := strings.Cut(first, "=")
	if assigns {
		return name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789") == ""
	}
	return name != "" && name[0] >= 'a' && name[0] <= 'z'
}

func (l *Line) print(b *strings.Builder) {
	head := l.State.mark() + " " + l.Code + " " + l.Title
	switch l.State {
	case Passed:
		if l.Message != "" {
			head += ": " + l.Message
		}
		b.WriteString(head + "\n")
	case NotApplicable:
		b.WriteString(head + ": not applicable: " + l.Message + "\n")
	case Skipped:
		b.WriteString(head + ": " + l.Message + "\n")
	case Warning, Failed, Unknown:
		if l.State == Unknown {
			head += ": unknown"
		}
		b.WriteString(head + "\n")
		for part := range strings.SplitSeq(sentence(l.Message)+"\n"+l.Effect, "\n") {
			indent(b, "    ", part)
		}
		for part := range strings.SplitSeq(l.Fix, "\n") {
			by := "    "
			if command(part) {
				by += "  "
			}
			indent(b, by, part)
		}
	}
}

func indent(b *strings.Builder, by, line string) {
	if line != "" {
		b.WriteString(by + line + "\n")
	}
}

// mostCause is how much of a message the summary repeats.
const mostCause = 160

// Summary is the report in one line, the worst first, and the first failure by name: it is the cause of what was skipped.
func (r *Report) Summary() string {
	var counts []string
	for _, s := range slices.Backward(States()) {
		if n := r.Counts[s]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, strings.ReplaceAll(string(s), "-", " ")))
		}
	}
	text := strings.Join(counts, ", ") + fmt.Sprintf(" (%.1f s)", r.Seconds)
	var warned, untold []string
	var one *Line // the first warning
	for i := range r.Probes {
		switch l := &r.Probes[i]; l.State {
		case Failed:
			return text + "\nThe cause, " + l.Code + ": " + report.Shorten(first(l.Message), mostCause) + "\nholdfast explain " + l.Code + " has the background. Once it is mended: holdfast diagnose --wait"
		case Warning:
			if warned = append(warned, l.Code+" "+l.Name); one == nil {
				one = l
			}
		case Unknown:
			untold = append(untold, l.Code+" "+l.Name)
		case Passed, Skipped, NotApplicable:
		}
	}
	switch {
	case len(warned) == 1:
		text += "\nNothing failed. Worth a look, " + one.Code + ": " + report.Shorten(first(one.Message), mostCause) + "\nholdfast explain " + one.Code + " has the background."
	case len(warned) > 0:
		text += "\nNothing failed. Worth a look: " + list(unique(warned)) + "."
	case len(untold) > 0:
		text += "\nNothing failed. Could not be told: " + list(unique(untold)) + "."
	}
	return text
}

// sentence ends with a full stop, unless a break or a mark ends it.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}
