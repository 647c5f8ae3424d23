package injectors_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast.dev/holdfast/injectors"
)

// TestFlags holds that a command line is read as its program reads it, in whatever form a chart writes it.
func TestFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want map[string]string
	}{
		"one word each": {
			[]string{"/controller", "--wait-until-proxy-ready=true", "--ignored-ips", "169.254.169.254", "--preview"},
			map[string]string{"wait-until-proxy-ready": "true", "ignored-ips": "169.254.169.254", "preview": "true"},
		},
		"a shell's line": {
			[]string{"/bin/sh", "-ec", "consul-k8s-control-plane inject-connect \\\n  -enable-cni=true \\\n  -enable-openshift \\\n  -enable-openshift \\\n" +
				"  -allow-k8s-namespace=\"shop\" \\\n  -allow-k8s-namespace=\"bank\" \\\n"},
			map[string]string{"ec": "consul-k8s-control-plane", "enable-cni": "true", "enable-openshift": "true", "allow-k8s-namespace": "shop,bank"},
		},
	} {
		if diff := cmp.Diff(c.want, injectors.Flags(c.args)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestAddPortsThrough holds that ranges are written as they are read.
func TestAddPortsThrough(t *testing.T) {
	a := injectors.Annotation{Key: "ports", Means: injectors.ExcludePorts, Ports: injectors.ParseColonRanges, Through: ":"}
	got, err := a.AddPorts("9000:,8000:8010,22", injectors.Ports{First: 8200, Last: 8200})
	if want := "22,8000:8010,8200,9000:65535"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, wrong := range []string{"8000-8010", "8010:8000", "ssh", "1:2:3"} {
		if got, err := a.AddPorts(wrong); err == nil {
			t.Errorf("%q: got %q, want an error", wrong, got)
		}
	}
}
