package knowledge

import (
	"strconv"
	"strings"
)

// width is how wide the text of explanations and pages is printed. Commands and quoted texts are never broken.
const width = 110

// String is the explanation as people read it:
//
//	webhook-timeout: The API server got no answer from rev.namespace.sidecar-injector.istio.io in time
//	  text  failed calling webhook "rev.namespace.sidecar-injector.istio.io": ... context deadline exceeded
//	  why   The API server calls istiod on port 443 of its Service, but connects to port 15017 of the pods ...
//	  fix   Let the control plane reach port 15017 of the nodes and pods. ...
//	  next  kubectl -n istio-system get endpointslices -l kubernetes.io/service-name=istiod
//	  more  holdfast explain HF101
func (x *Explanation) String() string {
	var b strings.Builder
	b.WriteString(x.Entry + ": " + x.Title + "\n")
	if text := x.Text; text != "" {
		if x.Times > 1 {
			text += " (" + strconv.Itoa(x.Times) + " times)"
		}
		field(&b, "text", text)
	}
	field(&b, "why", wrap(x.Cause)...)
	field(&b, "fix", wrap(x.Remedy)...)
	field(&b, "next", x.Next...)
	more := make([]string, 0, len(x.Codes))
	for _, code := range x.Codes {
		more = append(more, "holdfast explain "+code)
	}
	field(&b, "more", more...)
	return b.String()
}

// field writes lines behind a label.
func field(b *strings.Builder, label string, lines ...string) {
	for _, line := range lines {
		b.WriteString("  " + label + strings.Repeat(" ", 6-len(label)) + line + "\n")
		label = ""
	}
}

// wrap breaks a text into lines.
func wrap(text string) []string {
	var lines []string
	line, length := "", 0
	for word := range strings.FieldsSeq(text) {
		n := len([]rune(word))
		if length > 0 && length+1+n > width {
			lines = append(lines, line)
			line, length = "", 0
		}
		if length > 0 {
			line += " "
			length++
		}
		line += word
		length += n
	}
	if line == "" {
		return lines
	}
	return append(lines, line)
}
