package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// IstioNamespace is where istiod is installed.
	IstioNamespace = "istio-system"
	// istiodTimeout bounds StartIstiod and Uninstall; they take seconds.
	istiodTimeout = 2 * time.Minute
	// istiodGrace is how long istiod may take to end.
	istiodGrace = 3 * time.Second
)

// IstioOptions say which istiod StartIstiod installs. The zero value is the chart with its defaults.
type IstioOptions struct {
	// Revision of the control plane; empty is the default one.
	Revision string
	// CNI: the CNI plugin redirects traffic, and istio-validation takes the place of istio-init.
	CNI bool
	// Native is ENABLE_NATIVE_SIDECARS: "true", "false", or "auto", by the kubelets' versions. Not set at all when empty.
	Native string
	// Reinvocation is the reinvocationPolicy of the webhooks, "Never" when empty.
	Reinvocation string
	// MeshConfig is merged into the mesh configuration.
	MeshConfig map[string]any
	// Values of the chart; they win over the fields above.
	Values map[string]any
	// Host to run in, behind the chart's Service. When nil, istiod listens on loopback and the webhooks have a URL.
	Host *Host
	// Node has the chart's Deployment run as it is, as pods on a node; Host is not used then.
	Node Node
}

// name is that of the Deployment, the Service and the ServiceAccount.
func (o IstioOptions) name() string { return withRevision("istiod", o.Revision) }

func withRevision(name, revision string) string {
	if revision == "" {
		return name
	}
	return name + "-" + revision
}

// Istiod is a running injector. Several of different revisions may run beside each other, but only one of a revision.
type Istiod struct {
	cluster *Cluster
	options IstioOptions
	objects []*unstructured.Unstructured
	process *Process
}

// StartIstiod installs istiod's chart, starts pilot-discovery with the environment of the chart's Deployment, and returns when it
// injects. The Deployment is there to be read and has no replicas, unless a node runs it. The context bounds the start.
func (c *Cluster) StartIstiod(ctx context.Context, o IstioOptions) (_ *Istiod, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, istiodTimeout, errors.New("istiod takes too long to start"))
	defer cancel()
	began := time.Now()
	for attempt := 1; ; attempt++ {
		i, err := c.startIstiodOnce(ctx, o)
		if err == nil {
			log := "kubectl logs"
			if i.process != nil {
				log = i.process.LogPath()
			}
			fmt.Fprintf(c.log, "%s injects after %s, log in %s\n", o.name(), time.Since(began).Round(time.Second/10), log)
			return i, nil
		}
		if attempt == portAttempts || !errors.Is(err, errPortTaken) {
			return nil, fmt.Errorf("start %s: %w", o.name(), err)
		}
	}
}

func (c *Cluster) startIstiodOnce(ctx context.Context, o IstioOptions) (_ *Istiod, err error) {
	i := &Istiod{cluster: c, options: o}
	defer func() {
		if err != nil {
			i.Stop()
		}
	}()
	var listen listenAddresses
	if listen, err = o.listenAddresses(ctx); err != nil {
		return nil, err
	}
	if err := c.installIstioCRDs(ctx); err != nil {
		return nil, err
	}
	if err := c.CreateNamespace(ctx, IstioNamespace, nil); err != nil {
		return nil, err
	}
	if i.objects, err = c.renderIstio(ctx, o, listen.webhook); err != nil {
		return nil, err
	}
	deployment, err := i.deployment()
	if err != nil {
		return nil, err
	}
	if o.Node != nil {
		if err := i.startPods(ctx, deployment); err != nil {
			return nil, err
		}
		if err := i.waitInjecting(ctx); err != nil {
			return nil, fmt.Errorf("%w%s", err, i.podLogs())
		}
		return i, nil
	}
	if err := unstructured.SetNestedField(deployment.Object, int64(0), "spec", "replicas"); err != nil {
		return nil, err
	}
	if err := c.ApplyObjects(ctx, i.objects); err != nil {
		return nil, err
	}
	if o.Host != nil {
		if err := c.Expose(ctx, IstioNamespace, o.name(), o.Host.Addr(), listen.ports()); err != nil {
			return nil, err
		}
	}
	if err := i.start(ctx, deployment, listen); err != nil {
		return nil, err
	}
	return i, i.waitInjecting(ctx)
}

