package injectors

import (
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"
	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"
)

// address is where the agent will connect to, as far as the pod's annotations or the injector's Deployment say.
func (v vault) address(p *Plan, d *dialect, s *Settings) (Endpoint, bool) {
	address := said(p.Target, d.service, s.Address)
	return p.reach(address, httpproxy.Config{HTTPSProxy: said(p.Target, d.proxy, s.Proxy)})
}

// dials reads the address out of an injected container: the agent's configuration, base64 of JSON, in its environment; with
// a ConfigMap of the user's the address may stand beside it; else the annotation, else the injector's Deployment.
func (v vault) dials(p *Plan, c *corev1.Container) (Endpoint, bool) {
	var proxy httpproxy.Config
	address, beside := "", ""
	for i := range c.Env {
		switch e := &c.Env[i]; e.Name {
		case "VAULT_CONFIG", "OPENBAO_CONFIG", "BAO_CONFIG":
			address = configAddress(e.Value)
		case "VAULT_ADDR", "OPENBAO_ADDR", "BAO_ADDR":
			beside = e.Value
			if e.ValueFrom != nil {
				beside = elsewhere
			}
		case "HTTPS_PROXY", "https_proxy":
			proxy.HTTPSProxy = e.Value
		case "HTTP_PROXY", "http_proxy":
			proxy.HTTPProxy = e.Value
		case "NO_PROXY", "no_proxy":
			proxy.NoProxy = e.Value
		}
	}
	if address == "" {
		address = beside
	}
	if address != "" {
		return p.reach(address, proxy)
	}
	s := p.Settings(v.Injector)
	if s == nil {
		s = unknownSettings()
	}
	d, _ := v.spoken(p.Target)
	return v.address(p, d, s)
}

// configAddress reads the address out of an agent's configuration. openbao-k8s wrote it under a name of its own until
// 2025-07 (openbao-k8s#17).
func configAddress(encoded string) string {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	if address := gjson.GetBytes(raw, "vault.address"); address.Exists() {
		return address.String()
	}
	return gjson.GetBytes(raw, "openbao.address").String()
}

// elsewhere stands for a value that is not in the pod: like a reference to it, it cannot be read here.
const elsewhere = "$()"

// reach returns where a Go program connects to when it calls the URL: the HTTP proxy that it is told to use, or the URL's own
// host. Of an address that is there and cannot be read nothing can be said: the plan is then in doubt.
func (p *Plan) reach(address string, proxy httpproxy.Config) (Endpoint, bool) {
	if address == "" {
		return Endpoint{}, false
	}
	to, ok := ParseURL(address)
	ok = ok && !strings.Contains(address, "$(")
	if ok && proxy.HTTPProxy+proxy.HTTPSProxy != "" && !strings.HasPrefix(to.Host, "unix:") {
		to, ok = proxied(address, to, proxy)
	}
	if !ok {
		p.Doubt("the address that a container connects to cannot be read")
		return Endpoint{}, false
	}
	return to, true
}

func proxied(address string, direct Endpoint, proxy httpproxy.Config) (Endpoint, bool) {
	u, err := url.Parse(address)
	if err != nil {
		return Endpoint{}, false
	}
	via, err := proxy.ProxyFunc()(u)
	switch {
	case err != nil:
		return Endpoint{}, false
	case via == nil:
		return direct, true
	}
	return endpointOf(via)
}
