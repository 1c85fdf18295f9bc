package jobs

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// doctorGrace is how long anything may take beyond what the configuration allows before [Doctor] calls it
	// wrong: an outcome that waits for the database, River's writing of what ended, the election of a new
	// leader, the removal of what a dead worker left.
	doctorGrace = 5 * time.Minute
	// rescueInterval is how often River looks for jobs that have lost their worker.
	rescueInterval = 30 * time.Second
	// cleaningGrace is how much later than configured something is removed before that counts as not removed.
	cleaningGrace = 48 * time.Hour
	// partitionGrace is the same for a partition of the log, which goes when its last row is old enough.
	partitionGrace = 8 * 24 * time.Hour
)

// DoctorConfig is what a Doctor needs: the database, and the configuration that the workers have.
type DoctorConfig struct {
	Pool        *pgxpool.Pool
	Timeout     time.Duration // for one delivery, without the writing around it
	RescueAfter time.Duration // the least time that any job runs before it counts as stuck, as for [RunnerConfig]
	LogAttempts bool          // whether attempts go to webhook_delivery_log
	Retention   Retention
	KeyIDs      []string // ids of the keys that open partners' secrets; none: there is nothing to compare with
}

// Doctor looks for contradictions between events, jobs, the attempt log, partners and the schema.
type Doctor struct {
	cfg   *DoctorConfig
	grace time.Duration
}

// NewDoctor makes a Doctor.
func NewDoctor(cfg *DoctorConfig) *Doctor { return &Doctor{cfg: cfg, grace: doctorGrace} }

// Breach is one thing that is not as it should be. Ids that do not apply are empty.
type Breach struct {
	DeliveryID string     `json:"delivery_id,omitempty"`
	EventID    string     `json:"event_id,omitempty"`
	UserID     string     `json:"user_id,omitempty"`
	PartnerID  string     `json:"partner_id,omitempty"`
	AttemptID  string     `json:"attempt_id,omitempty"`
	At         *time.Time `json:"at,omitempty"` // when the event was stored, the attempt begun, the job due or ended
	Problem    string     `json:"problem"`
}

// Finding is what one check found.
type Finding struct {
	Name        string   `json:"name"`
	Description string   `json:"description"` // what a breach means
	Advice      string   `json:"advice"`      // what to do about it
	Count       int      `json:"count"`       // of all breaches
	Breaches    []Breach `json:"breaches"`    // the oldest
}

// Diagnosis is what all checks found.
type Diagnosis struct {
	Checks []Finding `json:"checks"`
}

// Breaches counts the breaches of all checks.
func (d *Diagnosis) Breaches() int {
	total := 0
	for i := range d.Checks {
		total += d.Checks[i].Count
	}
	return total
}

// Examine makes every check that the configuration allows for, and returns at most limit breaches of each,
// the oldest. A userID that is not empty narrows those about users. It reads one snapshot and writes nothing;
// workers may run meanwhile, and what is merely under way is no breach.
func (d *Doctor) Examine(ctx context.Context, userID string, limit int) (*Diagnosis, error) {
	var diagnosis *Diagnosis
	err := readMuch(ctx, d.cfg.Pool, func(tx pgx.Tx) (err error) {
		diagnosis, err = d.examine(ctx, tx, userID, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("examining the database: %w", err)
	}
	return diagnosis, nil
}

func (d *Doctor) examine(ctx context.Context, tx pgx.Tx, userID string, limit int) (*Diagnosis, error) {
	if _, err := tx.Exec(ctx, `set local work_mem = '64MB'`); err != nil { // to compare whole tables
		return nil, fmt.Errorf("preparing: %w", err)
	}
	diagnosis := &Diagnosis{}
	args := d.arguments(userID, limit)
	for _, check := range checks() {
		if check.needsLog && !d.cfg.LogAttempts || check.needsKey && len(d.cfg.KeyIDs) == 0 {
			continue
		}
		finding, err := check.run(ctx, tx, args)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", check.name, err)
		}
		diagnosis.Checks = append(diagnosis.Checks, *finding)
	}
	return diagnosis, nil
}

// arguments are what the checks' statements name.
func (d *Doctor) arguments(userID string, limit int) pgx.NamedArgs {
	keep := d.cfg.Retention
	stuck := max(d.cfg.Timeout+timeoutMargin+closeMargin, d.cfg.RescueAfter) + rescueInterval + d.grace
	return pgx.NamedArgs{
		"user":  userID,
		"limit": limit,
		"audit": d.cfg.LogAttempts,
		"keys":  d.cfg.KeyIDs,

		"grace":           d.grace,
		"stuck":           stuck,
		"unsettled":       stuck + settlementInterval + retentionTimeout, // the two share a queue
		"cleaning_grace":  cleaningGrace,
		"partition_grace": partitionGrace,

		"completed":    kept(keep.Completed),
		"dead_letters": kept(keep.DeadLetters),
		"cancelled":    kept(keep.Cancelled),
		"events":       kept(keep.Events),
		"attempts":     kept(keep.Attempts),
	}
}

// kept is nil for what is kept for ever.
func kept(duration time.Duration) *time.Duration {
	if duration < 0 {
		return nil
	}
	return &duration
}

// check is one invariant.
type check struct {
	name        string
	description string
	advice      string
	needsLog    bool // it makes sense only if attempts are recorded
	needsKey    bool // it makes sense only if there is an encryption key
	compares    bool // it compares whole tables
	sql         string
}

// run makes the check. Its statement returns a row a breach, with the columns of [Breach] that apply to it.
func (c *check) run(ctx context.Context, tx pgx.Tx, args pgx.NamedArgs) (*Finding, error) {
	// Nothing tells the planner how many rows of one table have none in the other: it guesses few, and looks
	// them up one by one for minutes.
	if _, err := tx.Exec(ctx, `set local enable_nestloop = `+strconv.FormatBool(!c.compares)); err != nil {
		return nil, fmt.Errorf("preparing: %w", err)
	}
	rows, err := tx.Query(ctx, `
		select to_json(b), b.total
		  from (select found.*, count(*) over () as total
		          from (`+c.sql+`) as found
		         order by found.at, found.problem
		         limit @limit) as b`, args)
	if err != nil {
		return nil, err
	}
	finding := &Finding{Name: c.name, Description: c.description, Advice: c.advice, Breaches: []Breach{}}
	var breach Breach
	_, err = pgx.ForEachRow(rows, []any{&breach, &finding.Count}, func() error {
		finding.Breaches = append(finding.Breaches, breach)
		breach = Breach{}
		return nil
	})
	return finding, err
}
