package injectors_test

import (
	"slices"
	"strings"
	"testing"

	"holdfast.dev/holdfast/injectors"
)

// spelled is a catalogue small enough to see what is near what.
func spelled() *injectors.Catalogue {
	return injectors.NewCatalogue(
		&injectors.Injector{Name: "mesh", Annotations: []injectors.Annotation{
			{Key: "traffic.mesh.io/excludeOutboundPorts"}, {Key: "traffic.mesh.io/excludeInboundPorts"}, {Key: "mesh.io/inject"}, {Key: "mesh.io/rev"},
		}},
		&injectors.Injector{Name: "agent", Annotations: []injectors.Annotation{
			{Key: "agent.example.com/agent-inject"},
			{Key: "agent.example.com/agent-inject-secret-"},
			{Key: "agent.example.com/role"},
			{Key: "any.example.com/"},
		}},
	)
}

func TestMeant(t *testing.T) {
	for key, want := range map[string]string{
		"traffic.mesh.io/excludeOutboundPort":          "traffic.mesh.io/excludeOutboundPorts",
		"traffic.mesh.io/excludeoutboundports":         "traffic.mesh.io/excludeOutboundPorts",
		"mesh.io/ijnect":                               "mesh.io/inject",
		"mesh.io/excludeInboundPorts":                  "traffic.mesh.io/excludeInboundPorts",
		"traffic.mesh.io/inject":                       "mesh.io/inject",
		"agent.exmaple.com/role":                       "agent.example.com/role",
		"agent.exmple.com/agent-inject":                "agent.example.com/agent-inject",
		"agent.example.com/agent-inject-secrets-db-pw": "agent.example.com/agent-inject-secret-db-pw",
		"agent.example.com/agnet-inject-secret-db":     "agent.example.com/agent-inject-secret-db",

		"agent.example.com/rule":                "", // too short to tell
		"mesh.io/Rev":                           "mesh.io/rev",
		"mesh.io/drainTime":                     "", // new
		"mesh.io/role":                          "", // another injector's
		"traffic.mesh.io/excludeOutboundBounds": "",
		"other.org/inject":                      "",
		"other.org/agent-injekt":                "",
	} {
		if got := spelled().Meant(key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}

func TestStrange(t *testing.T) {
	for key, want := range map[string]bool{
		"mesh.io/inject": false,
		"agent.example.com/agent-inject-secret-db": false,
		"any.example.com/whatever":                 false,
		"prometheus.io/scrape":                     false,
		"inject":                                   false,
		"":                                         false,
		"mesh.io/injected":                         true,
		"mesh.io/":                                 true,
		"mesh.com/inject":                          true,
	} {
		if got := spelled().Strange(key); got != want {
			t.Errorf("%s: got %v, want %v", key, got, want)
		}
	}
}

// TestMeantOfOwn holds that no key which an injector reads is taken for another, and that no two of them are so alike that a slip in
// one is a word of its own.
func TestMeantOfOwn(t *testing.T) {
	c := injectors.NewCatalogue(injectors.Builtin()...)
	for _, key := range c.Keys() {
		if c.Strange(key) {
			t.Errorf("%s: got a key that is strange, want one that is read", key)
		}
		where, name, ok := strings.Cut(key, "/")
		if !ok || len(name) < 8 || strings.HasSuffix(key, "-") {
			continue
		}
		slip := where + "/" + name[:4] + name[5:]
		if _, known := c.Annotation(slip); known || !c.Strange(slip) {
			continue
		}
		if got := c.Meant(slip); got == "" {
			t.Errorf("%s: got nothing, want a key that is read, such as %s", slip, key)
		}
	}
}

func TestMeantAllocatesNothingForWhatIsRead(t *testing.T) {
	c := injectors.NewCatalogue(injectors.Builtin()...)
	keys := slices.Concat(c.Keys(), []string{"vault.hashicorp.com/agent-inject-secret-db", "prometheus.io/port", "app.kubernetes.io/name"})
	if n := testing.AllocsPerRun(10, func() {
		for _, key := range keys {
			c.Strange(key)
		}
	}); n > 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}
