package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/jessevdk/go-flags"

	"countersign/internal/config"
)

// A line is the command line.
type line struct {
	Help   bool        `short:"h" long:"help" description:"Show this."`
	Config config.Path `long:"config" env:"COUNTERSIGN_CONFIG" value-name:"FILE" description:"File of settings (YAML)."`

	settings config.Config
	options  config.Settings
	parser   *flags.Parser
	runners  map[*flags.Command]runner
}

func newLine() (*line, error) {
	p := flags.NewNamedParser("countersign", flags.PassDoubleDash|flags.AllowBoolValues)
	p.Usage = "[OPTIONS]"
	p.LongDescription = "A self-hosted account center that signs people in with two steps."
	l := &line{parser: p, runners: map[*flags.Command]runner{}}
	l.settings.Observe.Version = version
	if _, err := p.AddGroup("Options", "", l); err != nil {
		return nil, err
	}
	var err error
	if l.options, err = l.settings.Options(p); err != nil {
		return nil, err
	}
	return l, l.add(p.Command, commands())
}

func (l *line) add(above *flags.Command, list []entry) error {
	for _, c := range list {
		options := any(c.run)
		if c.run == nil {
			options = &struct{}{}
		}
		made, err := above.AddCommand(c.name, c.help, c.help, options)
		if err != nil {
			return err
		}
		l.runners[made] = c.run
		if err := l.add(made, c.below); err != nil {
			return err
		}
	}
	return nil
}

// parse reads what is asked for, and completes the settings.
func (l *line) parse(args []string) error {
	args, err := l.truths(args)
	if err != nil {
		return err
	}
	_ = os.Unsetenv("GO_FLAGS_COMPLETION") // with which the library prints what could be typed, and ends the program
	rest, err := l.parser.ParseArgs(args)
	switch {
	case l.Help: // whatever is missing besides
		return nil
	case err != nil:
		return l.plain(err, rest)
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %s", rest[0])
	}
	var file []byte
	if l.Config != "" {
		if file, err = os.ReadFile(string(l.Config)); err != nil {
			return err
		}
	}
	if err := l.options.Complete(file); err != nil {
		return err
	}
	return l.options.CheckEnvironment("COUNTERSIGN_CONFIG", "COUNTERSIGN_BENCH_POSTGRES")
}

// truths has --dev=yes be what it is in the environment and in a file; the
// library knows fewer words, and takes an empty one for yes.
func (l *line) truths(args []string) ([]string, error) {
	args = slices.Clone(args)
	for n, arg := range args {
		if arg == "--" {
			break
		}
		name, word, given := strings.Cut(arg, "=")
		if !given || !isBool(l.parser.Command, strings.TrimPrefix(name, "--")) {
			continue
		}
		value, err := config.Truth(word)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		args[n] = name + "=" + value
	}
	return args, nil
}

// isBool reports whether an option of c or of a command below is one that is
// true or false.
func isBool(c *flags.Command, name string) bool {
	return slices.ContainsFunc(config.OptionsOf(c.Group), func(o *flags.Option) bool {
		_, is := o.Value().(bool)
		return is && o.LongNameWithNamespace() == name
	}) || slices.ContainsFunc(c.Commands(), func(below *flags.Command) bool { return isBool(below, name) })
}

// asked is the command that is asked for, as far as it is.
func (l *line) asked() *flags.Command {
	c := l.parser.Command
	for c.Active != nil {
		c = c.Active
	}
	return c
}

func (l *line) help(out io.Writer) {
	l.options.Explain()
	l.parser.WriteHelp(out)
}

// plain says what is wrong in the words of this program; rest begins with what
// was not understood.
func (l *line) plain(err error, rest []string) error {
	var its *flags.Error
	if !errors.As(err, &its) {
		return err
	}
	known, path := []string{}, l.parser.Name
	for c := l.parser.Command; c != nil; c = c.Active {
		for _, o := range config.OptionsOf(c.Group) {
			known = append(known, "--"+o.LongNameWithNamespace())
		}
		if c != l.parser.Command {
			path += " " + c.Name
		}
	}
	switch its.Type {
	case flags.ErrCommandRequired:
		return fmt.Errorf("which command? `%s --help` lists them", path)
	case flags.ErrUnknownCommand:
		known = known[:0]
		for _, c := range l.asked().Commands() {
			known = append(known, c.Name)
		}
		if meant := closest(rest[0], known); meant != "" {
			return fmt.Errorf("unknown command %s, did you mean %q?", rest[0], meant)
		}
		return fmt.Errorf("unknown command %s; `%s --help` lists them", rest[0], path)
	case flags.ErrUnknownFlag:
		name, _, _ := strings.Cut(rest[0], "=")
		if meant := closest(name, known); meant != "" {
			return fmt.Errorf("unknown flag %s, did you mean %q?", name, meant)
		}
		return fmt.Errorf("unknown flag %s", name)
	case flags.ErrRequired:
		var missing []string
		for _, m := range regexp.MustCompile("`(.*?)['`]").FindAllStringSubmatch(its.Message, -1) {
			missing = append(missing, m[1])
		}
		if strings.HasPrefix(missing[0], "--") {
			return fmt.Errorf("missing flags: %s", strings.Join(missing, ", "))
		}
		return fmt.Errorf("expected %q", strings.Join(missing, " "))
	}
	return config.Plain(err)
}

// closest is the one of the known names that somebody meant who typed name, if
// two letters are wrong at most.
func closest(name string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if n := distance(name, k); n < least {
			best, least = k, n
		}
	}
	return best
}

// distance is how many letters are to be put in, left out or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}

// pair wants one of two flags at most, or if it is needed exactly one.
func pair(needed bool, a string, hasA bool, b string, hasB bool) error {
	switch {
	case hasA && hasB:
		return fmt.Errorf("%s and %s can't be used together", a, b)
	case needed && !hasA && !hasB:
		return fmt.Errorf("missing flags: %s or %s", a, b)
	}
	return nil
}
