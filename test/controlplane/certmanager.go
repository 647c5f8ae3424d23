package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// CertManagerNamespace is where cert-manager is installed.
	CertManagerNamespace = "cert-manager"
	// certManagerModule is what the nested module certmanager requires.
	certManagerModule = "github.com/cert-manager/cert-manager"
	// certManagerTimeout bounds StartCertManager; it takes seconds.
	certManagerTimeout = time.Minute
	// certManagerUser is whom its images run as: hack/containers in its repository.
	certManagerUser = 1000
)

// CertManager is a running cert-manager: its controllers and its cainjector, as the Deployments of its chart. Its own webhook,
// which checks and converts Certificates, is not there.
type CertManager struct {
	objects []*unstructured.Unstructured
}

// CertManagerBinaries are the paths of cert-manager's programs.
type CertManagerBinaries struct {
	Controller string
	CAInjector string
	Source     string // the folder with its chart and its CustomResourceDefinitions
}

// BuildCertManager does for cert-manager what Build does for the control plane.
func BuildCertManager(ctx context.Context, log io.Writer) (CertManagerBinaries, error) {
	var b CertManagerBinaries
	build, modules, err := newBuilder(ctx, log)
	if err != nil {
		return b, err
	}
	dir := filepath.Join(modules, "certmanager")
	if err := build.module(ctx, dir, certManagerModule, []program{
		{name: "controller", pkg: "./cmd/controller", path: &b.Controller},
		{name: "cainjector", pkg: "./cmd/cainjector", path: &b.CAInjector},
	}); err != nil {
		return b, err
	}
	b.Source, err = moduleSource(ctx, dir, certManagerModule)
	return b, err
}

// StartCertManager installs cert-manager's chart, has the node run it, and returns when its pods are ready. The context bounds the
// start.
func (c *Cluster) StartCertManager(ctx context.Context, b CertManagerBinaries, node Node) (_ *CertManager, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, certManagerTimeout, errors.New("cert-manager takes too long to start"))
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("start cert-manager: %w", err)
		}
	}()
	if err := c.CreateNamespace(ctx, CertManagerNamespace, nil); err != nil {
		return nil, err
	}
	kinds, err := filepath.Glob(filepath.Join(b.Source, "deploy", "crds", "*.yaml"))
	if err != nil {
		return nil, err
	}
	for _, path := range kinds {
		kind, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := c.Apply(ctx, kind); err != nil {
			return nil, err
		}
	}
	m := &CertManager{}
	if m.objects, err = c.renderCertManager(ctx, b, node); err != nil {
		return nil, err
	}
	if err := c.ApplyObjects(ctx, m.objects); err != nil {
		return nil, err
	}
	return m, WaitFor(ctx, "cert-manager's pods", c.processes, func(ctx context.Context) error {
		pods, err := c.client.CoreV1().Pods(CertManagerNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for i := range pods.Items {
			if slices.ContainsFunc(pods.Items[i].Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			}) {
				ready++
			}
		}
		if ready != 2 {
			return fmt.Errorf("%d of 2 pods are ready", ready)
		}
		return nil
	})
}

// Objects are what was applied, CustomResourceDefinitions apart.
func (m *CertManager) Objects() []*unstructured.Unstructured { return m.objects }

// renderCertManager renders the chart as helm install would, and has the node know its images.
func (c *Cluster) renderCertManager(ctx context.Context, b CertManagerBinaries, node Node) ([]*unstructured.Unstructured, error) {
	rendered, err := c.runRender(ctx, "--chart", filepath.Join(b.Source, "deploy", "charts", "cert-manager"),
		"--release", "cert-manager", "--namespace", CertManagerNamespace)
	if err != nil {
		return nil, err
	}
	all, err := Objects(rendered)
	if err != nil {
		return nil, err
	}
	programs := map[string]Program{
		"controller": {Path: "/app/cmd/controller/controller", Binary: b.Controller},
		"cainjector": {Path: "/app/cmd/cainjector/cainjector", Binary: b.CAInjector},
	}
	var objects []*unstructured.Unstructured
	for _, o := range all {
		component := o.GetLabels()["app.kubernetes.io/component"]
		if component == "webhook" || component == "startupapicheck" {
			continue
		}
		objects = append(objects, o)
		if o.GetKind() != "Deployment" {
			continue
		}
		p, ok := programs[component]
		if !ok {
			return nil, fmt.Errorf("no program is known for Deployment %s, component %q", o.GetName(), component)
		}
		if p.Image, err = onlyImage(o); err != nil {
			return nil, err
		}
		p.User = certManagerUser
		node.Provide(p)
	}
	return objects, nil
}
