package main

import (
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/epicvoice/webhook-worker/internal/password"
)

type keysHashPasswordCommand struct{}

// Run prints a hash.
func (c *keysHashPasswordCommand) Run(a *app) error {
	entered, err := c.read(a)
	if err != nil {
		return err
	}
	hash, err := password.Hash(entered)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, hash)
	return err
}

// read reads a password: twice without echo from a terminal, else the first line of stdin.
func (c *keysHashPasswordCommand) read(a *app) (string, error) {
	terminal, isFile := a.stdin.(*os.File)
	if !isFile || !term.IsTerminal(int(terminal.Fd())) {
		content, err := a.read("-")
		if err != nil {
			return "", err
		}
		line, _ := firstLine(content)
		if line == "" {
			return "", usagef("stdin holds no password")
		}
		return line, nil
	}
	entered, err := ask(a, terminal, "Password: ")
	if err != nil {
		return "", err
	}
	if entered == "" {
		return "", usagef("a password must not be empty")
	}
	again, err := ask(a, terminal, "Again: ")
	if err != nil {
		return "", err
	}
	if again != entered {
		return "", usagef("the two passwords are not the same")
	}
	return entered, nil
}

// ask reads a line that the terminal does not show, and leaves the terminal as it was, also when interrupted.
func ask(a *app, terminal *os.File, prompt string) (string, error) {
	before, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		return "", fmt.Errorf("reading a password: %w", err)
	}
	_, _ = fmt.Fprint(a.stderr, prompt)
	defer a.say("") // the end of the line, which was not shown either
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(int(terminal.Fd()))
		answers <- answer{line, err}
	}()
	select {
	case got := <-answers:
		if got.err != nil {
			return "", fmt.Errorf("reading a password: %w", got.err)
		}
		return string(got.line), nil
	case <-a.ctx.Done():
		_ = term.Restore(int(terminal.Fd()), before)
		return "", a.ctx.Err()
	}
}
