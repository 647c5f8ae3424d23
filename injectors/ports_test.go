package injectors_test

import (
	"net/netip"
	"testing"

	"holdfast.dev/holdfast/injectors"
)

func TestTakesPort(t *testing.T) {
	t.Parallel()
	here := []injectors.Ports{{First: 3300, Last: 3310}}
	for name, test := range map[string]struct {
		capture injectors.Capture
		want    injectors.Tri
	}{
		"everything":             {injectors.Capture{}, injectors.Yes},
		"exempt by its port":     {injectors.Capture{ExcludePorts: here}, injectors.No},
		"another port exempt":    {injectors.Capture{ExcludePorts: []injectors.Ports{{First: 3307, Last: 3307}}}, injectors.Yes},
		"nothing":                {injectors.Capture{Listed: true}, injectors.No},
		"listed by its port":     {injectors.Capture{Listed: true, IncludePorts: here}, injectors.Yes},
		"listed by addresses":    {injectors.Capture{Listed: true, Include: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, injectors.Unknown},
		"the usual interface":    {injectors.Capture{Interfaces: "eth0"}, injectors.No},
		"some other interface":   {injectors.Capture{Interfaces: "net1"}, injectors.Unknown},
		"nobody's processes":     {injectors.Capture{OnlyGroups: true}, injectors.No},
		"some group's processes": {injectors.Capture{OnlyGroups: true, Groups: []int64{100}}, injectors.Unknown},
		"not the proxy's":        {injectors.Capture{UIDs: []int64{1337}, GIDs: []int64{1337}}, injectors.Yes},
	} {
		if got := test.capture.TakesPort(3306); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

// TestExemptedPorts holds that the plan it was made of stays as it was.
func TestExemptedPorts(t *testing.T) {
	t.Parallel()
	mesh := &injectors.Injector{Name: "mesh"}
	p := &injectors.Plan{Meshes: []injectors.Mesh{{Injector: mesh, Capture: injectors.Capture{Inbound: injectors.Inbound{Known: true}}}}}
	for means, want := range map[injectors.Meaning][2]injectors.Tri{
		injectors.ExcludePorts:   {injectors.No, injectors.Yes},
		injectors.ExcludeInbound: {injectors.Yes, injectors.No},
	} {
		c := &p.Exempted(mesh, &injectors.Annotation{Means: means}, "3306").Meshes[0].Capture
		if got := [2]injectors.Tri{c.TakesPort(3306), c.Inbound.Takes(3306)}; got != want {
			t.Errorf("meaning %d: got outbound and inbound %v, want %v", means, got, want)
		}
	}
	if c := &p.Meshes[0].Capture; c.TakesPort(3306) != injectors.Yes || c.Inbound.Takes(3306) != injectors.Yes {
		t.Errorf("got the given plan changed: %+v", c)
	}
}
