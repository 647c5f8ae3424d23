package validators_test

import (
	"encoding/json"
	"hash/fnv"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/test/cases"
	"holdfast.dev/holdfast/validators"
)

// FuzzPlan makes plans of whatever pod comes in: every container that is in the pod is in the plan exactly once, what was
// given stays as it was, the same pod gives the same report, and every finding fits.
func FuzzPlan(f *testing.F) {
	surroundings := fuzzSurroundings(f)
	// One pod of each folder: all of them are cases already, and the baseline of a run goes through every seed.
	for _, dir := range []string{"testdata", injectorCases} {
		for _, folder := range cases.Folders(f, dir) {
			for _, file := range cases.Files(f, dir, folder) {
				if c := read(f, dir, folder, file); !c.Target.Template() {
					f.Add(c.Raw)
					break
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var pod corev1.Pod
		if json.Unmarshal(data, &pod) != nil {
			return
		}
		before := pod.DeepCopy()
		// A few of them for each pod, by what is in it: all of them for all pods take their time.
		pick := fnv.New32a()
		pick.Write(data)
		for n := range uint32(5) {
			c := surroundings[(pick.Sum32()+n*7)%uint32(len(surroundings))]
			for horizon := injectors.Fact; horizon <= injectors.All; horizon++ {
				target := injectors.PodTarget(&pod, c.Target.Namespace)
				p := injectors.New(target, c.Env, horizon)
				once(t, &pod, p, horizon)
				findings := validators.Judge(p, c.Config)
				if diff := cmp.Diff(findings, validators.Judge(injectors.New(target, c.Env, horizon), c.Config)); diff != "" {
					t.Errorf("the same pod again (-first +second):\n%s", diff)
				}
				for i := range findings {
					if n := len([]rune(findings[i].String())); n > report.MaxRunes {
						t.Errorf("got %d runes, want at most %d: %s", n, report.MaxRunes, findings[i].String())
					}
				}
			}
		}
		if diff := cmp.Diff(before, &pod); diff != "" {
			t.Errorf("the pod was written to (-before +after):\n%s", diff)
		}
	})
}

const injectorCases = "../injectors/testdata"

func read(f *testing.F, dir, folder, file string) *cases.Case {
	f.Helper()
	c, err := cases.Read(filepath.Join(dir, folder, file))
	if err != nil {
		f.Fatal(err)
	}
	return c
}

// once holds that the containers of the pod are in the plan exactly once each, among those that are yet to come. A mesh that
// renders itself anew puts its own containers back without a place in the pod: in a plan that is all fact nobody does.
func once(t *testing.T, pod *corev1.Pod, p *injectors.Plan, horizon injectors.Horizon) {
	t.Helper()
	seen := map[string]int{}
	for _, list := range [][]injectors.Step{p.Inits, p.Mains} {
		for i := range list {
			s := &list[i]
			if c := p.Container(s); c != nil {
				if c.Name != s.Name {
					t.Errorf("step %q: got container %q", s.Name, c.Name)
				}
			}
			seen["name "+s.Name]++
		}
	}
	names := map[string]int{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			names[list[i].Name]++
		}
	}
	if steps, n := len(p.Inits)+len(p.Mains), len(pod.Spec.InitContainers)+len(pod.Spec.Containers); horizon == injectors.Fact && steps != n {
		t.Errorf("got %d steps, want %d: nothing is to come", steps, n)
	}
	for name, n := range names {
		if (horizon == injectors.Fact || !injected(p, name)) && seen["name "+name] != n {
			t.Errorf("container %q: got it %d times in the plan, want %d", name, seen["name "+name], n)
		}
	}
}

// injected tells whether the name is one that an injector gives: those it may take out and put back.
func injected(p *injectors.Plan, name string) bool {
	for _, i := range p.Env.Catalogue.All {
		for _, names := range []map[string]injectors.Role{i.Containers, i.Common} {
			for known := range names {
				if begins, ok := strings.CutSuffix(known, "*"); known == name || ok && strings.HasPrefix(name, begins) {
					return true
				}
			}
		}
	}
	return false
}

// fuzzSurroundings are clusters and namespaces: Istio's, the first one that each injector's cases have with webhooks, and one
// without any webhook.
func fuzzSurroundings(f *testing.F) []*cases.Case {
	f.Helper()
	var out []*cases.Case
	for _, text := range []string{
		"istio: {default: {}}", "istio: {default: {cni: true}}", `istio: {default: {native: "true"}}`, "services: {}",
		"istio: {default: {cni: true, defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: \"true\"}}}}",
	} {
		for _, again := range []string{"Never", "IfNeeded"} {
			c, err := cases.Parse([]byte("A place to be.\n-- pod.yaml --\nspec: {containers: [{name: app}]}\n-- webhooks.yaml --\n- use: holdfast\n- {use: istio, reinvocation: " +
				again + "}\n- use: vault\n-- cluster.yaml --\n" + text + "\n"))
			if err != nil {
				f.Fatal(err)
			}
			out = append(out, c)
		}
	}
	for _, folder := range cases.Folders(f, injectorCases) {
		for _, file := range cases.Files(f, injectorCases, folder) {
			if c := read(f, injectorCases, folder, file); c.Horizon == injectors.Rest {
				out = append(out, c)
				break
			}
		}
	}
	// Without any webhook.
	c := *out[0]
	target := *c.Target
	target.Namespace = &injectors.Namespace{Name: "shop"}
	c.Target, c.Config = &target, config.Default()
	return append(out, &c)
}