// WebhookName is the name of the MutatingWebhookConfiguration.
func (i *Istiod) WebhookName() string {
	return withRevision("istio-sidecar-injector", i.options.Revision)
}

// Process is the running pilot-discovery; nil where it is a pod.
func (i *Istiod) Process() *Process { return i.process }

// Stop ends pilot-discovery and leaves its objects, as a crash would: the API server's calls fail from now on. Where it is a pod,
// its Deployment is scaled to none.
func (i *Istiod) Stop() {
	if i.process != nil {
		i.process.Stop(istiodGrace)
	}
	if i.options.Node != nil {
		i.stopPods()
	}
}

// Uninstall removes the objects of this revision and ends pilot-discovery. It returns when the API server has stopped calling it;
// the next mode can be started then. CustomResourceDefinitions and the namespace stay.
func (i *Istiod) Uninstall(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, istiodTimeout, errors.New("istiod takes too long to go"))
	defer cancel()
	defer i.Stop()
	isWebhook := func(o *unstructured.Unstructured) bool { return strings.HasSuffix(o.GetKind(), "WebhookConfiguration") }
	isOther := func(o *unstructured.Unstructured) bool { return !isWebhook(o) }
	if err := i.cluster.DeleteObjects(ctx, slices.DeleteFunc(slices.Clone(i.objects), isOther)); err != nil {
		return fmt.Errorf("uninstall %s: %w", i.options.name(), err)
	}
	if err := WaitFor(ctx, "the end of injection", i.cluster.processes, func(ctx context.Context) error {
		if pod, err := i.probe(ctx); err != nil {
			return err
		} else if injected(pod) {
			return errors.New("the pod is still injected")
		}
		return nil
	}); err != nil {
		return fmt.Errorf("uninstall %s: %w", i.options.name(), err)
	}
	i.Stop()
	if err := i.cluster.Unexpose(ctx, IstioNamespace, i.options.name()); err != nil {
		return err
	}
	if err := i.cluster.DeleteObjects(ctx, slices.DeleteFunc(slices.Clone(i.objects), isWebhook)); err != nil {
		return fmt.Errorf("uninstall %s: %w", i.options.name(), err)
	}
	return nil
}

