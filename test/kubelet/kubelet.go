package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"holdfast.dev/holdfast/test/controlplane"
)

const (
	// startTimeout bounds Start, and stopTimeout what Stop asks of the API server.
	startTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
	// syncInterval is how soon a change shows that nobody tells of. A kubelet takes a minute or so.
	syncInterval = 250 * time.Millisecond
)

// Options say which node Start makes.
type Options struct {
	Cluster *controlplane.Cluster
	Name    string // of the Node; "node" when empty
	Version string // of the kubelet, such as v1.33.1; the API server's when empty
	Log     io.Writer
}

// Kubelet is a node that runs pods. Its methods may be called concurrently.
type Kubelet struct {
	cluster *controlplane.Cluster
	client  kubernetes.Interface
	name    string
	log     io.Writer
	dir     string // of roots and logs
	machine *controlplane.Host

	pods       corev1listers.PodLister
	secrets    corev1listers.SecretLister
	configMaps corev1listers.ConfigMapLister

	life    context.Context // of the node; Stop ends it
	end     context.CancelFunc
	changed chan struct{} // a pod has changed
	running sync.WaitGroup
	stops   []func() // what is stopped after the pods

	mu       sync.Mutex
	programs map[string]controlplane.Program // by image
	workers  map[types.UID]*worker
}

// Start registers a Node and runs pods on it until Stop. The context bounds the start.
func Start(ctx context.Context, o Options) (_ *Kubelet, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("the node takes too long to start"))
	defer cancel()
	k := &Kubelet{
		cluster: o.Cluster, name: o.Name, log: o.Log, changed: make(chan struct{}, 1),
		programs: map[string]controlplane.Program{}, workers: map[types.UID]*worker{},
	}
	if k.name == "" {
		k.name = "node"
	}
	if k.log == nil {
		k.log = io.Discard
	}
	k.life, k.end = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = fmt.Errorf("start node %s: %w", k.name, err)
			k.Stop()
		}
	}()
	if k.client, err = kubernetes.NewForConfig(o.Cluster.Config()); err != nil {
		return nil, err
	}
	if k.dir, err = os.MkdirTemp("", "holdfast-node-"); err != nil {
		return nil, err
	}
	k.stops = append(k.stops, func() { _ = os.RemoveAll(k.dir) })
	// Containers' users pass through it, and see nothing of the others' roots.
	if err := os.Chmod(k.dir, 0o711); err != nil {
		return nil, err
	}
	if k.machine, err = controlplane.NewHost(ctx, k.name); err != nil {
		return nil, err
	}
	k.stops = append(k.stops, func() { _ = k.machine.Close() })
	if err := k.serve(ctx); err != nil {
		return nil, err
	}
	if err := k.serveNames(ctx); err != nil {
		return nil, err
	}
	if err := k.register(ctx, o.Version); err != nil {
		return nil, err
	}
	if err := k.watch(ctx); err != nil {
		return nil, err
	}
	k.running.Go(k.run)
	return k, nil
}

// Provide has the node run pods with this image from now on.
func (k *Kubelet) Provide(p controlplane.Program) {
	k.mu.Lock()
	k.programs[p.Image] = p
	k.mu.Unlock()
	k.poke()
}

// Name is that of the Node.
func (k *Kubelet) Name() string { return k.name }

// Host is the machine that a pod is; nil where it does not run here.
func (k *Kubelet) Host(namespace, pod string) *controlplane.Host {
	if w, ok := k.worker(namespace, pod); ok {
		return w.machine.Load()
	}
	return nil
}

// Stop kills the pods, and removes them and the Node. It returns when nothing of them is left on this machine.
func (k *Kubelet) Stop() {
	k.end()
	k.running.Wait()
	for _, stop := range slices.Backward(k.stops) {
		stop()
	}
	k.stops = nil
}

// watch fills the listers.
func (k *Kubelet) watch(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(k.client, 0)
	core := factory.Core().V1()
	k.pods, k.secrets, k.configMaps = core.Pods().Lister(), core.Secrets().Lister(), core.ConfigMaps().Lister()
	poke := func(any) { k.poke() }
	if _, err := core.Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: poke, DeleteFunc: poke, UpdateFunc: func(_, _ any) { k.poke() },
	}); err != nil {
		return err
	}
	for _, i := range []cache.SharedIndexInformer{core.Secrets().Informer(), core.ConfigMaps().Informer()} {
		// That a watch ends with the API server is no news.
		if err := i.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}); err != nil {
			return err
		}
	}
	if err := core.Pods().Informer().SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}); err != nil {
		return err
	}
	factory.Start(k.life.Done())
	k.stops = append(k.stops, factory.Shutdown)
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("list %s: %w", kind, context.Cause(ctx))
		}
	}
	return nil
}

func (k *Kubelet) poke() {
	select {
	case k.changed <- struct{}{}:
	default: // somebody has been told already
	}
}

// run keeps to what the API server says until the node ends.
func (k *Kubelet) run() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		k.sync()
		select {
		case <-k.life.Done():
			return
		case <-k.changed:
		case <-ticker.C: // what could not be done is tried again
		}
	}
}

// sync binds pods, starts those that are ours, and tells the workers of the others what has changed.
func (k *Kubelet) sync() {
	pods, err := k.pods.List(labels.Everything())
	if err != nil { // a lister reads memory: never
		return
	}
	there := map[types.UID]bool{}
	for _, pod := range pods {
		there[pod.UID] = true
		switch {
		case pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil && k.runs(pod):
			k.bind(pod)
		case pod.Spec.NodeName == k.name:
			k.assign(pod)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for uid, w := range k.workers {
		if !there[uid] {
			w.forget()
			delete(k.workers, uid)
		}
	}
}

// runs tells whether the node can run a pod.
func (k *Kubelet) runs(pod *corev1.Pod) bool {
	if len(pod.Spec.Containers) != 1 || len(pod.Spec.InitContainers) != 0 || len(pod.Spec.SchedulingGates) != 0 {
		return false
	}
	_, ok := k.program(pod.Spec.Containers[0].Image)
	return ok
}

func (k *Kubelet) program(image string) (controlplane.Program, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.programs[image]
	return p, ok
}

func (k *Kubelet) bind(pod *corev1.Pod) {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: k.name},
	}
	err := k.client.CoreV1().Pods(pod.Namespace).Bind(k.life, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) { // the lister is behind
		k.logf("bind pod %s/%s: %v", pod.Namespace, pod.Name, err)
	}
}

// assign gives the pod to its worker, which is made when there is none.
func (k *Kubelet) assign(pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w, ok := k.workers[pod.UID]
	if ok {
		w.update(pod)
		return
	}
	w = newWorker(k, pod)
	k.workers[pod.UID] = w
	k.running.Go(w.run)
}

// worker finds that of a running pod by the pod's name.
func (k *Kubelet) worker(namespace, name string) (*worker, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		if pod := w.pod(); pod.Namespace == namespace && pod.Name == name {
			return w, true
		}
	}
	return nil, false
}

func (k *Kubelet) logf(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fmt.Fprintf(k.log, "node %s: %s\n", k.name, fmt.Sprintf(format, args...))
}
