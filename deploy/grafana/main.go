// Command grafana writes the dashboards for Grafana. What is on them is in the
// .yaml files beside it: rows, panels, queries and what to do about them, and
// nothing else. It adds what Grafana wants besides: places, colours, ids, and the
// hundred settings that are the same for every panel.
//
//	go run ./deploy/grafana
//
// writes the .json files anew. They are in the repository, so that whoever runs
// Postern imports them as they are.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"
)

// names are those of the dashboards, in the order in which they link one another.
var names = []string{"overview", "upstream", "devices"}

func main() {
	for _, name := range names {
		if err := write("deploy/grafana", name); err != nil {
			fmt.Fprintln(os.Stderr, "grafana:", err)
			os.Exit(1)
		}
	}
}

func write(dir, name string) error {
	text, err := os.ReadFile(filepath.Join(dir, name+".yaml"))
	if err != nil {
		return err
	}
	built, err := build(name, text)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".json"), built, 0o644)
}

// build makes the dashboard of that name from its source.
func build(name string, source []byte) ([]byte, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(source))
	decoder.KnownFields(true)
	var b board
	if err := decoder.Decode(&b); err != nil {
		return nil, fmt.Errorf("%s.yaml: %w", name, err)
	}
	made, err := b.dashboard(name)
	if err != nil {
		return nil, fmt.Errorf("%s.yaml: %w", name, err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // queries have < and >
	encoder.SetIndent("", " ")
	err = encoder.Encode(made)
	return out.Bytes(), err
}
