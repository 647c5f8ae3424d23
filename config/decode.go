package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// decode reads YAML or JSON strictly: unknown keys are errors with their path, repeated ones with their line, all of them at
// once.
func decode(data []byte, into *Config) error {
	raw, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return errors.New(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "), "yaml: "))
	}
	unknown, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return errors.Join(unknown...)
}

// Setting is the severity that a file gives to a rule: off, info, warning or error.
type Setting string

// UnmarshalJSON implements json.Unmarshaler. YAML takes a bare off for false.
func (s *Setting) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("false")) {
		*s = "off"
		return nil
	}
	return json.Unmarshal(data, (*string)(s))
}

// UnmarshalJSON implements json.Unmarshaler. YAML takes a bare off for false.
func (m *Mode) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("false")) {
		*m = Off
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("mode: %w", err)
	}
	return m.UnmarshalText([]byte(text))
}
