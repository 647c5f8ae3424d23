package validators_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/test/cases"
	"holdfast.dev/holdfast/validators"
)

// tooLong returns the cases in which a rule says more than fits, with the rule's code. What is cut then is the end of the cause.
func tooLong() []string {
	return []string{
		"late-dialer/fail-1password-template HF101",
		"late-dialer/fail-advice-repairs-broken-list HF101",
		"late-dialer/fail-conjur-called-later HF101",
		"late-dialer/fail-consul-not-redirected-istio HF101",
		"late-dialer/fail-external-with-ranges HF101",
		"late-dialer/fail-osm-first-elsewhere HF101",
		"cut-init/fail-traffic-director-declared HF102",
		"lost-sidecar/fail-dropped HF102",
		"lost-sidecar/fail-linkerd-dropped HF102",
		"control-plane-injected/pass-linkerd-brings-its-own HF103",
		"control-plane-injected/pass-not-called HF103",
		"discovery-address/pass-istio-spelled-out HF103",
		"late-dialer/pass-predicted-group-excluded HF103",
		"proxy-race/fail-too-late HF103",
		"dead-dns/fail-istio-init-exempt-address HF106",
		"dead-dns/fail-istio-init-spelled-1 HF106",
		"dead-dns/fail-kuma-address HF106",
		"dead-dns/fail-kuma-port HF106",
		"dead-dns/fail-kuma-tcp-alone HF106",
		"dead-dns/fail-predicted-pod-spelled-1 HF106",
		"dead-dns/fail-predicted-spelled-TRUE HF106",
		"server-first/fail-example-linkerd HF122",
		"server-first/fail-istio HF122",
		"privileged-port/fail-appmesh HF123",
		"privileged-port/fail-example-gateway HF123",
		"privileged-port/fail-other-sysctl HF123",
		"privileged-port/fail-pod-level-user HF123",
		"privileged-port/fail-sysctl-too-high HF123",
		"endless-job/fail-linkerd HF142",
		"endless-job/fail-linkerd-job HF142",
		"endless-job/pass-linkerd-await HF142",
		"hold-trap/fail-job HF142",
		"hold-trap/fail-linkerd-job HF142",
	}
}

// TestLength: with names of a normal length nothing has to be cut.
func TestLength(t *testing.T) {
	listed, seen := tooLong(), map[string]bool{}
	for _, folder := range cases.Folders(t, "testdata") {
		for _, file := range cases.Files(t, "testdata", folder) {
			c, err := cases.Read(filepath.Join("testdata", folder, file))
			if err != nil {
				t.Fatal(err)
			}
			findings := validators.Judge(c.Plan(), c.Config)
			for i := range findings {
				f := &findings[i]
				name, n := folder+"/"+strings.TrimSuffix(file, ".txtar")+" "+f.Code, len([]rune(f.Text()))
				if n <= report.MaxRunes {
					continue
				}
				seen[name] = true
				if !slices.Contains(listed, name) {
					t.Errorf("%s: got %d runes, want at most %d: %s", name, n, report.MaxRunes, f.Text())
				}
			}
		}
	}
	for _, name := range listed {
		if !seen[name] {
			t.Errorf("%s: got nothing that is too long, want it off the list", name)
		}
	}
}
