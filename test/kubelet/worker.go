package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/test/controlplane"
)

const (
	// The first restart waits for the shortest, each further one twice as long. A kubelet begins at 10 s.
	shortestBackoff = 500 * time.Millisecond
	longestBackoff  = 5 * time.Second
	// longRun is how long a container has to run for its next restart to be quick again.
	longRun = 10 * time.Second
	// defaultGrace is for pods that do not say.
	defaultGrace = 30 * time.Second
)

// worker looks after one pod.
type worker struct {
	kubelet *Kubelet
	latest  atomic.Pointer[corev1.Pod]
	changed chan struct{}
	gone    chan struct{} // closed when the pod is no longer there
	dir     string        // the pod's: its root and its logs
	machine atomic.Pointer[controlplane.Host]
	runs    atomic.Int32    // how often the container has been started
	ctx     context.Context // of what runs for the pod
	end     context.CancelFunc

	// What follows is of run alone.
	inside   io.Closer // the API server, inside the machine
	began    metav1.Time
	volumes  volumes
	life     *life
	status   corev1.ContainerStatus
	backoff  time.Duration
	next     time.Time         // when the container may start
	turned   metav1.Time       // when the pod became ready, or no longer
	reported *corev1.PodStatus // the last that the API server has taken
}

func newWorker(k *Kubelet, pod *corev1.Pod) *worker {
	w := &worker{
		kubelet: k, changed: make(chan struct{}, 1), gone: make(chan struct{}), began: metav1.Now(), backoff: shortestBackoff,
		dir: filepath.Join(k.dir, string(pod.UID)), volumes: volumes{tokens: map[string][]byte{}},
	}
	w.ctx, w.end = context.WithCancel(k.life)
	w.latest.Store(pod)
	c := pod.Spec.Containers[0]
	w.status = corev1.ContainerStatus{Name: c.Name, Image: c.Image, ImageID: c.Image}
	w.wait("ContainerCreating", "")
	return w
}

func (w *worker) pod() *corev1.Pod { return w.latest.Load() }

func (w *worker) update(pod *corev1.Pod) {
	if w.latest.Swap(pod).ResourceVersion != pod.ResourceVersion {
		w.poke()
	}
}

func (w *worker) poke() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// forget is called once, when the pod is gone.
func (w *worker) forget() { close(w.gone) }

func (w *worker) root() string { return filepath.Join(w.dir, "root") }

// log is where the container wrote, by the number of the restart.
func (w *worker) log(restart int32) string {
	return filepath.Join(w.dir, fmt.Sprintf("%d.log", restart))
}

// run keeps the pod running until it is deleted, or the node ends.
func (w *worker) run() {
	defer w.clean()
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	for w.pod().DeletionTimestamp == nil {
		w.step(w.ctx)
		w.report(w.ctx)
		select {
		case <-w.ctx.Done():
			return
		case <-w.gone:
			return
		case <-w.changed:
		case <-ticker.C:
		}
	}
	w.terminate(w.kubelet.life)
}

// step takes the pod a step further.
func (w *worker) step(ctx context.Context) {
	// What is missing later on, such as a Secret that was deleted, stays as it was.
	if err := w.prepare(ctx); err != nil && w.life == nil {
		w.wait("ContainerCreating", err.Error())
		return
	}
	if w.life != nil {
		select {
		case <-w.life.process.Done():
			w.ended()
		default:
			started := w.life.started.Load()
			w.status.Started, w.status.Ready = &started, w.life.ready.Load()
		}
		return
	}
	if time.Now().Before(w.next) {
		return
	}
	if err := w.start(); err != nil {
		w.wait("CreateContainerError", err.Error())
	}
}

// prepare makes the pod's machine, and sees that its files are those that the API server has.
func (w *worker) prepare(ctx context.Context) (err error) {
	pod := w.pod()
	if w.machine.Load() == nil {
		host, err := controlplane.NewHost(ctx, pod.Name)
		if err != nil {
			return err
		}
		w.machine.Store(host)
		if err := w.etc(pod); err != nil {
			return err
		}
	}
	if w.inside == nil {
		if w.inside, err = w.kubelet.cluster.ServeInside(ctx, w.machine.Load()); err != nil {
			return err
		}
	}
	return w.volumes.sync(ctx, w.kubelet, pod, w.root())
}

