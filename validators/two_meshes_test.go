package validators_test

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/validators"
)

// meshed is an injector that redirects by an init container as it is told, with a control plane at the address; "" where that is
// not known.
func meshed(name string, uid int64, capture injectors.Capture, controlPlane string) *injectors.Injector {
	capture.UIDs = append(capture.UIDs, uid)
	i := &injectors.Injector{
		Name: name, Title: name,
		Containers: map[string]injectors.Role{name + "-init": injectors.Installer, name + "-proxy": injectors.Proxy},
		Observe: func(_ *injectors.Plan, m *injectors.Mesh, _, _ *injectors.Step) bool {
			m.Capture, m.ProxyUID, m.ProxyGID = capture, uid, injectors.NoID
			return true
		},
	}
	if controlPlane != "" {
		i.Discovery = func(*injectors.Target, *injectors.Settings) (said, want string) { return "", controlPlane }
	}
	return i
}

// TestTwoMeshesIsCertain: an error says that neither proxy ever reaches its control plane, which takes certainty about both.
//
//	each takes what the other's proxy sends, certainly    error
//	otherwise                                             warning
func TestTwoMeshesIsCertain(t *testing.T) {
	all := injectors.Capture{}
	ranges := func(list ...string) injectors.Capture {
		var c injectors.Capture
		for _, r := range list {
			c.Exclude = append(c.Exclude, netip.MustParsePrefix(r))
		}
		return c
	}
	ports := injectors.Capture{ExcludePorts: []injectors.Ports{{First: 4567, Last: 4568}, {First: 8443, Last: 8443}}}
	for name, tt := range map[string]struct {
		a, b *injectors.Injector
		want report.Severity
	}{
		"each takes everything": {meshed("a", 1, all, ""), meshed("b", 2, all, ""), report.Error},
		"the same user":         {meshed("a", 1, all, ""), meshed("b", 1, all, ""), report.Warning},
		"a user nobody knows":   {meshed("a", 1, all, ""), meshed("b", injectors.NoID, all, ""), report.Warning},
		"one lets the other's user pass": {
			meshed("a", 1, injectors.Capture{Users: []injectors.Users{{First: 2, Last: 2}}}, ""), meshed("b", 2, all, ""), report.Warning,
		},
		"an exempt range":              {meshed("a", 1, all, ""), meshed("b", 2, ranges("10.0.0.0/8"), ""), report.Warning},
		"the machine's own addresses":  {meshed("a", 1, ranges("169.254.169.254/32"), ""), meshed("b", 2, all, ""), report.Error},
		"listed addresses":             {meshed("a", 1, injectors.Capture{Listed: true, Include: ranges("10.0.0.0/8").Exclude}, ""), meshed("b", 2, all, ""), report.Warning},
		"nothing is taken":             {meshed("a", 1, injectors.Capture{Listed: true}, ""), meshed("b", 2, all, ""), report.Off},
		"exempt ports, address hidden": {meshed("a", 1, ports, ""), meshed("b", 2, all, ""), report.Warning},
		"exempt ports, of others":      {meshed("a", 1, ports, ""), meshed("b", 2, all, "b.control:15012"), report.Error},
		"exempt ports, its own":        {meshed("a", 1, ports, ""), meshed("b", 2, all, "b.control:8443"), report.Warning},
		"an address that is none":      {meshed("a", 1, ports, ""), meshed("b", 2, all, "nowhere"), report.Warning},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "a-init"}, {Name: "b-init"}},
			Containers:     []corev1.Container{{Name: "a-proxy"}, {Name: "b-proxy"}},
		}}
		for _, i := range []*injectors.Injector{tt.a, tt.b} {
			i.Marked = func(*injectors.Target) bool { return true }
		}
		for _, order := range [][]*injectors.Injector{{tt.a, tt.b}, {tt.b, tt.a}} {
			e := &injectors.Env{Catalogue: injectors.NewCatalogue(order...)}
			got := report.Off
			for _, f := range validators.Judge(injectors.New(injectors.PodTarget(pod, &injectors.Namespace{Name: "shop"}), e, injectors.Fact), config.Default()) {
				if f.Code == "HF105" {
					got = f.Severity
				}
			}
			if got != tt.want {
				t.Errorf("%s: got %v, want %v", name, got, tt.want)
			}
		}
	}
}
