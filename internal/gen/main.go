// Command gen makes what is generated: the parts of README.md that come from the code, docs/schema.sql, and the
// environment file of the units.
// With --check it changes nothing and fails if a file differs.
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

// commandLine are the flags.
type commandLine struct {
	Check bool `help:"Change nothing; fail if a file differs from what would be generated."`
}

func main() {
	var line commandLine
	kong.Parse(&line, kong.Name("gen"))
	if err := run(context.Background(), line.Check); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "gen: %s\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, check bool) error {
	makers := map[string]func(ctx context.Context) (string, error){
		"README.md":                          readme,
		"docs/schema.sql":                    schema,
		"systemd/webhook-worker.env.example": envExample,
	}
	var failures []error
	for path, makeContent := range makers {
		content, err := makeContent(ctx)
		if err == nil {
			err = write(path, content, check)
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
