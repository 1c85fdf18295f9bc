package main

import (
	"embed"
	"fmt"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
)

// completions are the scripts: each asks the program itself, which knows its commands.
//
//go:embed completions/*
var completions embed.FS

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints a script.
func (c *completionCommand) Run(a *app) error {
	script, err := completions.ReadFile("completions/" + c.Shell)
	if err != nil {
		return fmt.Errorf("reading a completion: %w", err)
	}
	_, err = a.stdout.Write(script)
	return err
}

// complete answers a shell that asks, by COMP_LINE, what may come next, and then ends the program.
func complete(parser *kong.Kong) { kongcompletion.Register(parser) }
