package jobs

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// WithGrace is a Doctor that gives another time than doctorGrace for what is under way.
func (d *Doctor) WithGrace(grace time.Duration) *Doctor {
	return &Doctor{cfg: d.cfg, grace: grace}
}

// ExamineTx is [Doctor.Examine] in a transaction, which may have changed something.
func (d *Doctor) ExamineTx(ctx context.Context, tx pgx.Tx, userID string, limit int) (*Diagnosis, error) {
	return d.examine(ctx, tx, userID, limit)
}
