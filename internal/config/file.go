package config

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// EnvironmentPrefix begins the name of every environment variable of ours.
const EnvironmentPrefix = "COUNTERSIGN_"

// A file is the settings of a YAML file, flat: smtp: {address: …} is smtp-address.
type file map[string]string

// ReadFile reads a settings file for kong. A key that is no setting is refused.
func ReadFile(r io.Reader) (kong.Resolver, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := yaml.Unmarshal(b, &tree); err != nil {
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

// Validate refuses keys that are no settings.
func (f file) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, flag := range app.Flags {
		known[flag.Name] = flag.Name != "config" && flag.Name != "help"
	}
	var unknown []string
	for name := range f {
		if !known[name] {
			unknown = append(unknown, strings.ReplaceAll(name, "-", "_"))
		}
	}
	sort.Strings(unknown)
	if len(unknown) > 0 {
		return fmt.Errorf("the settings file: unknown key %s", strings.Join(unknown, ", "))
	}
	return nil
}

// Resolve is kong's. What it returns would win over the environment.
func (f file) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, ok := f[flag.Name]
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			ok = false
		}
	}
	if !ok {
		return nil, nil //nolint:nilnil // not for the file to say
	}
	return value, nil
}

// CheckEnvironment refuses variables that look like ours and are no setting.
func CheckEnvironment(app *kong.Application) error {
	known := map[string]bool{}
	var collect func(n *kong.Node)
	collect = func(n *kong.Node) {
		for _, flag := range n.Flags {
			for _, env := range flag.Envs {
				known[env] = true
			}
		}
		for _, child := range n.Children {
			collect(child)
		}
	}
	collect(app.Node)
	var unknown []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, EnvironmentPrefix) && !strings.HasPrefix(name, EnvironmentPrefix+"TEST_") && !known[name] {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	if len(unknown) > 0 {
		return fmt.Errorf("the environment: unknown variable %s", strings.Join(unknown, ", "))
	}
	return nil
}
