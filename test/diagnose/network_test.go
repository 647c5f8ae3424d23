package diagnose

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"os/exec"
	"testing"
	"time"
)

func base64Of(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

// firewall stands between the control plane and the server's machine, and acts on the server's port.
func firewall(t *testing.T, s *suite, verdict string) {
	t.Helper()
	nft(t, s, "add table inet firewall; add chain inet firewall in { type filter hook input priority 0; }; "+
		"add rule inet firewall in iifname eth0 tcp dport 9443 "+verdict)
	t.Cleanup(func() { nft(t, s, "delete table inet firewall") })
}

func nft(t *testing.T, s *suite, rules string) {
	t.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.installation.Host().Command(context.WithoutCancel(t.Context()), path, rules).CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
}

// serveTLS puts something else behind the Service, which shakes hands with a certificate of the CA, and never answers.
func serveTLS(t *testing.T, s *suite, ca *authority) {
	t.Helper()
	issued, err := ca.issue(host, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
	check(t, err)
	served, err := tls.X509KeyPair(issued.certificate, issued.key)
	check(t, err)
	listener, err := s.installation.Host().Listen(t.Context(), "tcp", ":9555")
	check(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{served}, MinVersion: tls.VersionTLS12}).Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	check(t, s.cluster.Expose(t.Context(), ns, "holdfast", s.installation.Host().Addr(), map[string]int32{"https": 9555}))
}
