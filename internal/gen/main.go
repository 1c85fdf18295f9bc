// Command gen makes what is generated: the parts of documents that come from the code and the schema, docs/schema.sql, the
// environment file of the units, and databases of releases. With --check it changes nothing and fails if a file differs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"
)

// errStale is returned by --check.
var errStale = errors.New("is not what the code generates: run `make generate`")

// commandLine is the whole command line.
type commandLine struct {
	Files   filesCommand   `cmd:"" default:"withargs" help:"Make the parts of README.md that come from the code, and docs/schema.sql."`
	Release releaseCommand `cmd:"" help:"Keep a database of a release for the tests of later ones."`
}

type filesCommand struct {
	Check bool `help:"Change nothing; fail if a file differs from what would be generated."`
}

func main() {
	var line commandLine
	parsed := kong.Parse(&line, kong.Name("gen"), kong.BindTo(context.Background(), (*context.Context)(nil)))
	if err := parsed.Run(); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "gen: %s\n", err)
		os.Exit(1)
	}
}

// Run makes the files, or compares them with what it would make.
func (c *filesCommand) Run(ctx context.Context) (err error) {
	db, err := openDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	makers := map[string]func(ctx context.Context) (string, error){
		"README.md":                          db.document("README.md"),
		"docs/api.md":                        db.document("docs/api.md"),
		"docs/partners.md":                   db.document("docs/partners.md"),
		"docs/schema.sql":                    db.schema,
		"systemd/webhook-worker.env.example": envExample,
	}
	var failures []error
	for path, makeContent := range makers {
		content, err := makeContent(ctx)
		if err == nil {
			err = write(path, content, c.Check)
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("%s %w", path, err))
		}
	}
	return errors.Join(failures...)
}

func write(path, content string, check bool) error {
	const mode = 0o644
	current, err := os.ReadFile(path)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("can't be read: %w", err)
	case string(current) == content:
		return nil
	case check:
		return errStale
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		return fmt.Errorf("can't be written: %w", err)
	}
	return nil
}
