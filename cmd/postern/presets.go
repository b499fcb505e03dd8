package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"gopkg.in/yaml.v3"

	"postern/relay/upstream/preset"
)

type presetsCmd struct {
	Name   string `arg:"" optional:"" help:"The preset to show, as an entry of upstreams to start from and with all that is known; without it they are listed."`
	Cloud  string `help:"Show it in this cloud, such as us-gov-high." placeholder:"NAME"`
	Region string `help:"Show it in this region." placeholder:"NAME"`
	JSON   bool   `help:"Print JSON." name:"json"`
}

// Run needs no configuration: it shows what the program itself knows.
func (k presetsCmd) Run(std streams) error {
	if k.Name == "" {
		return k.list(std.out)
	}
	p, err := preset.Find(k.Name, k.Cloud, k.Region)
	var wrong *preset.Wrong
	if errors.As(err, &wrong) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	if k.JSON {
		text, err := p.YAML()
		if err != nil {
			return err
		}
		var all map[string]any
		if err := yaml.Unmarshal(text, &all); err != nil {
			return err
		}
		all["name"], all["clouds"] = p.Name, slices.Sorted(maps.Keys(p.Clouds))
		return printJSON(std.out, all)
	}
	return showPreset(std.out, p, k)
}

// listed is a preset as a list has it. Its names are a promise to scripts.
type listed struct {
	Name      string   `json:"name"`
	About     string   `json:"about"`
	Transport string   `json:"transport"`
	Clouds    []string `json:"clouds,omitempty"`
}

func (k presetsCmd) list(out io.Writer) error {
	var all []listed
	for _, name := range preset.Names() {
		p, err := preset.Find(name, "", "")
		if err != nil {
			return err
		}
		all = append(all, listed{name, p.About, p.Transport, slices.Sorted(maps.Keys(p.Clouds))})
	}
	if k.JSON {
		return printJSON(out, all)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range all {
		fmt.Fprintf(w, "%s\t%s\n", p.Name, p.About)
	}
	return w.Flush()
}

// showPreset prints an entry of upstreams that is complete but for what only
// its owner knows, and what stands behind it.
func showPreset(out io.Writer, p *preset.Preset, k presetsCmd) error {
	rest := *p
	rest.About, rest.Notes = "", nil // these come first
	text, err := rest.YAML()
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", p.About)
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "# - %s\n", note)
	}
	fmt.Fprintf(&b, "upstreams:\n  - name: %s\n    preset: %s\n", p.Name, p.Name)
	for _, l := range entry(p, k) {
		fmt.Fprintf(&b, "    %s\n", l)
	}
	fmt.Fprintf(&b, "\n# What is known of it, any of which the entry may say otherwise:\n#\n")
	for line := range strings.Lines(string(text)) {
		fmt.Fprintf(&b, "#   %s", line)
	}
	_, err = io.WriteString(out, b.String())
	return err
}

// entry is what only the owner of an upstream knows of it, one key a line.
func entry(p *preset.Preset, k presetsCmd) (lines []string) {
	add := func(needed bool, line string) {
		if needed {
			lines = append(lines, line)
		}
	}
	add(k.Cloud != "", "cloud: "+k.Cloud)
	add(k.Cloud == "" && len(p.Clouds) > 0, "#cloud: "+strings.Join(slices.Sorted(maps.Keys(p.Clouds)), " or "))
	add(k.Region != "", "region: "+k.Region)
	add(k.Region == "" && p.Region != "", "region: REGION              # "+p.Region)
	add(p.Example != "" && p.Address == "", "address: \""+p.Example+"\"")
	add(p.Username == preset.UserMailbox, "mailbox: relay@example.com")
	switch app, person := len(p.OAuth.AppScopes) > 0, len(p.OAuth.UserScopes) > 0; {
	case strings.Contains(p.OAuth.TokenURL, "{tenant}") && app:
		add(true, "oauth: {flow: client_credentials, tenant: TENANT, client_id: ID, client_secret: \"file:/etc/postern/secret\"}")
	case app && p.Username == preset.UserMailbox:
		add(true, "oauth: {flow: service_account, service_account: \"file:/etc/postern/google.json\"}")
	case person && p.Username == preset.UserMailbox:
		add(true, "oauth: {flow: device, client_id: ID}")
	default:
		given, optional := p.Username == preset.UserGiven, p.Username == preset.UserOptional
		add(given, "username: USER")
		add(optional, "#username: USER")
		add(optional, "#password: \"file:/etc/postern/secret\"")
		add(!optional && p.Username != preset.UserNone, "password: \"file:/etc/postern/secret\"")
	}
	return lines
}
