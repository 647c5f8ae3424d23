package diagnose

import (
	"context"
	"net/url"
	"slices"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/report"
)

func paths() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF207", Name: "paths", Severity: report.Error,
			Title: "every entry calls a path that the server answers",
			Why:   "An entry of a webhook configuration names a path at which the server has nothing, or that of the other kind. The API server gets 404, or an answer that it cannot use, and counts that as a failed call.",
			Fix:   "Entries of the mutating configuration call /mutate, those of the validating one /validate; holdfast webhooks prints both as they have to be.",
		},
		Needs: []string{"HF206"},
		ask: func(ctx context.Context, s *Subject) Result {
			entries, err := s.ourEntries(ctx)
			if err != nil {
				return cannot(err)
			}
			if bad := slices.DeleteFunc(slices.Clone(entries), func(e *Entry) bool { return e.Path() == wantedPath(e) }); len(bad) > 0 {
				e := bad[0]
				return failed(steps("Have them call the paths that the server answers:", patchEach(bad, rightPath), s.owned(e.object())), "entry %s of %s calls path %s, the server answers at %s%s",
					e.Name, e.Where(), e.Path(), wantedPath(e), besides(len(bad), "entry", "entries")).meaning(effectOf(bad))
			}
			for _, name := range []string{config.ProbeMutate, config.ProbeValidate} {
				if find(entries, name) == nil {
					return warn(s.writeAgain(ctx, kindOf(name)), "no configuration has the entry %s: whether the API server reaches us cannot be tried", name).meaning(noPod)
				}
			}
			return passed("%d entries", len(entries))
		},
	}
}

// rightPath has an entry call the path that it should.
func rightPath(e *Entry) []op {
	if e.ClientConfig.Service != nil {
		return []op{{"add", "/clientConfig/service/path", wantedPath(e)}}
	}
	u, err := url.Parse(*e.ClientConfig.URL)
	if err != nil {
		return nil
	}
	u.Path = wantedPath(e)
	return []op{{"replace", "/clientConfig/url", u.String()}}
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

// kindOf is the kind of configuration that an entry for the probe is in.
func kindOf(name string) string {
	if name == config.ProbeMutate {
		return mutatingKind
	}
	return validatingKind
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
