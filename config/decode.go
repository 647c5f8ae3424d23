package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// decode reads YAML or JSON into the configuration as far as it can be read, and returns everything that cannot, each with its path.
// The error is what makes the whole unreadable.
func decode(data []byte, into *Config) (field.ErrorList, error) {
	document, errs, err := parse(data)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	dropKeys(nil, document, &errs)
	var tree any
	if err := document.Decode(&tree); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if tree == nil {
		return errs, nil
	}
	if _, ok := entries(tree); !ok {
		return nil, errors.New("not a configuration: must be keys and values")
	}
	tree, _ = fit(nil, tree, reflect.TypeFor[Config](), &errs)
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("encode what was read: %w", err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return nil, fmt.Errorf("decode what was read: %w", err)
	}
	return errs, nil
}

// parse returns the first document. One more that says anything is an error: nobody would read it.
func parse(data []byte) (first *yaml.Node, errs field.ErrorList, err error) {
	documents := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		switch err := documents.Decode(&document); {
		case errors.Is(err, io.EOF):
			if first == nil {
				first = &yaml.Node{}
			}
			return first, errs, nil
		case err != nil:
			return nil, nil, err
		case first == nil:
			first = &document
		case document.Content[0].Tag != "!!null":
			line := fmt.Sprintf("line %d", document.Content[0].Line)
			errs = append(errs, field.Forbidden(field.NewPath(line), "another document (behind ---); a configuration is one"))
		}
	}
}

// dropKeys takes keys that are there already, and those that are lists or maps, out of the maps below the node, and names them.
func dropKeys(path *field.Path, n *yaml.Node, errs *field.ErrorList) {
	switch n.Kind {
	case yaml.DocumentNode:
		dropKeys(path, n.Content[0], errs)
	case yaml.SequenceNode:
		for i, element := range n.Content {
			dropKeys(path.Index(i), element, errs)
		}
	case yaml.MappingNode:
		lines := map[string]int{}
		kept := n.Content[:0]
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind != yaml.ScalarNode {
				*errs = append(*errs, field.Forbidden(field.NewPath(fmt.Sprintf("line %d", key.Line)), "a key must be one word"))
				continue
			}
			below := path.Child(key.Value)
			dropKeys(below, value, errs)
			if line, repeated := lines[key.Value]; repeated {
				*errs = append(*errs, &field.Error{
					Type: field.ErrorTypeDuplicate, Field: below.String(), BadValue: field.OmitValueType{},
					Detail: fmt.Sprintf("the key is in line %d, and again in line %d", line, key.Line),
				})
				continue
			}
			lines[key.Value] = key.Line
			kept = append(kept, key, value)
		}
		n.Content = kept
	case yaml.ScalarNode, yaml.AliasNode: // what an alias stands for is seen where it is written
	}
}

// enum is a type that is one of some words.
type enum interface{ words() []string }

// fit returns the value without what does not fit the type, and names that; ok is false where nothing of it fits. In lists the zero
// value stands in for what does not fit, so that the others keep their places.
func fit(path *field.Path, value any, t reflect.Type, errs *field.ErrorList) (fitting any, ok bool) {
	if e, ok := reflect.TypeAssert[enum](reflect.Zero(t)); ok {
		return fitEnum(path, value, e.words(), errs)
	}
	want := ""
	switch t.Kind() {
	case reflect.Pointer:
		return fit(path, value, t.Elem(), errs)
	case reflect.Struct, reflect.Map:
		if given, ok := entries(value); ok {
			return fitEntries(path, given, t, errs), true
		}
		want = "must be keys and values"
	case reflect.Slice:
		if list, ok := value.([]any); ok {
			for i := range list {
				list[i], _ = fit(path.Index(i), list[i], t.Elem(), errs)
			}
			return list, true
		}
		want = "must be a list"
	case reflect.Bool:
		_, ok = value.(bool)
		want = "must be true or false"
	case reflect.String:
		_, ok = value.(string)
		want = "must be a string, in quotes"
	default: // the numbers
		n, whole := value.(int)
		ok = whole && !reflect.Zero(t).OverflowInt(int64(n))
		want = fmt.Sprintf("must be a whole number of at most %d bits", t.Bits())
	}
	if !ok {
		*errs = append(*errs, field.Invalid(path, shown(value), want))
		return nil, false
	}
	return value, true
}

// fitEntries drops the keys that a struct does not have, and the values that do not fit.
func fitEntries(path *field.Path, given map[string]any, t reflect.Type, errs *field.ErrorList) map[string]any {
	for _, key := range slices.Sorted(maps.Keys(given)) {
		of, below := reflect.Type(nil), path.Child(key)
		if t.Kind() == reflect.Map {
			of, below = t.Elem(), path.Key(key)
		} else if of = fieldType(t, key); of == nil {
			*errs = append(*errs, field.Forbidden(below, "unknown key"))
			delete(given, key)
			continue
		} else if given[key] == nil {
			continue // a key without a value
		}
		value, ok := fit(below, given[key], of, errs)
		if given[key] = value; !ok {
			delete(given, key)
		}
	}
	return given
}

// fitEnum takes false for off, as YAML 1.1 (and with it Helm) takes a bare off for false.
func fitEnum(path *field.Path, value any, words []string, errs *field.ErrorList) (fitting any, ok bool) {
	if value == false && slices.Contains(words, "off") {
		value = "off"
	}
	if word, ok := value.(string); ok && slices.Contains(words, word) {
		return value, true
	}
	*errs = append(*errs, field.NotSupported(path, shown(value), words))
	return nil, false
}

// fieldType returns the type of the struct's field with the key, nil where there is none.
func fieldType(t reflect.Type, key string) reflect.Type {
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name == key && f.IsExported() {
			return f.Type
		}
	}
	return nil
}

// entries returns the keys and values of a map. Keys that are no strings (1, true) are taken as they are printed.
func entries(value any) (map[string]any, bool) {
	switch m := value.(type) {
	case map[string]any:
		return m, true
	case map[any]any:
		out := make(map[string]any, len(m))
		for key, value := range m {
			out[fmt.Sprint(key)] = value
		}
		return out, true
	}
	return nil, false
}

// shown is the value as an error shows it: lists and maps are left out, they are seen at their path.
func shown(value any) any {
	switch value.(type) {
	case []any, map[string]any, map[any]any:
		return field.OmitValueType{}
	}
	return value
}

// follows tells whether the error is about something that could not be decoded, and has been named.
func follows(e *field.Error, undecoded field.ErrorList) bool {
	return slices.ContainsFunc(undecoded, func(u *field.Error) bool {
		below, ok := strings.CutPrefix(e.Field, u.Field)
		return ok && u.Type != field.ErrorTypeDuplicate && (below == "" || below[0] == '.' || below[0] == '[')
	})
}

// mistakes is one error of all, each in a line, by path.
func mistakes(errs field.ErrorList) error {
	slices.SortStableFunc(errs, func(a, b *field.Error) int { return strings.Compare(a.Field, b.Field) })
	if len(errs) < 2 {
		return errs.ToAggregate()
	}
	each := errs.ToAggregate().Errors() // each once
	return fmt.Errorf("%d mistakes:\n%w", len(each), errors.Join(each...))
}
