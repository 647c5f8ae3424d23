package injectors_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"http://vault.vault.svc:8200": "vault.vault.svc:8200", "https://vault.example.com": "vault.example.com:443", "http://vault": "vault:80",
		"https://[fd00::7]:8200/v1": "fd00::7:8200", "https://vault.example.com.:8200": "vault.example.com:8200", "https://u:p@vault:1": "vault:1",
		"vault:8200": "none", "": "none", "http://": "none", "http://:8200": "none", "http://vault:99999": "none", "unix:///run/vault.sock": "unix:///run/vault.sock",
		"http://vault:0": "none", "tcp://vault:8200": "none", "vault.vault.svc:8200": "none", "HTTP://VAULT.Vault.svc.:8200": "vault.vault.svc:8200", "socks5://proxy": "proxy:1080",
		"http://vault\x7f": "none",
	} {
		got := "none"
		if to, ok := injectors.ParseURL(text); ok {
			got = to.String()
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// TestResolve asks a plan where a declared container connects to: Services in all their spellings become their addresses.
func TestResolve(t *testing.T) {
	e := env()
	e.Services = func(namespace, name string) (injectors.Service, bool) {
		s, ok := map[string]injectors.Service{
			"vault/vault": {ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.7.7")}}, "shop/db": {ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.1.2"), netip.MustParseAddr("fd00::2")}},
			"shop/headless": {},
		}[namespace+"/"+name]
		return s, ok
	}
	aliases := []corev1.HostAlias{
		{IP: "203.0.113.5", Hostnames: []string{"other", "alias", "alias"}},
		{IP: "nonsense", Hostnames: []string{"alias"}},
		{IP: "2001:db8::5", Hostnames: []string{"ALIAS"}},
		{IP: "203.0.113.6", Hostnames: []string{"db.other"}},
	}
	for host, want := range map[string]string{
		"vault.vault.svc": "10.96.7.7", "vault.vault": "10.96.7.7", "vault.vault.svc.cluster.local": "10.96.7.7", "vault.vault.svc.example.org": "10.96.7.7",
		"db": "10.96.1.2 fd00::2", "db.shop": "10.96.1.2 fd00::2", "headless": "", "vault": "", "vault.vault.example.com": "", "vault.vault.svcs": "",
		"192.0.2.1": "192.0.2.1", "vault.example.com": "", "vault.vault.svc.": "10.96.7.7", "Vault.vault.SVC": "10.96.7.7",
		"localhost": "127.0.0.1", "localhost.": "127.0.0.1", "api.LocalHost": "127.0.0.1", "notlocalhost": "", "0.0.0.0": "127.0.0.1", "127.0.0.9": "127.0.0.9",
		"alias": "203.0.113.5 2001:db8::5", "Alias.": "203.0.113.5 2001:db8::5", "db.other": "203.0.113.6",
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "fetch"}}, HostAliases: aliases}}
		pod.Annotations = map[string]string{injectors.InitNetworkAnnotation: "fetch=" + host + ":8200"}
		p := injectors.New(injectors.PodTarget(pod, &injectors.Namespace{Name: "shop"}), e, injectors.Fact)
		var got []string
		for _, a := range p.Inits[0].To[0].Addrs {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", host, got, want)
		}
	}
}

// TestNamed: who has to ask a server for a name, and who does not.
func TestNamed(t *testing.T) {
	for host, want := range map[string]bool{
		"vault.vault.svc": true, "vault.example.com": true, "192.0.2.1": false, "fd00::7": false, "localhost": false, "a.localhost": false, "alias": false,
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "fetch"}}, HostAliases: []corev1.HostAlias{{IP: "203.0.113.5", Hostnames: []string{"alias"}}},
		}}
		pod.Annotations = map[string]string{injectors.InitNetworkAnnotation: "fetch=" + net.JoinHostPort(host, "8200")}
		p := injectors.New(injectors.PodTarget(pod, &injectors.Namespace{Name: "shop"}), env(), injectors.Fact)
		if got := p.Inits[0].To[0].Named(); got != want {
			t.Errorf("%s: got %v, want %v", host, got, want)
		}
	}
	if !(injectors.Endpoint{}).Named() {
		t.Error("a destination that is not known: got no name, want one")
	}
}
