package config

import (
	"bytes"
	"reflect"

	"gopkg.in/yaml.v3"
)

// YAML prints the configuration in full, defaults filled in, as it would be
// written by hand. Secrets are masked; references to secrets are shown. In
// entries of lists a key that was not given is left out.
func (c *Config) YAML() ([]byte, error) {
	n, err := section(reflect.ValueOf(c).Elem(), false)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

func section(v reflect.Value, sparse bool) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, fd := range fields(v.Type()) {
		below := v.FieldByIndex(fd.index)
		if sparse && below.IsZero() {
			continue
		}
		value, err := written(below, sparse)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: fd.key}, value)
	}
	return n, nil
}

func written(v reflect.Value, sparse bool) (*yaml.Node, error) {
	switch {
	case isSection(v.Type()):
		return section(v, sparse)
	case isList(v.Type()):
		return list(v)
	}
	var n yaml.Node
	err := n.Encode(v.Interface())
	return &n, err
}

// list prints sections below one another and single values on one line.
func list(v reflect.Value) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if !isSection(v.Type().Elem()) {
		n.Style = yaml.FlowStyle
	}
	for i := range v.Len() {
		entry, err := written(v.Index(i), true)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, entry)
	}
	return n, nil
}
