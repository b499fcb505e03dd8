package preset

import (
	"bytes"

	"gopkg.in/yaml.v3"
)

// YAML is all that is known of p, in the cloud and region it was found in, as its
// file has it. Rules for everybody are not part of it.
func (p *Preset) YAML() ([]byte, error) {
	whole := *p
	whole.Clouds = nil
	var n yaml.Node
	if err := n.Encode(whole); err != nil {
		return nil, err
	}
	prune(&n)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&n); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// prune leaves out keys without a value, and writes lists of words on one line.
func prune(n *yaml.Node) {
	var kept []*yaml.Node
	for i, below := range n.Content {
		prune(below)
		switch {
		case n.Kind != yaml.MappingNode:
			kept = append(kept, below)
		case i%2 == 1 && !empty(below):
			kept = append(kept, n.Content[i-1], below)
		}
	}
	n.Content = kept
	if n.Kind == yaml.SequenceNode && len(kept) > 0 && kept[0].Kind == yaml.ScalarNode && len(kept[0].Value) < 60 {
		n.Style = yaml.FlowStyle
	}
}

func empty(n *yaml.Node) bool {
	return len(n.Content) == 0 && (n.Kind != yaml.ScalarNode || n.Value == "" || n.Value == "0" || n.Value == "false")
}
