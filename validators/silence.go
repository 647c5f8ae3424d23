package validators

import (
	"fmt"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/report"
)

// Silence says how not to hear of a rule: for one pod, and for all.
func Silence(t *report.Topic) string {
	return fmt.Sprintf(`For one pod: annotate it with %s: "%s" (or "%s"), why (%s: "..."), and until when (%s: "2027-01-31"), unless the configuration forbids it. `+
		`For all: rules: {%s: "off"} in the configuration file, by name or by code.`,
		config.ExemptAnnotation, t.Code, t.Name, config.ExemptReasonAnnotation, config.ExemptUntilAnnotation, t.Name)
}
