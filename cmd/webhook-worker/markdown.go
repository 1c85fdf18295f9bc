package main

import (
	"fmt"
	"strings"

	"github.com/epicvoice/webhook-worker/internal/config"
)

// markdownTable is the README's table of variables.
func markdownTable(variables []config.Variable) string {
	var text strings.Builder
	text.WriteString("| Variable | Default | Meaning |\n|---|---|---|\n")
	for _, variable := range variables {
		value := ""
		if variable.Default != "" {
			value = "`" + variable.Default + "`"
		}
		fmt.Fprintf(&text, "| `%s` | %s | %s |\n", variable.Name, value, strings.ReplaceAll(variable.Help, "|", `\|`))
	}
	return text.String()
}
