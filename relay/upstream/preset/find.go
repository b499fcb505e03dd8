package preset

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"

	"postern/relay/setting"
)

//go:embed data/*.yaml
var data embed.FS

// generic is the file of what holds for every provider.
const generic = "generic"

// Wrong says which key of an upstream asks for what there is not.
type Wrong struct{ Key, Text string }

func (w *Wrong) Error() string { return w.Key + ": " + w.Text }

// Names lists the presets.
func Names() []string {
	files, _ := fs.Glob(data, "data/*.yaml") // the pattern is a good one
	var names []string
	for _, file := range files {
		if name := strings.TrimSuffix(strings.TrimPrefix(file, "data/"), ".yaml"); name != generic {
			names = append(names, name)
		}
	}
	slices.Sort(names) // as names, which file names are not
	return names
}

var regionForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// Find is the preset of that name in a cloud and a region, both of which may be
// "". No name is the provider of whom nothing is known. Where a region is needed
// and "", Address keeps its "{region}". An error is a *Wrong.
func Find(name, cloud, region string) (*Preset, error) {
	if name != "" && !slices.Contains(Names(), name) {
		return nil, &Wrong{"preset", unknown(name, Names(), "leave it out for a server of your own")}
	}
	p, err := read(name)
	if err != nil {
		return nil, &Wrong{"preset", err.Error()}
	}
	if err := p.enter(cloud); err != nil {
		return nil, err
	}
	if region != "" {
		return p, p.settle(region)
	}
	return p, nil
}

// At is the preset whose server that host is, "" when there is none.
func At(host string) string {
	for _, name := range Names() {
		var p Preset
		if err := decode(name, &p); err != nil || p.Transport != SMTP {
			continue
		}
		for _, a := range append(p.Alternatives, Alternative{Address: p.Address}) {
			before, behind, _ := strings.Cut(strings.ToLower(a.Address[:max(0, strings.LastIndex(a.Address, ":"))]), "{region}")
			if rest, ok := strings.CutPrefix(strings.ToLower(host), before); ok && before != "" && rest != "" == (behind != "") && strings.HasSuffix(rest, behind) {
				return name
			}
		}
	}
	return ""
}

// unknown says that a word is none of those there are.
func unknown(word string, known []string, otherwise string) string {
	if meant := setting.Meant(word, known); meant != "" {
		return fmt.Sprintf("%q is not known; did you mean %q?", word, meant)
	}
	return fmt.Sprintf("%q is not known; write one of %s, or %s", word, strings.Join(known, ", "), otherwise)
}

// everybody is what generic.yaml says.
var everybody = sync.OnceValues(func() ([]Rule, error) {
	var p Preset
	err := decode(generic, &p)
	return p.Replies, err
})

// read is a preset as its file has it.
func read(name string) (*Preset, error) {
	var p Preset
	rules, err := everybody()
	if err != nil {
		return nil, err
	}
	if name != "" {
		if err := decode(name, &p); err != nil {
			return nil, err
		}
	} else {
		p.Transport, p.Username = SMTP, UserOptional
	}
	if p.RepliesOf != "" {
		var other Preset
		if err := decode(p.RepliesOf, &other); err != nil {
			return nil, err
		}
		p.Replies = append(p.Replies, other.Replies...)
	}
	p.Name, p.generic = name, rules
	return &p, nil
}

func decode(name string, p *Preset) error {
	file, err := data.ReadFile("data/" + name + ".yaml")
	if err != nil {
		return err
	}
	return strictly(file, p)
}

// strictly refuses keys that mean nothing.
func strictly(text []byte, p *Preset) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	return d.Decode(p)
}

// enter lays over p what is different in a cloud.
func (p *Preset) enter(cloud string) error {
	if cloud == "" {
		return nil
	}
	difference, ok := p.Clouds[cloud]
	switch {
	case !ok && len(p.Clouds) == 0:
		return &Wrong{"cloud", fmt.Sprintf("%s has one cloud only; leave it out", p.title())}
	case !ok:
		return &Wrong{"cloud", unknown(cloud, slices.Sorted(maps.Keys(p.Clouds)), "leave it out for the worldwide one")}
	}
	text, err := yaml.Marshal(&difference)
	if err == nil {
		err = strictly(text, p)
	}
	if err != nil {
		return &Wrong{"cloud", err.Error()}
	}
	return nil
}

// settle puts the region in its place.
func (p *Preset) settle(region string) error {
	switch {
	case p.Region == "" && p.Clouds[region].Kind != 0:
		return &Wrong{"region", fmt.Sprintf("%s calls it a cloud; write cloud: %s", p.title(), region)}
	case p.Region == "":
		return &Wrong{"region", fmt.Sprintf("%s has no regions; leave it out", p.title())}
	case !regionForm.MatchString(region):
		return &Wrong{"region", fmt.Sprintf("%q is not a region; write %s", region, p.Region)}
	}
	p.Address = strings.ReplaceAll(p.Address, "{region}", region)
	for i := range p.Alternatives {
		p.Alternatives[i].Address = strings.ReplaceAll(p.Alternatives[i].Address, "{region}", region)
	}
	return nil
}

// title names p in a sentence.
func (p *Preset) title() string {
	if p.Name == "" {
		return "an upstream without preset"
	}
	return "preset " + p.Name
}
