package diagnose

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

func node(name, id, kubelet string, labels map[string]string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.NodeSpec{ProviderID: id}}
	n.Status.NodeInfo.KubeletVersion = kubelet
	return n
}

func TestPlatform(t *testing.T) {
	t.Parallel()
	zone := func(key, value string) map[string]string {
		return map[string]string{key: value, corev1.LabelTopologyRegion: "eu-west-1", corev1.LabelTopologyZone: "eu-west-1a"}
	}
	const group = "/resourceGroups/mc_shop_prod_westeurope/providers/Microsoft.Compute/virtualMachineScaleSets/aks-a-1-vmss/virtualMachines/0"
	tests := []struct {
		name  string
		nodes []*corev1.Node
		want  Platform
	}{
		{"no nodes", nil, Platform{}},
		{"a machine of one's own", []*corev1.Node{node("a", "", "v1.36.3", nil)}, Platform{}},
		{
			"GKE",
			[]*corev1.Node{node("a", "gce://acme-prod/europe-west1-b/gke-shop-pool-1-ab12", "v1.36.1-gke.1", map[string]string{"cloud.google.com/gke-nodepool": "pool-1"})},
			Platform{Cloud: GKE, Account: "acme-prod", Zone: "europe-west1-b", Instance: "gke-shop-pool-1-ab12"},
		},
		{
			"GKE, of a domain's project",
			[]*corev1.Node{node("a", "gce://acme.com:prod/europe-west1-b/gke-a-1", "", map[string]string{"cloud.google.com/gke-nodepool": "pool-1"})},
			Platform{Cloud: GKE, Account: "acme.com:prod", Zone: "europe-west1-b", Instance: "gke-a-1"},
		},
		{
			"Autopilot",
			[]*corev1.Node{node("a", "gce://acme-prod/europe-west1-b/gk3-shop-pool-1-ab12", "v1.36.1-gke.1", nil)},
			Platform{Cloud: GKE, Account: "acme-prod", Zone: "europe-west1-b"},
		},
		{"kOps on Google's machines", []*corev1.Node{node("a", "gce://acme-prod/europe-west1-b/nodes-1", "v1.36.1", map[string]string{"kops.k8s.io/instancegroup": "nodes"})}, Platform{}},
		{
			"EKS",
			[]*corev1.Node{node("a", "aws:///eu-west-1a/i-0abc", "v1.36.1-eks-1a2b", zone("eks.amazonaws.com/nodegroup", "workers"))},
			Platform{Cloud: EKS, Region: "eu-west-1", Zone: "eu-west-1a", Instance: "i-0abc"},
		},
		{
			"eksctl",
			[]*corev1.Node{node("a", "aws:///eu-west-1a/i-0abc", "", zone("alpha.eksctl.io/cluster-name", "shop"))},
			Platform{Cloud: EKS, Region: "eu-west-1", Zone: "eu-west-1a", Instance: "i-0abc", Cluster: "shop"},
		},
		{
			"EKS, a node that somebody added",
			[]*corev1.Node{node("a", "aws:///eu-west-1a/i-0abc", "v1.36.1-eks-1a2b", nil)},
			Platform{Cloud: EKS, Region: "eu-west-1", Instance: "i-0abc"},
		},
		{
			"a local zone is in no region of its name",
			[]*corev1.Node{node("a", "aws:///us-west-2-lax-1a/i-0abc", "v1.36.1-eks-1a2b", nil)},
			Platform{Cloud: EKS, Instance: "i-0abc"},
		},
		{
			"Fargate, and a machine",
			[]*corev1.Node{
				node("a", "aws:///eu-west-1a/4f0c-fargate/fargate-ip-10-0-0-1", "v1.36.1-eks-1a2b", zone("eks.amazonaws.com/compute-type", "fargate")),
				node("b", "aws:///eu-west-1a/i-0abc", "v1.36.1-eks-1a2b", zone("eks.amazonaws.com/nodegroup", "workers")),
			},
			Platform{Cloud: EKS, Region: "eu-west-1", Zone: "eu-west-1a", Instance: "i-0abc"},
		},
		{
			"EKS, a node elsewhere",
			[]*corev1.Node{node("a", "eks-hybrid:///eu-west-1/shop/mi-0abc", "", map[string]string{"eks.amazonaws.com/compute-type": "hybrid"})},
			Platform{Cloud: EKS, Region: "eu-west-1", Cluster: "shop"},
		},
		{"kOps on Amazon's machines", []*corev1.Node{node("a", "aws:///eu-west-1a/i-0abc", "v1.36.1", zone("kops.k8s.io/instancegroup", "nodes"))}, Platform{}},
		{"kubeadm on Amazon's machines", []*corev1.Node{node("a", "aws:///eu-west-1a/i-0abc", "v1.36.1", nil)}, Platform{}},
		{"EKS's distribution on one's own machines", []*corev1.Node{node("a", "vsphere://1", "v1.33.4-eks-1-33-10", nil)}, Platform{}},
		{
			"AKS",
			[]*corev1.Node{node("a", "azure:///subscriptions/0a1b-22"+group, "v1.36.1", map[string]string{"kubernetes.azure.com/cluster": "MC_shop_prod_westeurope"})},
			Platform{Cloud: AKS, Account: "0a1b-22", Group: "MC_shop_prod_westeurope"},
		},
		{
			"AKS, a group too long for a label",
			[]*corev1.Node{node("a", "azure:///subscriptions/0a1b-22"+group, "", map[string]string{"kubernetes.azure.com/cluster": strings.Repeat("m", 63)})},
			Platform{Cloud: AKS, Account: "0a1b-22", Group: "mc_shop_prod_westeurope"},
		},
		{"Cluster API on Azure's machines", []*corev1.Node{node("a", "azure:///subscriptions/0a1b-22"+group, "v1.36.1", nil)}, Platform{}},
		{
			"names that a shell would take for more",
			[]*corev1.Node{node("a", "gce://acme/europe-west1-b/$(reboot)", "", map[string]string{"cloud.google.com/gke-nodepool": "p", corev1.LabelTopologyRegion: "a;b"})},
			Platform{Cloud: GKE},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var objects []runtime.Object
			for _, n := range test.nodes {
				objects = append(objects, n)
			}
			s := &Subject{Client: fake.NewClientset(objects...)}
			if diff := cmp.Diff(test.want, s.Platform(t.Context())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestOpenPort prints for each of testdata/reached/platforms/*.txtar what a cluster of its nodes is told, and pastes that into the shells that
// are here, in which the clouds' commands answer what the part answers says: what they are asked is the part asked. The parts lines and
// asked are rewritten by -update.
func TestOpenPort(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "reached", "platforms", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]string{}
			for _, f := range archive.Files {
				parts[f.Name] = string(f.Data)
			}
			var n corev1.Node
			if err := yaml.UnmarshalStrict([]byte(parts["node.yaml"]), &n); err != nil {
				t.Fatal(err)
			}
			s := &Subject{Client: fake.NewClientset(&n)}
			got := map[string]string{"lines": OpenPort(s.Platform(t.Context()), 15017, "the pods of Service istio-system/istiod") + "\n"}
			for line := range strings.Lines(got["lines"]) {
				if line = strings.TrimSpace(line); !proseOrCommand(line) {
					t.Errorf("neither a sentence nor a command: %s", line)
				}
			}
			for _, shell := range []string{"sh", "bash", "zsh"} {
				asked, ok := paste(t, shell, parts["answers"], got["lines"])
				if before, again := got["asked"]; ok && again && before != asked {
					t.Errorf("%s asks otherwise (-before +now):\n%s", shell, cmp.Diff(before, asked))
				}
				if ok {
					got["asked"] = asked
				}
			}
			if *update {
				for i := range archive.Files {
					if text, ok := got[archive.Files[i].Name]; ok {
						archive.Files[i].Data = []byte(text)
					}
				}
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, name := range []string{"lines", "asked"} {
				if diff := cmp.Diff(parts[name], got[name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

var (
	sentences = regexp.MustCompile(`^[A-Z][^=]*[.:]$`)
	commands  = regexp.MustCompile(`^([a-z]+ |[A-Z_]+=)[^\n]*[^.:]$`)
)

// proseOrCommand is how all lines of all fixes are: for people, or for a shell.
func proseOrCommand(line string) bool {
	return sentences.MatchString(line) != commands.MatchString(line)
}

// paste runs the commands among lines, and returns what the clouds' were called with.
func paste(t *testing.T, shell, answers, lines string) (asked string, ok bool) {
	t.Helper()
	path, err := exec.LookPath(shell)
	if errors.Is(err, exec.ErrNotFound) {
		return "", false
	} else if err != nil {
		t.Fatal(err)
	}
	script := `ask() { echo "$@" >&3; case "$*" in` + "\n" + answers + "esac; }\n"
	for _, name := range []string{"gcloud", "aws", "az", "kubectl"} {
		script += name + "() { ask " + name + ` "$@"; }` + "\n"
	}
	for line := range strings.Lines(lines) {
		if commands.MatchString(strings.TrimSpace(line)) {
			script += line
		}
	}
	record := filepath.Join(t.TempDir(), "asked")
	c := exec.CommandContext(t.Context(), path, "-c", "exec 3>"+record+"\n"+script)
	out, err := c.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) { // the last line may be one that has nothing to send
		t.Fatal(err)
	}
	if text := string(out); strings.Contains(text, "not found") || strings.Contains(text, "yntax") || strings.Contains(text, "parse error") {
		t.Errorf("%s: %s", shell, text)
	}
	data, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), true
}
