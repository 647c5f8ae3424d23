package diagnose

import (
	"context"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/report"
)

func paths() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF207", Name: "paths", Severity: report.Error,
			Title: "every entry calls a path that the server answers",
			Why:   "An entry of a webhook configuration names a path at which the server has nothing, or that of the other kind. The API server gets 404, or an answer that it cannot use, and counts that as a failed call.",
			Fix:   "Entries of the mutating configuration call /mutate, those of the validating one /validate; apply the manifests again.",
		},
		Needs: []string{"HF206"},
		ask: func(ctx context.Context, s *Subject) Result {
			entries, err := s.ourEntries(ctx)
			if err != nil {
				return cannot(err)
			}
			for _, e := range entries {
				if want := wantedPath(e); e.Path() != want {
					return failed("kubectl edit "+e.Where()+", or apply the manifests of Holdfast again.", "entry %s of %s calls path %s, the server answers at %s",
						e.Name, e.Where(), e.Path(), want)
				}
			}
			for _, name := range []string{config.ProbeMutate, config.ProbeValidate} {
				if find(entries, name) == nil {
					return warn("Apply the manifests of this version of Holdfast again.", "no configuration has the entry %s: whether the API server reaches us cannot be tried", name)
				}
			}
			return passed("%d entries", len(entries))
		},
	}
}

func wantedPath(e *Entry) string {
	switch {
	case e.Name == config.ProbeMutate:
		return config.ProbeMutatePath
	case e.Name == config.ProbeValidate:
		return config.ProbeValidatePath
	case e.Mutating:
		return MutatePath
	}
	return ValidatePath
}

// find returns the entry of that name, nil where there is none.
func find(entries []*Entry, name string) *Entry {
	for _, e := range entries {
		if e.Name == name {
			return e
		}
	}
	return nil
}
