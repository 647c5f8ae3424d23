package webhook

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	admissioninformers "k8s.io/client-go/informers/admissionregistration/v1"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"

	"holdfast.dev/holdfast/injectors"
)

const (
	// NameLabel marks what is ours, with the value Name. An entry that calls our Service is ours without it.
	NameLabel = "app.kubernetes.io/name"
	// Name is ours, in labels, metrics and as a field manager.
	Name = "holdfast"

	// quiet is how long changes gather before a new snapshot is made of them, counted from the first.
	quiet = 100 * time.Millisecond
	// lookAgain is how often it is checked whether a source that could not be read can be read now, and whether the API server
	// is told to call us.
	lookAgain = 10 * time.Second
)

// Knowledge is what the configuration adds to what can be read of the cluster.
type Knowledge struct {
	Catalogue      *injectors.Catalogue
	Override       func(injector, revision string, read *injectors.Settings) *injectors.Settings
	MeshNamespaces []string
}

// Cluster is what is known of the cluster, kept up to date by informers.
type Cluster struct {
	log    logr.Logger
	client kubernetes.Interface
	known  Knowledge
	self   types.NamespacedName // our Service

	namespaces, services, nodes *source
	mutating, validating        *source
	deployments, meshConfigMaps []*source
	all                         []*source
	dirty                       chan struct{}
	current                     atomic.Pointer[snapshot]
	lastNotice, lastProblem     string
	onConfigurations            func()                                    // set before Start; called after webhook configurations may have changed
	liveLooks, failedLooks      func()                                    // count, set before Start
	trusts                      func(bundle []byte) bool                  // tells whether our certificate is good under a CA bundle; set before Start
	called                      func(kind string, trusted, untrusted int) // counts the entries that call us; set before Start
}

// NewCluster prepares the informers; nothing is read before Start. self is the Service behind our webhook configurations.
func NewCluster(log logr.Logger, client kubernetes.Interface, known Knowledge, self types.NamespacedName) (*Cluster, error) {
	nothing := func() {}
	c := &Cluster{
		log: log, client: client, known: known, self: self, dirty: make(chan struct{}, 1),
		onConfigurations: nothing, liveLooks: nothing, failedLooks: nothing,
		trusts: func([]byte) bool { return true }, called: func(string, int, int) {},
	}
	var errs []error
	add := func(name string, informer toolscache.SharedIndexInformer, onChange func()) *source {
		s, err := newSource(log, name, informer, stripper{known.Catalogue}.strip, differs, onChange)
		errs = append(errs, err)
		c.all = append(c.all, s)
		return s
	}
	labelled := func(selector string) func(*metav1.ListOptions) {
		return func(o *metav1.ListOptions) { o.LabelSelector = selector }
	}
	none := toolscache.Indexers{}
	// Namespaces and Services are looked up one by one when they are needed: no snapshot depends on them.
	c.namespaces = add("namespaces", coreinformers.NewNamespaceInformer(client, 0, none), nothing)
	byNamespace := toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc}
	c.services = add("services", coreinformers.NewServiceInformer(client, metav1.NamespaceAll, 0, byNamespace), nothing)
	c.nodes = add("nodes", coreinformers.NewNodeInformer(client, 0, none), c.changed)
	c.mutating = add("mutatingwebhookconfigurations", admissioninformers.NewMutatingWebhookConfigurationInformer(client, 0, none), c.changed)
	c.validating = add("validatingwebhookconfigurations", admissioninformers.NewValidatingWebhookConfigurationInformer(client, 0, none), c.changed)
	for _, selector := range known.Catalogue.Deployments() {
		c.deployments = append(c.deployments, add("deployments ("+selector+")",
			appsinformers.NewFilteredDeploymentInformer(client, metav1.NamespaceAll, 0, none, labelled(selector)), c.changed))
	}
	for _, ns := range known.MeshNamespaces {
		c.meshConfigMaps = append(c.meshConfigMaps, add("configmaps in "+ns, coreinformers.NewConfigMapInformer(client, ns, 0, none), c.changed))
	}
	_, err := c.namespaces.informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: c.forget})
	return c, errors.Join(append(errs, err)...)
}

func (c *Cluster) changed() {
	select {
	case c.dirty <- struct{}{}:
	default: // somebody has said so already
	}
}

