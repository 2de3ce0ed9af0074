package config

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/jessevdk/go-flags"
	"go.yaml.in/yaml/v3"
)

// A file is the settings of a YAML file, flat: smtp: {address: …} is smtp-address.
type file map[string]string

func readFile(text []byte) (file, error) {
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("the settings file: %s", strings.Join(strings.Fields(err.Error()), " ")) // in one line
	}
	f := file{}
	return f, f.add("", tree)
}

func (f file) add(prefix string, tree map[string]any) error {
	for key, value := range tree {
		name := prefix + strings.ReplaceAll(key, "_", "-")
		if strings.ContainsAny(key, "-") {
			return fmt.Errorf("the settings file: unknown key %q", strings.ReplaceAll(prefix, "-", ".")+key)
		}
		switch v := value.(type) {
		case map[string]any:
			if err := f.add(name+"-", v); err != nil {
				return err
			}
		case []any:
			parts := make([]string, len(v))
			for i, part := range v {
				parts[i] = fmt.Sprint(part)
			}
			f[name] = strings.Join(parts, ",")
		case nil:
			f[name] = ""
		default:
			f[name] = fmt.Sprint(v)
		}
	}
	return nil
}

// check refuses keys that are no settings.
func (f file) check(s Settings) error {
	var unknown []string
	for name := range f {
		if !slices.ContainsFunc(s, func(o *flags.Option) bool { return o.LongNameWithNamespace() == name }) {
			unknown = append(unknown, strings.ReplaceAll(name, "-", "_"))
		}
	}
	sort.Strings(unknown)
	if len(unknown) > 0 {
		return fmt.Errorf("the settings file: unknown key %s", strings.Join(unknown, ", "))
	}
	return nil
}
