package diagnose

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Platform is who runs the control plane, as far as its firewall goes.
type Platform string

// What can be told from a Node.
const (
	GKE   Platform = "GKE"
	EKS   Platform = "EKS"
	AKS   Platform = "AKS"
	Other Platform = ""
)

// Platform tells where the cluster runs by one of its Nodes: by the labels that the three clouds give to nodes of their
// managed clusters, which clusters of people's own on the same machines lack. Other where it cannot be told.
func (s *Subject) Platform(ctx context.Context) Platform {
	nodes, err := s.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil || len(nodes.Items) == 0 {
		return Other
	}
	for key := range nodes.Items[0].Labels {
		switch {
		case strings.HasPrefix(key, "cloud.google.com/gke-"):
			return GKE
		case strings.HasPrefix(key, "eks.amazonaws.com/"):
			return EKS
		case strings.HasPrefix(key, "kubernetes.azure.com/"):
			return AKS
		}
	}
	return Other
}

// OpenPort says how the way from the control plane to a port of the nodes' pods is opened.
func OpenPort(p Platform, port int, whose string) string {
	switch p {
	case GKE: // cloud.google.com/kubernetes-engine/docs, "Private clusters: add firewall rules"
		return fmt.Sprintf(`Private GKE clusters let the control plane reach nodes at 443 and 10250 alone. Open %d (%s):
gcloud container clusters describe CLUSTER --format='value(privateClusterConfig.masterIpv4CidrBlock,network)'
gcloud compute firewall-rules create allow-control-plane-%d --network NETWORK --direction INGRESS --source-ranges CIDR --allow tcp:%d`, port, whose, port, port)
	case EKS: // docs.aws.amazon.com/eks, "Security group requirements"
		return fmt.Sprintf(`The nodes' security group has to let the control plane's in at %d (%s):
aws eks describe-cluster --name CLUSTER --query cluster.resourcesVpcConfig.clusterSecurityGroupId
aws ec2 authorize-security-group-ingress --group-id NODE_SG --protocol tcp --port %d --source-group CLUSTER_SG
With an overlay network (Calico, Cilium) on EKS the control plane cannot reach pods at all: run with hostNetwork.`, port, whose, port)
	case AKS: // learn.microsoft.com/azure/aks: the control plane reaches nodes through the konnectivity tunnel, from pods in kube-system
		return fmt.Sprintf(`On AKS calls come through the konnectivity agents in kube-system. Let them in at %d (%s), and look at them:
kubectl -n kube-system logs -l app=konnectivity-agent --tail=20
az network nsg rule create -g NODE_RESOURCE_GROUP --nsg-name NSG -n allow-%d --priority 200 --access Allow --protocol Tcp --destination-port-ranges %d --source-address-prefixes VirtualNetwork`,
			port, whose, port, port)
	case Other:
	}
	return fmt.Sprintf("Let the control plane's machines reach the pods at port %d (%s): firewall, security group, network policy. The port of the Service is not the one that is blocked.", port, whose)
}
