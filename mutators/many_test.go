package mutators_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/test/cases"
)

// TestMany holds that nobody can keep us busy: a webhook sees pods before the API server has counted their containers, or
// found names among them that are there twice.
func TestMany(t *testing.T) {
	var inits strings.Builder
	for range 300 {
		inits.WriteString("  - {name: istio-init, args: [-u, \"1337\", -i, \"*\"]}\n  - {name: istio-init, args: [-u, \"1337\", -i, \"*\"]}\n  - {name: vault-agent-init}\n")
	}
	c, err := cases.Parse(fmt.Appendf(nil, `Dialers and redirects by turns.
-- pod.yaml --
metadata: {name: web, annotations: {sidecar.istio.io/status: "{}", vault.hashicorp.com/agent-inject-status: injected}}
spec:
  initContainers:
%s  containers: [{name: istio-proxy, securityContext: {runAsUser: 1337}}, {name: app}]
-- webhooks.yaml --
- use: holdfast
- use: istio
- use: vault
-- cluster.yaml --
istio: {default: {}}
`, inits.String()))
	if err != nil {
		t.Fatal(err)
	}
	for when, horizon := range map[mutators.When]injectors.Horizon{mutators.Mutating: injectors.Rest, mutators.Hindsight: injectors.Fact} {
		began := time.Now()
		mutators.Choose(injectors.New(c.Target, c.Env, horizon), c.Config, when)
		// It takes some milliseconds, and took ten seconds when every place of every dialer was tried.
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("when %d: got %s, want less than 2s", when, took)
		}
	}
}
