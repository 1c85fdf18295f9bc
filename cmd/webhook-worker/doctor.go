package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/jobs"
)

type doctorCommand struct {
	User  given `placeholder:"ID" help:"Only this user's deliveries, partners and roles; the rest is checked all the same."`
	Limit int   `default:"20" help:"Most breaches shown of each check; all are counted."`
	JSON  bool  `name:"json" help:"Print a JSON object."`
}

// Run checks what should always hold, and fails if something does not.
func (c *doctorCommand) Run(a *app) error {
	if c.Limit < 1 {
		return usagef("--limit must be at least 1, and is %d", c.Limit)
	}
	return a.withPool(func(cfg *config.Config, pool *pgxpool.Pool) error {
		doctor, err := newDoctor(a, cfg, pool)
		if err != nil {
			return err
		}
		diagnosis, err := doctor.Examine(a.ctx, string(c.User), c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			err = a.printJSON(diagnosis)
		} else {
			err = printDiagnosis(a.stdout, diagnosis)
		}
		if err != nil {
			return err
		}
		if !cfg.AuditLogEnabled {
			a.say("AUDIT_LOG_ENABLED=false: attempts were not looked at")
		}
		if len(cfg.EncryptionKey) == 0 {
			a.say("WEBHOOK_ENCRYPTION_KEY is not set: whether it opens the partners' secrets was not looked at")
		}
		if breaches := diagnosis.Breaches(); breaches > 0 {
			return fmt.Errorf("%d things are not as they should be", breaches)
		}
		return nil
	})
}

// newDoctor makes a doctor that knows the configuration as the workers do.
func newDoctor(a *app, cfg *config.Config, pool *pgxpool.Pool) (*jobs.Doctor, error) {
	rescueAfter, err := rescueAfter(a, pool, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	var keyIDs []string
	if len(cfg.EncryptionKey) > 0 {
		keyring, err := newKeyring(cfg)
		if err != nil {
			return nil, err
		}
		keyIDs = keyring.IDs()
	}
	return jobs.NewDoctor(&jobs.DoctorConfig{
		Pool:        pool,
		Timeout:     cfg.WorkerTimeout.Std(),
		RescueAfter: rescueAfter,
		LogAttempts: cfg.AuditLogEnabled,
		KeyIDs:      keyIDs,
		Retention:   retention(cfg),
	}), nil
}

// printDiagnosis writes each check that found something, with what to do about it, and a summary.
func printDiagnosis(out io.Writer, diagnosis *jobs.Diagnosis) error {
	var text strings.Builder
	for i := range diagnosis.Checks {
		finding := &diagnosis.Checks[i]
		if finding.Count == 0 {
			continue
		}
		fmt.Fprintf(&text, "%s: %d\n  %s\n  What to do: %s\n", finding.Name, finding.Count, finding.Description, finding.Advice)
		for j := range finding.Breaches {
			fmt.Fprintf(&text, "  - %s\n", printable(describeBreach(&finding.Breaches[j])))
		}
		if more := finding.Count - len(finding.Breaches); more > 0 {
			fmt.Fprintf(&text, "  and %d more; --limit shows more\n", more)
		}
		text.WriteByte('\n')
	}
	fmt.Fprintf(&text, "%d checks, %d breaches\n", len(diagnosis.Checks), diagnosis.Breaches())
	if _, err := io.WriteString(out, text.String()); err != nil {
		return fmt.Errorf("writing the diagnosis: %w", err)
	}
	return nil
}

// describeBreach is one line: what it is about, when, and what is wrong.
func describeBreach(breach *jobs.Breach) string {
	var words []string
	for _, id := range [][2]string{
		{"delivery", breach.DeliveryID},
		{"attempt", breach.AttemptID},
		{"event", breach.EventID},
		{"user", breach.UserID},
		{"partner", breach.PartnerID},
	} {
		if id[1] != "" {
			words = append(words, id[0]+" "+id[1])
		}
	}
	if breach.At != nil {
		words = append(words, localTime(*breach.At))
	}
	if len(words) == 0 {
		return breach.Problem
	}
	return strings.Join(words, ", ") + ": " + breach.Problem
}
