package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/epicvoice/webhook-worker/internal/config"
)

const (
	// watchEvery is how long --watch waits between two looks, unless --every says so.
	watchEvery = 2 * time.Second
	// watchShortest is the shortest wait that does not keep the database busy with looks.
	watchShortest = 100 * time.Millisecond
	// watchTimeout is how long a look may take: a connection that died without a word must not leave an old
	// picture standing.
	watchTimeout = 30 * time.Second
	// redraw goes to the terminal's upper left corner and clears what follows.
	redraw = "\x1b[H\x1b[J"
)

// watchFlags are the flags of commands that can show something again and again.
type watchFlags struct {
	Watch bool             `help:"Look again and again, until interrupted."`
	Every *config.Duration `placeholder:"DURATION" help:"How long --watch waits between two looks; 2s if left out."`
	JSON  bool             `name:"json" help:"Print a JSON document; with --watch, one a line."`
}

// Validate is called by the parser.
func (f *watchFlags) Validate() error {
	switch {
	case f.Every == nil:
		return nil
	case !f.Watch:
		return errors.New("--every needs --watch")
	case f.Every.Std() < watchShortest:
		return fmt.Errorf("--every must be at least %s, and is %s", config.Duration(watchShortest), f.Every)
	}
	return nil
}

// picture is what a look saw.
type picture struct {
	document any // as JSON
	draw     func(out io.Writer) error
}

// show looks once, or again and again until the context ends. After a first look that succeeded it outlives
// errors.
func (f *watchFlags) show(a *app, look func(ctx context.Context) (*picture, error)) error {
	s := &screen{app: a, json: f.JSON, watch: f.Watch, inPlace: f.Watch && !f.JSON && isTerminal(a.stdout)}
	if !f.Watch {
		seen, err := look(a.ctx)
		if err != nil {
			return err
		}
		return s.show(seen)
	}
	every := watchEvery
	if f.Every != nil {
		every = f.Every.Std()
	}
	for first := true; ; first = false {
		bounded, cancel := context.WithTimeout(a.ctx, watchTimeout)
		seen, err := look(bounded)
		cancel()
		switch {
		case a.ctx.Err() != nil:
			return nil //nolint:nilerr // told to stop
		case err != nil && first:
			return err
		case err != nil:
			err = s.showError(err)
		default:
			err = s.show(seen)
		}
		if err != nil {
			return err
		}
		select {
		case <-a.ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// screen shows pictures, one or one after the other.
type screen struct {
	app     *app
	json    bool
	watch   bool // JSON takes one line, text begins with the time
	inPlace bool // each on the place of the one before
	shown   bool // there is one before
}

func (s *screen) show(seen *picture) error {
	if s.json && !s.watch {
		return s.app.printJSON(seen.document)
	}
	var text bytes.Buffer
	if s.json {
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(seen.document); err != nil {
			return fmt.Errorf("writing JSON: %w", err)
		}
		return s.write(&text)
	}
	if s.watch {
		fmt.Fprintf(&text, "%s\n\n", localTime(time.Now()))
	}
	if err := seen.draw(&text); err != nil {
		return err
	}
	return s.write(&text)
}

// showError says why there is no picture now.
func (s *screen) showError(err error) error {
	line := printable(strings.ReplaceAll(err.Error(), "\n", "; "))
	if s.json {
		s.app.say("%s; trying again", line)
		return nil
	}
	return s.write(bytes.NewBufferString(line + "; trying again\n"))
}

// write writes at once, so that nothing flickers.
func (s *screen) write(text *bytes.Buffer) error {
	before := ""
	switch {
	case s.inPlace:
		before = redraw
	case s.shown && !s.json:
		before = "\n"
	}
	s.shown = true
	if _, err := s.app.stdout.Write(append([]byte(before), text.Bytes()...)); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}
