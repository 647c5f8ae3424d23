// Package holdfast installs Holdfast's shipped manifests in a control plane of test/controlplane and runs the real binary
// behind them: in a network namespace of its own behind the shipped Service, or, where there is no root or a test wants it so,
// behind URLs, or, where a test wants that, as the pods of the shipped Deployment on a node of test/kubelet.
package holdfast

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"holdfast.dev/holdfast/test/controlplane"
)

// startTimeout bounds Install; it takes a second or two.
const startTimeout = 30 * time.Second

// Options say what Install installs.
type Options struct {
	Binary  string // see Build
	Overlay string // of manifests/overlays: cluster-wide or opt-in
	// Namespace and Prefix are a kustomize user's namespace and namePrefix; as shipped when empty.
	Namespace, Prefix string
	// Components are those of the manifests that are put on top.
	Components []string
	// Config is the configuration file; as shipped when empty.
	Config string
	Args   []string // more arguments for serve
	// URLs has the API server call the webhooks by URL on loopback, as it always does where there is no root.
	URLs bool
	// Node has the Deployment run as it is shipped, as pods with the ServiceAccount's own token: kubectl does with them what it
	// does with pods anywhere. Replicas are one when not given. The binary must not need shared libraries (Build's does not).
	Node     controlplane.Node
	Replicas int
	// Edit changes the rendered objects before they are applied; may be nil.
	Edit func([]*unstructured.Unstructured)
	Log  io.Writer
}

// Installation is Holdfast, installed and running.
type Installation struct {
	cluster *controlplane.Cluster
	objects []*unstructured.Unstructured
	host    *controlplane.Host // nil where webhooks are called by URL
	local   endpoints
	// certificates is the folder of the certificate where webhooks are called by URL.
	certificates string
	dir          string // of the kubeconfig, the configuration and the log
	process      *controlplane.Process
	pods         *pods // nil where the server is not run as pods
	manifest
}

// manifest is what the rendered objects say.
type manifest struct {
	namespace, service, account string
	deployment                  string
	container                   corev1.Container
	ports                       map[string]int32 // of the Service, by name: where they lead
}

// root is the repository's: this file lies two levels below it.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Build builds the binary into dir, without cgo as the image has it.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "holdfast")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, ".")
	cmd.Dir, cmd.Env = root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build holdfast: %w\n%s", err, out)
	}
	return binary, nil
}

// Render renders an overlay as `kustomize build` does, in a namespace and with a name prefix where they are given, and with
// components of the manifests on top.
func Render(overlay, namespace, prefix string, components ...string) ([]*unstructured.Unstructured, error) {
	fs := filesys.MakeFsOnDisk()
	manifests := filepath.Join(root(), "manifests")
	path := filepath.Join(manifests, "overlays", overlay)
	if namespace != "" || prefix != "" || len(components) > 0 {
		dir, err := os.MkdirTemp("", "holdfast-overlay-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		relative, err := filepath.Rel(dir, manifests)
		if err != nil {
			return nil, err
		}
		on := types.Kustomization{Resources: []string{filepath.Join(relative, "overlays", overlay)}, Namespace: namespace, NamePrefix: prefix}
		for _, component := range components {
			on.Components = append(on.Components, filepath.Join(relative, "components", component))
		}
		k, err := yaml.Marshal(on)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), k, 0o600); err != nil {
			return nil, err
		}
		path = dir
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, path)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", overlay, err)
	}
	stream, err := resources.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", overlay, err)
	}
	return controlplane.Objects(stream)
}

// Install applies the manifests, starts the server, and returns when the API server calls it. Without a node to run it, the
// Deployment keeps no replicas.
func Install(ctx context.Context, c *controlplane.Cluster, o Options) (_ *Installation, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("holdfast takes too long to start"))
	defer cancel()
	i := &Installation{cluster: c}
	defer func() {
		if err != nil {
			err = fmt.Errorf("install holdfast: %w%s", err, i.Tail())
			i.Stop()
		}
	}()
	if i.dir, err = os.MkdirTemp("", "holdfast-"); err != nil {
		return nil, err
	}
	if i.objects, err = Render(o.Overlay, o.Namespace, o.Prefix, o.Components...); err != nil {
		return nil, err
	}
	if o.Edit != nil {
		o.Edit(i.objects)
	}
	if err := i.read(o); err != nil {
		return nil, err
	}
	if o.Node != nil {
		if err := i.installPods(ctx, o); err != nil {
			return nil, err
		}
		return i, i.called(ctx)
	}
	if !o.URLs && controlplane.Root() == nil {
		if i.host, err = controlplane.NewHost(ctx, "holdfast"); err != nil {
			return nil, err
		}
	} else if err := i.useURLs(ctx); err != nil {
		return nil, err
	}
	if err := c.ApplyObjects(ctx, i.objects); err != nil {
		return nil, err
	}
	if err := i.run(ctx, o); err != nil {
		return nil, err
	}
	return i, i.called(ctx)
}

// read finds in the manifests what they say about the server, and makes them fit for the nodes of the cluster, if any.
func (i *Installation) read(o Options) error {
	var service corev1.Service
	for _, object := range i.objects {
		switch object.GetKind() {
		case "Deployment":
			var d appsv1.Deployment
			if err := convert(object, &d); err != nil {
				return err
			}
			i.namespace, i.account, i.container = d.Namespace, d.Spec.Template.Spec.ServiceAccountName, d.Spec.Template.Spec.Containers[0]
			i.deployment = d.Name
			if err := unstructured.SetNestedField(object.Object, o.replicas(), "spec", "replicas"); err != nil {
				return err
			}
		case "Service":
			var s corev1.Service
			if err := convert(object, &s); err != nil {
				return err
			}
			for _, p := range s.Spec.Ports {
				if p.Port == 443 {
					service = s
				}
			}
		case "ConfigMap":
			if o.Config != "" {
				if err := unstructured.SetNestedField(object.Object, o.Config, "data", "config.yaml"); err != nil {
					return err
				}
			}
		}
	}
	if i.namespace == "" || service.Name == "" {
		return errors.New("the manifests hold no Deployment, or no Service with port 443")
	}
	i.service, i.ports = service.Name, map[string]int32{}
	for _, p := range service.Spec.Ports {
		i.ports[p.Name] = i.target(p)
	}
	return nil
}

func (i *Installation) target(p corev1.ServicePort) int32 {
	for _, c := range i.container.Ports {
		if c.Name == p.TargetPort.StrVal {
			return c.ContainerPort
		}
	}
	return p.TargetPort.IntVal
}

func convert(object *unstructured.Unstructured, to any) error {
	return k8sruntime.DefaultUnstructuredConverter.FromUnstructured(object.Object, to)
}

// Namespace is the one in which Holdfast is installed.
func (i *Installation) Namespace() string { return i.namespace }

// LogPath is the file with the server's log. Pods have none: kubectl logs has theirs.
func (i *Installation) LogPath() string { return filepath.Join(i.dir, "holdfast.log") }

// Tail returns the last lines of the log, after a line break; "" when there are none.
func (i *Installation) Tail() string {
	data, err := os.ReadFile(i.LogPath())
	if i.pods != nil {
		data, err = i.pods.logs()
	}
	if err != nil || len(data) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(bytes.ToValidUTF8(data, nil))), "\n")
	return "\n" + strings.Join(lines[max(0, len(lines)-15):], "\n")
}