// Start reads the cluster and follows its changes until the context ends.
func (c *Cluster) Start(ctx context.Context) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	for _, s := range c.all {
		readers.Go(func() { s.run(ctx, c.changed) })
	}
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	gather, gathering := time.NewTimer(0), true
	defer gather.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.dirty:
			if !gathering { // changes without end must not put the snapshot off without end
				gather.Reset(quiet)
				gathering = true
			}
		case <-gather.C:
			gathering = false
			c.rebuild()
		case <-again.C:
			c.inspect()
			if s := c.current.Load(); s != nil && len(s.missing) > 0 {
				c.changed()
			}
		}
	}
}

// NeedLeaderElection is false: every replica answers.
func (c *Cluster) NeedLeaderElection() bool { return false }

// rebuild makes a snapshot, once every source has settled.
func (c *Cluster) rebuild() {
	for _, s := range c.all {
		if !s.settled() {
			return
		}
	}
	mutating := list[*admissionregistrationv1.MutatingWebhookConfiguration](c.mutating)
	s := newSnapshot(mutating, c.sources(), c.known, c.self)
	s.webhooks = webhookServices(mutating, list[*admissionregistrationv1.ValidatingWebhookConfiguration](c.validating))
	c.current.Store(s)
	if notice := s.notice(); notice != c.lastNotice {
		c.lastNotice = notice
		if notice != "" {
			c.log.Info("the place of Holdfast among the mutating webhooks limits what it can put right", "problem", notice)
		}
	}
	c.onConfigurations()
}

// sources gathers the objects from which injectors read their settings.
func (c *Cluster) sources() *injectors.Sources {
	src := &injectors.Sources{ConfigMaps: map[string]map[string]string{}, Namespaces: c.known.MeshNamespaces}
	for _, s := range c.meshConfigMaps {
		for _, m := range list[*corev1.ConfigMap](s) {
			if m.Data != nil {
				src.ConfigMaps[m.Namespace+"/"+m.Name] = m.Data
			}
		}
	}
	for _, s := range c.deployments {
		src.Deployments = append(src.Deployments, deployments(s)...)
	}
	if c.nodes.informer.HasSynced() {
		src.Kubelets = []string{}
		for _, n := range list[*corev1.Node](c.nodes) {
			src.Kubelets = append(src.Kubelets, n.Status.NodeInfo.KubeletVersion)
		}
	}
	for _, s := range c.all {
		if why := s.missing(); why != "" {
			src.Missing = append(src.Missing, why)
		}
	}
	return src
}

// Ready says what the server still waits for before it can answer well. What may not be read is not waited for.
func (c *Cluster) Ready() error {
	for _, s := range c.all {
		if !s.settled() {
			return fmt.Errorf("%s: not read yet", s.name)
		}
	}
	if c.current.Load() == nil {
		return errors.New("the first snapshot of the cluster is not made yet")
	}
	return nil
}

// Service looks a Service up, reduced to what plans need of it.
func (c *Cluster) Service(namespace, name string) (injectors.Service, bool) {
	s, ok := get[*corev1.Service](c.services, namespace+"/"+name)
	if !ok {
		return injectors.Service{}, false
	}
	return reducedService(s), true
}

// ServicesIn goes through the Services of a namespace.
func (c *Cluster) ServicesIn(namespace string) iter.Seq[injectors.Service] {
	return func(yield func(injectors.Service) bool) {
		for _, s := range in[*corev1.Service](c.services, namespace) {
			if !yield(reducedService(s)) {
				return
			}
		}
	}
}

// Webhooks returns the Services of a namespace that the API server calls as webhooks.
func (c *Cluster) Webhooks(namespace string) []injectors.WebhookService {
	s := c.current.Load()
	if s == nil {
		return nil
	}
	return s.webhooks[namespace]
}

func reducedService(s *corev1.Service) injectors.Service {
	out := injectors.Service{Ports: injectors.ServicePorts(s.Spec.Ports), Selector: s.Spec.Selector}
	for _, ip := range s.Spec.ClusterIPs {
		if addr, err := netip.ParseAddr(ip); err == nil { // "None" is no address
			out.ClusterIPs = append(out.ClusterIPs, addr)
		}
	}
	return out
}
