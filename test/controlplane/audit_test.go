package controlplane

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const auditLines = `{"auditID":"1","verb":"create","objectRef":{"resource":"pods","namespace":"shop","name":"web"},"annotations":{"a":"b"}}
{"auditID":"2","verb":"patch","objectRef":{"resource":"deployments","namespace":"shop","name":"web"}}
{"auditID":"3","verb":"create","objectRef":{"resource":"pods","namespace":"other"}}
{"auditID":"4","verb":"cre`

func TestAuditEvents(t *testing.T) {
	t.Parallel()
	c := &Cluster{dir: t.TempDir()}
	if events, err := c.AuditEvents(AuditQuery{}); err != nil || len(events) != 0 {
		t.Errorf("without a log: got %v, %v, want nothing", events, err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, auditLogName), []byte(auditLines), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		query AuditQuery
		want  []string
	}{
		{"all but the one being written", AuditQuery{}, []string{"1", "2", "3"}},
		{"by ID", AuditQuery{ID: "2"}, []string{"2"}},
		{"by name", AuditQuery{Namespace: "shop", Name: "web"}, []string{"1", "2"}},
		{"by verb and resource", AuditQuery{Verb: "create", Resource: "pods"}, []string{"1", "3"}},
		{"none", AuditQuery{Verb: "delete"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			events, err := c.AuditEvents(test.query)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, event := range events {
				got = append(got, event.AuditID)
			}
			if diff := cmp.Diff(got, test.want); diff != "" {
				t.Errorf("events (-got +want):\n%s", diff)
			}
		})
	}
}
