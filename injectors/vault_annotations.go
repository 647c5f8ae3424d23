package injectors

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

var errNotBoolean = errors.New("must be true or false")

// annotations are those of vault-k8s 1.7.6 (agent-inject/agent/annotations.go). Those of secrets and templates carry a name
// of the user's choice behind the key; they are listed by their beginnings, with a trailing dash.
func (d *dialect) annotations() []Annotation {
	boolean := func(value string) error {
		if _, err := strconv.ParseBool(value); err != nil && value != "" {
			return fmt.Errorf("%q: %w", value, errNotBoolean)
		}
		return nil
	}
	var known []Annotation
	for _, key := range [...]string{d.inject, d.first, d.prePopulate, d.prePopulateOnly, d.sameUser, d.setContext} {
		known = append(known, Annotation{Key: key, Check: boolean, Denied: true})
	}
	for _, name := range slices.Concat(vaultOpaque(), vaultPrefixes()) {
		known = append(known, Annotation{Key: d.domain + "/" + name})
	}
	return known
}

func vaultOpaque() []string {
	return []string{
		"agent-inject-status", "agent-inject-secret", "agent-inject-file", "agent-inject-template", "agent-inject-template-file", "agent-inject-token",
		"agent-inject-command", "agent-inject-containers", "agent-inject-default-template", "agent-inject-perms", "agent-image", "agent-configmap",
		"agent-extra-secret", "agent-requests-cpu", "agent-requests-mem", "agent-requests-ephemeral", "agent-limits-cpu", "agent-limits-mem",
		"agent-limits-ephemeral", "agent-revoke-on-shutdown", "agent-revoke-grace", "agent-run-as-user", "agent-run-as-group",
		"agent-service-account-token-volume-name", "agent-share-process-namespace", "agent-cache-enable", "agent-cache-listener-port",
		"agent-cache-use-auto-auth-token", "agent-cache-exit-on-err", "agent-copy-volume-mounts", "agent-json-patch", "agent-init-json-patch",
		"agent-enable-quit", "go-max-procs", "agent-request-namespace", "agent-telemetry", "agent-auto-auth-exit-on-err", "agent-disable-idle-connections",
		"agent-disable-keep-alives", "agent-inject-template-error-on-missing", "agent-image-pull-policy",
		"auth-path", "auth-type", "auth-config", "auth-min-backoff", "auth-max-backoff", "auth-exit-on-err",
		"role", "service", "namespace", "proxy-address", "tls-skip-verify", "tls-secret", "tls-server-name", "ca-cert", "ca-key", "client-cert", "client-key",
		"client-max-retries", "client-timeout", "log-level", "log-format", "preserve-secret-case", "secret-volume-path",
		"template-config-exit-on-retry-failure", "template-static-secret-render-interval", "template-max-connections-per-host", "error-on-missing-key",
	}
}

func vaultPrefixes() []string {
	return []string{
		"agent-inject-secret-", "agent-inject-file-", "agent-inject-template-", "agent-inject-template-file-", "agent-inject-command-", "agent-inject-perms-",
		"agent-telemetry-", "auth-config-", "preserve-secret-case-", "secret-volume-path-", "error-on-missing-key-",
	}
}