// etc writes the files that every container has, whatever its image. The name server is the node, which knows no name.
func (w *worker) etc(pod *corev1.Pod) error {
	dir := filepath.Join(w.root(), "etc")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"hosts":       fmt.Sprintf("127.0.0.1\tlocalhost\n%s\t%s\n", w.machine.Load().Addr(), pod.Name),
		"resolv.conf": fmt.Sprintf("search %s.svc.cluster.local svc.cluster.local cluster.local\nnameserver %s\noptions ndots:5\n", pod.Namespace, w.kubelet.machine.Addr()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// start starts the container.
func (w *worker) start() error {
	pod, host := w.pod(), w.machine.Load()
	cmd, err := w.command(w.ctx, pod, nil)
	if err != nil {
		return err
	}
	process, err := host.StartProcess(cmd, pod.Name, w.log(w.status.RestartCount))
	if err != nil {
		return err
	}
	w.runs.Store(w.status.RestartCount + 1)
	w.life = newLife(process, w.poke)
	go w.life.watch(w.ctx, &pod.Spec.Containers[0], host.Addr().String())
	started := false
	w.status.Started, w.status.Ready = &started, false
	w.status.ContainerID = fmt.Sprintf("process://%s-%d", pod.UID, w.status.RestartCount)
	w.status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(w.life.began)}}
	return nil
}

// terminated is how the container has ended.
func (w *worker) terminated() corev1.ContainerState {
	return w.life.terminated(&w.pod().Spec.Containers[0], w.status.ContainerID, w.log(w.status.RestartCount))
}

// ended notes how the container has ended, and when it may start again.
func (w *worker) ended() {
	if time.Since(w.life.began) > longRun {
		w.backoff = shortestBackoff
	}
	w.status.LastTerminationState = w.terminated()
	w.life = nil
	w.wait("CrashLoopBackOff", fmt.Sprintf("back-off %s restarting the container", w.backoff))
	w.status.RestartCount++
	w.next = time.Now().Add(w.backoff)
	w.backoff = min(2*w.backoff, longestBackoff)
}

// wait says why the container does not run.
func (w *worker) wait(reason, message string) {
	started := false
	w.status.Started, w.status.Ready = &started, false
	w.status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// terminate ends the container as the pod's grace period says, and deletes the pod.
func (w *worker) terminate(ctx context.Context) {
	pod := w.pod()
	grace := defaultGrace
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	if w.life != nil {
		go w.life.process.Stop(grace)
		select {
		case <-w.life.process.Done():
			w.status.Ready = false
			w.status.State = w.terminated()
			w.report(ctx)
		case <-w.gone: // by force
			return
		case <-ctx.Done():
			return
		}
	}
	// As with a kubelet, a pod that is gone has nothing left on its node.
	w.release()
	w.remove(ctx)
}

// remove deletes the pod, however often that takes.
func (w *worker) remove(ctx context.Context) {
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	for {
		err := w.kubelet.remove(ctx, w.pod())
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		w.kubelet.logf("delete pod %s: %v", w.pod().Name, err)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// clean removes what the pod has on this machine, and the pod if it is the node that ends.
func (w *worker) clean() {
	w.release()
	if w.kubelet.life.Err() == nil {
		return
	}
	if err := w.kubelet.remove(context.Background(), w.pod()); err != nil && !apierrors.IsNotFound(err) {
		w.kubelet.logf("delete pod %s: %v", w.pod().Name, err)
	}
}

// release removes what the pod has on this machine, once.
func (w *worker) release() {
	if w.life != nil {
		w.life.process.Stop(0)
	}
	w.end() // of what kubectl exec runs there
	errs := []error{os.RemoveAll(w.dir)}
	if w.inside != nil {
		errs = append(errs, w.inside.Close())
		w.inside = nil
	}
	if host := w.machine.Swap(nil); host != nil {
		errs = append(errs, host.Close())
	}
	if err := errors.Join(errs...); err != nil {
		w.kubelet.logf("clean up after pod %s: %v", w.pod().Name, err)
	}
}
