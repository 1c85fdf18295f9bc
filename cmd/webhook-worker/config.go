package main

import "strings"

type configCommand struct {
	JSON bool `name:"json" help:"Print a JSON array."`
}

// Run prints the configuration.
func (c *configCommand) Run(a *app) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	variables := cfg.Variables()
	if c.JSON {
		return a.printJSON(variables)
	}
	rows := make([][]string, len(variables))
	for i, variable := range variables {
		from := strings.TrimSpace(string(variable.From) + " " + variable.File)
		rows[i] = []string{variable.Name, variable.Value, from}
	}
	return printTable(a.stdout, []string{"VARIABLE", "VALUE", "FROM"}, rows)
}
