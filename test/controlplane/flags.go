package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
)

const (
	apiServerName         = "kube-apiserver"
	controllerManagerName = "kube-controller-manager"
)

// auditPolicy records who created or changed pods and workloads, with the annotations of admission webhooks, and no bodies.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch, delete]
  resources:
  - {group: "", resources: [pods, replicationcontrollers]}
  - {group: apps, resources: [deployments, replicasets, statefulsets, daemonsets]}
  - {group: batch, resources: [jobs, cronjobs]}
- level: None
`

// layout is where the files and the ports of one cluster are.
type layout struct {
	dir       string
	etcd      int
	etcdPeer  int
	apiServer int
}

func (l layout) path(name string) string { return filepath.Join(l.dir, name) }

// prepare writes certificates, keys and the audit policy. Data of an attempt that lost its port is thrown away.
func (l layout) prepare() (*authority, error) {
	if err := os.RemoveAll(l.path("etcd")); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, err
	}
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	if err := (keyPair{ca.certPEM, ca.keyPEM}).write(l.dir, "ca"); err != nil {
		return nil, fmt.Errorf("write CA: %w", err)
	}
	for _, c := range []struct {
		name, user string
		hosts      []string
	}{
		{"etcd", "etcd", []string{"localhost", "127.0.0.1"}},
		{"apiserver", APIServerUser, []string{
			"localhost", "127.0.0.1", apiServerClusterIP, apiServerServerName, "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc.cluster.local",
		}},
		{"service-accounts", "service-accounts", nil}, // to sign tokens
	} {
		pair, err := ca.issue(c.user, nil, c.hosts...)
		if err != nil {
			return nil, err
		}
		if err := pair.write(l.dir, c.name); err != nil {
			return nil, fmt.Errorf("write certificate %s: %w", c.name, err)
		}
	}
	if err := os.WriteFile(l.path("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return nil, fmt.Errorf("write audit policy: %w", err)
	}
	return ca, nil
}

func (l layout) etcdFlags() []string {
	client := fmt.Sprintf("https://127.0.0.1:%d", l.etcd)
	peer := fmt.Sprintf("https://127.0.0.1:%d", l.etcdPeer)
	return []string{
		"--data-dir=" + l.path("etcd"),
		"--unsafe-no-fsync", // nobody wants the data back after a crash
		"--log-level=warn",
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		"--client-cert-auth",
		"--trusted-ca-file=" + l.path("ca.crt"),
		"--cert-file=" + l.path("etcd.crt"),
		"--key-file=" + l.path("etcd.key"),
		"--peer-client-cert-auth",
		"--peer-trusted-ca-file=" + l.path("ca.crt"),
		"--peer-cert-file=" + l.path("etcd.crt"),
		"--peer-key-file=" + l.path("etcd.key"),
	}
}

func (l layout) apiServerFlags() []string {
	return []string{
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", l.apiServer),
		// Nothing may be advertised at a loopback address, and nobody looks the API server up: no endpoints then, and any
		// address will do.
		"--endpoint-reconciler-type=none",
		"--advertise-address=198.19.255.254",
		fmt.Sprintf("--etcd-servers=https://127.0.0.1:%d", l.etcd),
		"--etcd-cafile=" + l.path("ca.crt"),
		"--etcd-certfile=" + l.path("apiserver.crt"),
		"--etcd-keyfile=" + l.path("apiserver.key"),
		"--tls-cert-file=" + l.path("apiserver.crt"),
		"--tls-private-key-file=" + l.path("apiserver.key"),
		"--client-ca-file=" + l.path("ca.crt"),
		// For kubectl logs and exec: the API server asks the kubelet of the pod's node (test/kubelet).
		"--kubelet-certificate-authority=" + l.path("ca.crt"),
		"--kubelet-client-certificate=" + l.path("apiserver.crt"),
		"--kubelet-client-key=" + l.path("apiserver.key"),
		"--kubelet-preferred-address-types=InternalIP", // names of nodes do not resolve here
		"--authorization-mode=RBAC",
		"--allow-privileged=true",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-signing-key-file=" + l.path("service-accounts.key"),
		"--service-account-key-file=" + l.path("service-accounts.crt"),
		// Webhooks are called at the addresses in EndpointSlices: there is no kube-proxy that would make ClusterIPs work.
		"--enable-aggregator-routing=true",
		"--audit-policy-file=" + l.path("audit-policy.yaml"),
		"--audit-log-path=" + l.path(auditLogName),
		"--audit-log-mode=blocking",
		"--profiling=false",
	}
}

func (l layout) controllerManagerFlags() []string {
	return []string{
		"--kubeconfig=" + l.path(controllerManagerName+".kubeconfig"),
		"--secure-port=0",
		"--leader-elect=false",
		// Each controller has a ServiceAccount of its own, as kubeadm sets it up: webhooks see who asks.
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + l.path("service-accounts.key"),
		"--root-ca-file=" + l.path("ca.crt"),
		"--cluster-signing-cert-file=" + l.path("ca.crt"),
		"--cluster-signing-key-file=" + l.path("ca.key"),
		// Nodes made by hand have no kubelet to keep them alive.
		"--controllers=*,-node-lifecycle-controller",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
		"--profiling=false",
	}
}
