package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/jobs"
)

const (
	// statsEvery is how long --watch waits between two looks, unless --every says so.
	statsEvery = 2 * time.Second
	// statsShortest is the shortest wait that does not keep the database busy with looks.
	statsShortest = 100 * time.Millisecond
	// statsTimeout is how long a look of --watch may take: a connection that died without a word must not
	// leave an old picture standing.
	statsTimeout = 30 * time.Second
	// redraw goes to the terminal's upper left corner and clears what follows.
	redraw = "\x1b[H\x1b[J"
)

type statsCommand struct {
	User    given            `placeholder:"USER" help:"Only this user's partners."`
	Partner given            `placeholder:"SLUG" help:"Only partners of this slug."`
	Watch   bool             `help:"Look again and again, until interrupted."`
	Every   *config.Duration `placeholder:"DURATION" help:"How long --watch waits between two looks; 2s if left out."`
	JSON    bool             `name:"json" help:"Print a JSON object; with --watch, one a line."`
}

// Validate is called by the parser.
func (c *statsCommand) Validate() error {
	switch {
	case c.Every == nil:
		return nil
	case !c.Watch:
		return errors.New("--every needs --watch")
	case c.Every.Std() < statsShortest:
		return fmt.Errorf("--every must be at least %s, and is %s", config.Duration(statsShortest), c.Every)
	}
	return nil
}

// Run shows statistics.
func (c *statsCommand) Run(a *app) error {
	err := a.withPool(func(cfg *config.Config, pool *pgxpool.Pool) error {
		view := &statsView{app: a, compact: c.Watch, json: c.JSON, audit: cfg.AuditLogEnabled}
		look := func(ctx context.Context) (*jobs.Stats, error) {
			return jobs.ReadStats(ctx, pool, &jobs.StatsFilter{UserID: string(c.User), PartnerSlug: string(c.Partner)})
		}
		if c.Watch {
			view.inPlace = isTerminal(a.stdout) && !c.JSON
			return c.watch(view, look)
		}
		stats, err := look(a.ctx)
		if err != nil {
			return err
		}
		return view.show(stats)
	})
	if !c.Watch && errors.Is(err, context.Canceled) {
		return errors.New("interrupted") // only a watch ends well so
	}
	return err
}

// watch looks until the context ends. After a first look that succeeded it outlives errors.
func (c *statsCommand) watch(view *statsView, look func(ctx context.Context) (*jobs.Stats, error)) error {
	every := statsEvery
	if c.Every != nil {
		every = c.Every.Std()
	}
	ctx := view.app.ctx
	for first := true; ; first = false {
		bounded, cancel := context.WithTimeout(ctx, statsTimeout)
		stats, err := look(bounded)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && first:
			return err
		case err != nil:
			err = view.showError(err)
		default:
			err = view.show(stats)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// statsView shows statistics, once or one after the other.
type statsView struct {
	app     *app
	compact bool // one line of JSON; text begins with the time
	inPlace bool // on the place of the one before
	json    bool
	audit   bool // whether attempts are recorded
	shown   bool // there is one before
}

// show shows statistics.
func (v *statsView) show(stats *jobs.Stats) error {
	if v.json && !v.compact {
		return v.app.printJSON(stats)
	}
	var text bytes.Buffer
	if v.json {
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(stats); err != nil {
			return fmt.Errorf("writing JSON: %w", err)
		}
		return v.write(&text)
	}
	if v.compact {
		fmt.Fprintf(&text, "%s\n\n", localTime(stats.At))
	}
	if err := printStats(&text, stats, v.audit); err != nil {
		return err
	}
	return v.write(&text)
}

// showError says why there are no statistics now.
func (v *statsView) showError(err error) error {
	line := printable(strings.ReplaceAll(err.Error(), "\n", "; "))
	if v.json {
		v.app.say("%s; trying again", line)
		return nil
	}
	return v.write(bytes.NewBufferString(line + "; trying again\n"))
}

// write writes at once, so that nothing flickers.
func (v *statsView) write(text *bytes.Buffer) error {
	before := ""
	switch {
	case v.inPlace:
		before = redraw
	case v.shown && !v.json:
		before = "\n"
	}
	v.shown = true
	if _, err := v.app.stdout.Write(append([]byte(before), text.Bytes()...)); err != nil {
		return fmt.Errorf("writing statistics: %w", err)
	}
	return nil
}
