package diagnose

import (
	"strconv"
	"strings"
)

// fill puts what is known into lines: @PORT and the like.
func (p *Platform) fill(lines []string, port int, whose string) string {
	return strings.NewReplacer(
		"@PORT", strconv.Itoa(port), "@WHOSE", whose, "@ACCOUNT", p.Account, "@REGION", p.Region, "@ZONE", p.Zone,
		"@INSTANCE", p.Instance, "@CLUSTER", p.Cluster, "@GROUP", p.Group,
	).Replace(strings.Join(lines, "\n"))
}

// openOther is what to tell whoever keeps the firewall.
func (p *Platform) openOther() []string {
	const most = 5
	some := func(of []string, more int) string {
		more += max(0, len(of)-most)
		switch of = of[:min(len(of), most)]; {
		case len(of) == 0:
			return ""
		case more > 0:
			return " (" + strings.Join(of, ", ") + " and " + strconv.Itoa(more) + " more)"
		}
		return " (" + strings.Join(of, ", ") + ")"
	}
	text := "Tell whoever keeps the firewall: TCP @PORT (@WHOSE) has to be open from the control plane" + some(p.From, 0) + " to the nodes" + some(p.To, p.More)
	if len(p.Pods) > 0 {
		text += ", where the pods have " + strings.TrimSuffix(strings.TrimPrefix(some(p.Pods, 0), " ("), ")") + " now"
	}
	lines := []string{text + "; the port of the Service is not the one that is blocked."}
	if !p.Inside {
		lines = append(lines, "A network policy in the namespace of the pods can close it, too.")
	}
	return lines
}

// current is the name of the cluster in the kubeconfig that is in use: gcloud and aws write one there that says which it is.
const current = `kubectl config view --minify -o jsonpath='{.clusters[0].name}'`

// openGKE opens the firewall of the cluster's network. Where the control plane is peered with it, GKE makes a rule that lets its range
// in at 443 and 10250 alone (docs.cloud.google.com/kubernetes-engine/docs/concepts/firewall-rules, "GKE cluster firewall rules";
// .../docs/how-to/legacy/network-isolation, "Adding firewall rules for specific use cases": the same three values, read by hand); the
// labels are on each machine (.../docs/how-to/creating-managing-labels, "Automatically applied labels"). The rule belongs to the
// project that owns the network, another one where the network is shared. Newer clusters are joined by Private Service Connect and a
// tunnel that begins at the nodes (.../docs/concepts/private-service-connect).
func (p *Platform) openGKE() []string {
	lines := []string{"A private control plane of GKE reaches the nodes at 443 and 10250 alone, until a firewall rule opens @PORT (@WHOSE):"}
	switch {
	case p.Account != "" && p.Instance != "":
		const describe = "$(gcloud compute instances describe @INSTANCE --project @ACCOUNT --zone @ZONE --format='value(labels.goog-k8s-cluster-"
		lines = append(lines, "PROJECT=@ACCOUNT", "CLUSTER="+describe+"name)')", "LOCATION="+describe+"location)')")
	default:
		lines = append(lines, "PROJECT=$("+current+" | cut -s -d_ -f2)", "LOCATION=$("+current+" | cut -s -d_ -f3)", "CLUSTER=$("+current+" | cut -s -d_ -f4)")
	}
	const describe = `$(test -n "$CLUSTER" && test -n "$LOCATION" && gcloud container clusters describe "$CLUSTER" --project "$PROJECT" --location "$LOCATION" --format=`
	return append(lines,
		"CIDR="+describe+"'value(privateClusterConfig.masterIpv4CidrBlock)')",
		"NETWORK="+describe+"'value(networkConfig.network)')",
		`OWNER=$(echo "$NETWORK" | cut -s -d/ -f2)`,
		`TAG=$(test -n "$CIDR" && test -n "$OWNER" && gcloud compute firewall-rules list --project "$OWNER" --filter="name~^gk AND sourceRanges:($CIDR)" --limit=1 --format='value(targetTags[0])')`,
		`test -n "$TAG" && gcloud compute firewall-rules create "$CLUSTER-control-plane-@PORT" --project "$OWNER" --network "${NETWORK##*/}" --direction INGRESS --source-ranges "$CIDR" --target-tags "$TAG" --allow tcp:@PORT`,
		"Who may not open it can have the server listen at 10250, which is open (Holdfast: --webhook-port, and the container's port).",
		"Where TAG is empty the cluster has no such firewall, and calls come through the konnectivity agents: see what they say.",
		"kubectl -n kube-system logs -l k8s-app=konnectivity-agent --tail=20",
	)
}

