//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// playTime bounds one play.
const playTime = time.Minute

// Play starts the pod's containers one by one, as the package comment says, and lets each connect to the destinations
// that dest names for it, in order; dest is called once for each container, before any starts, and may return none.
//
// An effective runAsUser or runAsGroup that is not set counts as 0: which user an image names is not in the pod.
//
// A container that Istio brings and that ends with another code than 0 is an *[ExitError], with the results so far:
// the containers after it have no turn.
func (r *Rig) Play(ctx context.Context, pod *corev1.Pod, dest func(container string) []Destination) (results []Result, err error) {
	if pod.Spec.HostNetwork {
		return nil, errors.New("play: a pod with hostNetwork has no network of its own")
	}
	ctx, cancel := context.WithTimeout(ctx, playTime)
	defer cancel()

	p := &play{pod: pod, dests: map[string][]Destination{}}
	all, err := p.plan(dest)
	if err != nil {
		return nil, fmt.Errorf("play: %w", err)
	}
	if p.stage, err = r.newStage(ctx); err != nil {
		return nil, fmt.Errorf("play: %w", err)
	}
	defer func() { err = errors.Join(err, p.stage.close()) }()
	world, err := newWorld(ctx, p.stage.world, all)
	if err != nil {
		return nil, fmt.Errorf("play: the world: %w", err)
	}
	defer func() { err = errors.Join(err, world.close()) }()
	if p.proxy, err = newProxy(ctx, p.stage.pod, p.identity(containers(pod)[proxyName])); err != nil {
		return nil, fmt.Errorf("play: the proxy: %w", err)
	}
	defer func() { err = errors.Join(err, p.proxy.close()) }()

	if err := p.run(ctx); err != nil {
		return p.results, fmt.Errorf("play: %w", err)
	}
	return p.results, nil
}

// play is one pod on its stage.
type play struct {
	pod     *corev1.Pod
	stage   *stage
	dests   map[string][]Destination
	proxy   *proxy // Serves from its turn.
	results []Result
}

// plan asks where each container connects to and returns all of it.
func (p *play) plan(dest func(container string) []Destination) ([]Destination, error) {
	var all []Destination
	for _, list := range [][]corev1.Container{p.pod.Spec.InitContainers, p.pod.Spec.Containers} {
		for _, c := range list {
			dests := dest(c.Name)
			for _, d := range dests {
				if err := d.check(); err != nil {
					return nil, fmt.Errorf("container %q: %w", c.Name, err)
				}
			}
			p.dests[c.Name] = dests
			all = append(all, dests...)
		}
	}
	return all, nil
}

func (p *play) run(ctx context.Context) error {
	args, err := pluginArgs(p.pod)
	if err != nil {
		return err
	}
	if args != nil {
		if err := p.stage.agent(ctx, "sandbox", root(), args, nil); err != nil {
			return err
		}
	}
	for _, c := range p.pod.Spec.InitContainers {
		always := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		if c.Name == proxyName && !always {
			return fmt.Errorf("container %q: an init container that never ends: no restartPolicy Always", c.Name)
		}
		if err := p.turn(ctx, c); err != nil {
			return err
		}
	}
	for _, c := range p.pod.Spec.Containers {
		if err := p.turn(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// turn is what one container does when it is started. The installer connects under the rules that it finds, the proxy
// when it serves.
func (p *play) turn(ctx context.Context, c corev1.Container) error {
	id := p.identity(c)
	if c.Name == proxyName {
		if err := p.proxy.serve(); err != nil {
			return fmt.Errorf("container %q: %w", c.Name, err)
		}
	}
	for _, d := range p.dests[c.Name] {
		verdict, err := p.connect(ctx, id, d)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.results = append(p.results, Result{Container: c.Name, Dest: d, Verdict: verdict, UID: id.uid, GID: id.gid, Err: err})
	}
	if c.Name == installer || c.Name == validation {
		return p.stage.agent(ctx, c.Name, id, c.Args, c.Env)
	}
	return nil
}

// identity is the container's effective user and group.
func (p *play) identity(c corev1.Container) identity {
	var id identity
	set := func(uid, gid *int64) {
		if uid != nil {
			id.uid = int(*uid)
		}
		if gid != nil {
			id.gid = int(*gid)
		}
	}
	if sc := p.pod.Spec.SecurityContext; sc != nil {
		set(sc.RunAsUser, sc.RunAsGroup)
	}
	if sc := c.SecurityContext; sc != nil {
		set(sc.RunAsUser, sc.RunAsGroup)
	}
	return id
}

// connect reaches out to d as id and reads who answers.
func (p *play) connect(ctx context.Context, id identity, d Destination) (Verdict, error) {
	conn, err := dial(ctx, p.stage.pod, id, d)
	if err != nil {
		return Refused, err
	}
	defer conn.Close()
	text, err := read(conn, d)
	switch {
	case text == greeting:
		return Direct, nil
	case text == viaProxy+greeting:
		return Proxied, nil
	case text == deadEnd:
		return Refused, errors.New("redirected to the proxy, which does not serve yet")
	case err != nil:
		return Refused, err
	}
	return Refused, fmt.Errorf("connected to %s, which said %q", d, text)
}

// dial connects to d from within ns, as id.
func dial(ctx context.Context, ns namespace, id identity, d Destination) (net.Conn, error) {
	var conn net.Conn
	err := ns.do(id, func() (err error) {
		// The socket is opened on this thread: one literal address leaves nothing to race.
		dialer := net.Dialer{Timeout: patience}
		conn, err = dialer.DialContext(ctx, d.network()+"4", d.addrPort().String())
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(deadline()); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// read returns all that the other side says.
func read(conn net.Conn, d Destination) (string, error) {
	if !d.UDP {
		text, err := io.ReadAll(io.LimitReader(conn, 1024))
		return string(text), err
	}
	if _, err := io.WriteString(conn, "who?"); err != nil {
		return "", err
	}
	buf := make([]byte, 1024)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

// credential is the identity for a process that is started.
func (id identity) credential() *syscall.Credential {
	return &syscall.Credential{Uid: uint32(id.uid), Gid: uint32(id.gid)}
}
