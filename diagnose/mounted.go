package diagnose

import (
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// mountOf is the index of what is mounted in a container at a path or above it, the nearest; -1 where nothing is.
func mountOf(c *corev1.Container, file string) int {
	longest, found := -1, -1
	for i := range c.VolumeMounts {
		at := path.Clean(c.VolumeMounts[i].MountPath)
		if (path.Clean(file) == at || strings.HasPrefix(path.Clean(file), at+"/")) && len(at) > longest {
			longest, found = len(at), i
		}
	}
	return found
}

// volumeAt is the volume that is mounted there; nil where there is none.
func volumeAt(spec *corev1.PodSpec, c *corev1.Container, file string) *corev1.Volume {
	m := mountOf(c, file)
	for i := range spec.Volumes {
		if m >= 0 && spec.Volumes[i].Name == c.VolumeMounts[m].Name {
			return &spec.Volumes[i]
		}
	}
	return nil
}
