package validators_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/test/cases"
	"holdfast.dev/holdfast/validators"
)

// TestTopics holds what people and scripts rely on: codes and names are unique and well formed, and every text is there.
func TestTopics(t *testing.T) {
	code, name := regexp.MustCompile(`^HF1\d\d$`), regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen, last := map[string]bool{}, ""
	for _, topic := range validators.Topics() {
		if !code.MatchString(topic.Code) || !name.MatchString(topic.Name) {
			t.Errorf("got code %q and name %q, want HF1nn and lower-case-words", topic.Code, topic.Name)
		}
		if seen[topic.Code] || seen[topic.Name] {
			t.Errorf("%s %s: got it twice", topic.Code, topic.Name)
		}
		seen[topic.Code], seen[topic.Name] = true, true
		if topic.Code < last {
			t.Errorf("%s: got it after %s, want the order of the codes", topic.Code, last)
		}
		last = topic.Code
		if topic.Severity == report.Off {
			t.Errorf("%s: got a rule that is off by itself", topic.Code)
		}
		if strings.HasSuffix(topic.Title, ".") || topic.Title == "" {
			t.Errorf("%s: got title %q, want a line without a full stop", topic.Code, topic.Title)
		}
		for _, text := range []string{topic.Why, topic.Fix} {
			if !strings.HasSuffix(text, ".") {
				t.Errorf("%s: got text %q, want whole sentences", topic.Code, text)
			}
		}
	}
}

func TestJudgeEarly(t *testing.T) {
	c, err := cases.Read("testdata/lost-sidecar/fail-dropped-with-vault.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Codes(validators.JudgeEarly(c.Plan(), c.Config)); !slices.Equal(got, []string{"HF104"}) {
		t.Errorf("got %v, want HF104 alone: the other rules have their turn in /validate", got)
	}
}

// TestLongNames holds that every finding of every case fits where the API server may cut it, however long the names are,
// and that code, container and fix survive.
func TestLongNames(t *testing.T) {
	cases.Walk(t, "testdata", func(t *testing.T, c *cases.Case) {
		lengthen(c)
		for _, f := range validators.Judge(c.Plan(), c.Config) {
			got := f.String()
			if n := len([]rune(got)); n > report.MaxRunes {
				t.Errorf("got %d runes, want at most %d: %s", n, report.MaxRunes, got)
			}
			if !strings.HasPrefix(got, f.Code+" ") {
				t.Errorf("got %q, want the code first", got)
			}
			if f.Container != "" && !strings.Contains(got, f.Container[:min(10, len(f.Container))]) {
				t.Errorf("got %q, want the beginning of container %q in it", got, f.Container)
			}
			if f.Fix != "" && !strings.Contains(got, f.Fix[:min(15, len(f.Fix))]) {
				t.Errorf("got %q, want the fix %q in it", got, f.Fix)
			}
		}
	})
}

// lengthen gives everything that a user names the longest name that the API server takes.
func lengthen(c *cases.Case) {
	t := *c.Target
	long := func(name string, n int) string {
		if len(name) >= n {
			return name
		}
		return name + strings.Repeat("x", n-len(name))
	}
	meta := t.Meta.DeepCopy()
	t.Name, t.Meta = long(t.Name, 253), meta
	for i := range meta.OwnerReferences {
		meta.OwnerReferences[i].Name = long(meta.OwnerReferences[i].Name, 253)
	}
	n := *t.Namespace
	n.Name, t.Namespace = long(n.Name, 63), &n
	spec := t.Spec.DeepCopy()
	t.Spec = spec
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			if slices.Contains([]string{"app", "migrate", "fetch", "log"}, list[i].Name) {
				list[i].Name = long(list[i].Name, 63)
			}
		}
	}
	if declared, ok := meta.Annotations[injectors.InitNetworkAnnotation]; ok {
		declared = strings.ReplaceAll(declared, "migrate", long("migrate", 63))
		meta.Annotations[injectors.InitNetworkAnnotation] = strings.ReplaceAll(declared, "fetch", long("fetch", 63))
	}
	c.Target = &t
}

// TestExemptionsNameRules holds that a pod can exempt itself from every rule, by code and by name.
func TestExemptionsNameRules(t *testing.T) {
	c := config.Default()
	for _, topic := range validators.Topics() {
		for _, value := range []string{topic.Code, topic.Name, fmt.Sprintf("HF199, %s ", topic.Name)} {
			target := &injectors.Target{Meta: &metav1.ObjectMeta{Annotations: map[string]string{config.ExemptAnnotation: value}}}
			if !c.Exempt(target, topic.Code, topic.Name, cases.Now) {
				t.Errorf("%s: %q: got no exemption, want one", topic.Code, value)
			}
		}
	}
}
