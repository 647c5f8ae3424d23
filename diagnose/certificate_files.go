package diagnose

import (
	"bytes"
	"context"
	"crypto/tls"
	"os"
	"path/filepath"

	"holdfast.dev/holdfast/report"
)

func certificateFiles() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF202", Name: "certificate-files", Severity: report.Error,
			Title: "the certificate and its key are there and belong together",
			Why:   "The server has no certificate to show, or the files that it reads hold none, or a key of another certificate. It goes on with the last pair that was good, until that one ends.",
			Fix:   "Put a certificate and its own key (tls.crt, tls.key) where --cert-dir points; a Secret of type kubernetes.io/tls written by one hand holds both.",
		},
		Inside: true,
		ask: func(_ context.Context, s *Subject) Result {
			serving, err := s.Server.Certificate()
			if err != nil || serving == nil {
				return failed(logsOf(s), "the server has no certificate to show: %v", err)
			}
			dir := s.Server.CertDir
			if dir == "" {
				return notApplicable("Holdfast makes its certificate itself and keeps it in a Secret")
			}
			pair, err := readPair(dir)
			if err != nil {
				return failed("Put a certificate and its own key into "+dir+"; compare: openssl x509 -noout -pubkey -in tls.crt; openssl pkey -pubout -in tls.key",
					"the files in %s are of no use: %v", dir, err)
			}
			if !bytes.Equal(pair.Certificate[0], serving.Certificate[0]) {
				return warn("Wait a minute; if it stays so, restart: kubectl -n "+s.Own.Namespace+" rollout restart deploy/"+s.Own.Service,
					"the server still shows another certificate than the one in %s", dir)
			}
			return passed("tls.crt and tls.key in %s", dir)
		},
	}
}

func readPair(dir string) (tls.Certificate, error) {
	certificate, err := os.ReadFile(filepath.Join(dir, "tls.crt")) //nolint:gosec // where --cert-dir points
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := os.ReadFile(filepath.Join(dir, "tls.key")) //nolint:gosec // same
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certificate, key)
}

// logsOf is the line that prints the server's log.
func logsOf(s *Subject) string {
	return "kubectl -n " + s.Own.Namespace + " logs deploy/" + s.Own.Service
}
