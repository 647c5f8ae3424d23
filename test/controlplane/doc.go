// Package controlplane runs a real Kubernetes control plane for Holdfast's tests and its demo: etcd, kube-apiserver and
// kube-controller-manager as child processes on loopback, with the real istiod beside them. There are no nodes and no
// kubelets, so pods stay Pending, unless a node of test/kubelet runs them; what admission made of them is what is being looked
// at.
//
// The programs are built from the modules in test/modules and cached (Build). A Cluster is one control plane (Start). A Host
// is a network namespace with a routable address, for a program that the API server should call through a Service; hosts reach
// each other. An Istiod is Istio's injector, and a CertManager is cert-manager, both installed from their own charts.
//
// Everything that is started ends with the process that started it, whatever happens to that process. The package never
// touches a cluster that it did not start.
package controlplane
