package injectors_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/injectors"
)

const linkerdInject = "linkerd.io/inject"

// metaTarget is a pod with annotations and labels, in a namespace with annotations and labels.
func metaTarget(annotations, podLabels, namespaceAnnotations, namespaceLabels map[string]string) *injectors.Target {
	return &injectors.Target{
		Kind: "Pod", Meta: &metav1.ObjectMeta{Annotations: annotations, Labels: podLabels}, Spec: &corev1.PodSpec{},
		Namespace: &injectors.Namespace{Name: "shop", Annotations: namespaceAnnotations, Labels: namespaceLabels},
	}
}

func TestLinkerdAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pod, namespace string
		want           injectors.Tri
	}{
		"nobody":                     {want: injectors.Unknown},
		"the pod":                    {pod: "enabled", want: injectors.Yes},
		"the namespace":              {namespace: "enabled", want: injectors.Yes},
		"ingress":                    {namespace: "ingress", want: injectors.Yes},
		"the pod declines":           {pod: "disabled", namespace: "enabled", want: injectors.No},
		"the pod alone asks":         {pod: "enabled", namespace: "disabled", want: injectors.Yes},
		"the namespace declines":     {namespace: "disabled", want: injectors.No},
		"another value":              {pod: "true", namespace: "enabled", want: injectors.Unknown},
		"another value of namespace": {pod: "enabled", namespace: "Enabled", want: injectors.Unknown},
	} {
		target := metaTarget(map[string]string{linkerdInject: c.pod}, nil, map[string]string{linkerdInject: c.namespace}, nil)
		if got := injectors.Linkerd().Asked(target); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestLinkerdMuddle(t *testing.T) {
	t.Parallel()
	off := map[string]string{"config.linkerd.io/admission-webhooks": "disabled"}
	on := map[string]string{linkerdInject: "enabled"}
	for name, c := range map[string]struct {
		target *injectors.Target
		want   []injectors.Muddle
	}{
		"nothing":             {target: metaTarget(nil, nil, nil, nil)},
		"in order":            {target: metaTarget(on, nil, map[string]string{linkerdInject: "disabled"}, nil)},
		"left out on purpose": {target: metaTarget(nil, nil, nil, off)},
		"another value": {metaTarget(map[string]string{linkerdInject: "true"}, nil, nil, nil), []injectors.Muddle{{
			What: `annotation linkerd.io/inject: "true" on the pod is none of enabled, ingress, disabled: Linkerd does not inject its proxy`,
			Fix:  `Write linkerd.io/inject: "enabled"`,
		}}},
		"another value of namespace": {metaTarget(on, nil, map[string]string{linkerdInject: "yes"}, nil), []injectors.Muddle{{
			What: `annotation linkerd.io/inject: "yes" on namespace shop is none of enabled, ingress, disabled: Linkerd does not inject its proxy`,
			Fix:  `Write linkerd.io/inject: "enabled"`,
		}}},
		"by label": {metaTarget(nil, on, nil, nil), []injectors.Muddle{{
			What: "label linkerd.io/inject is on the pod, and Linkerd reads an annotation of that name",
			Fix:  `Annotate the pod: linkerd.io/inject: "enabled"`,
		}}},
		"by a label of the namespace": {metaTarget(nil, nil, nil, on), []injectors.Muddle{{
			What: "label linkerd.io/inject is on namespace shop, and Linkerd reads an annotation of that name",
			Fix:  `Annotate namespace shop: linkerd.io/inject: "enabled"`,
		}}},
		"by both": {target: metaTarget(nil, nil, on, on)},
		"asked and left out": {metaTarget(on, nil, nil, off), []injectors.Muddle{{
			What: "namespace shop has label config.linkerd.io/admission-webhooks=disabled: Linkerd's webhook is not called, whatever linkerd.io/inject says",
			Fix:  "kubectl label namespace shop config.linkerd.io/admission-webhooks- # or remove the annotation", Away: true,
		}}},
		"left out by annotation": {metaTarget(nil, nil, off, nil), []injectors.Muddle{{
			What: "annotation config.linkerd.io/admission-webhooks is on namespace shop, where Linkerd's webhook reads a label of that name",
			Fix:  "Make it a label of the namespace.",
		}}},
	} {
		if diff := cmp.Diff(injectors.Linkerd().Muddle(c.target), c.want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", name, diff)
		}
	}
}

func TestLinkerdServerFirst(t *testing.T) {
	t.Parallel()
	const opaque = "config.linkerd.io/opaque-ports"
	values := func(ports string) []*injectors.Hook {
		src := &injectors.Sources{Namespaces: []string{"linkerd"}, ConfigMaps: map[string]map[string]string{
			"linkerd/linkerd-config": {"values": "proxy: {opaquePorts: " + ports + "}"},
		}}
		i := injectors.Linkerd()
		return []*injectors.Hook{{}, {Injector: i, Settings: i.Read(src, "")}}
	}
	for name, c := range map[string]struct {
		annotation string
		hooks      []*injectors.Hook
		port       uint16
		want       injectors.Tri
	}{
		"a usual one":               {port: 3306, want: injectors.Yes},
		"another":                   {port: 27017, want: injectors.No},
		"the pod's own":             {annotation: "27000-27100", port: 27017, want: injectors.Yes},
		"replaced":                  {annotation: "27017", port: 3306, want: injectors.Unknown}, // somebody else's may still be
		"the installation's":        {hooks: values(`"3306,27017"`), port: 27017, want: injectors.Yes},
		"not the installation's":    {hooks: values("3306"), port: 25, want: injectors.No},
		"settings that nobody read": {hooks: []*injectors.Hook{{Injector: injectors.Linkerd()}}, port: 25, want: injectors.Yes},
	} {
		target := metaTarget(nil, nil, nil, nil)
		if c.annotation != "" {
			target.Meta.Annotations = map[string]string{opaque: c.annotation}
		}
		target.Namespace.Hooks = c.hooks
		if got := injectors.Linkerd().ServerFirst(target, c.port); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestLinkerdHold(t *testing.T) {
	t.Parallel()
	hold := injectors.Linkerd().Hold
	for value, want := range map[string]struct {
		merged  string
		decided bool
	}{
		"":         {"enabled", false},
		"enabled":  {"enabled", true},
		"disabled": {"disabled", true},
		"false":    {"false", true},
	} {
		if merged, decided, err := hold.Merge(value); err != nil || merged != want.merged || decided != want.decided {
			t.Errorf("%q: got %q, %v, %v, want %q, %v", value, merged, decided, err, want.merged, want.decided)
		}
	}
}

func TestLinkerdAnnotations(t *testing.T) {
	t.Parallel()
	holdChecks(t, injectors.Linkerd(), map[string]map[string]string{
		"config.linkerd.io/skip-outbound-ports": {
			"": "", "8200": "", "8200,4567-4568": "", "8200, 3306": "no spaces are allowed", "8200,": "empty entry", "0x10": "not a port, or a range",
			"8210-8200": "not a port, or a range", "1-2-3": "not a port, or a range", "70000": "not a port, or a range", "*": "not a port, or a range",
		},
		"config.linkerd.io/skip-subnets": {
			"": "", "10.0.0.0/8": "", "10.0.0.0/8, 192.0.2.0/24": "", "10.0.0.1": "an address needs a length", "10.0.0.0/8,": "empty entry",
		},
		"config.linkerd.io/proxy-await":                          {"enabled": "", "disabled": "", "true": `want "enabled" or "disabled"`},
		"config.linkerd.io/proxy-uid":                            {"2102": "", "proxy": "not a number"},
		"config.linkerd.io/proxy-enable-native-sidecar":          {"true": "", "0": "", "enabled": "must be true or false"},
		"config.beta.linkerd.io/proxy-enable-native-sidecar":     {"t": "", "yes": "must be true or false"},
		"config.alpha.linkerd.io/proxy-enable-native-sidecar":    {"FALSE": "", "": "must be true or false"},
		"config.alpha.linkerd.io/proxy-wait-before-exit-seconds": nil,
	})
	list := injectors.Linkerd().Annotation(injectors.ExcludePorts)
	got, err := list.AddPorts("4567-4568,3306", injectors.Ports{First: 8200, Last: 8200}, injectors.Ports{First: 3306, Last: 3306})
	if want := "3306,4567-4568,8200"; err != nil || got != want {
		t.Errorf("ports added: got %q, %v, want %q", got, err, want)
	}
	if got, err := list.AddPorts("4567, 4568", injectors.Ports{First: 8200, Last: 8200}); err == nil {
		t.Errorf("ports added to a list that Linkerd misreads: got %q, want an error", got)
	}
	if a := injectors.Linkerd().Annotation(injectors.ExcludeCIDRs); a != nil {
		t.Errorf("got %s to exempt destinations, want none", a.Key)
	}
}

// holdChecks holds what is wrong with values of annotations: each maps to a part of the error, "" where there is none.
func holdChecks(t *testing.T, i *injectors.Injector, want map[string]map[string]string) {
	t.Helper()
	known := map[string]injectors.Annotation{}
	for _, a := range i.Annotations {
		known[a.Key] = a
	}
	for key, values := range want {
		a, ok := known[key]
		if !ok {
			t.Errorf("%s: not known", key)
		}
		for value, wrong := range values {
			switch err := a.Check(value); {
			case wrong == "" && err != nil:
				t.Errorf("%s: %q: got %v, want no error", key, value, err)
			case wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)):
				t.Errorf("%s: %q: got %v, want %q in it", key, value, err, wrong)
			}
		}
	}
}

// oneContainer is a list with one container.
func oneContainer(name string, args ...string) []corev1.Container {
	return []corev1.Container{{Name: name, Args: args}}
}

// TestLinkerdInbound holds what of the capture is about connections to the pod: in the arguments of linkerd-init, and in what
// the node plugin reads.
func TestLinkerdInbound(t *testing.T) {
	t.Parallel()
	const validator, initial = "linkerd-network-validator", "linkerd-init"
	ports := map[string]string{"config.linkerd.io/skip-inbound-ports": "8443"}
	for name, c := range map[string]struct {
		first       string
		args        []string
		annotations map[string]string
		port        uint16
		want        injectors.Tri
	}{
		"any port":                 {first: initial, args: []string{"--inbound-ports-to-ignore", "4190,4191"}, port: 8443, want: injectors.Yes},
		"exempt":                   {first: initial, args: []string{"--inbound-ports-to-ignore", "4190,4191,8440-8450"}, port: 8443, want: injectors.No},
		"exempt, the flag twice":   {first: initial, args: []string{"--inbound-ports-to-ignore=8443", "--inbound-ports-to-ignore", "4190,4191"}, port: 8443, want: injectors.No},
		"too late":                 {first: initial, args: []string{"--inbound-ports-to-ignore", "4190,4191"}, annotations: ports, port: 8443, want: injectors.Yes},
		"listed":                   {first: initial, args: []string{"--ports-to-redirect", "80"}, port: 8443, want: injectors.No},
		"some clients exempt":      {first: initial, args: []string{"--subnets-to-ignore", "10.0.0.0/8"}, port: 8443, want: injectors.Unknown},
		"CNI":                      {first: validator, port: 8443, want: injectors.Unknown}, // the plugin's own list was not read
		"CNI, exempt":              {first: validator, annotations: ports, port: 8443, want: injectors.No},
		"CNI, another exempt":      {first: validator, annotations: ports, port: 9443, want: injectors.Yes},
		"CNI, some clients exempt": {first: validator, annotations: map[string]string{"config.linkerd.io/skip-inbound-ports": "80", "config.linkerd.io/skip-subnets": "10.0.0.0/8"}, port: 8443, want: injectors.Unknown},
	} {
		target := metaTarget(c.annotations, nil, nil, nil)
		target.Spec.InitContainers, target.Spec.Containers = oneContainer(c.first, c.args...), oneContainer("linkerd-proxy")
		p := injectors.New(target, &injectors.Env{Catalogue: injectors.NewCatalogue(injectors.Linkerd())}, injectors.Fact)
		if len(p.Meshes) != 1 {
			t.Fatalf("%s: got %d redirects, want 1", name, len(p.Meshes))
		}
		if got := p.Meshes[0].Capture.Inbound.Takes(c.port); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
