package diagnose

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestChanged: whom the API server has noted last, and who does not count.
func TestChanged(t *testing.T) {
	t.Parallel()
	by := func(manager string, ago time.Duration, subresource string) metav1.ManagedFieldsEntry {
		at := metav1.NewTime(today.Add(-ago))
		return metav1.ManagedFieldsEntry{Manager: manager, Time: &at, Subresource: subresource}
	}
	s := &Subject{Now: func() time.Time { return today }}
	for name, c := range map[string]struct {
		fields []metav1.ManagedFieldsEntry
		want   string
	}{
		"nothing is noted":   {nil, ""},
		"somebody":           {[]metav1.ManagedFieldsEntry{by("kubectl-edit", 3*time.Minute, "")}, "Last changed 3m ago by kubectl-edit."},
		"the last":           {[]metav1.ManagedFieldsEntry{by("kubectl-edit", 3*time.Minute, ""), by("helm", 2*time.Minute, ""), by("kubectl-patch", time.Hour, "")}, "Last changed 2m ago by helm."},
		"scaled":             {[]metav1.ManagedFieldsEntry{by("kubectl", 5*time.Second, "scale")}, "Last changed 5s ago by kubectl."},
		"its clock is ahead": {[]metav1.ManagedFieldsEntry{by("kubectl", -5*time.Second, "")}, "Last changed 0s ago by kubectl."},
		"long ago":           {[]metav1.ManagedFieldsEntry{by("kubectl-edit", 25*time.Hour, "")}, ""},
		"a status":           {[]metav1.ManagedFieldsEntry{by("autoscaler", time.Minute, "status")}, ""},
		"nobody's doing":     {[]metav1.ManagedFieldsEntry{by("holdfast", 1, ""), by("cainjector", 1, ""), by("kube-controller-manager", 1, "")}, ""},
		"before nobody's":    {[]metav1.ManagedFieldsEntry{by("cert-manager-cainjector", 1, ""), by("kubectl-edit", time.Hour, "")}, "Last changed 60m ago by kubectl-edit."},
		"at no time":         {[]metav1.ManagedFieldsEntry{{Manager: "kubectl-edit"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := s.changed(&metav1.ObjectMeta{ManagedFields: c.fields}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
