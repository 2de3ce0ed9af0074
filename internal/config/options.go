package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/jessevdk/go-flags"
)

// EnvironmentPrefix begins the name of every environment variable of ours.
const EnvironmentPrefix = "COUNTERSIGN_"

// Settings are the options of a Config: smtp-address, with the variable
// COUNTERSIGN_SMTP_ADDRESS and the key smtp: {address: …} of a file.
type Settings []*flags.Option

// Options makes the fields of c options of p.
func (c *Config) Options(p *flags.Parser) (Settings, error) {
	p.NamespaceDelimiter = "-"
	g, err := p.AddGroup("Settings", "", c)
	if err != nil {
		return nil, err
	}
	return OptionsOf(g), nil
}

// OptionsOf are the options of a group and of the groups in it.
func OptionsOf(g *flags.Group) []*flags.Option {
	list := slices.Clone(g.Options())
	for _, sub := range g.Groups() {
		list = append(list, OptionsOf(sub)...)
	}
	return list
}

// Variable is the environment variable of a setting.
func Variable(o *flags.Option) string {
	return EnvironmentPrefix + strings.ToUpper(strings.ReplaceAll(o.LongNameWithNamespace(), "-", "_"))
}

// Complete gives what the command line, which has been parsed, leaves open: by
// the environment, or else by the text of a settings file, in YAML. The library
// would read the environment too, but take an empty variable for yes.
func (s Settings) Complete(text []byte) error {
	f, err := readFile(text)
	if err != nil {
		return err
	}
	if err := f.check(s); err != nil {
		return err
	}
	for _, o := range s {
		name := Variable(o)
		value, ok := os.LookupEnv(name)
		if !ok {
			name = o.String()
			value, ok = f[o.LongNameWithNamespace()]
		}
		if !ok || !o.IsSetDefault() {
			continue
		}
		if _, is := o.Value().(bool); is {
			if value, err = Truth(value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if err := o.Set(&value); err != nil {
			return Plain(fmt.Errorf("%s: %w", name, err))
		}
	}
	return nil
}

// Plain says what is wrong with a value in the words of this program.
func Plain(err error) error {
	var its *flags.Error
	if !errors.As(err, &its) {
		return errors.New(regexp.MustCompile(`strconv\.\w+: `).ReplaceAllString(err.Error(), ""))
	}
	if m := regexp.MustCompile("(?s)^Invalid value `(.*)' for option `(.*)'. Allowed values are: (.*)$").FindStringSubmatch(its.Message); m != nil {
		return fmt.Errorf(`%s must be one of "%s" but got %q`, m[2], strings.NewReplacer(", ", `","`, " or ", `","`).Replace(m[3]), m[1])
	}
	if m := regexp.MustCompile("(?s)^invalid argument for flag `(.*?)' \\(expected .*?\\): (.*)$").FindStringSubmatch(its.Message); m != nil {
		return Plain(fmt.Errorf("%s: %s", m[1], m[2]))
	}
	return errors.New(strings.NewReplacer("`", "", "'", "").Replace(its.Message))
}

// Truth is a word for yes or no as the library knows it.
func Truth(word string) (string, error) {
	switch strings.ToLower(word) {
	case "true", "1", "yes":
		return "true", nil
	case "false", "0", "no":
		return "false", nil
	}
	return "", fmt.Errorf("must be true, 1, yes, false, 0 or no but is %q", word)
}

// Explain has the help name the variables; what may be chosen the sentences say.
func (s Settings) Explain() {
	for _, o := range s {
		o.EnvDefaultKey, o.Choices = Variable(o), nil
	}
}

// CheckEnvironment refuses variables that look like ours and are none: neither
// of a setting, nor among the others.
func (s Settings) CheckEnvironment(others ...string) error {
	var unknown []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, EnvironmentPrefix) && !strings.HasPrefix(name, EnvironmentPrefix+"TEST_") && !slices.Contains(others, name) &&
			!slices.ContainsFunc(s, func(o *flags.Option) bool { return Variable(o) == name }) {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	if len(unknown) > 0 {
		return fmt.Errorf("the environment: unknown variable %s", strings.Join(unknown, ", "))
	}
	return nil
}

// A List is given as CN,JP or one by one.
type List []string

// UnmarshalFlag is go-flags'.
func (l *List) UnmarshalFlag(text string) error {
	if text = strings.TrimSuffix(text, ","); text != "" {
		*l = append(*l, strings.Split(text, ",")...)
	}
	return nil
}

// A Path is a file or a directory, absolute once it is read.
type Path string

// UnmarshalFlag is go-flags'.
func (p *Path) UnmarshalFlag(text string) error {
	*p = Path(absolute(text))
	return nil
}

// absolute resolves a path, ~/ too, which no shell has in --key-file=~/key.
func absolute(path string) string {
	if path == "" {
		return "" // not set
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}
