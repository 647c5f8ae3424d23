package config

import (
	"fmt"

	"holdfast.dev/holdfast/injectors"
)

// ModeLabel is the namespace label that says what Holdfast does there.
const ModeLabel = "holdfast.dev/mode"

// Mode is what Holdfast does in a namespace.
type Mode uint8

// Off sees nothing, Audit records, Warn tells the client too, Enforce fixes what can be fixed and refuses the rest.
const (
	Off Mode = iota
	Audit
	Warn
	Enforce
)

// String returns the mode as the label spells it.
func (m Mode) String() string { return m.words()[m] }

func (Mode) words() []string { return []string{"off", "audit", "warn", "enforce"} }

// ParseMode is the reverse of String.
func ParseMode(s string) (Mode, error) {
	for m := Off; m <= Enforce; m++ {
		if m.String() == s {
			return m, nil
		}
	}
	return Audit, fmt.Errorf("mode %q: must be enforce, warn, audit or off", s)
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMode(string(text))
	return err
}

// ModeOf returns the mode of a namespace: its label's, or the default. A value that is no mode counts as audit, and the
// error names it.
func (c *Config) ModeOf(n *injectors.Namespace) (Mode, error) {
	value, ok := n.Labels[ModeLabel]
	if !ok {
		return c.DefaultMode, nil
	}
	return ParseMode(value)
}

// Workloads says what happens to a workload whose pods certainly cannot start.
type Workloads uint8

// A refused workload is one that its author can mend at once; a refused pod hides in the events of its ReplicaSet.
const (
	WarnWorkloads Workloads = iota
	RefuseWorkloads
)

func (Workloads) words() []string { return []string{"warn", "refuse"} }

// MarshalText implements encoding.TextMarshaler.
func (w Workloads) MarshalText() ([]byte, error) { return []byte(w.words()[w]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *Workloads) UnmarshalText(text []byte) error {
	for _, known := range []Workloads{WarnWorkloads, RefuseWorkloads} {
		if known.words()[known] == string(text) {
			*w = known
			return nil
		}
	}
	return fmt.Errorf("workloads %q: must be warn or refuse", text)
}

// Setting is the severity that a file gives to a rule.
type Setting string

func (Setting) words() []string { return []string{"off", "info", "warning", "error"} }
