package vaultinjector_test

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"holdfast.dev/holdfast/test/vaultinjector"
)

// TestObjects compares with testdata/objects, which holds what people read and what an
// API server gets: the whole of it, in YAML.
func TestObjects(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		file         string
		injector     vaultinjector.Injector
		registration vaultinjector.Registration
	}{
		{"testdata/objects/vault.yaml", vaultinjector.Injector{}, vaultinjector.Registration{CABundle: []byte("bundle")}},
		{
			"testdata/objects/openbao-outside.yaml",
			vaultinjector.Injector{Prefix: vaultinjector.PrefixOpenBao, ProxyAddress: "http://proxy:3128", NoSecurityContext: true},
			vaultinjector.Registration{
				Name: "0-a-bao", Namespace: "secrets", ClusterIP: "10.96.7.8", CABundle: []byte("bundle"),
				Endpoint: netip.MustParseAddrPort("192.0.2.4:8443"),
			},
		},
	} {
		t.Run(test.file, func(t *testing.T) {
			t.Parallel()
			objects, err := test.injector.Objects(test.registration)
			if err != nil {
				t.Fatal(err)
			}
			got, err := vaultinjector.YAML(objects)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(test.file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, got) {
				t.Errorf("objects (-want +got):\n%s", cmp.Diff(string(want), string(got)))
			}
		})
	}
}

func TestObjectsForAURL(t *testing.T) {
	t.Parallel()
	objects, err := vaultinjector.Injector{}.Objects(vaultinjector.Registration{Name: "0-a-vault", URL: "https://127.0.0.1:8443/mutate"})
	if err != nil {
		t.Fatal(err)
	}
	configuration, ok := objects[len(objects)-1].(*admissionregistrationv1.MutatingWebhookConfiguration)
	if !ok {
		t.Fatalf("last object: got %T, want the webhook configuration", objects[len(objects)-1])
	}
	if got, want := configuration.Name, "0-a-vault"; got != want {
		t.Errorf("name: got %q, want %q", got, want)
	}
	client := configuration.Webhooks[0].ClientConfig
	if client.Service != nil || client.URL == nil || *client.URL != "https://127.0.0.1:8443/mutate" {
		t.Errorf("client: got %v, want the URL alone", client)
	}
}

func TestObjectsAtAnIPv6Endpoint(t *testing.T) {
	t.Parallel()
	objects, err := vaultinjector.Injector{}.Objects(vaultinjector.Registration{Endpoint: netip.MustParseAddrPort("[2001:db8::4]:8443")})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		switch o := o.(type) {
		case *discoveryv1.EndpointSlice:
			if got, want := o.AddressType, discoveryv1.AddressTypeIPv6; got != want {
				t.Errorf("address type: got %s, want %s", got, want)
			}
			return
		case *corev1.Service:
			if strings.HasSuffix(o.Name, "-svc") && o.Spec.Selector != nil {
				t.Errorf("selector: got %v, want none", o.Spec.Selector)
			}
		}
	}
	t.Error("endpoint slice: got none")
}

func TestObjectsOfAnUnknownProduct(t *testing.T) {
	t.Parallel()
	i := vaultinjector.Injector{Prefix: "example.com"}
	if objects, err := i.Objects(vaultinjector.Registration{}); err == nil {
		t.Errorf("got %d objects, want an error", len(objects))
	}
	if got := i.ServiceNames("vault"); got != nil {
		t.Errorf("service names: got %v, want none", got)
	}
	if _, err := vaultinjector.NewCertificate(); err == nil {
		t.Error("certificate for no host: got one, want an error")
	}
}
