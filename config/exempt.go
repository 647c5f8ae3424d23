package config

import (
	"strings"
	"time"

	"holdfast.dev/holdfast/injectors"
)

// Annotations by which a pod asks to be left alone by a rule (and by the remedies that act for it).
const (
	ExemptAnnotation       = "holdfast.dev/exempt" // codes or names of rules, comma separated
	ExemptReasonAnnotation = "holdfast.dev/exempt-reason"
	ExemptUntilAnnotation  = "holdfast.dev/exempt-until" // a date, 2027-01-31: the last day on which the exemption holds
)

// Exempt tells whether the target is exempt from the rule with this code and name, on the given day. An exemption that has
// run out, or whose date cannot be read, does not hold.
func (c *Config) Exempt(t *injectors.Target, code, name string, now func() time.Time) bool {
	value, ok := t.Meta.Annotations[ExemptAnnotation]
	if !ok || !c.ExemptAnnotations {
		return false
	}
	named := false
	for entry := range strings.SplitSeq(value, ",") {
		entry = strings.TrimSpace(entry)
		named = named || entry == code || entry == name
	}
	if !named {
		return false
	}
	until, ok := t.Meta.Annotations[ExemptUntilAnnotation]
	if !ok {
		return true
	}
	day, err := time.Parse(time.DateOnly, until)
	return err == nil && now != nil && now().Before(day.AddDate(0, 0, 1))
}
