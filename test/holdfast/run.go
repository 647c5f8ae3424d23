package holdfast

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"holdfast.dev/holdfast/test/controlplane"
)

// endpoints are where the server listens, HOST:PORT each.
type endpoints struct{ webhook, health, metrics string }

// run starts the server and puts it behind the Service.
func (i *Installation) run(ctx context.Context, o Options) error {
	if err := i.start(ctx, o); err != nil || i.host == nil {
		return err
	}
	return i.cluster.Expose(ctx, i.namespace, i.service, i.host.Addr(), i.ports)
}

// start starts the server as the Deployment's container says, as its ServiceAccount, with the shipped RBAC.
func (i *Installation) start(ctx context.Context, o Options) error {
	account, err := i.cluster.ServiceAccountConfig(ctx, i.namespace, i.account)
	if err != nil {
		return err
	}
	kubeconfig, err := i.cluster.WriteKubeconfig("holdfast-"+i.namespace, account, i.host)
	if err != nil {
		return err
	}
	config, err := i.configuration()
	if err != nil {
		return err
	}
	args := slices.Concat(i.arguments(config), []string{"--kubeconfig=" + kubeconfig}, o.Args)
	// The process outlives the start; Stop ends it.
	life := context.WithoutCancel(ctx)
	var cmd *exec.Cmd
	if i.host != nil {
		cmd = i.host.Command(life, o.Binary, args...)
		at := i.host.Addr().String()
		i.local = endpoints{webhook: at + ":9443", health: at + ":8081", metrics: at + ":8080"}
	} else {
		_, port, err := net.SplitHostPort(i.local.webhook)
		if err != nil {
			return err
		}
		args = append(args, "--cert-dir="+i.certificates, "--webhook-port="+port, "--health-probe-bind-address="+i.local.health, "--metrics-bind-address="+i.local.metrics)
		cmd = exec.CommandContext(life, o.Binary, args...)
	}
	cmd.Env = append(os.Environ(), i.environment()...)
	i.process, err = controlplane.StartProcess(cmd, "holdfast", i.LogPath())
	return err
}

// configuration writes the ConfigMap's file to where the server can read it.
func (i *Installation) configuration() (string, error) {
	for _, object := range i.objects {
		if object.GetKind() != "ConfigMap" {
			continue
		}
		text, ok, err := unstructured.NestedString(object.Object, "data", "config.yaml")
		if err != nil || !ok {
			continue
		}
		path := filepath.Join(i.dir, "config.yaml")
		return path, os.WriteFile(path, []byte(text), 0o600)
	}
	return "", errors.New("the manifests hold no ConfigMap with config.yaml")
}

// arguments are the container's, with references to its environment resolved and the configuration where it lies here.
func (i *Installation) arguments(config string) []string {
	args := slices.Clone(i.container.Args)
	for k, arg := range args {
		for _, e := range i.environment() {
			name, value, _ := strings.Cut(e, "=")
			arg = strings.ReplaceAll(arg, "$("+name+")", value)
		}
		if strings.HasPrefix(arg, "--config=") {
			arg = "--config=" + config
		}
		args[k] = arg
	}
	return args
}

func (i *Installation) environment() []string {
	var env []string
	for _, e := range i.container.Env {
		value := e.Value
		if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
			value = map[string]string{"metadata.namespace": i.namespace, "metadata.name": "holdfast-0"}[e.ValueFrom.FieldRef.FieldPath]
		}
		if e.ValueFrom != nil && e.ValueFrom.ResourceFieldRef != nil && e.ValueFrom.ResourceFieldRef.Resource == "limits.memory" {
			value = strconv.FormatInt(i.container.Resources.Limits.Memory().Value(), 10)
		}
		env = append(env, e.Name+"="+value)
	}
	return env
}

// called waits until the server is ready and the API server calls both of its webhooks.
func (i *Installation) called(ctx context.Context) error {
	if err := i.ready(ctx); err != nil {
		return err
	}
	const namespace = "holdfast-harness"
	if err := i.cluster.CreateNamespace(ctx, namespace, map[string]string{"holdfast.dev/mode": "audit"}); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(i.cluster.Config())
	if err != nil {
		return err
	}
	n := 0
	return i.until(ctx, "the API server to call both webhooks", func(ctx context.Context) error {
		n++
		name := "probe-" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.Itoa(n)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}}}
		if _, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			return err
		}
		event, err := i.cluster.WaitAuditEvent(ctx, controlplane.AuditQuery{Verb: "create", Resource: "pods", Namespace: namespace, Name: name})
		mutated, validated, failed := false, false, false
		for key, value := range event.Annotations {
			// The API server itself notes which mutating webhooks it called.
			failed = failed || strings.HasPrefix(key, "failed-open.")
			mutated = mutated || strings.HasPrefix(key, "mutation.webhook.admission.k8s.io/") && strings.Contains(value, "mutate.holdfast.dev")
			validated = validated || strings.Contains(key, "validate.holdfast.dev/")
		}
		if err == nil && (!mutated || !validated || failed) {
			err = fmt.Errorf("mutated %t, validated %t, failed open %t", mutated, validated, failed)
		}
		return err
	})
}

