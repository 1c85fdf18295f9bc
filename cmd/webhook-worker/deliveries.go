package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/jobs"
)

type deliveriesCommand struct {
	List   deliveriesListCommand   `cmd:"" help:"List deliveries, the newest first."`
	Show   deliveriesShowCommand   `cmd:"" help:"Show a delivery, its payload and its attempts."`
	Cancel deliveriesCancelCommand `cmd:"" help:"Cancel deliveries that wait or run."`
}

// withDeliveries opens the database for a command about deliveries.
func (a *app) withDeliveries(use func(cfg *config.Config, deliveries *jobs.Deliveries) error) error {
	return a.withPool(func(cfg *config.Config, pool *pgxpool.Pool) error {
		deliveries, err := jobs.NewDeliveries(a.ctx, pool)
		if err != nil {
			return err
		}
		return use(cfg, deliveries)
	})
}

type deliveriesListCommand struct {
	watchFlags

	User    given `placeholder:"ID" help:"Only this user's."`
	Partner given `placeholder:"SLUG" help:"Only to partners of this slug."`
	Status  given `placeholder:"STATUS" help:"Only of this status: pending, processing, failed, delivered, dead_letter or cancelled."`
	Event   given `placeholder:"TYPE" help:"Only of this event type."`
	Since   given `placeholder:"TIME" help:"Only those enqueued since: 2026-01-31, 2026-01-31T15:04:05Z, or an age such as 90m, 24h or 7d."`
	Until   given `placeholder:"TIME" help:"Only those enqueued before."`
	Limit   int   `default:"50" help:"Most rows."`
	After   given `placeholder:"ID" help:"The next page: those after this delivery, the last of the page before."`
}

// Run lists deliveries.
func (c *deliveriesListCommand) Run(a *app) error {
	if c.Status != "" && !slices.Contains(jobs.Statuses(), jobs.Status(c.Status)) {
		return usagef("--status must be pending, processing, failed, delivered, dead_letter or cancelled, and is %q", c.Status)
	}
	if c.Limit < 1 {
		return usagef("--limit must be at least 1, and is %d", c.Limit)
	}
	since, until, err := parsePeriod(string(c.Since), string(c.Until), time.Now())
	if err != nil {
		return err
	}
	page := jobs.Page{Limit: c.Limit}
	if c.After != "" {
		if page.After, err = parseDeliveryID(string(c.After)); err != nil {
			return err
		}
	}
	filter := jobs.Filter{
		UserID:      string(c.User),
		PartnerSlug: string(c.Partner),
		Status:      jobs.Status(c.Status),
		EventType:   string(c.Event),
		Since:       since,
		Until:       until,
	}
	return a.withDeliveries(func(_ *config.Config, deliveries *jobs.Deliveries) error {
		return c.show(a, func(ctx context.Context) (*picture, error) {
			list, err := deliveries.List(ctx, &filter, &page)
			if err != nil {
				return nil, err
			}
			return &picture{list, func(out io.Writer) error { return c.print(a, out, list) }}, nil
		})
	})
}

func (c *deliveriesListCommand) print(a *app, out io.Writer, list []jobs.DeliveryState) error {
	rows := make([][]string, len(list))
	for i := range list {
		state := &list[i]
		rows[i] = []string{
			state.ID, state.UserID, or(state.PartnerSlug), state.EventType, string(state.Status),
			fmt.Sprintf("%d/%d", state.AttemptCount, state.MaxAttempts), or(state.LastResponseStatus),
			localTime(state.CreatedAt), or(state.LastError),
		}
	}
	if err := printTable(out, []string{"DELIVERY", "USER", "PARTNER", "EVENT", "STATUS", "TRIES", "HTTP", "ENQUEUED", "LAST ERROR"}, rows); err != nil {
		return err
	}
	if len(list) == c.Limit && !c.Watch {
		a.say("there may be more: --after %s", list[len(list)-1].ID)
	}
	return nil
}

// parsePeriod reads --since and --until; the zero time for one that is not given.
func parsePeriod(since, until string, now time.Time) (from, to time.Time, err error) {
	if from, err = parseTime("--since", since, now); err != nil {
		return from, to, err
	}
	if to, err = parseTime("--until", until, now); err != nil {
		return from, to, err
	}
	if !to.IsZero() && to.Before(from) {
		return from, to, usagef("--until %q is before --since %q", until, since)
	}
	return from, to, nil
}

// parseTime reads a day, a time or an age; the zero time for "".
func parseTime(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05", time.DateOnly} {
		if parsed, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return parsed, nil
		}
	}
	var age config.Duration
	if err := age.UnmarshalText([]byte(text)); err != nil || age < 0 || strings.Trim(text, "0123456789") == "" {
		return time.Time{}, usagef("%s %q must be a day such as 2026-01-31, a time such as 2026-01-31T15:04:05Z, or an age such as 90m, 24h or 7d", flag, text)
	}
	return now.Add(-age.Std()), nil
}

// isAge says whether a time is given as an age, which means another time later.
func isAge(text string) bool {
	var age config.Duration
	return age.UnmarshalText([]byte(text)) == nil
}

