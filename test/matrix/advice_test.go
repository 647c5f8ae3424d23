//go:build linux

package matrix_test

import (
	"regexp"
	"strings"
	"testing"

	"holdfast.dev/holdfast/test/matrix"
)

// paste is the line of an advice that is to be pasted.
var paste = regexp.MustCompile(`Annotate the template: (\S+): (?:"([^"]*)"|'([^']*)')$`)

// TestAdvice follows the advice of every refusal: the pod that its injectors and Holdfast then make starts, by its plan and by
// the kernel. Where the address is to be used instead of the name, no name is asked for.
func TestAdvice(t *testing.T) {
	t.Parallel()
	k := newJudge(t)
	elsewhere := 0
	for _, p := range pairs(t) {
		cell, err := p.Judge()
		if err != nil {
			t.Fatal(err)
		}
		if cell.With != matrix.Stuck {
			continue
		}
		line := paste.FindStringSubmatch(cell.Advice)
		if line == nil {
			elsewhere++
			if !strings.HasPrefix(cell.Advice, "Exempt ") || !strings.HasSuffix(cell.Advice, "'s own settings.") {
				t.Errorf("%s: got no line to paste in %q", p, cell.Advice)
			}
			continue
		}
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			agent := *p.Agent
			if strings.HasPrefix(cell.Advice, "Use the address "+agent.To.Addr().String()+", not the name. ") {
				agent.Named = false
			}
			p.Agent = &agent
			pod := p.Pod()
			pod.Annotations[line[1]] = line[2] + line[3]
			c, err := p.Case("Pod")
			if err != nil {
				t.Fatal(err)
			}
			pod, _ = enforced(t, p, c, pod)
			want := matrix.Works
			if agent.Drops {
				want = matrix.Stuck // what is pasted is dropped as well; no annotation helps
			}
			if agent.Named { // else its configuration would have the address
				if got := seen(t, p, c, pod); got != want {
					t.Errorf("with %s: got %v, want %v\n%s", line[0], got, want, inits(pod))
				}
			}
			k.holds(t, p, pod, want)
		})
	}
	t.Logf("%d have to be helped elsewhere", elsewhere)
}
