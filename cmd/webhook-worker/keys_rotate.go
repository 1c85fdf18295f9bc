package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/partners"
)

type keysRotateCommand struct {
	DryRun bool `help:"Count what would be re-encrypted, and change nothing."`
	JSON   bool `name:"json" help:"Print a JSON object."`
}

// rotation is what rotate prints as JSON.
type rotation struct {
	DryRun      bool               `json:"dry_run"`
	ReEncrypted int                `json:"re_encrypted"` // partners; of a dry run: those that would be
	Keys        []partners.KeyUse  `json:"keys"`         // as they are afterwards
	Damaged     []partners.Damaged `json:"damaged"`
}

// Run re-encrypts secrets.
func (c *keysRotateCommand) Run(a *app) error {
	return a.withStore(func(store *partners.Store, _ *pgxpool.Pool) error {
		done := &rotation{DryRun: c.DryRun, Damaged: []partners.Damaged{}}
		if !c.DryRun {
			result, err := store.Reseal(a.ctx)
			if err != nil {
				a.say("%d partners were re-encrypted; run the same command again to go on", result.Partners)
				return err
			}
			done.ReEncrypted, done.Damaged = result.Partners, append(done.Damaged, result.Damaged...)
		}
		var err error
		if done.Keys, err = store.KeyUses(a.ctx); err != nil { // also what was added meanwhile
			return err
		}
		if c.DryRun {
			done.ReEncrypted = done.partnersOf(partners.KeyOld)
		}
		if c.JSON {
			err = a.printJSON(done)
		} else {
			err = done.print(a)
		}
		if err != nil {
			return err
		}
		return done.left()
	})
}

func (r *rotation) partnersOf(state partners.KeyState) int {
	count := 0
	for _, use := range r.Keys {
		if use.State == state {
			count += use.Partners
		}
	}
	return count
}

// damagedOf counts the damaged partners of a key.
func (r *rotation) damagedOf(keyID string) int {
	count := 0
	for _, partner := range r.Damaged {
		if partner.KeyID == keyID {
			count++
		}
	}
	return count
}

// print says in words what was done, which keys are in use now, and which can go.
func (r *rotation) print(a *app) error {
	if err := printKeyUses(a, r.Keys); err != nil {
		return err
	}
	current, verb := r.Keys[0].KeyID, "re-encrypted"
	if r.DryRun {
		verb = "would be re-encrypted"
	}
	a.say("%d partners %s with key %s", r.ReEncrypted, verb, current)
	for _, partner := range r.Damaged {
		a.say("partner %s of user %s is damaged: key %s sealed its secrets and does not open them", partner.Slug, partner.UserID, partner.KeyID)
	}
	if r.DryRun {
		return nil
	}
	var idle []string
	for _, use := range r.Keys {
		if use.State == partners.KeyOld && use.Partners == 0 {
			idle = append(idle, use.KeyID)
		}
	}
	if len(idle) > 0 {
		a.say("no stored secret needs %s any more: if every process was restarted with key %s as WEBHOOK_ENCRYPTION_KEY before this, remove it "+
			"from WEBHOOK_ENCRYPTION_KEYS_OLD, else restart them and run this again; a backup from before needs it to be of use", keyWords(idle), current)
	}
	return nil
}

// left is an error that names the keys that are still needed, and says what to do; nil if there are none.
func (r *rotation) left() error {
	var words []string
	for _, use := range r.Keys {
		damaged := r.damagedOf(use.KeyID)
		if damaged > 0 {
			words = append(words, fmt.Sprintf("%d partners of key %s are damaged: delete them and add them again", damaged, use.KeyID))
		}
		switch {
		case use.State == partners.KeyMissing:
			words = append(words, fmt.Sprintf("%d partners are sealed with key %s, which is not configured: add it to WEBHOOK_ENCRYPTION_KEYS_OLD "+
				"and run this again, or, if it is lost, delete the partners and add them again", use.Partners, use.KeyID))
		case use.State == partners.KeyOld && use.Partners > damaged && !r.DryRun:
			words = append(words, fmt.Sprintf("%d partners were sealed with key %s meanwhile, by a process that has it as its "+
				"WEBHOOK_ENCRYPTION_KEY: restart that with the new one, and run this again", use.Partners-damaged, use.KeyID))
		}
	}
	if len(words) == 0 {
		return nil
	}
	return errors.New(strings.Join(words, "; "))
}

// keyWords names keys.
func keyWords(ids []string) string {
	if len(ids) == 1 {
		return "key " + ids[0]
	}
	return "the keys " + strings.Join(ids, " and ")
}
