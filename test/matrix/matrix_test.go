//go:build linux

package matrix_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/test/cases"
	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/kernel"
	"holdfast.dev/holdfast/test/matrix"
	"holdfast.dev/holdfast/validators"
)

func pairs(t *testing.T) []matrix.Pair {
	t.Helper()
	modes, agents, err := matrix.Read(os.DirFS("../../injectors/testdata"))
	if err != nil {
		t.Fatal(err)
	}
	return matrix.Pairs(modes, agents)
}

// TestPairs holds every pair: what is foretold of it is what the walk says and what its injectors then make of it; and what
// Holdfast is foretold to do about it is what its two calls do. The kernel judges both pods.
func TestPairs(t *testing.T) {
	t.Parallel()
	k := newJudge(t)
	for _, p := range pairs(t) {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			cell, err := p.Judge()
			if err != nil {
				t.Fatal(err)
			}
			want := restated(p)
			foretold := want
			if p.Unsure() {
				foretold = matrix.Unsure
			}
			if cell.Without != foretold {
				t.Errorf("without Holdfast: foretold %v, want %v: the walk says %v", cell.Without, foretold, want)
			}
			alone := injected(t, p, p.Pod())
			c, err := p.Case("Pod")
			if err != nil {
				t.Fatal(err)
			}
			if got := seen(t, p, c, alone); got != want {
				t.Errorf("without Holdfast: the injected pod is judged %v, the walk says %v\n%s", got, want, inits(alone))
			}
			k.holds(t, p, alone, want)

			helped, remedies := enforced(t, p, c, p.Pod())
			got := seen(t, p, c, helped)
			k.holds(t, p, helped, got)
			if cell.Without == matrix.Unsure {
				return // nothing is foretold with certainty
			}
			want = got
			if p.Agent.Drops && slices.Contains(cell.Remedies, config.ExemptAddress) {
				want = matrix.Unsure // whether the annotation gets through to the mesh
			}
			if cell.With != want {
				t.Errorf("with Holdfast: foretold %v, want %v: got %v\n%s", cell.With, want, got, inits(helped))
			}
			if fmt.Sprint(remedies) != fmt.Sprint(cell.Remedies) {
				t.Errorf("remedies: got %v, foretold %v", remedies, cell.Remedies)
			}
			if refused := refused(t, p, c, helped); refused != (got == matrix.Stuck) {
				t.Errorf("refused: got %v, want %v", refused, got == matrix.Stuck)
			}
		})
	}
}

// injected is the pod as the pair's injectors make it, in the order of their webhooks.
func injected(t *testing.T, p matrix.Pair, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	pod = pod.DeepCopy()
	if p.AgentFirst {
		return meshed(t, p, dialing(p, pod))
	}
	return dialing(p, meshed(t, p, pod))
}

// asks tells whether the pod still asks its mesh for what the mode is: the annotations with which it does may have been dropped.
// They ask for the injection, or for the place of its init container.
func asks(p matrix.Pair, pod *corev1.Pod) (injection, first bool) {
	for key, value := range p.Mode.Pod.Annotations {
		if pod.Annotations[key] != value {
			return p.Mode.InitFirst, false
		}
	}
	return true, p.Mode.InitFirst
}

// meshed is the pod as its mesh makes it. What its annotations exempt by then is rendered.
func meshed(t *testing.T, p matrix.Pair, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	var exempt kernel.Exempt
	i := injector(t, p.Mode.Injector)
	for _, list := range []struct {
		means injectors.Meaning
		into  *[]string
	}{{injectors.ExcludeCIDRs, &exempt.CIDRs}, {injectors.ExcludePorts, &exempt.Ports}, {injectors.ExcludeUIDs, &exempt.UIDs}} {
		a := i.Annotation(list.means)
		if a == nil || pod.Annotations[a.Key] == "" {
			continue
		}
		separator := ","
		if a.Separator != "" {
			separator = a.Separator
		}
		*list.into = strings.Split(pod.Annotations[a.Key], separator)
	}
	asked, first := asks(p, pod)
	if p.Mode.Bare || !asked {
		return pod
	}
	mode := kernel.Mode{Mesh: strings.ReplaceAll(p.Mode.Injector, "-", ""), CNI: p.Mode.CNI, Native: p.Mode.Native, Variant: p.Mode.Variant}
	mode.Native = mode.Native || i.Native != "" && pod.Annotations[i.Native] == "true"
	before := len(pod.Spec.InitContainers)
	pod = mode.Inject(pod, exempt)
	if first {
		list := pod.Spec.InitContainers
		pod.Spec.InitContainers = slices.Concat(list[before:], list[:before])
	}
	return pod
}

func injector(t *testing.T, name string) *injectors.Injector {
	t.Helper()
	for _, i := range config.Default().Catalogue().All {
		if i.Name == name {
			return i
		}
	}
	t.Fatalf("no injector %q", name)
	return nil
}

