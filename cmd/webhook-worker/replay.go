package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

type replayCommand struct {
	ID        []string `arg:"" name:"id" optional:"" help:"Delivery ids."`
	User      given    `placeholder:"ID" help:"Only this user's."`
	Partner   given    `placeholder:"SLUG" help:"Only to partners of this slug."`
	Status    given    `placeholder:"STATUS" help:"dead_letter (if left out), cancelled, or delivered, which needs --since."`
	Event     given    `placeholder:"TYPE" help:"Only of this event type."`
	ErrorKind given    `placeholder:"KIND" help:"Only those whose last try failed so: dns, connect, tls, timeout, http_status, ..."`
	Since     given    `placeholder:"TIME" help:"Only those enqueued since: 2026-01-31, 2026-01-31T15:04:05Z, or an age such as 90m, 24h or 7d."`
	Until     given    `placeholder:"TIME" help:"Only those enqueued before."`
	Missing   bool     `help:"Deliver stored events to partners that are subscribed to them but did not get them, because they were added later or were disabled. Needs --since."`
	Rate      perTime  `placeholder:"N/s" help:"Most deliveries a second (or N/m: a minute), for a partner that has just come back."`
	RunName   given    `name:"run" placeholder:"NAME" help:"Name of an interrupted replay to go on with: what it replayed is left out."`
	DryRun    bool     `help:"Count what would be replayed, and change nothing."`
	JSON      bool     `name:"json" help:"Print a JSON object."`
}

// perTime is a rate such as 500/s or 30/m, in events a second.
type perTime float64

// UnmarshalText reads a number, a second's if no time is named.
func (r *perTime) UnmarshalText(text []byte) error {
	number, unit, _ := strings.Cut(string(text), "/")
	seconds, known := map[string]float64{"": 1, "s": 1, "m": 60}[unit]
	count, err := strconv.ParseFloat(number, 64)
	if err != nil || !known || !(count > 0) || count > 1e6 {
		return fmt.Errorf("must be a number a second or a minute, such as 500/s or 30/m, and is %q", text)
	}
	*r = perTime(count / seconds)
	return nil
}

// Run replays deliveries, by id or by what they have in common.
func (c *replayCommand) Run(a *app) error {
	if len(c.ID) > 0 {
		return c.replayIDs(a)
	}
	replay, err := c.selection()
	if err != nil {
		return err
	}
	return a.withDeliveries(func(_ *config.Config, deliveries *jobs.Deliveries) error {
		counts, err := deliveries.CountReplay(a.ctx, replay)
		if err != nil {
			return err
		}
		if c.DryRun {
			return c.printCounts(a, counts)
		}
		return c.replaySelected(a, deliveries, replay, total(counts, func(jobs.ReplayCount) bool { return true }))
	})
}

// filtered says whether a flag selects among deliveries.
func (c *replayCommand) filtered() bool {
	return c.Partner != "" || c.Status != "" || c.Event != "" || c.ErrorKind != "" || c.Since != "" || c.Until != "" || c.Missing
}

// replayIDs replays deliveries one by one; one that can't be replayed does not keep the others from it.
func (c *replayCommand) replayIDs(a *app) error {
	if c.filtered() || c.Rate > 0 || c.RunName != "" {
		return usagef("delivery ids go with --user, --dry-run and --json only")
	}
	ids := make([]uuid.UUID, len(c.ID))
	for i, text := range c.ID {
		var err error
		if ids[i], err = parseDeliveryID(text); err != nil {
			return err
		}
	}
	return a.withDeliveries(func(_ *config.Config, deliveries *jobs.Deliveries) error {
		var failures []error
		results := map[string]jobs.ReplayResult{}
		for _, id := range ids {
			result, err := deliveries.ReplayOne(a.ctx, string(c.User), id, c.DryRun)
			if err != nil {
				return errors.Join(append(failures, err)...)
			}
			results[id.String()] = result
			switch {
			case result != jobs.Replayed:
				failures = append(failures, fmt.Errorf("delivery %s %s", id, explain(result)))
			case c.DryRun:
				a.say("delivery %s would be replayed", id)
			default:
				a.say("delivery %s replayed", id)
			}
		}
		if c.JSON {
			failures = append(failures, a.printJSON(results))
		}
		return errors.Join(failures...)
	})
}

// explain says in words why a delivery was not replayed.
func explain(result jobs.ReplayResult) string {
	switch result {
	case jobs.UnderWay:
		return "waits for a try or is being tried: it is not replayed"
	case jobs.ReplayedBefore:
		return "was replayed in this run before"
	case jobs.ReplayNotFound:
		return "not found"
	case jobs.EventRemoved:
		return "can't be replayed: its event has been removed (RETENTION_EVENTS)"
	case jobs.PartnerDeleted:
		return "can't be replayed: its partner was deleted"
	case jobs.PartnerDisabled:
		return "can't be replayed: its partner is disabled; enable it first"
	default:
		return string(result)
	}
}

