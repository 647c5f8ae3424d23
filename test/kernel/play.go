//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// playTime bounds one play.
const playTime = time.Minute

// Option tells a play what is not in the pod.
type Option func(*play)

// InNamespace gives the pod's namespace. Its annotations count where a mesh's node plugin reads those as well: Linkerd's.
func InNamespace(namespace *corev1.Namespace) Option {
	return func(p *play) { p.namespace = namespace.Annotations }
}

// Play starts the pod's containers one by one, as the package comment says, and lets each connect to the destinations
// that dest names for it, in order; dest is called once for each container, before any starts, and may return none.
//
// An effective runAsUser or runAsGroup that is not set counts as 0: which user an image names is not in the pod.
//
// A container that a mesh brings and that ends with another code than 0 is an *[ExitError], with the results so far.
// If it is an init container the containers after it have no turn.
func (r *Rig) Play(
	ctx context.Context, pod *corev1.Pod, dest func(container string) []Destination, options ...Option,
) (results []Result, err error) {
	if pod.Spec.HostNetwork {
		return nil, errors.New("play: a pod with hostNetwork has no network of its own")
	}
	ctx, cancel := context.WithTimeout(ctx, playTime)
	defer cancel()

	p := &play{pod: pod, meshes: meshesOf(pod), dests: map[string][]Destination{}, proxies: map[string]*proxy{}}
	for _, option := range options {
		option(p)
	}
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
	defer func() {
		for _, proxy := range p.proxies {
			err = errors.Join(err, proxy.close())
		}
	}()
	if err := p.newProxies(ctx); err != nil {
		return nil, fmt.Errorf("play: %w", err)
	}

	if err := p.run(ctx); err != nil {
		return p.results, fmt.Errorf("play: %w", err)
	}
	return p.results, nil
}

// play is one pod on its stage.
type play struct {
	pod       *corev1.Pod
	namespace namespaceNotes
	meshes    []mesh // Those that are in the pod.
	stage     *stage
	dests     map[string][]Destination
	proxies   map[string]*proxy // By container. Each serves from its turn.
	results   []Result
}

// newProxies makes the proxies of the meshes in the pod. Of two that answer names on one port the first is heard.
func (p *play) newProxies(ctx context.Context) error {
	taken := map[uint16]bool{}
	containers := containers(p.pod)
	for _, m := range p.meshes {
		c, ok := containers[m.proxy]
		if !ok {
			// Nobody will ever serve, but somebody has to say so.
			c.Name = m.proxy
		}
		proxy, err := newProxy(ctx, p.stage.pod, p.identity(c), m, !taken[m.dns])
		if err != nil {
			return fmt.Errorf("proxy %q: %w", m.proxy, err)
		}
		taken[m.dns] = true
		p.proxies[m.proxy] = proxy
	}
	return nil
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
	for _, m := range p.meshes {
		if m.sandbox == nil {
			continue
		}
		acts, err := m.sandbox(p.pod, p.namespace)
		if err := p.act(ctx, "sandbox", root(), acts, err); err != nil {
			return err
		}
	}
	for _, c := range p.pod.Spec.InitContainers {
		always := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		if _, ok := p.proxies[c.Name]; ok && !always {
			return fmt.Errorf("container %q: an init container that never ends: no restartPolicy Always", c.Name)
		}
		if err := p.turn(ctx, c); err != nil {
			return err
		}
	}
	var exits []error
	for _, c := range p.pod.Spec.Containers {
		err := p.turn(ctx, c)
		if exit := (*ExitError)(nil); errors.As(err, &exit) {
			exits = append(exits, exit) // The kubelet starts the others all the same.
		} else if err != nil {
			return err
		}
	}
	return errors.Join(exits...)
}

// turn is what one container does when it is started. An installer connects under the rules that it finds, a proxy when
// it serves.
func (p *play) turn(ctx context.Context, c corev1.Container) error {
	id := p.identity(c)
	if proxy, ok := p.proxies[c.Name]; ok {
		if err := proxy.serve(); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			return &ExitError{Container: c.Name, Code: 1, Output: err.Error()}
		}
	}
	for _, d := range p.dests[c.Name] {
		verdict, err := p.connect(ctx, id, d)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.results = append(p.results, Result{Container: c.Name, Dest: d, Verdict: verdict, UID: id.uid, GID: id.gid, Err: err})
	}
	for _, m := range p.meshes {
		if turn, ok := m.turns[c.Name]; ok {
			acts, err := turn(p.pod, c)
			return p.act(ctx, c.Name, id, acts, err)
		}
	}
	return nil
}

// act does what a container does, unless it refused to: then it ended with code 1.
func (p *play) act(ctx context.Context, container string, id identity, acts []act, refused error) error {
	if refused != nil {
		return &ExitError{Container: container, Code: 1, Output: refused.Error()}
	}
	for _, do := range acts {
		err := do(ctx, p.stage, id)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if exit := (*ExitError)(nil); errors.As(err, &exit) {
			return &ExitError{Container: container, Code: exit.Code, Output: exit.Output}
		}
		if err != nil {
			return fmt.Errorf("container %q: %w", container, err)
		}
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
	case strings.HasPrefix(text, viaProxy+viaProxy):
		return Refused, errors.New("redirected from proxy to proxy, in a circle")
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
