package jobs

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/epicvoice/webhook-worker/partners"
)

// Filter selects deliveries; empty fields select all.
type Filter struct {
	UserID      string
	PartnerSlug string
	Status      Status
	EventType   string
	ErrorKind   partners.ErrorKind // of the last try
	Since       time.Time          // enqueued at this time or later
	Until       time.Time          // enqueued before
}

// conditions are the conditions of a statement and their parameters. What is not asked for is left out, so
// that PostgreSQL plans for what is.
type conditions struct {
	all  []string
	args []any
}

// add adds a condition; $? in it stands for the value.
func (c *conditions) add(condition string, value any) {
	c.all = append(c.all, strings.ReplaceAll(condition, "$?", c.arg(value)))
}

// arg adds a parameter, and returns what stands for it.
func (c *conditions) arg(value any) string {
	c.args = append(c.args, value)
	return fmt.Sprintf("$%d", len(c.args))
}

// where is the where clause; empty if there are no conditions.
func (c *conditions) where() string {
	if len(c.all) == 0 {
		return ""
	}
	return "\n where " + strings.Join(c.all, "\n   and ")
}

// ofQueue are the conditions on the view webhook_deliveries, named q.
func (f *Filter) ofQueue() *conditions {
	c := &conditions{}
	f.addEvents(c, `q."userId"`, `q.event_type`, `q."createdAt"`)
	f.addJobs(c)
	return c
}

// ofEvents are the conditions on webhook_events, named e, without those on what became of an event.
func (f *Filter) ofEvents() *conditions {
	c := &conditions{}
	f.addEvents(c, `e.user_id`, `e.event_type`, `e.created_at`)
	return c
}

// addEvents adds the conditions on what is true of an event too.
func (f *Filter) addEvents(c *conditions, userID, eventType, createdAt string) {
	if f.UserID != "" {
		c.add(userID+` = $?`, f.UserID)
	}
	if f.EventType != "" {
		c.add(eventType+` = $?`, f.EventType)
	}
	if !f.Since.IsZero() {
		c.add(createdAt+` >= $?`, f.Since)
	}
	if !f.Until.IsZero() {
		c.add(createdAt+` < $?`, f.Until)
	}
}

// addJobs adds the others, on the view webhook_deliveries, named q.
func (f *Filter) addJobs(c *conditions) {
	if f.PartnerSlug != "" {
		c.add(`(q."userId", q.partner_id) in (select user_id, id::text from partner_webhooks where partner_slug = $?)`, f.PartnerSlug)
	}
	if f.Status != "" {
		c.add(`q.status = $?`, string(f.Status))
	}
	if f.Status == StatusProcessing {
		// No index has these by status; by state River's does.
		c.all = append(c.all, `q.job_id in (select id from river_job where state = 'running')`)
	}
	if f.ErrorKind != "" {
		c.add(`q.last_error_kind = $?`, string(f.ErrorKind))
	}
}

// Page is a part of a list.
type Page struct {
	Limit int       // most rows
	After uuid.UUID // the last delivery of the page before; zero for the first page
}
