package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/epicvoice/webhook-worker/internal/config"
)

const (
	envHeader = `# The environment of webhook-worker's services. Generated from the program's configuration.
#
# A line without # sets a variable; what is not set has the default that is shown. Lengths of time are seconds (30) or have
# a unit (90s, 24h, 90d). A value with spaces, quotes or $ goes in single quotes.
#
# After a change: systemctl restart webhook-worker.target; for LOG_LEVEL alone, systemctl reload 'webhook-worker@*'.
# The file must not be everybody's: chmod 640, chown root:webhook-worker.
`
	envWidth = 120
)

// envExample is the environment file of the units, with every variable.
func envExample(context.Context) (string, error) {
	cfg, err := config.Load(nil)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	text.WriteString(envHeader)
	for _, variable := range cfg.Variables() {
		help := variable.Help
		if variable.Secret {
			help += " May be in /etc/credstore/webhook-worker." + variable.Name + " instead."
		}
		fmt.Fprintf(&text, "\n%s#%s=%s\n", comment(help), variable.Name, variable.Default)
	}
	return text.String(), nil
}

// comment breaks a text into lines of a comment.
func comment(text string) string {
	var lines strings.Builder
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > envWidth {
			lines.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	return lines.String() + line + "\n"
}
