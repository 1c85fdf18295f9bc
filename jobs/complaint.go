package jobs

import (
	"context"
	"log/slog"
)

// complaint is a warning about what is done again and again: it is logged once for each time that it begins to fail.
type complaint struct {
	logger *slog.Logger
	text   string

	failing bool
}

// about takes note of how it went.
func (c *complaint) about(ctx context.Context, err error) {
	if err != nil && !c.failing && ctx.Err() == nil {
		c.logger.WarnContext(ctx, c.text, slog.String("error", err.Error()))
	}
	c.failing = err != nil
}
