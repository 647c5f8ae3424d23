package validators

import (
	"slices"
	"strconv"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// proxyIdentity finds app containers that run with the proxy's ids.
func proxyIdentity() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF121", Name: "proxy-identity", Severity: report.Warning,
			Title: "An app container runs with the proxy's uid or gid",
			Why: "The redirect tells the proxy's own traffic by its uid and gid and lets it pass. An app with the same ids leaves the mesh in silence: no mTLS, no policy, no " +
				"telemetry; its inbound traffic may loop.",
			Fix: "Give the app container another runAsUser and runAsGroup.",
		},
		check: func(i *inspection) {
			for k := range i.plan.Meshes {
				c := &i.plan.Meshes[k].Capture
				for n := range i.plan.Mains {
					s := &i.plan.Mains[n]
					if !s.Users() {
						continue
					}
					switch {
					case s.UID != injectors.NoID && slices.Contains(c.UIDs, s.UID):
						i.bypasses(s, "runAsUser", s.UID, &i.plan.Meshes[k])
					case s.GID != injectors.NoID && slices.Contains(c.GIDs, s.GID):
						i.bypasses(s, "runAsGroup", s.GID, &i.plan.Meshes[k])
					}
				}
			}
		},
	}
}

func (i *inspection) bypasses(s *injectors.Step, field string, id int64, m *injectors.Mesh) {
	i.find(s, i.at(s)+" has "+field+" "+strconv.FormatInt(id, 10)+", which "+m.Injector.Title+" lets pass as its own: its traffic bypasses the mesh.",
		"Give it another "+field+".")
}