type deliveriesShowCommand struct {
	ID   string `arg:"" name:"id" help:"Delivery id, which is the webhook-id."`
	User given  `placeholder:"ID" help:"Find it only if it is this user's."`
	JSON bool   `name:"json" help:"Print a JSON object."`
}

// shownDelivery is what show prints as JSON.
type shownDelivery struct {
	*jobs.DeliveryState

	Payload  json.RawMessage `json:"payload"`
	Attempts []jobs.Attempt  `json:"attempts"`
}

// Run shows a delivery.
func (c *deliveriesShowCommand) Run(a *app) error {
	id, err := parseDeliveryID(c.ID)
	if err != nil {
		return err
	}
	return a.withDeliveries(func(cfg *config.Config, deliveries *jobs.Deliveries) error {
		state, err := deliveries.Get(a.ctx, string(c.User), id)
		if err != nil {
			return err
		}
		shown := shownDelivery{DeliveryState: state}
		if shown.Payload, err = deliveries.Payload(a.ctx, state.UserID, state.EventID); err != nil {
			return err
		}
		if shown.Attempts, err = deliveries.Attempts(a.ctx, state.UserID, id); err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(shown)
		}
		if err := printFields(a.stdout, shown.fields()); err != nil {
			return err
		}
		if !cfg.AuditLogEnabled && len(shown.Attempts) == 0 {
			a.say("AUDIT_LOG_ENABLED=false: attempts are not recorded")
			return nil
		}
		return printAttempts(a, shown.Attempts)
	})
}

func parseDeliveryID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return id, usagef("%q is not a delivery id; they look like 5f0c1d5e-3a55-4b0e-9d1c-1f6a6f2d7c11", text)
	}
	return id, nil
}

func (s *shownDelivery) fields() [][2]string {
	partner := s.PartnerID + " (deleted)"
	if s.PartnerSlug != nil {
		partner = *s.PartnerSlug
	}
	next := ""
	if s.NextAttemptAt != nil {
		next = localTime(*s.NextAttemptAt)
	}
	return [][2]string{
		{"delivery", s.ID},
		{"user", s.UserID},
		{"partner", partner},
		{"event", s.EventType + " " + s.EventID},
		{"status", string(s.Status)},
		{"tries", fmt.Sprintf("%d of %d", s.AttemptCount, s.MaxAttempts)},
		{"next try", next},
		{"last error", or(s.LastError)},
		{"job", jobNumber(s.JobID)},
		{"enqueued", localTime(s.CreatedAt)},
		{"updated", localTime(s.UpdatedAt)},
		{"event payload", string(s.Payload)},
	}
}

// jobNumber is how people read a job's id.
func jobNumber(id int64) string {
	if id == 0 {
		return "removed; this is what the attempts say"
	}
	return strconv.FormatInt(id, 10)
}

// printAttempts lists attempts, each with its answer's body below.
func printAttempts(a *app, attempts []jobs.Attempt) error {
	rows := make([][]string, len(attempts))
	for i := range attempts {
		attempt := &attempts[i]
		duration := ""
		if attempt.DurationMS != nil {
			duration = strconv.FormatFloat(*attempt.DurationMS, 'f', 1, 64) + " ms"
		}
		rows[i] = []string{
			strconv.Itoa(attempt.Number), attempt.StartedAt.Local().Format("2006-01-02 15:04:05.000"), string(attempt.Trigger),
			string(attempt.Outcome), or(attempt.ResponseStatus), duration, or(attempt.ErrorKind), or(attempt.Error), or(attempt.ResponseBody),
		}
	}
	if _, err := fmt.Fprintln(a.stdout); err != nil {
		return err
	}
	return printTable(a.stdout, []string{"TRY", "STARTED", "TRIGGER", "OUTCOME", "HTTP", "TOOK", "KIND", "ERROR", "ANSWER"}, rows)
}

type deliveriesCancelCommand struct {
	ID     []string `arg:"" name:"id" help:"Delivery ids."`
	User   given    `placeholder:"ID" help:"Cancel them only if they are this user's."`
	DryRun bool     `help:"Print what would be cancelled, and change nothing."`
}

// Run cancels deliveries one by one; one that can't be cancelled does not keep the others from it.
func (c *deliveriesCancelCommand) Run(a *app) error {
	ids := make([]uuid.UUID, len(c.ID))
	for i, text := range c.ID {
		var err error
		if ids[i], err = parseDeliveryID(text); err != nil {
			return err
		}
	}
	return a.withDeliveries(func(cfg *config.Config, deliveries *jobs.Deliveries) error {
		var failures []error
		for _, id := range ids {
			var (
				state *jobs.DeliveryState
				err   error
			)
			done := "cancelled"
			if c.DryRun {
				done = "would be cancelled"
				state, err = deliveries.Get(a.ctx, string(c.User), id)
			} else {
				state, err = deliveries.Cancel(a.ctx, string(c.User), id, operatorID(), cfg.AuditLogEnabled)
			}
			switch {
			case err != nil:
				failures = append(failures, err)
			case state.Status.Ended():
				failures = append(failures, fmt.Errorf("delivery %s is %s already", id, state.Status))
			default:
				a.say("delivery %s %s", id, done)
			}
		}
		return errors.Join(failures...)
	})
}

// operatorID says in the audit log that a person did it, and where.
func operatorID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return "command line on " + host
}