// openEKS opens the nodes' security group. The control plane's interfaces carry the cluster security group, which lets in what carries it
// too; nodes with a group of their own have to be opened (docs.aws.amazon.com/eks/latest/userguide/sec-group-reqs.html). Machines of
// EKS and those that people add have the tag kubernetes.io/cluster/NAME (.../userguide/worker.html). What has no address in the
// VPC is not reached at all (.../userguide/alternate-cni-plugins.html; kedacore/charts#468, knative/operator#1471).
func (p *Platform) openEKS() []string {
	region := ""
	if p.Region != "" {
		region = " --region @REGION"
	}
	lines := []string{"The nodes' security group on EKS has to let that of the control plane in at @PORT (@WHOSE):"}
	machine := "aws ec2 describe-instances" + region + ` --instance-ids @INSTANCE --output text --query "Reservations[0].Instances[0].`
	switch {
	case p.Cluster != "":
		lines = append(lines, "CLUSTER=@CLUSTER")
	case p.Instance != "":
		lines = append(lines, "CLUSTER=$("+machine+`Tags[?starts_with(Key, 'kubernetes.io/cluster/')].Key | [0]" | cut -s -d/ -f3)`)
	default:
		lines = append(lines, "CLUSTER=$("+current+" | cut -s -d/ -f2)")
	}
	lines = append(lines, `CONTROL_PLANE=$(test -n "$CLUSTER" && aws eks describe-cluster`+region+` --name "$CLUSTER" --output text --query cluster.resourcesVpcConfig.clusterSecurityGroupId)`)
	if p.Instance != "" {
		lines = append(lines,
			"NODES=$("+machine+`SecurityGroups[0].GroupId")`,
			`test -n "$CONTROL_PLANE" && test -n "$NODES" && aws ec2 authorize-security-group-ingress`+region+` --group-id "$NODES" --protocol tcp --port @PORT --source-group "$CONTROL_PLANE"`,
			"Where both are one group, it lets its own in already: look at its rules, and at those of pods with a security group of their own.",
		)
	} else {
		lines = append(lines, `test -n "$CONTROL_PLANE" && aws ec2 describe-security-group-rules`+region+` --filters "Name=group-id,Values=$CONTROL_PLANE"`)
	}
	return append(lines, "Pods with addresses of an overlay network (Calico, Cilium) are out of reach of EKS's control plane, whatever is opened: "+
		"run the webhook's server with hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet and a port that is free on the nodes.")
}

// openAKS looks at the tunnel, whose agents run beside other pods (learn.microsoft.com/azure/aks/core-aks-concepts, and
// learn.microsoft.com/troubleshoot/azure/azure-kubernetes/connectivity/tunnel-connectivity-issues), and opens a security group that
// people have put on the nodes' subnet; that in the group of the nodes is not to be touched (.../azure/aks/support-policies). With API
// Server VNet Integration there is no tunnel (.../azure/aks/api-server-vnet-integration), and the API server is in the same network.
func (p *Platform) openAKS() []string {
	lines := []string{
		"On AKS calls come through the konnectivity agents in kube-system, which have to be well, and let in at @PORT (@WHOSE) by every network policy:",
		"kubectl -n kube-system logs -l app=konnectivity-agent --tail=20",
		"kubectl get networkpolicies -A",
	}
	if p.Group == "" {
		return append(lines, "A security group that you have put on the nodes' subnet has to let the port in, from VirtualNetwork.")
	}
	subscription := ""
	if p.Account != "" {
		subscription = " --subscription @ACCOUNT"
	}
	return append(lines,
		"A security group that you have put on the nodes' subnet can close the port, too. If there is one, this opens it:",
		"CLUSTER=$(az group show"+subscription+" --name @GROUP --query managedBy --output tsv)",
		`SUBNET=$(test -n "$CLUSTER" && az aks show --ids "$CLUSTER" --query "agentPoolProfiles[0].vnetSubnetId" --output tsv)`,
		`NSG=$(test -n "$SUBNET" && az network vnet subnet show --ids "$SUBNET" --query networkSecurityGroup.id --output tsv)`,
		`test -n "$NSG" && az network nsg rule create`+subscription+` --resource-group "$(echo "$NSG" | cut -d/ -f5)" --nsg-name "${NSG##*/}" --name allow-@PORT --priority 200 --direction Inbound --access Allow --protocol Tcp --source-address-prefixes VirtualNetwork --destination-port-ranges @PORT`,
	)
}
