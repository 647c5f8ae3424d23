package repair

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
)

// firewall stands between the control plane and the pods that a selector finds: it acts on what comes from the API server's
// machine, and lets the pods reach each other. No kubectl opens it.
func (s *suite) firewall(t *testing.T, namespace, selector string, port int, verdict string) {
	t.Helper()
	for _, pod := range s.pods(t, namespace, selector) {
		machine := s.node.Host(namespace, pod)
		if machine == nil {
			t.Fatalf("pod %s has no machine", pod)
		}
		s.nft(t, namespace, pod, fmt.Sprintf("add table inet firewall; add chain inet firewall in { type filter hook input priority 0; }; "+
			"add rule inet firewall in ip saddr %s tcp dport %d %s", machine.Gateway(), port, verdict))
	}
	t.Cleanup(func() { openFirewall(t, s) })
}

// openFirewall opens all of them.
func openFirewall(t *testing.T, s *suite) {
	t.Helper()
	for namespace, selector := range map[string]string{ns: "app.kubernetes.io/name=holdfast", "istio-system": "app=istiod"} {
		for _, pod := range s.pods(t, namespace, selector) {
			if s.node.Host(namespace, pod) != nil {
				s.nft(t, namespace, pod, "add table inet firewall; delete table inet firewall") // there or not
			}
		}
	}
}

func (s *suite) nft(t *testing.T, namespace, pod, rules string) {
	t.Helper()
	path, err := exec.LookPath("nft")
	check(t, err)
	if out, err := s.node.Host(namespace, pod).Command(context.WithoutCancel(t.Context()), path, rules).CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v: %s", rules, err, out)
	}
}
