package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/partners"
)

// idOf is a key's id.
func idOf(t *testing.T, key string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key)
	require.NoError(t, err)
	keyring, err := partners.NewKeyring(raw)
	require.NoError(t, err)
	return keyring.CurrentID()
}

// keys are the variables of a current key and old ones.
func keys(current, old string) []string {
	return []string{"WEBHOOK_ENCRYPTION_KEY=" + current, "WEBHOOK_ENCRYPTION_KEYS_OLD=" + old}
}

// secretOf is the one secret that show --reveal prints of a partner.
func (c *terminal) secretOf(t *testing.T, user, slug string) string {
	t.Helper()
	var partner shownPartner
	c.json(t, &partner, "partner", "show", "--user", user, slug, "--reveal")
	require.Len(t, partner.Secrets, 1)
	return partner.Secrets[0].Secret
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	base, _ := newTerminal(t)
	first, second, lost := newKey(), newKey(), newKey()
	before := base.with(keys(first, "")...)
	secrets := map[string]any{}
	for i := range 3 {
		slug := "acme-" + strconv.Itoa(i)
		secrets[slug] = before.addPartner(t, "ann", slug, "https://example.com/")["secret"]
	}
	both := base.with(keys(second, first)...)
	both.addPartner(t, "ben", "acme", "https://example.com/")

	want := []partners.KeyUse{{KeyID: idOf(t, second), State: "current", Partners: 1}, {KeyID: idOf(t, first), State: "old", Partners: 3}}
	var uses []partners.KeyUse
	both.json(t, &uses, "keys", "list")
	require.Equal(t, want, uses)
	listed := both.ok(t, "keys", "list").stdout
	require.Regexp(t, idOf(t, first)+` +old +3\n`, listed)

	var done rotation
	both.json(t, &done, "keys", "rotate", "--dry-run")
	require.Equal(t, rotation{DryRun: true, ReEncrypted: 3, Keys: want, Damaged: []partners.Damaged{}}, done)
	require.Contains(t, both.ok(t, "keys", "rotate", "--dry-run").stderr, "3 partners would be re-encrypted with key "+idOf(t, second))
	both.json(t, &uses, "keys", "list")
	require.Equal(t, want, uses, "a dry run changes nothing")

	rotated := both.ok(t, "keys", "rotate")
	require.Contains(t, rotated.stderr, "3 partners re-encrypted with key "+idOf(t, second))
	require.Contains(t, rotated.stderr, "no stored secret needs key "+idOf(t, first)+" any more: if every process was restarted")
	after := base.with(keys(second, "")...)
	for slug, secret := range secrets {
		require.Equal(t, secret, after.secretOf(t, "ann", slug))
	}
	require.Contains(t, both.ok(t, "keys", "rotate").stderr, "0 partners re-encrypted")
	require.NotContains(t, after.ok(t, "keys", "rotate").stderr, "no stored secret needs", "there is no old key")

	// One process still has the first key as its current one, and another has one that is not configured here.
	base.with(keys(first, second)...).addPartner(t, "ann", "late", "https://example.com/")
	base.with(keys(lost, second)...).addPartner(t, "ben", "lost", "https://example.com/")
	both.addPartner(t, "ann", "damaged", "https://example.com/")
	failed := both.run(t, "keys", "rotate", "--json")
	require.Equal(t, 1, failed.status)
	require.Equal(t, "webhook-worker: keys rotate: 1 partners are sealed with key "+idOf(t, lost)+", which is not configured: "+
		"add it to WEBHOOK_ENCRYPTION_KEYS_OLD and run this again, or, if it is lost, delete the partners and add them again\n", failed.stderr)
	require.NoError(t, json.Unmarshal([]byte(failed.stdout), &done))
	require.Equal(t, 1, done.ReEncrypted)
	require.Equal(t, partners.KeyUse{KeyID: idOf(t, lost), State: "missing", Partners: 1}, done.Keys[2])
	require.Equal(t, 1, both.run(t, "keys", "rotate", "--dry-run").status)
}

