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
)

var (
	errNotYAML  = errors.New("it is neither YAML nor JSON")
	errNotMap   = errors.New("it is not a map of settings")
	errHoldType = errors.New(holdKey + " must be true or false")
	errMetadata = errors.New(metadataKey + " must be a map of strings")
)

// proxyConfig is what matters of such a value.
type proxyConfig struct {
	hold, dns Tri
	decided   bool // about hold, either way
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
			c.dns, wrong = metadataDNS(v)
		}
		return wrong == nil
	})
	return c, wrong
}

func metadataDNS(metadata gjson.Result) (dns Tri, wrong error) {
	if metadata.Type == gjson.Null {
		return Unknown, nil
	}
	if !metadata.IsObject() {
		return Unknown, errMetadata
	}
	metadata.ForEach(func(key, v gjson.Result) bool {
		if v.Type != gjson.String {
			wrong = errMetadata
		} else if key.Str == istioDNSCapture {
			dns = TriOf(v.Str == "true")
		}
		return wrong == nil
	})
	return dns, wrong
}

// readProxyConfig returns what the annotation makes of the mesh's hold and DNS capture. A value that does not fit makes the
// injector deny the pod, which is not for the plan to say: the mesh's word stands then.
func readProxyConfig(value string, s *Settings) (hold, dns Tri) {
	c, err := parseProxyConfig(value)
	if err != nil {
		return s.Hold, s.DNS
	}
	if s.HoldFixed && c.hold == No {
		c.hold = Unknown
	}
	return c.hold.Or(s.Hold), c.dns.Or(s.DNS)
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
