package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// reportFlags are those of a benchmark whose results can be kept.
type reportFlags struct {
	Report string `help:"Markdown file that takes the results, between its markers for this benchmark; the plot is written beside it." placeholder:"FILE" type:"existingfile"`
}

// report is what a benchmark showed.
type report struct {
	name   string // of the benchmark; the marks in the file are <!-- name --> and <!-- /name -->
	tables []*table
	note   string // what the figures are
	plot   *plot  // nil: none
}

// publish prints a report, and writes it to its file if there is one.
func (f *reportFlags) publish(ctx context.Context, pool *pgxpool.Pool, r *report) error {
	for i, table := range r.tables {
		if i > 0 {
			_, _ = fmt.Fprintln(os.Stdout) // errors come with the table
		}
		if err := table.print(os.Stdout); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(os.Stdout, "\n%s\n", r.note); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	if f.Report == "" {
		return nil
	}
	content, err := os.ReadFile(f.Report)
	if err != nil {
		return fmt.Errorf("reading the report's file: %w", err)
	}
	machine, err := describeMachine(ctx, pool)
	if err != nil {
		return err
	}
	var section strings.Builder
	fmt.Fprintf(&section, "\n```bash\n%s\n```\n\n%s.\n\n", commandOf(os.Args[1:]), machine)
	if r.plot != nil {
		picture := strings.TrimSuffix(f.Report, ".md") + "-" + r.name + ".svg"
		drawn, err := r.plot.svg()
		if err := errors.Join(err, os.WriteFile(picture, drawn, 0o644)); err != nil { //nolint:gosec // for everybody to read
			return fmt.Errorf("drawing: %w", err)
		}
		fmt.Fprintf(&section, "![%s](%s)\n\n", r.plot.title, filepath.Base(picture))
	}
	for _, table := range r.tables {
		section.WriteString(table.markdown() + "\n")
	}
	changed, err := replaceSection(string(content), r.name, section.String()+r.note+"\n\n")
	if err != nil {
		return fmt.Errorf("%s: %w", f.Report, err)
	}
	return os.WriteFile(f.Report, []byte(changed), 0o644) //nolint:gosec // for everybody to read
}

// replaceSection puts text between the marks of a name.
func replaceSection(content, name, text string) (string, error) {
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, foundBegin := strings.Cut(content, begin)
	_, after, foundEnd := strings.Cut(rest, end)
	if !foundBegin || !foundEnd {
		return "", fmt.Errorf("it has no place for the results: %s", begin+end) //nolint:err113 // for a person
	}
	return before + begin + text + end + after, nil
}

// commandOf is what to type for the same benchmark.
func commandOf(arguments []string) string {
	var command strings.Builder
	command.WriteString("go run ./bench")
	for i := 0; i < len(arguments); i++ {
		argument := arguments[i]
		if argument == "--report" {
			i++ // and its value
			continue
		}
		if strings.HasPrefix(argument, "--report=") {
			continue
		}
		if strings.ContainsAny(argument, " '\"$") {
			argument = "'" + strings.ReplaceAll(argument, "'", `'\''`) + "'"
		}
		command.WriteString(" " + argument)
	}
	return command.String()
}
