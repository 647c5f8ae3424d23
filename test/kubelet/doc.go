// Package kubelet runs pods on a control plane of test/controlplane, as far as its tests need that: what kubectl does to a
// Deployment (scale, rollout restart, logs, exec) is then real, and the EndpointSlices of its Service are those that Kubernetes'
// own controller writes.
//
// A Kubelet is a scheduler and a kubelet in one, with a Node of its own. It runs the pods whose image it has been told of
// (Provide); the others stay Pending. A pod is a controlplane.Host, whose address is the pod's. Its container is a process there,
// in a root directory that holds the program, /etc/hosts and /etc/resolv.conf, the volumes at their mount paths and nothing else, as
// in an image that is made from scratch; it runs as the pod's user and finds the API server at the address of Service kubernetes.
// Probes, restarts, graceful deletion, mounted Secrets and ConfigMaps that change, projected tokens and status are those of a
// kubelet, only quicker.
//
// Left out is what Holdfast and istiod do without: pods with more than one container or with init containers (a pod that a mesh
// was put into stays Pending), restart policies, probes other than HTTP, resources, taints and affinity, limits, volumes other
// than emptyDir, Secret, ConfigMap and projected ones, file modes, renewal of tokens, names in the cluster, ClusterIPs other than the API
// server's, terminals for kubectl exec, and for kubectl logs all but --tail and --previous. Processes are apart in their network and
// their files, and in nothing else.
package kubelet
