package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"holdfast.dev/holdfast/test/controlplane"
)

// command is what runs in the pod's root: the container's own command and arguments, or those that are given. It is to be started
// inside the pod's machine.
func (w *worker) command(ctx context.Context, pod *corev1.Pod, given []string) (*exec.Cmd, error) {
	c := &pod.Spec.Containers[0]
	program, ok := w.kubelet.program(c.Image)
	if !ok {
		return nil, fmt.Errorf("image %s is not here", c.Image)
	}
	if err := install(program, w.root()); err != nil {
		return nil, fmt.Errorf("install image %s: %w", c.Image, err)
	}
	env, values, err := w.environment(pod, c)
	if err != nil {
		return nil, err
	}
	line := given
	if line == nil {
		line = []string{program.Path}
		if len(c.Command) > 0 {
			line = expandAll(c.Command, values)
		}
		line = append(line, expandAll(c.Args, values)...)
	}
	if !path.IsAbs(line[0]) {
		return nil, fmt.Errorf("%s: not found: there is %s alone", line[0], program.Path)
	}
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env, cmd.Dir = env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: w.root(), Credential: user(pod, c, program)}
	controlplane.DieWithParent(cmd)
	return cmd, nil
}

// install puts the program into a root, unless it is there. The file is copied: it may be on another file system.
func install(p controlplane.Program, root string) error {
	target := filepath.Join(root, p.Path)
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	from, err := os.Open(p.Binary)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(target+".unfinished", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		return errors.Join(err, to.Close())
	}
	if err := to.Close(); err != nil {
		return err
	}
	return os.Rename(to.Name(), target)
}

// user is whom the container runs as: what it says itself, what the pod says, what the image says.
func user(pod *corev1.Pod, c *corev1.Container, p controlplane.Program) *syscall.Credential {
	uid, gid := p.User, p.User
	take := func(to *int64, from *int64) {
		if from != nil {
			*to = *from
		}
	}
	if s := pod.Spec.SecurityContext; s != nil {
		take(&uid, s.RunAsUser)
		take(&gid, s.RunAsGroup)
	}
	if s := c.SecurityContext; s != nil {
		take(&uid, s.RunAsUser)
		take(&gid, s.RunAsGroup)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// environment is the container's, and the same by name. A variable may refer to those before it.
func (w *worker) environment(pod *corev1.Pod, c *corev1.Container) (env []string, values map[string]string, err error) {
	values = map[string]string{}
	set := func(name, value string) {
		values[name] = value
		env = append(env, name+"="+value)
	}
	host, port, err := net.SplitHostPort(controlplane.APIServerInside)
	if err != nil {
		return nil, nil, err
	}
	set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	set("HOME", "/")
	set("HOSTNAME", pod.Name)
	set("KUBERNETES_SERVICE_HOST", host)
	set("KUBERNETES_SERVICE_PORT", port)
	if len(c.EnvFrom) > 0 {
		return nil, nil, errors.New("envFrom: not known to this node")
	}
	for _, e := range c.Env {
		value := expand(e.Value, values)
		switch from := e.ValueFrom; {
		case from == nil:
		case from.FieldRef != nil:
			value, err = w.field(pod, from.FieldRef.FieldPath)
		case from.ResourceFieldRef != nil:
			value, err = limit(c, from.ResourceFieldRef)
		default:
			err = errors.New("this source of a value is not known to this node")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("environment variable %s: %w", e.Name, err)
		}
		set(e.Name, value)
	}
	return env, values, nil
}

// field is a field of the pod, as the downward API gives it.
func (w *worker) field(pod *corev1.Pod, name string) (string, error) {
	switch name {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP":
		host := w.machine.Load()
		if host == nil {
			return "", errors.New("the pod has no machine any more")
		}
		return host.Addr().String(), nil
	case "status.hostIP":
		return w.kubelet.machine.Addr().String(), nil
	default:
		return "", fmt.Errorf("field %s is not known to this node", name)
	}
}

// limit is a limit of the container, or what the node has where there is none. Fractions of the divisor are rounded up.
func limit(c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	name, ok := strings.CutPrefix(ref.Resource, "limits.")
	if !ok {
		return "", fmt.Errorf("resource %s is not known to this node", ref.Resource)
	}
	quantity, ok := c.Resources.Limits[corev1.ResourceName(name)]
	if !ok {
		quantity = allocatable()[corev1.ResourceName(name)]
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	n, d := quantity.Value(), divisor.Value()
	if name == string(corev1.ResourceCPU) {
		n, d = quantity.MilliValue(), divisor.MilliValue()
	}
	return strconv.FormatInt((n+d-1)/d, 10), nil
}

func expandAll(texts []string, values map[string]string) []string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = expand(text, values)
	}
	return out
}

// expand replaces $(NAME) by its value. What has none stays as it is, and $$ is a dollar.
func expand(text string, values map[string]string) string {
	return regexp.MustCompile(`\$(?:\$|\([^()]*\))`).ReplaceAllStringFunc(text, func(found string) string {
		if found == "$$" {
			return "$"
		}
		if value, ok := values[found[2:len(found)-1]]; ok {
			return value
		}
		return found
	})
}
