package kubelet

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// files are those of a volume, by their paths in it.
type files map[string][]byte

// volumes are those of one pod.
type volumes struct {
	tokens  map[string][]byte // by volume and path; they outlive the pod
	written map[string]files  // by mount path
	writes  int
}

// sync brings the volumes under root up to date: a kubelet does so within a minute or so.
func (v *volumes) sync(ctx context.Context, k *Kubelet, pod *corev1.Pod, root string) error {
	for _, mount := range pod.Spec.Containers[0].VolumeMounts {
		at := slices.IndexFunc(pod.Spec.Volumes, func(volume corev1.Volume) bool { return volume.Name == mount.Name })
		if at < 0 || mount.SubPath != "" || mount.SubPathExpr != "" {
			return fmt.Errorf("volume mount %s is not known to this node", mount.Name)
		}
		volume, dir := pod.Spec.Volumes[at], filepath.Join(root, mount.MountPath)
		if _, there := v.written[mount.MountPath]; there && volume.EmptyDir != nil {
			continue
		}
		content, err := v.content(ctx, k, pod, volume)
		if err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
		if old, there := v.written[mount.MountPath]; there && maps.EqualFunc(old, content, bytes.Equal) {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if volume.EmptyDir != nil {
			err = os.Chmod(dir, 0o777)
		} else {
			v.writes++
			err = write(dir, content, strconv.Itoa(v.writes))
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
		if v.written == nil {
			v.written = map[string]files{}
		}
		v.written[mount.MountPath] = content
	}
	return nil
}

// content is what the API server has for a volume.
func (v *volumes) content(ctx context.Context, k *Kubelet, pod *corev1.Pod, volume corev1.Volume) (files, error) {
	switch {
	case volume.EmptyDir != nil:
		return nil, nil
	case volume.Secret != nil:
		s := volume.Secret
		return secret(k, pod.Namespace, s.SecretName, s.Items, s.Optional)
	case volume.ConfigMap != nil:
		c := volume.ConfigMap
		return configMap(k, pod.Namespace, c.Name, c.Items, c.Optional)
	case volume.Projected == nil:
		return nil, fmt.Errorf("this kind of volume is not known to this node")
	}
	all := files{}
	for _, source := range volume.Projected.Sources {
		var some files
		var err error
		switch {
		case source.Secret != nil:
			some, err = secret(k, pod.Namespace, source.Secret.Name, source.Secret.Items, source.Secret.Optional)
		case source.ConfigMap != nil:
			some, err = configMap(k, pod.Namespace, source.ConfigMap.Name, source.ConfigMap.Items, source.ConfigMap.Optional)
		case source.ServiceAccountToken != nil:
			some, err = v.token(ctx, k, pod, volume.Name, source.ServiceAccountToken)
		case source.DownwardAPI != nil:
			some, err = downward(pod, source.DownwardAPI)
		default:
			err = fmt.Errorf("this source is not known to this node")
		}
		if err != nil {
			return nil, err
		}
		maps.Copy(all, some)
	}
	return all, nil
}

func secret(k *Kubelet, namespace, name string, items []corev1.KeyToPath, optional *bool) (files, error) {
	s, err := k.secrets.Secrets(namespace).Get(name)
	if err != nil {
		return nil, unless(optional, err)
	}
	return pick(s.Data, items, optional)
}

func configMap(k *Kubelet, namespace, name string, items []corev1.KeyToPath, optional *bool) (files, error) {
	c, err := k.configMaps.ConfigMaps(namespace).Get(name)
	if err != nil {
		return nil, unless(optional, err)
	}
	data := maps.Clone(c.BinaryData)
	if data == nil {
		data = map[string][]byte{}
	}
	for key, value := range c.Data {
		data[key] = []byte(value)
	}
	return pick(data, items, optional)
}

// unless is nil where something may be missing, and is.
func unless(optional *bool, err error) error {
	if optional != nil && *optional && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// pick takes the items, each at its path; all, when there are none.
func pick(data map[string][]byte, items []corev1.KeyToPath, optional *bool) (files, error) {
	if len(items) == 0 {
		return data, nil
	}
	picked := files{}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok && (optional == nil || !*optional) {
			return nil, fmt.Errorf("there is no key %s", item.Key)
		}
		if ok {
			picked[item.Path] = value
		}
	}
	return picked, nil
}

// token asks for a token of the pod's ServiceAccount, once.
func (v *volumes) token(ctx context.Context, k *Kubelet, pod *corev1.Pod, volume string, source *corev1.ServiceAccountTokenProjection) (files, error) {
	key := volume + "/" + source.Path
	if token, ok := v.tokens[key]; ok {
		return files{source.Path: token}, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	answer, err := k.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("request a token of ServiceAccount %s: %w", pod.Spec.ServiceAccountName, err)
	}
	v.tokens[key] = []byte(answer.Status.Token)
	return files{source.Path: v.tokens[key]}, nil
}

// downward gives the one field that the API server asks for in every pod.
func downward(pod *corev1.Pod, source *corev1.DownwardAPIProjection) (files, error) {
	all := files{}
	for _, item := range source.Items {
		if item.FieldRef == nil || item.FieldRef.FieldPath != "metadata.namespace" {
			return nil, fmt.Errorf("%s: this field is not known to this node", item.Path)
		}
		all[item.Path] = []byte(pod.Namespace)
	}
	return all, nil
}

// write replaces the files of a volume, all at once: they are links into a folder that ..data leads to, and ..data is swapped.
// Programs that watch ..data notice, as they do with a kubelet.
func write(dir string, content files, version string) error {
	folder := "..version-" + version
	for name, data := range content {
		path := filepath.Join(dir, folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
		return err
	}
	link := filepath.Join(dir, "..data")
	old, _ := os.Readlink(link) // there is none at first
	if err := os.Symlink(folder, link+"-new"); err != nil {
		return err
	}
	if err := os.Rename(link+"-new", link); err != nil {
		return err
	}
	if err := visible(dir, content); err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}

// visible makes the links of the files that are there, and removes the others.
func visible(dir string, content files) error {
	wanted := map[string]bool{}
	for name := range content {
		first, _, _ := strings.Cut(name, "/")
		wanted[first] = true
		err := os.Symlink(filepath.Join("..data", first), filepath.Join(dir, first))
		if err != nil && !os.IsExist(err) {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "..") && !wanted[entry.Name()] {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
