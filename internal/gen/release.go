package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/epicvoice/webhook-worker/internal/devpg"
)

// releaseCommand keeps a database of a release, with deliveries in every state, as a SQL file. The tests of later versions
// restore it, migrate it and go on with it: see TestDeliveriesOfEarlierReleases in cmd/webhook-worker.
type releaseCommand struct {
	Binary string `required:"" placeholder:"FILE" help:"The release's program."`
	Dir    string `default:"cmd/webhook-worker/testdata/releases" help:"Where to put the file, which has the release's version for its name."`
}

// releaseHeader makes what a dump of one database lacks. Other tests may make the roles at the same moment.
const releaseHeader = `-- A database of webhook-worker %s, made by ` + "`make release-database`" + `.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['webhook_app', 'webhook_worker', 'webhook_reader'] loop
        begin
            if not exists (select from pg_roles where rolname = wanted) then
                execute format('create role %%I nologin', wanted);
            end if;
        exception
            when duplicate_object or unique_violation then
                null;
        end;
    end loop;
end
$$;
`

// Run makes the file, which has the release's version for its name.
func (c *releaseCommand) Run(ctx context.Context) (err error) {
	binary, err := filepath.Abs(c.Binary)
	if err != nil {
		return fmt.Errorf("finding the program: %w", err)
	}
	version, err := exec.CommandContext(ctx, binary, "--version").Output() //nolint:gosec // what is asked for
	if err != nil {
		return fmt.Errorf("asking %s for its version: %w", binary, err)
	}
	name := strings.TrimSpace(string(version))
	if strings.HasSuffix(name, "-dirty") {
		return fmt.Errorf("%s is of no commit: its version is %s", binary, name)
	}
	server, err := devpg.Start(ctx, &devpg.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := play(ctx, binary, server.URL("postgres"), conn); err != nil {
		return err
	}
	dump, err := exec.CommandContext(ctx, pgDump(ctx), "--inserts", "--no-owner", "--no-comments", server.URL("postgres")).Output() //nolint:gosec // a program of PostgreSQL
	if err != nil {
		return fmt.Errorf("dumping the database: %w", err)
	}
	path := filepath.Join(c.Dir, name+".sql")
	const mode = 0o644
	if err := os.WriteFile(path, []byte(fmt.Sprintf(releaseHeader, name)+restorable(string(dump))), mode); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// restorable leaves out of a dump what only psql understands, and headings.
func restorable(dump string) string {
	var text strings.Builder
	blank := true
	for line := range strings.Lines(dump) {
		if strings.HasPrefix(line, "--") || strings.HasPrefix(line, `\`) || blank && line == "\n" {
			continue
		}
		blank = line == "\n"
		text.WriteString(line)
	}
	return text.String()
}
