package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// startTimeout bounds Start; it takes about six seconds on two idle cores.
	startTimeout = 3 * time.Minute
	// portAttempts is how often Start picks other ports when another program was faster.
	portAttempts = 5
)

// Options say how Start builds a cluster.
type Options struct {
	// Binaries to run; what Build returns.
	Binaries Binaries
	// Dir takes logs, certificates, kubeconfigs and data. When empty it is a temporary one that Stop removes.
	Dir string
	// Log takes progress lines; discarded when nil.
	Log io.Writer
	// APIServerFlags are added to those of kube-apiserver.
	APIServerFlags []string
}

// Cluster is one running control plane. Its methods may be called concurrently.
type Cluster struct {
	binaries  Binaries
	dir       string
	ownsDir   bool
	log       io.Writer
	authority *authority
	admin     *rest.Config
	client    kubernetes.Interface
	dynamic   dynamic.Interface
	applier   *applier
	processes []*Process

	mu         sync.Mutex
	forwarders map[*Host]net.Listener
	guests     []*Process // what runs beside the control plane and ends with it
	stopped    bool
}

// Start starts etcd, kube-apiserver and kube-controller-manager on free loopback ports and returns when the API server is ready
// and the default ServiceAccount of the default namespace exists. The context bounds the start, not the life of the cluster.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("control plane takes too long to start"))
	defer cancel()
	if o.Log == nil {
		o.Log = io.Discard
	}
	began := time.Now()
	for attempt := 1; ; attempt++ {
		c, err := startOnce(ctx, o)
		if err == nil {
			fmt.Fprintf(o.Log, "control plane ready after %s, logs in %s\n", time.Since(began).Round(time.Second/10), c.dir)
			return c, nil
		}
		if attempt == portAttempts || !errors.Is(err, errPortTaken) {
			return nil, fmt.Errorf("start control plane: %w", err)
		}
	}
}

func startOnce(ctx context.Context, o Options) (c *Cluster, err error) {
	c = &Cluster{binaries: o.Binaries, dir: o.Dir, log: o.Log, forwarders: map[*Host]net.Listener{}}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "holdfast-cluster-"); err != nil {
			return nil, fmt.Errorf("make a directory: %w", err)
		}
		c.ownsDir = true
	} else if c.dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()

	ports, err := freePorts(ctx, 3)
	if err != nil {
		return nil, err
	}
	l := layout{dir: c.dir, etcd: ports[0], etcdPeer: ports[1], apiServer: ports[2]}
	if c.authority, err = l.prepare(); err != nil {
		return nil, err
	}
	if err := c.connect(l.apiServer); err != nil {
		return nil, err
	}
	managerConfig, err := c.ConfigFor("system:kube-controller-manager")
	if err != nil {
		return nil, err
	}
	if _, err := c.WriteKubeconfig(controllerManagerName, managerConfig, nil); err != nil {
		return nil, err
	}
	return c, c.run(ctx, l, o.APIServerFlags)
}

// connect makes the admin's configuration and clients; nothing is dialled yet.
func (c *Cluster) connect(port int) (err error) {
	c.admin = &rest.Config{Host: fmt.Sprintf("https://127.0.0.1:%d", port), QPS: -1}
	c.admin.CAData = c.authority.certPEM
	if c.admin, err = c.ConfigFor("holdfast-test-admin", "system:masters"); err != nil {
		return err
	}
	if _, err = c.WriteKubeconfig("admin", c.admin, nil); err != nil {
		return err
	}
	if c.client, err = kubernetes.NewForConfig(c.admin); err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	if c.dynamic, err = dynamic.NewForConfig(c.admin); err != nil {
		return fmt.Errorf("make dynamic client: %w", err)
	}
	if c.applier, err = newApplier(c.admin, c.dynamic); err != nil {
		return err
	}
	return nil
}

// run starts the programs, each when the one it needs is ready.
func (c *Cluster) run(ctx context.Context, l layout, apiServerFlags []string) error {
	if err := c.start(c.binaries.Etcd, "etcd", l.etcdFlags()); err != nil {
		return err
	}
	// kube-apiserver waits for etcd by itself.
	if err := c.start(c.binaries.APIServer, apiServerName, append(l.apiServerFlags(), apiServerFlags...)); err != nil {
		return err
	}
	if err := WaitFor(ctx, apiServerName, c.processes, func(ctx context.Context) error {
		return c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		return err
	}
	if err := c.start(c.binaries.ControllerManager, controllerManagerName, l.controllerManagerFlags()); err != nil {
		return err
	}
	return c.waitServiceAccount(ctx, metav1.NamespaceDefault)
}

func (c *Cluster) start(binary, name string, flags []string) error {
	//nolint:noctx // the cluster outlives the context it was started with; Stop ends it
	p, err := StartProcess(exec.Command(binary, flags...), name, filepath.Join(c.dir, name+".log"))
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return nil
}

// Dir holds the logs (<program>.log, audit.log), the certificates and the data.
func (c *Cluster) Dir() string { return c.dir }

// Err is nil while every program of the control plane runs; afterwards it says which one ended, and how.
func (c *Cluster) Err() error {
	for _, p := range c.processes {
		if err := p.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Stop kills the control plane and returns when nothing of it is left. The directory stays if Options.Dir named it. Only the
// first call does anything.
func (c *Cluster) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return
	}
	c.stopped = true
	for _, listener := range c.forwarders {
		_ = listener.Close()
	}
	for _, p := range slices.Backward(append(slices.Clone(c.processes), c.guests...)) {
		p.Stop(0) // nothing of its state is wanted
	}
	if c.ownsDir {
		_ = os.RemoveAll(c.dir)
	}
}
