package diagnose

import (
	"context"
	"strings"
)

// harm is what a failed probe about ourselves means for pods while it lasts.
type harm int

// The kinds of harm. That of most is the first: the API server cannot call us, or gets no answer that it can use.
const (
	failsCalls    harm = iota // failurePolicy says what becomes of the pods
	hidesPods                 // the API server does not call us at all, and nobody gets an error
	dependsOnCase             // the answer says it, or nobody can
)

// What is said of pods.
const (
	noPod  = "No pod is affected: only this diagnosis is."
	notYet = "Nothing is broken yet."
	unseen = "Meanwhile pods start as if Holdfast were not there, and nobody gets an error; they stay as they are until they are made anew."
)

// effect says what the harm is, here and now.
func (s *Subject) effect(ctx context.Context, h harm) string {
	switch h {
	case failsCalls:
		ctx, cancel := context.WithTimeout(ctx, lookUp)
		defer cancel()
		if entries, err := s.ourEntries(ctx); err == nil {
			return effectOf(entries)
		}
	case hidesPods:
		return unseen
	case dependsOnCase:
	}
	return ""
}

// effectOf says what it means that these entries of ours cannot be called.
func effectOf(entries []*Entry) string {
	pods := map[bool]bool{} // by kind: mutating or not
	others := false
	for _, e := range entries {
		switch {
		case e.Probe():
		case e.Fails():
			return "Meanwhile the API server refuses the pods that it should show to Holdfast (failurePolicy Fail)."
		case e.Creates("pods"):
			pods[e.Mutating] = true
		default:
			others = true
		}
	}
	switch {
	case pods[true] && pods[false]:
		return "Meanwhile pods start as if Holdfast were not there (failurePolicy Ignore), and stay as they are until they are made anew."
	case len(pods) > 0:
		return unseenBy(pods[true], pods[false])
	case others:
		return "No pod is affected: meanwhile workloads are created without a word from Holdfast (failurePolicy Ignore)."
	}
	return noPod
}

// unseenBy is what it means that pods are not shown to some of our webhooks, of either kind; "" where they are shown to all.
func unseenBy(mutating, validating bool) string {
	switch {
	case mutating && validating:
		return unseen
	case mutating:
		return "Meanwhile pods are judged as they come: nothing is put right, and what Holdfast would have put right may be refused."
	case validating:
		return "Meanwhile pods are put right and not judged: none is refused or recorded."
	}
	return ""
}

// unseenOf says the same of some pods, such as " of namespace shop".
func unseenOf(of string, mutating, validating bool) string {
	return strings.Replace(unseenBy(mutating, validating), "pods", "pods"+of, 1)
}