// start runs pilot-discovery with the ServiceAccount, the arguments and the environment that the chart gives it.
func (i *Istiod) start(ctx context.Context, deployment *unstructured.Unstructured, listen listenAddresses) error {
	c, o := i.cluster, i.options
	config, err := c.ServiceAccountConfig(ctx, IstioNamespace, o.name())
	if err != nil {
		return err
	}
	kubeconfig, err := c.WriteKubeconfig(o.name(), config, o.Host)
	if err != nil {
		return err
	}
	args, env, err := discoveryContainer(deployment)
	if err != nil {
		return err
	}
	args = append(args, "--kubeconfig="+kubeconfig)
	args = append(args, listen.flags()...)

	var cmd *exec.Cmd
	if o.Host != nil {
		cmd = o.Host.Command(context.WithoutCancel(ctx), c.binaries.PilotDiscovery, args...)
	} else {
		cmd = exec.CommandContext(context.WithoutCancel(ctx), c.binaries.PilotDiscovery, args...)
		env = append(env, "ISTIOD_CUSTOM_HOST=127.0.0.1,localhost") // for the certificate
	}
	cmd.Env = append(os.Environ(), env...)
	cmd.Env = append(cmd.Env,
		"KUBECONFIG="+kubeconfig,
		"POD_NAME="+o.name(),
		"POD_NAMESPACE="+IstioNamespace,
		"SERVICE_ACCOUNT="+o.name(),
		"INJECTION_WEBHOOK_CONFIG_NAME="+i.WebhookName(),
	)
	// It reads and writes files below its working directory.
	if cmd.Dir, err = os.MkdirTemp(c.dir, o.name()+"-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	i.process, err = StartProcess(cmd, o.name(), filepath.Join(c.dir, o.name()+".log"))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guests = append(c.guests, i.process)
	return nil
}

// waitInjecting waits for the CA bundle in every webhook, and then for an injected pod.
func (i *Istiod) waitInjecting(ctx context.Context) error {
	c, processes := i.cluster, []*Process{i.process}
	if i.process == nil {
		processes = c.processes
	}
	if err := WaitFor(ctx, "the CA bundle of "+i.WebhookName(), processes, func(ctx context.Context) error {
		webhooks, err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, i.WebhookName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		missing := func(w admissionregistrationv1.MutatingWebhook) bool { return len(w.ClientConfig.CABundle) == 0 }
		if at := slices.IndexFunc(webhooks.Webhooks, missing); at >= 0 {
			return fmt.Errorf("webhook %s has none", webhooks.Webhooks[at].Name)
		}
		return nil
	}); err != nil {
		return err
	}
	return WaitFor(ctx, "an injected pod", processes, func(ctx context.Context) error {
		if pod, err := i.probe(ctx); err != nil {
			return err
		} else if !injected(pod) {
			return errors.New("the pod is admitted without istio-proxy")
		}
		return nil
	})
}

// probe creates a pod that asks for injection by this revision, as a dry run in istiod's own namespace, which has no label that
// would select another one.
func (i *Istiod) probe(ctx context.Context) (*corev1.Pod, error) {
	labels := map[string]string{"sidecar.istio.io/inject": "true"}
	if i.options.Revision != "" {
		labels["istio.io/rev"] = i.options.Revision
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "injection-probe", Namespace: IstioNamespace, Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	return i.cluster.client.CoreV1().Pods(IstioNamespace).Create(ctx, pod, options)
}

func injected(pod *corev1.Pod) bool {
	isProxy := func(c corev1.Container) bool { return c.Name == "istio-proxy" }
	return slices.ContainsFunc(pod.Spec.Containers, isProxy) || slices.ContainsFunc(pod.Spec.InitContainers, isProxy)
}

// deployment is istiod's, among the objects of the chart.
func (i *Istiod) deployment() (*unstructured.Unstructured, error) {
	for _, object := range i.objects {
		if object.GetKind() == "Deployment" && object.GetName() == i.options.name() {
			return object, nil
		}
	}
	return nil, fmt.Errorf("the chart renders no Deployment %s", i.options.name())
}

// listenAddresses are where one istiod listens.
type listenAddresses struct {
	ip                                                 netip.Addr
	webhook, secureGRPC, grpc, http, monitoring, ctrlz int
}

// listenAddresses are the chart's ports in a host, which nobody else has, and free ones on loopback.
func (o IstioOptions) listenAddresses(ctx context.Context) (listenAddresses, error) {
	l := listenAddresses{webhook: 15017, secureGRPC: 15012, grpc: 15010, http: 8080, monitoring: 15014, ctrlz: 9876}
	if o.Host != nil {
		l.ip = netip.IPv4Unspecified()
		return l, nil
	}
	ports, err := freePorts(ctx, 6)
	if err != nil {
		return l, err
	}
	l.ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	l.webhook, l.secureGRPC, l.grpc, l.http, l.monitoring, l.ctrlz = ports[0], ports[1], ports[2], ports[3], ports[4], ports[5]
	return l, nil
}

// ports by the names that the chart's Service gives them.
func (l listenAddresses) ports() map[string]int32 {
	return map[string]int32{
		"https-webhook": int32(l.webhook), "https-dns": int32(l.secureGRPC), "grpc-xds": int32(l.grpc), "http-monitoring": int32(l.monitoring),
	}
}

func (l listenAddresses) flags() []string {
	at := func(port int) string { return netip.AddrPortFrom(l.ip, uint16(port)).String() }
	return []string{
		"--httpsAddr=" + at(l.webhook),
		"--secureGRPCAddr=" + at(l.secureGRPC),
		"--grpcAddr=" + at(l.grpc),
		"--httpAddr=" + at(l.http),
		"--monitoringAddr=" + at(l.monitoring),
		fmt.Sprintf("--ctrlz_port=%d", l.ctrlz),
	}
}
