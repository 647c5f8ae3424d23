//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// mesh is one mesh that redirects a pod's connections to a proxy of its own. Each has a file, which says where its facts
// come from. A mesh is told by its containers, never by what was asked for.
type mesh struct {
	name string
	// present is whether the mesh's containers are in the pod.
	present func(*corev1.Pod) bool
	// proxy is the proxy's container. It serves TCP on outbound and, where dns is not 0, names on that port.
	proxy         string
	outbound, dns uint16
	// sandbox is what the mesh's node plugin does before any container: nothing on a node without one, and nothing for a
	// pod that it leaves alone. It is nil where a mesh has no node plugin.
	sandbox func(*corev1.Pod, namespaceNotes) ([]act, error)
	// turns are the init containers that the mesh brings besides a proxy, and what each does.
	turns map[string]turn
	// modes are the ways in which the mesh is installed, variants what can be otherwise in each of them, and inject writes a
	// pod as its injector would.
	modes    []Mode
	variants []string
	inject   func(Mode, *corev1.Pod, Exempt)
}

// turn is what an init container of a mesh does when it is started. An error is what the program in it would end with.
type turn func(*corev1.Pod, corev1.Container) ([]act, error)

// namespaceNotes are the annotations of the pod's namespace.
type namespaceNotes map[string]string

// act is one thing that a program of a mesh does in the pod's namespace. Programs that change rules have the rights of
// root, whoever they run as; the others run as id.
type act func(ctx context.Context, s *stage, id identity) error

// meshes returns all of them, in the order of their names.
func meshes() []mesh {
	return []mesh{appMesh(), consul(), istio(), kuma(), linkerd(), osm(), trafficDirector()}
}

// Meshes returns the names of the meshes that a rig plays.
func Meshes() []string {
	var names []string
	for _, m := range meshes() {
		names = append(names, m.name)
	}
	return names
}

// meshesOf returns the meshes whose containers the pod has.
func meshesOf(pod *corev1.Pod) []mesh {
	return slices.DeleteFunc(meshes(), func(m mesh) bool { return !m.present(pod) })
}

// runIptables is one call of iptables.
func runIptables(args ...string) act {
	return func(ctx context.Context, s *stage, _ identity) error {
		return s.program(root(), command(ctx, "iptables", append([]string{"-w"}, args...)...))
	}
}

// restore is one call of iptables-restore, which takes all of the rules or none and keeps what is there.
func restore(rules string) act {
	return func(ctx context.Context, s *stage, _ identity) error {
		cmd := command(ctx, "iptables-restore", "-w", "--noflush")
		cmd.Stdin = strings.NewReader(rules)
		return s.program(root(), cmd)
	}
}

// program runs cmd in the pod's namespace. An exit code other than 0 is an *[ExitError], of no container yet.
func (s *stage) program(id identity, cmd *exec.Cmd) error {
	if id != root() {
		cmd.SysProcAttr.Credential = id.credential()
	}
	cmd.Dir = "/"
	cmd.Env = append(s.environment(), cmd.Env...)
	out, err := s.output(s.pod, cmd)
	if code, exited := exitCode(err); exited {
		return &ExitError{Code: code, Output: out}
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", cmd.Args[0], err)
	}
	return nil
}

// ending makes the acts those of a program that ends with code whatever a program ends with that it calls.
func ending(code int, acts []act) []act {
	var wrapped []act
	for _, do := range acts {
		wrapped = append(wrapped, func(ctx context.Context, s *stage, id identity) error {
			err := do(ctx, s, id)
			if exit := (*ExitError)(nil); errors.As(err, &exit) {
				exit.Code = code
			}
			return err
		})
	}
	return wrapped
}

// redirected is what the validators of meshes do: listen in the proxy's stead, connect to an address where nobody else
// would answer, and end with code unless it is themselves whom they hear.
func redirected(listen, connect netip.AddrPort, code int) act {
	return func(ctx context.Context, s *stage, id identity) (err error) {
		const token = "it is me\n"
		fail := func(format string, args ...any) error {
			return &ExitError{Code: code, Output: fmt.Sprintf(format, args...)}
		}
		self := newServers(ctx, s.pod, id)
		defer func() {
			if closeErr := self.close(); err == nil {
				err = closeErr
			}
		}()
		if err := self.listen(listen, say(token)); err != nil {
			return fail("%v", err)
		}
		to := Destination{Addr: connect.Addr(), Port: connect.Port()}
		conn, err := dial(ctx, s.pod, id, to)
		if err != nil {
			return fail("connections are not redirected: %v", err)
		}
		defer conn.Close()
		if text, err := read(conn, to); text != token {
			return fail("connections are not redirected: got %q, %v", text, err)
		}
		return nil
	}
}

// flags reads --name value, --name=value and --name, each as often as it comes. A flag that nobody asks for is as good as
// unknown: it is not refused.
func flags(args []string) map[string][]string {
	values := map[string][]string{}
	for i := 0; i < len(args); i++ {
		name, isFlag := strings.CutPrefix(args[i], "--")
		if !isFlag {
			continue
		}
		name, value, inline := strings.Cut(name, "=")
		if !inline && i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
			i++
			value = args[i]
		}
		values[name] = append(values[name], value)
	}
	return values
}

// last returns the last value, which wins, or fallback where there is none.
func last(values []string, fallback string) string {
	if len(values) == 0 {
		return fallback
	}
	return values[len(values)-1]
}

// split returns the parts of a comma-separated list as they are, spaces and all; an empty list has none.
func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// environment returns the value that a container's own environment gives name: the last, as the kubelet has it.
func environment(c corev1.Container, name string) string {
	value := ""
	for _, v := range c.Env {
		if v.Name == name {
			value = v.Value
		}
	}
	return value
}

// has is whether the pod has a container of that name, among the init containers or the others.
func has(pod *corev1.Pod, name string) bool {
	_, ok := containers(pod)[name]
	return ok
}
