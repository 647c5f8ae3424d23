package validators

import (
	"slices"
	"strings"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// unknownAnnotation finds annotations that are almost, but not quite, what an injector reads.
func unknownAnnotation() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF113", Name: "unknown-annotation", Severity: report.Warning,
			Title: "A misspelled annotation",
			Why: "An injector passes over a key that it does not know, and says nothing: a letter too many, or the right name under the wrong domain, and the pod runs as if nobody " +
				"had asked for anything. Keys that are like none that is known are left alone: they may be new.",
			Fix: "Rename the annotation to the key that was meant.",
		},
		check: func(i *inspection) {
			var strange []string
			for key := range i.target.Meta.Annotations {
				if i.plan.Env.Catalogue.Strange(key) || ownMeant(key) != "" {
					strange = append(strange, key)
				}
			}
			slices.Sort(strange) // so that findings have an order
			for _, key := range strange[:min(len(strange), maxStrange)] {
				if meant := i.meant(key); meant != "" {
					i.find(nil, "nothing reads the annotation "+key+".", "Did you mean "+meant+"?")
				}
			}
		},
	}
}

// ownDomain is that of the annotations that Holdfast itself reads.
const ownDomain = "holdfast.dev/"

// maxStrange bounds how many keys of one pod are compared with others.
const maxStrange = 64

// meant returns the key that was meant; "" where that cannot be said.
func (i *inspection) meant(key string) string {
	if own := ownMeant(key); own != "" {
		return own
	}
	return i.plan.Env.Catalogue.Meant(key)
}

// ownMeant returns the one of Holdfast's own keys that was meant; "" where that cannot be said, and where it is one of them.
func ownMeant(key string) string {
	if !strings.HasPrefix(key, ownDomain) {
		return ""
	}
	own := [...]string{config.ExemptAnnotation, config.ExemptReasonAnnotation, config.ExemptUntilAnnotation, injectors.InitNetworkAnnotation}
	if meant := injectors.Nearest(key, own[:]); meant != key {
		return meant
	}
	return ""
}
