package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"github.com/epicvoice/webhook-worker/internal/devpg"
	"github.com/epicvoice/webhook-worker/internal/ops"
	"github.com/epicvoice/webhook-worker/internal/systemd"
	"github.com/epicvoice/webhook-worker/partners"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// version is set by the linker.
var version = "dev"

// commandLine is the whole command line: one field a command, one file a command.
type commandLine struct {
	Dev        devCommand        `cmd:"" help:"Try everything at once on a private PostgreSQL: worker, River UI, a demo partner, a call now and then."`
	Migrate    migrateCommand    `cmd:"" help:"Bring the database schema up to date, or back."`
	Work       workCommand       `cmd:"" help:"Deliver webhooks until told to stop."`
	Serve      serveCommand      `cmd:"" help:"Serve River UI."`
	Partner    partnerCommand    `cmd:"" help:"Add, look at and change partners."`
	Send       sendCommand       `cmd:"" help:"Enqueue an event by hand."`
	Deliveries deliveriesCommand `cmd:"" help:"Look at deliveries and cancel them."`
	Stats      statsCommand      `cmd:"" help:"Show how the queue stands and how the last hour went."`
	Doctor     doctorCommand     `cmd:"" help:"Check the database for contradictions: deliveries that vanished, attempts left open, what is overdue. Fails if there are any."`
	Replay     replayCommand     `cmd:"" help:"Deliver anew: dead letters, or whatever has ended, or what a partner missed."`
	User       userCommand       `cmd:"" help:"Erase users."`
	Receive    receiveCommand    `cmd:"" help:"Receive webhooks as a partner does: verify and print them."`
	Keys       keysCommand       `cmd:"" help:"Make, list and rotate encryption keys."`
	Config     configCommand     `cmd:"" help:"Print the effective configuration, secrets redacted."`
	Health     healthCommand     `cmd:"" help:"Ask a worker how it is; fails unless it takes deliveries."`
	Completion completionCommand `cmd:"" help:"Print what makes a shell complete commands and flags."`
	Man        manCommand        `cmd:"" hidden:"" help:"Print the manual page."`
	Version    versionCommand    `cmd:"" help:"Print the version, and what the program was built from."`

	PrintVersion kong.VersionFlag `name:"version" help:"Print the version."`
}

// usageError is a mistake in how the program was called; it exits with status 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// exitRequest is how kong's --help and --version end the parsing.
type exitRequest int

// run is the program: it parses, runs one command and returns the exit status. Errors are one line on stderr.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) (status int) {
	defer func() {
		if recovered := recover(); recovered != nil {
			request, ok := recovered.(exitRequest)
			if !ok {
				panic(recovered)
			}
			status = int(request)
		}
	}()

	dataDir, err := devpg.DefaultDataDir()
	if err != nil {
		dataDir = "required" // only dev needs one, and says why there is none
	}
	var line commandLine
	parser, err := kong.New(&line,
		kong.Name("webhook-worker"),
		kong.Description("Delivers webhooks from PostgreSQL, signed and retried, with every attempt on record."),
		kong.Vars{"version": version, "dev_data_dir": dataDir},
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exitRequest(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
	)
	if err != nil {
		return fail(stderr, "", err)
	}
	complete(parser)
	for _, arg := range args {
		if !utf8.ValidString(arg) { // the parser would change it without a word
			return fail(stderr, "", usagef("argument %q is not valid UTF-8", arg))
		}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return fail(stderr, "", &usageError{fmt.Errorf("%w (see webhook-worker %s--help)", err, commandOf(err))})
	}
	app := &app{ctx: ctx, environ: environ, stdin: stdin, stdout: stdout, stderr: stderr, sockets: &sockets{}, level: &slog.LevelVar{}}
	if err := parsed.Run(app); err != nil && !stopped(ctx, parsed, err) {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		}
		return fail(stderr, commandName(parsed), err)
	}
	return exitOK
}

// stopped says whether err is only that a command which runs until it is told to stop was told so early.
func stopped(ctx context.Context, parsed *kong.Context, err error) bool {
	switch commandName(parsed) {
	case "work", "serve", "receive", "dev":
		joined, isJoined := err.(interface{ Unwrap() []error })
		return ctx.Err() != nil && errors.Is(err, context.Canceled) && (!isJoined || len(joined.Unwrap()) == 1)
	}
	return false
}

// commandName is the words of the command that ran, without the placeholders of its arguments.
func commandName(parsed *kong.Context) string {
	var words []string
	for word := range strings.FieldsSeq(parsed.Command()) {
		if !strings.HasPrefix(word, "<") {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// commandOf is the command that a parse error happened in, with a space after it.
func commandOf(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if name := commandName(parse.Context); name != "" {
			return name + " "
		}
	}
	return ""
}

// fail prints an error as one line and returns the exit status for it.
func fail(stderr io.Writer, command string, err error) int {
	if command != "" {
		command += ": "
	}
	line := command + strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
	if journal := systemd.OpenJournal(stderr, slog.LevelError, textLines); journal != nil {
		slog.New(journal).Error(line)
	} else {
		_, _ = fmt.Fprintf(stderr, "webhook-worker: %s\n", line)
	}

	var (
		usage   *usageError
		invalid *partners.ValidationError
	)
	if errors.As(err, &usage) || errors.As(err, &invalid) || errors.Is(err, ops.ErrExposed) {
		return exitUsage
	}
	return exitFailure
}