// ready waits until the server says that it is.
func (i *Installation) ready(ctx context.Context) error {
	if i.pods != nil {
		return i.pods.ready(ctx)
	}
	return i.until(ctx, "the server to be ready", func(ctx context.Context) error {
		_, err := get(ctx, "http://"+i.local.health+"/readyz?verbose")
		return err
	})
}

// RolledOut waits until the pods of the Deployment are those that it wants, and no others; where the server is not run as pods,
// until it is ready.
func (i *Installation) RolledOut(ctx context.Context) error {
	if i.pods != nil {
		return i.pods.rolledOut(ctx)
	}
	return i.ready(ctx)
}

// until gives up when the server ends; where it is run as pods, the node restarts it.
func (i *Installation) until(ctx context.Context, what string, ok func(context.Context) error) error {
	var processes []*controlplane.Process
	if i.process != nil {
		processes = append(processes, i.process)
	}
	return controlplane.WaitFor(ctx, what, processes, ok)
}

// get returns a page of the server; any status but 200 is an error.
func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, body)
	}
	return body, err
}

// Metrics returns the server's metrics page: that of one replica, where there are several.
func (i *Installation) Metrics(ctx context.Context) (string, error) {
	page, err := get(ctx, i.Server()+"/metrics")
	return string(page), err
}

// Kill ends the server and leaves everything else as it is: the API server calls and gets no answer. Pods would be restarted: it
// scales their Deployment to none, and returns when they are gone.
func (i *Installation) Kill() {
	if i.process != nil {
		i.process.Stop(0)
	}
	if i.pods != nil {
		i.pods.end()
	}
}

// Resume starts the server again after Kill. It is an error where the server is run as pods: kubectl scales them.
func (i *Installation) Resume(ctx context.Context, o Options) error {
	if i.pods != nil {
		return fmt.Errorf("resume holdfast: %w", errPods)
	}
	if err := i.run(ctx, o); err != nil {
		return err
	}
	return i.called(ctx)
}

// Start starts the server again after Kill, and returns once it is ready: the API server may not reach it. It is an error where
// the server is run as pods.
func (i *Installation) Start(ctx context.Context, o Options) error {
	if i.pods != nil {
		return fmt.Errorf("start holdfast: %w", errPods)
	}
	if err := i.start(ctx, o); err != nil {
		return err
	}
	return i.ready(ctx)
}

// Replace does what a rolling update does: it starts another server on a host of its own, tells the old one to end once the
// new one is ready, and puts the new one behind the Service at that moment. It returns when the old one is gone, and is an
// error where webhooks are called by URL, and where the server is run as pods.
func (i *Installation) Replace(ctx context.Context, o Options) (err error) {
	if i.pods != nil {
		return fmt.Errorf("replace holdfast: %w", errPods)
	}
	if i.host == nil {
		return errors.Join(errors.New("replace holdfast: its webhooks are called by URL, not through a Service"), controlplane.Root())
	}
	old, host, local := i.process, i.host, i.local
	if i.host, err = controlplane.NewHost(ctx, "holdfast"); err != nil {
		i.host = host
		return fmt.Errorf("replace holdfast: %w", err)
	}
	if err = i.start(ctx, o); err == nil {
		if err = i.ready(ctx); err != nil {
			i.Kill()
		}
	}
	if err != nil { // the old one goes on
		err = errors.Join(fmt.Errorf("replace holdfast: %w", err), i.host.Close())
		i.process, i.host, i.local = old, host, local
		return err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		old.Stop(startTimeout)
	}()
	err = i.cluster.Expose(ctx, i.namespace, i.service, i.host.Addr(), i.ports)
	<-gone
	return errors.Join(err, host.Close())
}

// Stop ends the server and removes what Install applied.
func (i *Installation) Stop() {
	i.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	// Webhooks leave before the server is missed, and the namespace stays: deleting one takes the API server its time.
	_ = i.cluster.DeleteObjects(ctx, slices.DeleteFunc(slices.Clone(i.objects), func(o *unstructured.Unstructured) bool {
		return !strings.HasSuffix(o.GetKind(), "WebhookConfiguration")
	}))
	if i.host != nil {
		_ = i.host.Close()
	}
	if i.dir != "" {
		_ = os.RemoveAll(i.dir)
	}
}

// Server is where the server's metrics and its diagnosis are, as a URL. Of several pods it is that of one that is ready, if any
// is.
func (i *Installation) Server() string {
	if i.pods != nil {
		return "http://" + i.pods.metrics()
	}
	return "http://" + i.local.metrics
}

// Host is the machine that the server runs on; nil where webhooks are called by URL, and where it is run as pods.
func (i *Installation) Host() *controlplane.Host { return i.host }

// Objects are what was applied.
func (i *Installation) Objects() []*unstructured.Unstructured { return i.objects }

// Service is the name of its Service.
func (i *Installation) Service() string { return i.service }
