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
			Fix:   "Have cert-manager issue it again, or put a certificate and its own key (tls.crt, tls.key) into the Secret that is mounted where --cert-dir points; or take --cert-dir away: Holdfast then makes its own certificate.",
		},
		Inside: true,
		ask: func(ctx context.Context, s *Subject) Result {
			serving, err := s.Server.Certificate()
			dir := s.Server.CertDir
			switch {
			case dir == "" && (err != nil || serving == nil):
				return failed(s.unmade(ctx), "the server has no certificate to show: %v", err)
			case dir == "":
				return notApplicable("Holdfast makes its certificate itself and keeps it in a Secret")
			}
			o := s.origin(ctx)
			from := dir
			if o.secret != "" {
				from = "Secret " + o.secret + " (mounted at " + dir + ")"
			}
			pair, wrong := readPair(dir)
			switch {
			case wrong != nil:
				r := failed(s.anew(ctx, o), "tls.crt and tls.key of %s are of no use: %v", from, wrong)
				if err == nil && serving != nil { // which goes on being served
					return r.meaning(s.untilRestart(ctx))
				}
				return r
			case err != nil || serving == nil:
				return failed(steps("The files are good, so that a new pod serves them:", s.restart(ctx), "If it stays so, the log has the reason:", s.logs()),
					"the server has no certificate to show: %v", err)
			case !bytes.Equal(pair.Certificate[0], serving.Certificate[0]):
				return warn(steps("Look again in a minute: the server reads files that change by itself.", "If it stays so, new pods read them:", s.restart(ctx)),
					"the server still shows another certificate than the one in %s", from).meaning(s.untilRestart(ctx))
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

// unmade is what to do where Holdfast has not made its certificate.
func (s *Subject) unmade(ctx context.Context) string {
	return steps("Holdfast makes and renews it by itself, in Secret "+s.Server.Secret+"; what keeps it from that is in its log, and at HF218 if it is a right:",
		s.logs(),
		"If the log says nothing of it, new pods try again:", s.restart(ctx))
}

// untilRestart is what it means that the files are bad and the certificate from before is still good, or not.
func (s *Subject) untilRestart(ctx context.Context) string {
	chain, err := s.served(ctx)
	if err != nil || s.Now().After(chain[0].NotAfter) {
		return ""
	}
	return "Nothing is broken yet: the server goes on with the certificate that it has read before, until " + minute(chain[0].NotAfter) + " or its next restart."
}