func TestKeysRotateLeavesWhatIsDamaged(t *testing.T) {
	t.Parallel()
	base, pool := newTerminal(t)
	first, second := newKey(), newKey()
	base.with(keys(first, "")...).addPartner(t, "ann", "acme", "https://example.com/")
	_, err := pool.Exec(t.Context(), `update partner_webhooks set secret_ciphertext = secret_ciphertext || '\x00'`)
	require.NoError(t, err)
	got := base.with(keys(second, first)...).run(t, "keys", "rotate")
	require.Equal(t, 1, got.status)
	require.Contains(t, got.stderr, "partner acme of user ann is damaged: key "+idOf(t, first)+" sealed its secrets and does not open them")
	require.Contains(t, got.stderr, "1 partners of key "+idOf(t, first)+" are damaged: delete them and add them again")
	require.NotContains(t, got.stderr, "no stored secret needs")
}

func TestRotationOfWhatCameMeanwhile(t *testing.T) {
	t.Parallel()
	done := &rotation{
		Keys: []partners.KeyUse{{KeyID: "new", State: partners.KeyCurrent, Partners: 9}, {KeyID: "first", State: partners.KeyOld, Partners: 3}},
	}
	require.EqualError(t, done.left(), "3 partners were sealed with key first meanwhile, by a process that has it as its "+
		"WEBHOOK_ENCRYPTION_KEY: restart that with the new one, and run this again")
	done.Damaged = []partners.Damaged{{KeyID: "first"}, {KeyID: "other"}}
	require.ErrorContains(t, done.left(), "1 partners of key first are damaged: delete them and add them again; 2 partners were sealed with key first meanwhile")
	done.DryRun, done.Damaged = true, nil
	require.NoError(t, done.left())
}

// A worker says which keys it lacks, and works for the other partners.
func TestWorkSaysWhichKeysAreMissing(t *testing.T) {
	t.Parallel()
	base, _ := newTerminal(t)
	first, second := newKey(), newKey()
	e := newEndpoint(t, 204)
	base.with(keys(first, "")...).addPartner(t, "ann", "acme", e.URL)
	base.with(keys(second, first)...).addPartner(t, "ann", "missing", e.URL+"/missing")
	base.ok(t, "send", "--user", "ann", "--event", "call.x", "--data", "{}")
	worker := base.with(keys(first, "")...).start(t, "work")
	require.Eventually(t, func() bool { return len(e.received()) == 1 }, waitFor, look)
	require.Contains(t, worker.stderr.String(), "key_id="+idOf(t, second)+" partners=1")
	require.Eventually(t, func() bool {
		var waiting []any
		base.json(t, &waiting, "deliveries", "list", "--user", "ann", "--status", "pending")
		return len(waiting) == 1
	}, waitFor, 10*look, "the other waits, and has used no try")
	require.Contains(t, worker.stderr.String(), "delivery put off")
	tested := base.with(keys(first, "")...).run(t, "partner", "test", "--user", "ann", "missing")
	require.Equal(t, 1, tested.status)
	require.Contains(t, tested.stderr, "sealed with key "+idOf(t, second)+": no encryption key at hand")

	require.Zero(t, worker.stop()) // else which of the two gets the delivery when it comes again is a matter of luck
	base.with(keys(second, first)...).start(t, "work", "--instance", "2")
	require.Eventually(t, func() bool { return len(e.received()) == 2 }, time.Minute, look)
}

func TestKeysFromFiles(t *testing.T) {
	t.Parallel()
	base, _ := newTerminal(t)
	first, second := newKey(), newKey()
	base.with(keys(first, "")...).addPartner(t, "ann", "acme", "https://example.com/")
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	require.NoError(t, os.WriteFile(file, []byte(second+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "WEBHOOK_ENCRYPTION_KEYS_OLD"), []byte(first+"\n"), 0o600))
	filed := base.with("WEBHOOK_ENCRYPTION_KEY=", "WEBHOOK_ENCRYPTION_KEY_FILE="+file, "CREDENTIALS_DIRECTORY="+dir)
	require.Contains(t, filed.ok(t, "keys", "rotate").stderr, "1 partners re-encrypted with key "+idOf(t, second))

	shown := filed.ok(t, "config").stdout
	require.Regexp(t, `WEBHOOK_ENCRYPTION_KEY +\[redacted\] +file `+file, shown)
	require.Regexp(t, `WEBHOOK_ENCRYPTION_KEYS_OLD +\[redacted\] +credential /`, shown)
	require.Regexp(t, `DATABASE_URL +\S+ +environment`, shown)
	require.Regexp(t, `LOG_LEVEL +INFO +default`, shown)
	require.NotContains(t, shown, second)
	require.Contains(t, filed.ok(t, "config", "--json").stdout, `"from": "file",`)
}
