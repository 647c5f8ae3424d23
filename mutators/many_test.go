package mutators_test

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
)

// BenchmarkMany is the most that one pod can ask for: init containers without number, as many of them declared as count. The
// time has to stay far below the deadline of an admission request, and grow no faster than the pod.
func BenchmarkMany(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := config.Default()
			env := &injectors.Env{Catalogue: c.Catalogue()}
			target := injectors.PodTarget(many(n), &injectors.Namespace{Name: "shop"})
			if got := mutators.Choose(injectors.New(target, env, injectors.Rest), c, mutators.Mutating).Remedies; len(got) != 1 {
				b.Fatalf("remedies: got %v, want exempt-address", got)
			}
			for b.Loop() {
				mutators.Choose(injectors.New(target, env, injectors.Rest), c, mutators.Mutating)
			}
		})
	}
}

// many is a pod behind a node plugin, with n init containers of which each says that it needs the network.
func many(n int) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"sidecar.istio.io/status": "{}"}}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "istio-validation"}}
	pod.Spec.Containers = []corev1.Container{{Name: "app"}, {Name: "istio-proxy"}}
	declared := make([]string, n)
	for i := range n {
		name := "c" + strconv.Itoa(i)
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: name})
		declared[i] = name + "=10.1." + strconv.Itoa(i/250%250) + "." + strconv.Itoa(i%250+1) + ":80"
	}
	pod.Annotations[injectors.InitNetworkAnnotation] = strings.Join(declared, ",")
	return pod
}