// selection checks the flags and makes them a selection.
func (c *replayCommand) selection() (*jobs.Replay, error) {
	status := jobs.Status(c.Status)
	switch {
	case !c.filtered() && c.User == "":
		return nil, usagef("name deliveries by their ids, or select them, such as with --status dead_letter")
	case c.Missing && c.Since == "":
		return nil, usagef("--missing needs --since: from when on events are looked at")
	case c.Missing && (c.Status != "" || c.ErrorKind != "" || c.RunName != ""):
		return nil, usagef("--missing is about deliveries that were never made: --status, --error-kind and --run don't go with it")
	case status == "":
		status = jobs.StatusDeadLetter
	case !status.Ended():
		return nil, usagef("--status must be dead_letter, cancelled or delivered, and is %q", c.Status)
	case status == jobs.StatusDelivered && c.Since == "":
		return nil, usagef("--status delivered needs --since: from when on deliveries are made again")
	case status == jobs.StatusDelivered && c.ErrorKind != "":
		return nil, usagef("--error-kind does not go with --status delivered")
	}
	if c.ErrorKind != "" && !slices.Contains(partners.ErrorKinds(), partners.ErrorKind(c.ErrorKind)) {
		return nil, usagef("--error-kind must be one of %s, and is %q", joinKinds(), c.ErrorKind)
	}
	since, until, err := parsePeriod(string(c.Since), string(c.Until), time.Now())
	if err != nil {
		return nil, err
	}
	return &jobs.Replay{
		Filter: jobs.Filter{
			UserID:      string(c.User),
			PartnerSlug: string(c.Partner),
			Status:      status,
			EventType:   string(c.Event),
			ErrorKind:   partners.ErrorKind(c.ErrorKind),
			Since:       since,
			Until:       until,
		},
		Missing: c.Missing,
		Run:     c.run(),
		Rate:    float64(c.Rate),
	}, nil
}

func joinKinds() string {
	kinds := make([]string, 0, len(partners.ErrorKinds()))
	for _, kind := range partners.ErrorKinds() {
		kinds = append(kinds, string(kind))
	}
	return strings.Join(kinds, ", ")
}

// run is the name of this undertaking. Recovering needs none: what was recovered is missing no more.
func (c *replayCommand) run() string {
	switch {
	case c.Missing:
		return ""
	case c.RunName != "":
		return string(c.RunName)
	}
	return "replay-" + time.Now().UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:6])
}

// total sums up those counts that count.
func total(counts []jobs.ReplayCount, counting func(jobs.ReplayCount) bool) int64 {
	var sum int64
	for _, count := range counts {
		if counting(count) {
			sum += count.Count
		}
	}
	return sum
}

// printCounts shows what a dry run found.
func (c *replayCommand) printCounts(a *app, counts []jobs.ReplayCount) error {
	would := total(counts, func(count jobs.ReplayCount) bool { return count.LeftOut == "" })
	if c.JSON {
		return a.printJSON(map[string]any{"count": would, "partners": counts})
	}
	rows := make([][]string, len(counts))
	for i, count := range counts {
		slug := count.PartnerID.String() + " (deleted)"
		if count.PartnerSlug != nil {
			slug = *count.PartnerSlug
		}
		rows[i] = []string{count.UserID, slug, strconv.FormatInt(count.Count, 10)}
	}
	if err := printTable(a.stdout, []string{"USER", "PARTNER", "DELIVERIES"}, rows); err != nil {
		return err
	}
	a.say("%d deliveries would be %s", would, c.verb())
	for _, reason := range []jobs.ReplayResult{jobs.PartnerDeleted, jobs.PartnerDisabled} {
		if left := total(counts, func(count jobs.ReplayCount) bool { return count.LeftOut == reason }); left > 0 {
			a.say("%d would be left out: %s", left, reason)
		}
	}
	return nil
}

// again says how to go on. An age would mean another time by then.
func (c *replayCommand) again(replay *jobs.Replay) string {
	var flags []string
	if replay.Run != "" {
		flags = append(flags, "--run "+replay.Run)
	}
	if isAge(string(c.Since)) {
		flags = append(flags, "--since "+replay.Filter.Since.UTC().Format(time.RFC3339Nano))
	}
	if isAge(string(c.Until)) {
		flags = append(flags, "--until "+replay.Filter.Until.UTC().Format(time.RFC3339Nano))
	}
	if len(flags) == 0 {
		return "run the same command again"
	}
	return "run the same command again with " + strings.Join(flags, " ")
}

func (c *replayCommand) verb() string {
	if c.Missing {
		return "made"
	}
	return "replayed"
}

// replaySelected replays, shows how far it is, and says at the end what came of it.
func (c *replayCommand) replaySelected(a *app, deliveries *jobs.Deliveries, replay *jobs.Replay, selected int64) error {
	if replay.Run != "" && selected > 0 {
		a.say("%d deliveries in run %s", selected, replay.Run)
	}
	progress := newProgress(a, selected)
	results := map[jobs.ReplayResult]int64{}
	replay.Report = func(part []jobs.ReplayResult) {
		for _, result := range part {
			results[result]++
		}
		progress.add(len(part))
	}
	err := deliveries.Replay(a.ctx, replay)
	progress.end()

	done := results[jobs.Replayed] + results[jobs.Recovered]
	if err != nil {
		again := c.again(replay)
		if errors.Is(err, context.Canceled) {
			return fmt.Errorf("interrupted after %d of %d deliveries; to go on, %s", done, selected, again)
		}
		return fmt.Errorf("after %d of %d deliveries: %w; to go on, %s", done, selected, err, again)
	}
	if c.JSON {
		return a.printJSON(map[string]any{"selected": selected, "run": replay.Run, "results": results})
	}
	a.say("%d deliveries %s", done, c.verb())
	for _, result := range []jobs.ReplayResult{
		jobs.UnderWay, jobs.ReplayedBefore, jobs.NotMissing, jobs.NotSubscribed, jobs.ReplayNotFound,
		jobs.EventRemoved, jobs.PartnerDeleted, jobs.PartnerDisabled,
	} {
		if results[result] > 0 {
			a.say("%d left out: %s", results[result], result)
		}
	}
	return nil
}
