package injectors

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
	"sigs.k8s.io/yaml"
)

// The annotation proxy.istio.io/config holds a ProxyConfig, in YAML or JSON. Istio reads it as protobuf does: keys are
// spelled in camel case or as in the proto file, unknown ones are passed over, and a pod whose value does not fit is denied
// (pkg/config/mesh/mesh.go, ApplyProxyConfig at 1.31).
const (
	holdKey, holdProtoKey         = "holdApplicationUntilProxyStarts", "hold_application_until_proxy_starts"
	metadataKey, metadataProtoKey = "proxyMetadata", "proxy_metadata"
	modeKey, modeProtoKey         = "interceptionMode", "interception_mode"
	addressKey, addressProtoKey   = "discoveryAddress", "discovery_address"
)

var (
	errNotYAML  = errors.New("it is neither YAML nor JSON")
	errNotMap   = errors.New("it is not a map of settings")
	errHoldType = errors.New(holdKey + " must be true or false")
	errMetadata = errors.New(metadataKey + " must be a map of strings")
)

// proxyConfig is what matters of such a value.
type proxyConfig struct {
	hold     Tri
	decided  bool              // about hold, either way
	mode     string            // REDIRECT, TPROXY or NONE
	address  string            // of the control plane
	metadata map[string]string // of the keys that have a say in the redirect
}

// bearsOnRedirect tells the keys of proxyMetadata that are kept.
func bearsOnRedirect(key string) bool {
	switch key {
	case istioDNSCapture, istioGroups, istioNoGroups, istioNoEnvoy:
		return true
	}
	return false
}

// interceptionMode names a mode as the pod's annotation does; protobuf takes numbers for names.
func interceptionMode(mode string) string {
	switch mode {
	case "0":
		return "REDIRECT"
	case "1":
		return "TPROXY"
	case "2":
		return "NONE"
	}
	return mode
}

func parseProxyConfig(value string) (proxyConfig, error) {
	text := value
	if !strings.HasPrefix(value, "{") || !gjson.Valid(value) { // JSON is the common case, and the cheap one
		raw, err := yaml.YAMLToJSON([]byte(value))
		if err != nil {
			// Where exactly is for the YAML parser to say, and it says more than anyone wants to read in one line.
			return proxyConfig{}, errNotYAML
		}
		text = string(raw)
	}
	root := gjson.Parse(text)
	if !root.IsObject() && root.Type != gjson.Null {
		return proxyConfig{}, errNotMap
	}
	var c proxyConfig
	var wrong error
	root.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case holdKey, holdProtoKey:
			c.decided = true
			switch {
			case v.IsBool():
				c.hold = TriOf(v.Bool())
			case v.Type != gjson.Null:
				wrong = errHoldType
			}
		case metadataKey, metadataProtoKey:
			wrong = c.readMetadata(v)
		case addressKey, addressProtoKey:
			c.address = v.String()
		case modeKey, modeProtoKey:
			if v.Type != gjson.Null {
				c.mode = interceptionMode(v.String())
			}
		}
		return wrong == nil
	})
	return c, wrong
}

func (c *proxyConfig) readMetadata(metadata gjson.Result) (wrong error) {
	if metadata.Type == gjson.Null {
		return nil
	}
	if !metadata.IsObject() {
		return errMetadata
	}
	metadata.ForEach(func(key, v gjson.Result) bool {
		switch {
		case v.Type == gjson.Null: // passed over
		case v.Type != gjson.String:
			wrong = errMetadata
		case bearsOnRedirect(key.Str):
			if c.metadata == nil {
				c.metadata = map[string]string{}
			}
			c.metadata[key.Str] = v.Str
		}
		return wrong == nil
	})
	return wrong
}

// istioProxy is what a pod's proxy is rendered from: the pod's annotations over what the mesh says.
type istioProxy struct {
	hold, dns Tri
	mode      string
	pod, mesh map[string]string
}

// istioProxied reads the annotation over the mesh's settings. A value that does not fit makes the injector deny the pod, which
// is not for the plan to say: the mesh's word stands then.
func istioProxied(t *Target, s *Settings) istioProxy {
	out := istioProxy{hold: s.Hold, dns: s.DNS, mode: s.Interception, mesh: s.Metadata}
	if value, ok := t.Meta.Annotations[istioProxyConfig]; ok {
		if c, err := parseProxyConfig(value); err == nil {
			out.over(&c, s)
		}
	}
	if mode, ok := t.Meta.Annotations[istioInterception]; ok {
		out.mode = mode
	}
	return out
}

func (p *istioProxy) over(c *proxyConfig, s *Settings) {
	if !s.HoldFixed || c.hold == Yes {
		p.hold = c.hold.Or(p.hold)
	}
	if c.mode != "" {
		p.mode = c.mode
	}
	p.pod = c.metadata
	if dns, ok := c.metadata[istioDNSCapture]; ok {
		p.dns = TriOf(truthy(dns, false))
	}
}

// metadata returns what proxyMetadata says: the pod's over the mesh's, key by key.
func (p *istioProxy) metadata(key, otherwise string) string {
	if v, ok := p.pod[key]; ok {
		return v
	}
	if v, ok := p.mesh[key]; ok {
		return v
	}
	return otherwise
}

func checkProxyConfig(value string) error {
	_, err := parseProxyConfig(value)
	return err
}

// mergeIstioHold adds hold to the value of the annotation and keeps everything else that is in it.
func mergeIstioHold(value string) (merged string, decided bool, err error) {
	const alone = `{"` + holdKey + `":true}`
	if value == "" {
		return alone, false, nil
	}
	c, err := parseProxyConfig(value)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("%s: %w", istioProxyConfig, err)
	case c.decided:
		return value, true, nil
	}
	fields := map[string]json.RawMessage{}
	if err := yaml.Unmarshal([]byte(value), &fields); err != nil {
		return "", false, fmt.Errorf("%s: %w", istioProxyConfig, err)
	}
	if len(fields) == 0 {
		return alone, false, nil
	}
	fields[holdKey] = json.RawMessage("true")
	out, err := json.Marshal(fields)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", istioProxyConfig, err)
	}
	return string(out), false, nil
}
