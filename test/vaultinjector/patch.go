package vaultinjector

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Operation is one RFC 6902 operation: "add" with a value, or "remove".
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// builder collects operations. RFC 6902 cannot append to a list that is not there, so
// it remembers which lists are.
type builder struct {
	operations []Operation
	present    map[string]bool
}

func (b *builder) add(path string, value any) {
	b.operations = append(b.operations, Operation{Op: "add", Path: path, Value: value})
}

func (b *builder) append(list string, value any) {
	if !b.present[list] {
		b.present[list] = true
		b.add(list, []any{value})
		return
	}
	b.add(list+"/-", value)
}

// removeList takes a whole list away; a list that is not there stays so.
func (b *builder) removeList(list string) {
	if b.present[list] {
		b.present[list] = false
		b.operations = append(b.operations, Operation{Op: "remove", Path: list})
	}
}

const (
	volumesPath        = "/spec/volumes"
	containersPath     = "/spec/containers"
	initContainersPath = "/spec/initContainers"
)

// operations in the real one's order: volumes, mounts, init container and mounts of the
// other init containers, sidecar, status.
func operations(s settings, pod *corev1.Pod, raw []byte) ([]Operation, error) {
	b := &builder{present: map[string]bool{
		volumesPath:        len(pod.Spec.Volumes) > 0,
		containersPath:     len(pod.Spec.Containers) > 0,
		initContainersPath: len(pod.Spec.InitContainers) > 0,
	}}
	for _, v := range s.volumes() {
		b.append(volumesPath, v)
	}
	for i, c := range pod.Spec.Containers {
		if slices.Contains(s.mounted, c.Name) {
			b.mount(containersPath, i, c, s.product.secretsVolume())
		}
	}
	if s.prePopulate {
		if err := b.prePopulate(s, pod.Spec.InitContainers, raw); err != nil {
			return nil, err
		}
	}
	if !s.prePopulateOnly {
		sidecar, err := s.sidecar()
		if err != nil {
			return nil, err
		}
		b.append(containersPath, sidecar)
	}
	status := s.product.annotation("agent-inject-status")
	b.add("/metadata/annotations/"+escape(status), "injected")
	return b.operations, nil
}

// prePopulate adds the init container behind those that are there or, if the pod says
// so, in front of them: then the real one removes the list and adds it anew. Only the
// pods that get an init container get the mount on their other init containers.
func (b *builder) prePopulate(s settings, existing []corev1.Container, raw []byte) error {
	agent, err := s.initContainer()
	if err != nil {
		return err
	}
	offset := 0
	if s.initFirst {
		again, err := rawInitContainers(raw)
		if err != nil {
			return err
		}
		b.removeList(initContainersPath)
		b.append(initContainersPath, agent)
		for _, c := range again {
			b.append(initContainersPath, c)
		}
		offset = 1
	} else {
		b.append(initContainersPath, agent)
	}
	for i, c := range existing {
		if c.Name != s.product.initName() {
			b.mount(initContainersPath, i+offset, c, s.product.secretsVolume())
		}
	}
	return nil
}

func (b *builder) mount(list string, index int, c corev1.Container, mount corev1.VolumeMount) {
	path := fmt.Sprintf("%s/%d/volumeMounts", list, index)
	if len(c.VolumeMounts) > 0 {
		b.present[path] = true
	}
	b.append(path, mount)
}

// rawInitContainers returns the init containers as they were sent: the typed ones may
// lack fields that a newer API server knows.
func rawInitContainers(raw []byte) ([]json.RawMessage, error) {
	var pod struct {
		Spec struct {
			InitContainers []json.RawMessage `json:"initContainers"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(raw, &pod); err != nil {
		return nil, fmt.Errorf("decode init containers: %w", err)
	}
	return pod.Spec.InitContainers, nil
}

// escape writes a key as one step of a JSON pointer (RFC 6901).
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