// dialing is the pod as the agent's webhook makes it.
func dialing(p matrix.Pair, pod *corev1.Pod) *corev1.Pod {
	a := p.Agent
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	if a.Drops {
		clear(pod.Annotations)
	}
	maps.Copy(pod.Annotations, a.Mark.Annotations)
	maps.Copy(pod.Labels, a.Mark.Labels)
	pod.Spec.Volumes = append(pod.Spec.Volumes, a.Mark.Spec.Volumes...)
	list := pod.Spec.InitContainers
	switch {
	case a.Adds == nil:
		for i := range list {
			if c := &list[i]; c.Name == matrix.Own {
				c.Args = append(c.Command, c.Args...)
				c.Command = a.Wraps
			}
		}
	case a.First || a.Switch != "" && pod.Annotations[a.Switch] == "true":
		pod.Spec.InitContainers = append([]corev1.Container{*a.Adds.DeepCopy()}, list...)
	default:
		pod.Spec.InitContainers = slices.Concat(list, []corev1.Container{*a.Adds.DeepCopy()})
	}
	if a.Brings != nil {
		pod.Spec.InitContainers = append([]corev1.Container{*a.Brings.DeepCopy()}, pod.Spec.InitContainers...)
	}
	return pod
}

// enforced is the pod as it comes out of the whole chain with Holdfast in it, called first and once more.
func enforced(t *testing.T, p matrix.Pair, c *cases.Case, pod *corev1.Pod) (*corev1.Pod, []string) {
	t.Helper()
	var remedies []string
	call := func(pod *corev1.Pod) *corev1.Pod {
		raw := marshal(t, pod)
		target, err := c.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		out := mutators.Choose(injectors.New(target, c.Env, injectors.Rest), c.Config, mutators.Mutating)
		for _, r := range out.Remedies {
			if r != config.Hold && !slices.Contains(remedies, r) {
				remedies = append(remedies, r)
			}
		}
		if out.Patch.Empty() {
			return pod
		}
		patch, err := jsonpatch.DecodePatch(out.Patch.JSON())
		if err != nil {
			t.Fatal(err)
		}
		if raw, err = patch.Apply(raw); err != nil {
			t.Fatal(err)
		}
		patched := &corev1.Pod{}
		if err := json.Unmarshal(raw, patched); err != nil {
			t.Fatal(err)
		}
		return patched
	}
	return call(injected(t, p, call(pod))), remedies
}

func marshal(t *testing.T, pod *corev1.Pod) []byte {
	t.Helper()
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func plan(t *testing.T, c *cases.Case, pod *corev1.Pod) *injectors.Plan {
	t.Helper()
	target, err := c.Decode(marshal(t, pod))
	if err != nil {
		t.Fatal(err)
	}
	return injectors.New(target, c.Env, injectors.Fact)
}

// seen is what the finished pod's plan says of the dialer.
func seen(t *testing.T, p matrix.Pair, c *cases.Case, pod *corev1.Pod) matrix.Verdict {
	t.Helper()
	made := plan(t, c, pod)
	for i := range made.Inits {
		s := &made.Inits[i]
		if s.Name != p.Agent.Dialer() {
			continue
		}
		if s.Role != injectors.Dialer {
			t.Errorf("%s: got role %s, want dialer", s.Name, s.Role)
		}
		if _, late, dns := made.Late(s); late || dns {
			return matrix.Stuck
		}
		return matrix.Works
	}
	t.Errorf("no init container %s", p.Agent.Dialer())
	return matrix.Unsure
}

func refused(t *testing.T, p matrix.Pair, c *cases.Case, pod *corev1.Pod) bool {
	t.Helper()
	return slices.ContainsFunc(validators.Judge(plan(t, c, pod), c.Config), func(f report.Finding) bool {
		return f.Severity == report.Error && f.Container == p.Agent.Dialer()
	})
}

func inits(pod *corev1.Pod) string {
	names := make([]string, len(pod.Spec.InitContainers))
	for i := range pod.Spec.InitContainers {
		names[i] = pod.Spec.InitContainers[i].Name
	}
	return strings.Join(names, ", ")
}

// judge is the kernel. Pods that are alike to it are played once.
type judge struct {
	rig    *kernel.Rig
	mutex  sync.Mutex
	played map[string]func() (matrix.Verdict, error)
}

func newJudge(t *testing.T) *judge {
	t.Helper()
	if err := kernel.Root(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI plays pods: %v", err)
		}
		t.Logf("the kernel is not asked: %v", err)
		return &judge{}
	}
	binaries, err := controlplane.Build(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	rig, err := kernel.New(t.Context(), binaries.PilotAgent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rig.Close(); err != nil {
			t.Error(err)
		}
	})
	return &judge{rig: rig, played: map[string]func() (matrix.Verdict, error){}}
}

