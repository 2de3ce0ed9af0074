// Command countersign is the account center: the server, and what an operator
// does beside it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"countersign/internal/config"
	"countersign/internal/fault"
	"countersign/internal/locale"
	"countersign/internal/server"
)

// version is set by the build.
var version = "development"

type cli struct {
	Config   kong.ConfigFlag `help:"File of settings (YAML)." placeholder:"FILE" group:"Settings:"`
	Settings config.Config   `embed:"" group:"Settings:"`

	Serve    serveCmd       `cmd:"" help:"Run the server."`
	Account  accountCmd     `cmd:"" help:"Create and list accounts."`
	Audit    auditCmd       `cmd:"" help:"Check what was recorded, and take it out."`
	Backup   backupCmd      `cmd:"" help:"Write an encrypted copy of the database to a file, while servers run."`
	Restore  restoreCmd     `cmd:"" help:"Put a backup into an empty database."`
	Database databaseCmd    `cmd:"" help:"Move the database."`
	Key      keyCmd         `cmd:"" help:"Change the keys that seal secrets."`
	Import   importCmd      `cmd:"" help:"Bring in what people bound elsewhere."`
	Bench    benchCmd       `cmd:"" help:"Measure what operations cost on this machine."`
	Outbox   outboxCmd      `cmd:"" help:"See what could not be sent."`
	SMS      smsCmd         `cmd:"" name:"sms" help:"See what text messages were sent, and try one."`
	Doctor   doctorCmd      `cmd:"" help:"Look at what the server stands on: clock, keys, database, mail, URL, proxy; each is OK, or what to do."`
	Health   healthcheckCmd `cmd:"" name:"healthcheck" help:"Ask the server on this machine whether it is ready."`
	Check    checkCmd       `cmd:"" name:"config" help:"Check the settings."`
	Try      simulate       `cmd:"" name:"simulate" help:"Compute what guessing achieves."`
	Version  versionCmd     `cmd:"" help:"Print the version."`
}

// A world is what commands run in.
type world struct {
	ctx      context.Context
	config   *config.Config
	app      *kong.Application
	in       io.Reader
	out, err io.Writer
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the whole program, for tests too.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // whoever asks a second time does not want to wait
	var c cli
	c.Settings.Observe.Version = version
	code := -1
	parser, err := kong.New(&c,
		kong.Name("countersign"),
		kong.Description("A self-hosted account center that signs people in with two steps."),
		kong.DefaultEnvars("COUNTERSIGN"),
		kong.Configuration(config.ReadFile),
		kong.Writers(out, errOut),
		kong.Exit(func(n int) { code = n; panic(exit{}) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return complain(errOut, err)
	}
	return func() (result int) {
		defer func() {
			if p := recover(); p != nil {
				if _, ok := p.(exit); !ok {
					panic(p)
				}
				result = code
			}
		}()
		k, err := parser.Parse(args)
		if err != nil {
			return complain(errOut, usage(err))
		}
		if err := config.CheckEnvironment(parser.Model); err != nil {
			return complain(errOut, err)
		}
		if err := k.Run(&world{ctx, &c.Settings, parser.Model, in, out, errOut}); err != nil {
			return complain(errOut, err)
		}
		return 0
	}()
}

type exit struct{}

// usage says where the commands are listed to whoever named none of them.
func usage(err error) error {
	var p *kong.ParseError
	if !errors.As(err, &p) || p.Context == nil {
		return err
	}
	unknown, isUnknown := strings.CutPrefix(err.Error(), "unexpected argument ")
	switch {
	case p.Context.Selected() != nil:
		return err
	case isUnknown && strings.Contains(unknown, "did you mean"):
		return fmt.Errorf("unknown command %s", unknown)
	case isUnknown:
		return fmt.Errorf("unknown command %s; `countersign --help` lists them", unknown)
	case strings.HasPrefix(err.Error(), "expected one of"):
		return errors.New("which command? `countersign --help` lists them")
	}
	return err
}

// complain says what is wrong, one line each: no capital, no full stop.
func complain(w io.Writer, err error) int {
	text := err.Error()
	if f := fault.From(err); f.Kind != fault.Internal && f.Kind != fault.Unavailable {
		text = locale.All[0].Fault(f)
	}
	for line := range strings.Lines(text) {
		_, _ = fmt.Fprintf(w, "countersign: %s\n", strings.TrimSpace(line))
	}
	return 1
}

func (w *world) logger() *slog.Logger {
	return w.config.Logger(w.err)
}

// open prepares the store for a command.
func (w *world) open() (*server.Server, error) {
	if err := w.config.Check(); err != nil {
		return nil, err
	}
	return server.Open(w.ctx, *w.config, w.logger())
}

type versionCmd struct{}

func (versionCmd) Run(w *world) error {
	v := version
	if b, ok := debug.ReadBuildInfo(); ok {
		v += " " + b.GoVersion
	}
	_, err := fmt.Fprintln(w.out, "countersign", v)
	return err
}
