// Command countersign is the account center: the server, and what an operator
// does beside it.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"countersign/internal/config"
	"countersign/internal/fault"
	"countersign/internal/locale"
	"countersign/internal/server"
)

// version is set by the build.
var version = "development"

// A runner is a command that does something.
type runner interface{ Run(w *world) error }

// An entry is a command, which does something or has others below it.
type entry struct {
	name, help string
	run        runner
	below      []entry
}

func commands() []entry {
	return []entry{
		{"serve", "Run the server.", &serveCmd{}, nil},
		{"account", "Create and list accounts.", nil, []entry{
			{"create", "Create an account and its owner.", &accountCreateCmd{}, nil},
			{"list", "List the accounts and their owners.", &accountListCmd{}, nil},
			{"recover", "Help someone who has lost every device.", &accountRecoverCmd{}, nil},
		}},
		{"audit", "Check what was recorded, and take it out.", nil, []entry{
			{"export", "Write events to standard output, with the head of each chain.", &auditExportCmd{}, nil},
			{"verify", "Walk every chain of events and say where one is broken.", &auditVerifyCmd{}, nil},
			{"head", "Print where each chain ends, to be kept elsewhere and compared later.", &auditHeadCmd{}, nil},
		}},
		{"backup", "Write an encrypted copy of the database to a file, while servers run.", &backupCmd{}, nil},
		{"restore", "Put a backup into an empty database.", &restoreCmd{}, nil},
		{"database", "Move the database.", nil, []entry{
			{"move", "Move the database to PostgreSQL, and compare every row.", &databaseMoveCmd{}, nil},
			{"reopen", "Go on with a database that was moved, instead of the one that it was moved to.", &databaseReopenCmd{}, nil},
		}},
		{"key", "Change the keys that seal secrets.", nil, []entry{
			{"rotate", "Add a key and seal everything with it, while the server runs.", &keyRotateCmd{}, nil},
		}},
		{"import", "Bring in what people bound elsewhere.", nil, []entry{
			{"users", "Make RAM users of the people in a file, with their password hashes and virtual MFA.", &importUsersCmd{}, nil},
			{"u2f", "Bind security keys of the old type (U2F) that a file describes.", &importU2FCmd{}, nil},
		}},
		{"bench", "Measure what operations cost on this machine.", &benchCmd{}, nil},
		{"outbox", "See what could not be sent.", nil, []entry{
			{"list", "List messages that could not be sent.", &outboxListCmd{}, nil},
			{"retry", "Send such a message after all.", &outboxRetryCmd{}, nil},
		}},
		{"sms", "See what text messages were sent, and try one.", nil, []entry{
			{"status", "Show how many codes were sent, by country, and which limits were reached.", &smsStatusCmd{}, nil},
			{"test", "Send a text message to a number, and say how that went.", &smsTestCmd{}, nil},
		}},
		{"doctor", "Look at what the server stands on: clock, keys, database, mail, URL, proxy; each is OK, or what to do.", &doctorCmd{}, nil},
		{"healthcheck", "Ask the server on this machine whether it is ready.", &healthcheckCmd{}, nil},
		{"config", "Check the settings.", nil, []entry{
			{"check", "Say what is wrong with the settings, or that they are right.", &configCheckCmd{}, nil},
		}},
		{"simulate", "Compute what guessing achieves.", nil, []entry{
			{"guessing", "Print what a year of guessing achieves under this and other rules.", &guessingCmd{}, nil},
		}},
		{"version", "Print the version.", &versionCmd{}, nil},
	}
}

// A world is what commands run in.
type world struct {
	ctx      context.Context
	config   *config.Config
	in       io.Reader
	out, err io.Writer
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the whole program, for tests too.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // whoever asks a second time does not want to wait
	l, err := newLine()
	if err == nil {
		err = l.parse(args)
	}
	if err != nil {
		return complain(errOut, err)
	}
	if l.Help {
		l.help(out)
		return 0
	}
	if err := l.runners[l.asked()].Run(&world{ctx, &l.settings, in, out, errOut}); err != nil {
		return complain(errOut, err)
	}
	return 0
}

// complain says what is wrong, one line each: no capital, no full stop.
func complain(w io.Writer, err error) int {
	text := err.Error()
	if f := fault.From(err); !f.Kind.Ours() {
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
