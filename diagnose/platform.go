package diagnose

import (
	"cmp"
	"context"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Cloud is who runs the control plane, as far as its firewall goes.
type Cloud string

// What can be told from a Node.
const (
	GKE   Cloud = "GKE"
	EKS   Cloud = "EKS"
	AKS   Cloud = "AKS"
	Other Cloud = "" // none of these, or nobody can tell
)

// Platform is a cloud, and what a Node of the cluster tells of the names that its command line wants. What it does not tell, or
// what no name there looks like, is empty.
type Platform struct {
	Cloud Cloud
	// Account is GKE's project or AKS's subscription.
	Account string
	// Region and Zone are where the node is.
	Region, Zone string
	// Instance is the machine behind the node.
	Instance string
	// Cluster is the cluster's name.
	Cluster string
	// Group is AKS's resource group of the nodes.
	Group string
	Ends
}

// Ends are those of the way that a firewall is in, for whoever keeps one that is no cloud's.
type Ends struct {
	// From are the addresses of the control plane, as it lists them itself; To those of the nodes, as far as they were looked at,
	// and More is how many others there are.
	From, To []string
	More     int
	// Pods are the addresses to which it leads now, where whoever asks has put them in.
	Pods []string
	// Inside tells that nothing in the cluster closes it: no network policy has to be looked at.
	Inside bool
}

// mostNodes is how many nodes are looked at: one may be odd, a hundred are alike.
const mostNodes = 50

// Platform tells where the cluster runs by its Nodes; nothing where it cannot be told.
func (s *Subject) Platform(ctx context.Context) Platform {
	nodes, err := s.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: mostNodes})
	if err != nil {
		return Platform{Ends: Ends{From: s.controlPlane(ctx)}}
	}
	var best Platform
	for i := range nodes.Items {
		if p := platformOf(&nodes.Items[i]); p.told() > best.told() {
			best = p
		}
	}
	best.To = internal(nodes.Items)
	if rest := nodes.RemainingItemCount; rest != nil {
		best.More = int(*rest)
	}
	best.From = s.controlPlane(ctx)
	return best
}

// internal are the addresses that nodes have among themselves.
func internal(nodes []corev1.Node) []string {
	var out []string
	for i := range nodes {
		for _, a := range nodes[i].Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				out = append(out, a.Address)
			}
		}
	}
	return unique(out)
}

// controlPlane are the addresses that the API servers list themselves at.
func (s *Subject) controlPlane(ctx context.Context) []string {
	slicesOf, err := s.Client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"})
	if err != nil {
		return nil
	}
	var out []string
	for i := range slicesOf.Items {
		for k := range slicesOf.Items[i].Endpoints {
			out = append(out, slicesOf.Items[i].Endpoints[k].Addresses...)
		}
	}
	return unique(out)
}

// told counts what is known.
func (p *Platform) told() int {
	n := 0
	for _, value := range []string{string(p.Cloud), p.Account, p.Region, p.Zone, p.Instance, p.Cluster, p.Group} {
		if value != "" {
			n++
		}
	}
	return n
}

// The labels that the clouds give to the nodes of their managed clusters. Clusters of people's own on the same machines (kOps,
// kubeadm, Cluster API) have the same kind of provider ID and lack them.
const (
	gkeLabels = "cloud.google.com/gke-"
	eksLabels = "eks.amazonaws.com/"
	aksLabels = "kubernetes.azure.com/"
	// aksGroup is the node resource group, cut where it is too long for a label (AKS, "Use labels in an AKS cluster").
	aksGroup = aksLabels + "cluster"
	// eksctlCluster is on all nodes that eksctl makes, those that EKS does not manage too (eksctl, pkg/apis/eksctl.io/v1alpha5/types.go).
	eksctlCluster = "alpha.eksctl.io/cluster-name"
)

