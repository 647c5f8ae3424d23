package config

import (
	"errors"
	"strings"
	"time"

	"holdfast.dev/holdfast/injectors"
)

// Annotations by which a pod asks to be left alone by a rule (and by the remedies that act for it).
const (
	ExemptAnnotation       = "holdfast.dev/exempt" // codes or names of rules, comma separated
	ExemptReasonAnnotation = "holdfast.dev/exempt-reason"
	ExemptUntilAnnotation  = "holdfast.dev/exempt-until" // a date, 2027-01-31: the last day (UTC) on which the exemption holds
)

var errNotDate = errors.New("not a date such as 2027-01-31")

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
	end, err := ParseUntil(until)
	return err == nil && now != nil && now().Before(end)
}

// ParseUntil reads the ExemptUntilAnnotation and returns the moment at which the exemption ends: for a date the end of that
// day, UTC; for a time (RFC 3339) that time.
func ParseUntil(value string) (time.Time, error) {
	value = strings.TrimSpace(value)
	if day, err := time.Parse(time.DateOnly, value); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	end, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, errNotDate
	}
	return end, nil
}
