package main

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
		source := "default"
		if a.getenv(variable.Name) != "" {
			source = "environment"
		}
		rows[i] = []string{variable.Name, variable.Value, source}
	}
	return printTable(a.stdout, []string{"VARIABLE", "VALUE", "FROM"}, rows)
}