// Provider IDs: cloud-provider-gcp, pkg/... ("gce://PROJECT/ZONE/NAME"); cloud-provider-aws, pkg/providers/v1/instances.go
// ("aws:///ZONE/INSTANCE"); EKS hybrid nodes ("eks-hybrid:///REGION/CLUSTER/INSTANCE"); cloud-provider-azure, pkg/consts
// ("azure:///subscriptions/.../resourceGroups/...", of which the group is in lower case).
var (
	gceNode    = regexp.MustCompile(`^gce://([a-z0-9.:-]+)/([a-z0-9-]+)/([a-z0-9-]+)$`)
	awsNode    = regexp.MustCompile(`^aws:///([a-z0-9-]*)/(i-[0-9a-f]+)$`)
	hybridNode = regexp.MustCompile(`^eks-hybrid:///([a-z0-9-]+)/([A-Za-z0-9_-]+)/`)
	azureNode  = regexp.MustCompile(`(?i)^azure:///subscriptions/([0-9a-f-]+)/resourceGroups/([^/]+)/`)
	awsZone    = regexp.MustCompile(`^([a-z]+(?:-[a-z]+)+-[0-9]+)[a-z]$`)
	labelled   = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`) // what a label can hold, and a shell leaves alone
)

// platformOf is what one node tells.
func platformOf(n *corev1.Node) Platform {
	p := Platform{Cloud: cloudOf(n), Region: label(n, corev1.LabelTopologyRegion), Zone: label(n, corev1.LabelTopologyZone)}
	switch p.Cloud {
	case GKE:
		p.readGKE(n)
	case EKS:
		p.readEKS(n)
	case AKS:
		p.readAKS(n)
	case Other:
		return Platform{}
	}
	return p
}

// label is what a label says, where a shell would take it for one word.
func label(n *corev1.Node, key string) string {
	if value := n.Labels[key]; labelled.MatchString(value) {
		return value
	}
	return ""
}

func (p *Platform) readGKE(n *corev1.Node) {
	m := gceNode.FindStringSubmatch(n.Spec.ProviderID)
	if m == nil {
		return
	}
	p.Account, p.Zone = m[1], m[2]
	if !strings.HasPrefix(m[3], autopilot) { // nobody but Google sees those
		p.Instance = m[3]
	}
}

func (p *Platform) readEKS(n *corev1.Node) {
	p.Cluster = label(n, eksctlCluster)
	if m := awsNode.FindStringSubmatch(n.Spec.ProviderID); m != nil {
		p.Instance = m[2]
		if zone := awsZone.FindStringSubmatch(m[1]); zone != nil && p.Region == "" {
			p.Region = zone[1]
		}
	} else if m := hybridNode.FindStringSubmatch(n.Spec.ProviderID); m != nil {
		p.Region, p.Cluster = m[1], m[2]
	}
}

func (p *Platform) readAKS(n *corev1.Node) {
	const longest = 63 // of a label's value
	p.Group = label(n, aksGroup)
	if m := azureNode.FindStringSubmatch(n.Spec.ProviderID); m != nil {
		p.Account = m[1]
		if (p.Group == "" || len(p.Group) == longest) && labelled.MatchString(m[2]) {
			p.Group = m[2]
		}
	}
}

// autopilot is how the names of the machines of GKE's Autopilot begin, and those of its firewall rules; others begin with gke-.
const autopilot = "gk3-"

// cloudOf tells whose managed cluster a node is of: it has labels of that cloud, or a kubelet of its, and is a machine there, or says
// nothing of what it is. The clouds' distributions for machines of one's own have the one without the other.
func cloudOf(n *corev1.Node) Cloud {
	has := func(prefix string) bool {
		for key := range n.Labels {
			if strings.HasPrefix(key, prefix) {
				return true
			}
		}
		return false
	}
	there, _, _ := strings.Cut(n.Spec.ProviderID, ":")
	kubelet := n.Status.NodeInfo.KubeletVersion
	switch there {
	case "gce":
		return when(has(gkeLabels) || strings.Contains(kubelet, "-gke."), GKE)
	case "eks-hybrid":
		return EKS
	case "aws":
		// Nodes that people add themselves have no label; EKS's images have a kubelet of this version (awslabs/amazon-eks-ami).
		return when(has(eksLabels) || has(eksctlCluster) || strings.Contains(kubelet, "-eks-"), EKS)
	case "azure":
		return when(has(aksLabels), AKS)
	case "":
		return cmp.Or(when(has(gkeLabels), GKE), when(has(eksLabels) || has(eksctlCluster), EKS), when(has(aksLabels), AKS))
	}
	return Other
}

func when(is bool, c Cloud) Cloud {
	if is {
		return c
	}
	return Other
}

// OpenPort says how the way from the control plane to a port of the nodes' pods is opened. Each line is prose, or one command that
// pastes into any shell as it stands, once those above it have been pasted; nothing is sent that came back empty.
func OpenPort(p Platform, port int, whose string) string {
	if port == 0 {
		return "Have whoever keeps the firewall let the control plane's machines reach the port that " + whose + " serves."
	}
	var lines []string
	switch p.Cloud {
	case GKE:
		lines = p.openGKE()
	case EKS:
		lines = p.openEKS()
	case AKS:
		lines = p.openAKS()
	case Other:
		lines = p.openOther()
	}
	return p.fill(lines, port, whose)
}
