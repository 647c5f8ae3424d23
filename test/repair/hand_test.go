package repair

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// handPatience is how long a person may take for one fault.
const handPatience = 15 * time.Minute

// environment is what the person needs to talk to the cluster.
const environment = "export KUBECONFIG=%s PATH=%s:$PATH\n"

// byHand writes what is printed to a file, and waits until somebody has repaired it, or gives up by making NAME.given-up. Where
// NAME.firewall appears, as somebody with a right in the cloud would see to it, the firewall is opened.
func (s *suite) byHand(t *testing.T, f fault) {
	t.Helper()
	check(t, os.WriteFile(filepath.Join(*hand, "env.sh"), fmt.Appendf(nil, environment, s.cluster.Kubeconfig(), s.programs), 0o600))
	out, err := s.command(t.Context())
	check(t, err)
	s.handed++
	name := fmt.Sprintf("fault-%02d", s.handed) // the test's name would tell
	t.Logf("%s: by hand", name)
	path := filepath.Join(*hand, name)
	check(t, os.WriteFile(path+".printed", out, 0o600))
	check(t, os.WriteFile(filepath.Join(*hand, "now"), []byte(name+"\n"), 0o600))
	began := time.Now()
	for {
		r := s.diagnose(t)
		if got := causes(r); len(got) == 0 {
			check(t, os.WriteFile(path+".repaired", fmt.Appendf(nil, "%s\n", time.Since(began).Round(time.Second)), 0o600))
			t.Logf("repaired after %s", time.Since(began).Round(time.Second))
			return
		}
		if data, err := os.ReadFile(path + ".given-up"); err == nil {
			if f.harmless {
				return
			}
			t.Fatalf("given up: %s", bytes.TrimSpace(data))
		}
		if _, err := os.Stat(path + ".firewall"); err == nil {
			openFirewall(t, s)
		}
		if time.Since(began) > handPatience {
			t.Fatalf("not repaired: %v", causes(r))
		}
		time.Sleep(time.Second)
	}
}
