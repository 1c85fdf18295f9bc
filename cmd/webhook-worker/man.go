package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	mangokong "github.com/alecthomas/mango-kong"
	"github.com/muesli/roff"

	"github.com/epicvoice/webhook-worker/internal/config"
)

type manCommand struct{}

// Run prints the manual page.
func (c *manCommand) Run(a *app, parsed *kong.Context) error {
	cfg, err := config.Load(nil)
	if err != nil {
		return err
	}
	var environment strings.Builder
	for _, variable := range cfg.Variables() {
		fmt.Fprintf(&environment, "%s: %s", variable.Name, variable.Help)
		if variable.Default != "" {
			fmt.Fprintf(&environment, " Default: %s.", variable.Default)
		}
		environment.WriteString("\n.PP\n")
	}
	page := mangokong.NewManPage(1, parsed.Model).
		WithSection("Environment", environment.String()).
		WithSection("Files", "/etc/webhook-worker/webhook-worker.env: the environment of the services, with every variable explained.\n.PP\n"+
			"/etc/credstore/webhook-worker.NAME: a secret of that name for the services, instead of a line in the file above.").
		WithSection("Exit status", "0, 1 for a failure, 2 for a wrong call or configuration.")
	_, err = fmt.Fprintln(a.stdout, page.Build(&undated{roff.NewDocument()}))
	return err
}

// undated is a page without the day on which it was made, so that it can be made again.
type undated struct{ *roff.Document }

// Heading writes the page's head.
func (u *undated) Heading(section uint, title, description string, _ time.Time) {
	u.Document.Heading(section, title, description, time.Time{})
}
