package webhook

import (
	"fmt"
	"strings"

	"github.com/go-logr/logr"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/report"
)

// Decisions, as records and metrics spell them.
const (
	admitted    = "admitted"
	changed     = "changed"
	refusedWord = "refused"
	wouldChange = "would-change"
	wouldRefuse = "would-refuse"
)

// Keys of the audit annotations; the API server puts the name of the webhook before them.
const (
	auditMode     = "mode"
	auditDecision = "decision"
	auditFindings = "findings"
	auditRemedies = "remedies"
	auditPatch    = "patch"
	auditCures    = "cures"
	auditExempt   = "exempt"
	auditDoubts   = "doubts"
	// The mutating webhook may be called twice for one object, and the API server keeps the first value of a key alone: what
	// is done before injectors that are still to come stands under one key, what is done after them under another.
	auditFirst = "first"
	auditAgain = "again"
)

// maxAuditPatch bounds the patch in an audit event: a longer one says nothing to a reader.
const maxAuditPatch = 16 << 10

// maxPlaces bounds a list of findings in an audit event, where every byte is kept for every pod.
const maxPlaces = 4 << 10

// record is what is kept of one review: in the API server's audit log, in one log line, and in the counters.
type record struct {
	operation, kind   string
	namespace, object string
	mode              config.Mode
	decision          string
	findings          []report.Finding
	cures             []report.Finding // what the remedies would have put right
	remedies          []string
	patch             []byte
	exempt            string   // from which rules the object is exempt, and why
	doubts            []string // what a prediction that is not certain rests on
	dryRun            bool
}

// annotations are the record as the API server's audit log keeps it.
func (r *record) annotations() map[string]string {
	out := map[string]string{auditMode: r.mode.String(), auditDecision: r.decision}
	if len(r.findings) > 0 {
		out[auditFindings] = places(r.findings)
	}
	if len(r.cures) > 0 {
		out[auditCures] = places(r.cures)
	}
	if r.exempt != "" {
		out[auditExempt] = report.Shorten(r.exempt, report.MaxRunes)
	}
	if len(r.doubts) > 0 {
		out[auditDoubts] = report.Shorten(strings.Join(r.doubts, "; "), 4*report.MaxRunes)
	}
	if len(r.remedies) > 0 {
		out[auditRemedies] = strings.Join(r.remedies, ",")
	}
	if n := len(r.patch); n > 0 && n <= maxAuditPatch {
		out[auditPatch] = string(r.patch)
	}
	return out
}

// places are the findings in brief: HF101:vault-agent-init,HF103. Where there are too many, the list ends with the number of
// those that it leaves out: HF101:vault-agent-init,and 700 more.
func places(findings []report.Finding) string {
	var b strings.Builder
	for i := range findings {
		place := findings[i].Code
		if c := findings[i].Container; c != "" {
			place += ":" + c
		}
		if i > 0 {
			place = "," + place
		}
		if b.Len()+len(place) > maxPlaces {
			fmt.Fprintf(&b, ",and %d more", len(findings)-i)
			break
		}
		b.WriteString(place)
	}
	return b.String()
}

func (r *record) log(log logr.Logger) {
	log.Info("reviewed", "namespace", r.namespace, "kind", r.kind, "object", r.object, "operation", r.operation, "mode", r.mode.String(),
		"decision", r.decision, "codes", report.Codes(r.findings), "cures", report.Codes(r.cures), "remedies", r.remedies, "dryRun", r.dryRun)
}