// holds plays the pod and holds what becomes of the dialer.
func (j *judge) holds(t *testing.T, p matrix.Pair, pod *corev1.Pod, want matrix.Verdict) {
	t.Helper()
	if j.rig == nil || p.Agent.Retries { // whose first attempt decides nothing
		return
	}
	const dialer = "dialer"
	pod = anonymous(p, pod, dialer)
	text := string(marshal(t, pod))
	to := destinations(p, text)
	key := fmt.Sprint(to) + text
	j.mutex.Lock()
	play, ok := j.played[key]
	if !ok {
		play = sync.OnceValues(func() (matrix.Verdict, error) { return j.play(t, p, pod, dialer, to) })
		j.played[key] = play
	}
	j.mutex.Unlock()
	got, err := play()
	if exit := (*kernel.ExitError)(nil); errors.As(err, &exit) && unmarked(p) && p.Mode.Validates {
		return // it never gets to its own end, whatever the dialer finds
	}
	if err != nil || unmarked(p) && p.Mode.Validates {
		t.Errorf("play: got error %v, want the mesh's own container to end the pod: %v", err, unmarked(p) && p.Mode.Validates)
		return
	}
	if got != want {
		t.Errorf("the kernel says %v, the plan %v: %s", got, want, inits(pod))
	}
}

// unmarked tells that the agent has dropped what the node plugin of the mesh goes by.
func unmarked(p matrix.Pair) bool {
	return p.Agent.Drops && !p.AgentFirst && p.Mode.CNI && p.Mode.ByMark && p.Mode.Redirects()
}

// destinations are the agent's: the same for all agents where the pod does not mention the agent's own address or port.
func destinations(p matrix.Pair, pod string) []kernel.Destination {
	to := p.Agent.To
	if !strings.Contains(pod, to.Addr().String()) && !strings.Contains(pod, strconv.Itoa(int(to.Port()))) {
		to = netip.MustParseAddrPort("10.96.99.99:7999")
	}
	out := []kernel.Destination{{Addr: to.Addr(), Port: to.Port()}}
	if p.Agent.Named {
		out = append(out, kernel.Nameserver())
	}
	return out
}

func (j *judge) play(t *testing.T, p matrix.Pair, pod *corev1.Pod, dialer string, to []kernel.Destination) (matrix.Verdict, error) {
	results, err := j.rig.Play(t.Context(), pod, func(container string) []kernel.Destination {
		if container != dialer {
			return nil
		}
		return to
	}, kernel.InNamespace(&corev1.Namespace{ObjectMeta: p.Mode.Namespace}))
	if err != nil {
		return matrix.Unsure, err
	}
	verdict := matrix.Unsure
	for _, r := range results {
		if r.Verdict == kernel.Refused {
			return matrix.Stuck, nil
		}
		verdict = matrix.Works
	}
	return verdict, nil
}

// anonymous is the pod with what the kernel does not look at taken away: pairs become alike.
func anonymous(p matrix.Pair, pod *corev1.Pod, name string) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Spec.Volumes = nil
	for _, of := range []metav1.ObjectMeta{p.Agent.Pod, p.Agent.Mark.ObjectMeta} {
		for key := range of.Annotations {
			delete(pod.Annotations, key)
		}
		for key := range of.Labels {
			delete(pod.Labels, key)
		}
	}
	delete(pod.Annotations, mutators.AppliedAnnotation)
	list := pod.Spec.InitContainers
	for i := range list {
		switch c := &list[i]; {
		case c.Name == p.Agent.Dialer():
			*c = corev1.Container{Name: name, SecurityContext: c.SecurityContext}
		case c.Name == matrix.Own:
			*c = corev1.Container{Name: c.Name}
		case p.Agent.Brings != nil && c.Name == p.Agent.Brings.Name:
			*c = corev1.Container{Name: "brought"}
		}
	}
	return pod
}

// TestAnswers holds that the matrix has pairs of every verdict: one that never finds anything stuck proves nothing.
func TestAnswers(t *testing.T) {
	t.Parallel()
	count := map[string]int{}
	for _, p := range pairs(t) {
		cell, err := p.Judge()
		if err != nil {
			t.Fatal(err)
		}
		count[fmt.Sprintf("%v, then %v", cell.Without, cell.With)]++
		if cell.With == matrix.Stuck && cell.Advice == "" {
			t.Errorf("%s: refused without a word on what to do", p)
		}
	}
	for _, want := range []string{"works, then works", "stuck, then works", "stuck, then stuck", "unsure, then unsure"} {
		if count[want] == 0 {
			t.Errorf("no pair is %q: got %v", want, count)
		}
	}
	t.Log(count)
}
