package report_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"holdfast.dev/holdfast/report"
)

func TestSeverity(t *testing.T) {
	for s, word := range map[report.Severity]string{report.Off: "off", report.Info: "info", report.Warning: "warning", report.Error: "error"} {
		got, err := report.ParseSeverity(word)
		if s.String() != word || got != s || err != nil {
			t.Errorf("%s: got %v and back %v, %v", word, s, got, err)
		}
	}
	if _, err := report.ParseSeverity("fatal"); err == nil || err.Error() != `severity "fatal": must be off, info, warning or error` {
		t.Errorf("got %v", err)
	}
	if got := report.Severity(9).String(); got != "severity(9)" {
		t.Errorf("got %s", got)
	}
}

func TestFindingJSON(t *testing.T) {
	f := report.Finding{Code: "HF101", Rule: "late-dialer", Severity: report.Error, Namespace: "shop", Object: "Pod/web", Message: "m"}
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"code":"HF101","rule":"late-dialer","severity":"error","namespace":"shop","object":"Pod/web","message":"m"}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var back report.Finding
	if err := json.Unmarshal(data, &back); err != nil || back != f {
		t.Errorf("back: got %+v, %v", back, err)
	}
}

func TestFindingString(t *testing.T) {
	const message = `"vault-agent-init" (initContainers[2]) needs vault.vault.svc:8200, but the network is cut by "istio-init" (initContainers[1]) until "istio-proxy" (containers[1]) serves.`
	const fix = `Annotate the pod: vault.hashicorp.com/agent-init-first: "true"`
	long := strings.Repeat("n", 253)
	for name, c := range map[string]struct {
		finding report.Finding
		want    string
	}{
		"as it is":        {report.Finding{Code: "HF101", Object: "Pod/web", Message: "Cause.", Fix: "Fix."}, "HF101 Pod/web: Cause. Fix."},
		"nothing to do":   {report.Finding{Code: "HF101", Object: "Pod/web", Message: "Cause."}, "HF101 Pod/web: Cause."},
		"all that we say": {report.Finding{Code: "HF101", Object: "Pod/web", Message: message, Fix: fix}, "HF101 Pod/web: " + message + " " + fix},
		"long name, short cause": {
			report.Finding{Code: "HF101", Object: "Pod/" + long, Message: "Cause.", Fix: "Fix."},
			"HF101 Pod/" + strings.Repeat("n", 26) + "…" + strings.Repeat("n", 13) + ": Cause. Fix.",
		},
	} {
		if diff := cmp.Diff(c.want, c.finding.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	f := report.Finding{Code: "HF101", Object: "ReplicaSet/" + long, Message: message + long, Fix: fix}
	if got := f.String(); !strings.HasSuffix(got, "… "+fix) || utf8.RuneCountInString(got) != report.MaxRunes {
		t.Errorf("got %d runes, want %d that end with the whole fix: %s", utf8.RuneCountInString(got), report.MaxRunes, got)
	}
	f.Fix = "Annotate the pod: " + long + long
	if got := f.String(); !strings.Contains(got, "vault-agent-init") || !strings.Contains(got, " Annotate the pod: n") {
		t.Errorf("got %s, want the beginnings of cause and fix", got)
	}
}

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"web", 3, "web"}, {"abcdefghij", 10, "abcdefghij"}, {"abcdefghijk", 10, "abcdef…ijk"}, {"äöüäöüäöüäö", 10, "äöüäöü…üäö"}, {"äöü", 3, "äöü"}, {"abcdefgh", 4, "abcdefgh"},
	} {
		if got := report.Shorten(c.in, c.n); got != c.want {
			t.Errorf("%q to %d: got %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

func TestLists(t *testing.T) {
	findings := []report.Finding{
		{Code: "HF103", Severity: report.Info},
		{Code: "HF102", Severity: report.Warning},
		{Code: "HF101", Severity: report.Error},
		{Code: "HF102", Severity: report.Error},
		{Code: "HF112", Severity: report.Warning},
	}
	if got := report.Worst(findings); got != report.Error {
		t.Errorf("worst: got %v, want error", got)
	}
	if got := report.Worst(nil); got != report.Off {
		t.Errorf("worst of none: got %v, want off", got)
	}
	if got, want := report.Codes(findings), []string{"HF103", "HF102", "HF101", "HF112"}; !slices.Equal(got, want) {
		t.Errorf("codes: got %v, want %v", got, want)
	}
	report.Sort(findings)
	var got []string
	for _, f := range findings {
		got = append(got, f.Severity.String()+" "+f.Code)
	}
	if want := []string{"error HF101", "error HF102", "warning HF102", "warning HF112", "info HF103"}; !slices.Equal(got, want) {
		t.Errorf("sorted: got %v, want %v", got, want)
	}
}

// FuzzFindingString holds that a finding of anything at all fits and is valid text.
func FuzzFindingString(f *testing.F) {
	f.Add("Pod/web", "Cause.", "Fix.")
	f.Add("Pod/"+strings.Repeat("n", 253), strings.Repeat("c", 300), strings.Repeat("f", 300))
	f.Add("web", strings.Repeat("ä", 300), "")
	f.Fuzz(func(t *testing.T, object, message, fix string) {
		finding := report.Finding{Code: "HF101", Object: object, Message: message, Fix: fix}
		got := finding.String()
		if n := len([]rune(got)); n > report.MaxRunes {
			t.Errorf("got %d runes, want at most %d", n, report.MaxRunes)
		}
		if !strings.HasPrefix(got, "HF101 ") {
			t.Errorf("got %q, want the code first", got)
		}
	})
}
