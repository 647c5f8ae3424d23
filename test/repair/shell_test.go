package repair

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// repair types what a fix says, as somebody does who has nothing but its lines: every command up to the first that is there only
// for another case.
func (s *suite) repair(t *testing.T, fix string) {
	t.Helper()
	commands := commandsOf(fix)
	if len(commands) == 0 {
		t.Fatalf("no command in\n%s", fix)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// One shell for all lines: a variable that one of them sets is there for the next.
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", strings.Join(commands, "\n"))
	cmd.Dir = t.TempDir() // for copies that a fix makes
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.cluster.Kubeconfig(), "HOME="+cmd.Dir, "PATH="+s.programs+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	t.Logf("%s\n%s", strings.Join(commands, "\n"), out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// commandsOf returns the commands of a fix up to the line of prose that begins another case.
func commandsOf(fix string) []string {
	var out []string
	for line := range strings.SplitSeq(fix, "\n") {
		first, _, _ := strings.Cut(line, " ")
		switch {
		case slices.Contains([]string{"If", "Or", "Or,", "Else"}, first):
			return out
		case strings.Contains(first, "="), first != "" && first[0] >= 'a' && first[0] <= 'z': // prose begins with a capital
			out = append(out, line)
		}
	}
	return out
}
