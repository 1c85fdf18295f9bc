//go:build faults

package faults

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/partners"
)

// keyEnviron are the variables of a current key and old ones.
func keyEnviron(current []byte, old ...[]byte) []string {
	var list []string
	for _, key := range old {
		list = append(list, base64.StdEncoding.EncodeToString(key))
	}
	return []string{
		"WEBHOOK_ENCRYPTION_KEY=" + base64.StdEncoding.EncodeToString(current),
		"WEBHOOK_ENCRYPTION_KEYS_OLD=" + strings.Join(list, ","),
	}
}

// addOthers adds partners that get no event, so that re-encrypting all takes a while.
func (w *world) addOthers(t *testing.T, store *partners.Store, count int) {
	t.Helper()
	for i := range count {
		w.addPartner(t, store, "user_2", fmt.Sprintf("other-%d", i), "*")
	}
}

// restart stops workers one after the other and starts each again with another environment.
func (w *world) restart(t *testing.T, workers []*worker, environ []string) {
	t.Helper()
	for _, old := range workers {
		old.signal(syscall.SIGTERM)
		require.Zero(t, old.wait(t, 30*time.Second), "exit status of worker %s", old.instance)
		w.startWorker(t, old.instance, environ...)
		w.flow(t, len(w.receiver.all())+30)
	}
}

// rotateKeys runs `keys rotate`, and returns how many partners it re-encrypted and whether nothing was left.
func (w *world) rotateKeys(t *testing.T, environ []string) (reEncrypted int, complete bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rotate := exec.CommandContext(ctx, shared.binary, "keys", "rotate", "--json")
	rotate.Env = append(append([]string(nil), w.environ...), environ...)
	var stderr strings.Builder
	rotate.Stderr = &stderr
	stdout, err := rotate.Output()
	var done struct {
		ReEncrypted int `json:"re_encrypted"`
	}
	require.NoError(t, json.Unmarshal(stdout, &done), stderr.String())
	return done.ReEncrypted, err == nil
}

// The encryption key is replaced as README says, under load, while partners' own secrets are rotated: nobody
// notices.
func TestRotateKeys(t *testing.T) {
	t.Parallel()
	const others, rotations = 2000, 8 // of 10 secrets that a partner may have at once
	w, stopLoad := underLoad(t, "a", "b", "c")
	w.addOthers(t, w.store, others)
	fresh := newKey()
	both := keyEnviron(fresh, w.key)
	w.restart(t, w.live(), both)

	store := storeWithKeys(t, w.pool, fresh, w.key)
	var changes sync.WaitGroup
	changes.Go(func() {
		for i := range rotations {
			slug := w.subscribed[i%len(w.subscribed)]
			if _, err := store.RotateSecret(context.WithoutCancel(t.Context()), user, slug, "", time.Hour); err != nil {
				t.Errorf("rotating the secret of %s: %v", slug, err)
			}
		}
	})
	// The workers have both keys, so that it can be done several times over.
	var began, ended time.Time
	var reEncrypted int
	for _, environ := range [][]string{both, keyEnviron(w.key, fresh), both, keyEnviron(w.key, fresh), both} {
		var complete bool
		began = time.Now()
		reEncrypted, complete = w.rotateKeys(t, environ)
		ended = time.Now()
		changes.Wait()
		require.True(t, complete)
		require.GreaterOrEqual(t, reEncrypted, others)
	}
	w.flow(t, len(w.receiver.all())+100)

	w.environ = append(w.environ, keyEnviron(fresh)...) // the doctor's too
	w.restart(t, w.live(), nil)
	stopLoad()
	w.conclude(t, settleBound, &rules{}, took(began, ended, fmt.Sprintf("to re-encrypt %d partners", reEncrypted)))
}

// `keys rotate` is killed in the middle, and run again.
func TestKillKeysRotate(t *testing.T) {
	t.Parallel()
	const others = 2000
	w, stopLoad := underLoad(t, "a", "b")
	w.addOthers(t, w.store, others)
	fresh := newKey()
	both := keyEnviron(fresh, w.key)
	w.restart(t, w.live(), both)

	count := func() (fromOld int) {
		uses, err := storeWithKeys(t, w.pool, w.key).KeyUses(t.Context())
		require.NoError(t, err)
		return uses[0].Partners
	}
	all := count()
	for range 3 {
		rotate := exec.CommandContext(t.Context(), shared.binary, "keys", "rotate")
		rotate.Env = append(append([]string(nil), w.environ...), both...)
		require.NoError(t, rotate.Start())
		before := count()
		require.Eventually(t, func() bool { return count() < before }, 20*time.Second, time.Millisecond)
		_ = rotate.Process.Kill()
		_ = rotate.Wait()
	}
	left := count()
	require.NotZero(t, left, "it was done before it was killed")
	require.Less(t, left, all)
	began := time.Now()
	reEncrypted, complete := w.rotateKeys(t, both)
	ended := time.Now()
	require.True(t, complete)
	require.Equal(t, left, reEncrypted)
	w.environ = append(w.environ, keyEnviron(fresh)...)
	w.restart(t, w.live(), nil)
	stopLoad()
	w.conclude(t, settleBound, &rules{}, took(began, ended, fmt.Sprintf("to re-encrypt the last %d partners", left)))
}

// The key is replaced before one worker has the new one: what that worker can't sign waits for the others.
func TestRotateKeysTooEarly(t *testing.T) {
	t.Parallel()
	w, stopLoad := underLoad(t, "a", "b", "c")
	fresh := newKey()
	both := keyEnviron(fresh, w.key)
	late := w.live()[2]
	w.restart(t, w.live()[:2], both)
	reEncrypted, complete := w.rotateKeys(t, both)
	require.True(t, complete)
	require.NotZero(t, reEncrypted)
	require.Eventually(t, func() bool { return late.says("delivery put off") }, 30*time.Second, 20*time.Millisecond)
	w.flow(t, len(w.receiver.all())+100)

	w.environ = append(w.environ, keyEnviron(fresh)...)
	began := time.Now()
	w.restart(t, []*worker{late}, nil)
	stopLoad()
	w.settle(t, settleBound)
	ended := time.Now()
	w.conclude(t, settleBound, &rules{}, took(began, ended, "until nothing waited"))
}

// A partner's secret was sealed with a key that no worker has, until one has it: its deliveries wait, and
// the others don't.
func TestForeignKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &setting{retries: poisonRetries})
	process := w.startWorker(t, "a")
	foreign := newKey()
	w.addPartner(t, storeWithKeys(t, w.pool, foreign), user, "third", eventType)
	w.subscribed = append(w.subscribed, "third")
	w.enqueue(t, 20)
	w.receiver.waitFor(t, settleBound, "all that can be signed", func(all []*arrival) bool { return len(all) == 40 })
	require.Eventually(t, func() bool { return strings.Count(process.log.String(), "delivery put off") >= 20 }, 30*time.Second, 20*time.Millisecond)
	require.Contains(t, w.doctor(t), "partner_sealed_with_another_key (1)")
	require.Zero(t, w.receiver.count(func(a *arrival) bool { return a.path == "/third" }), "sent without a signature")

	w.environ = append(w.environ, keyEnviron(w.key, foreign)...)
	process.signal(syscall.SIGTERM)
	require.Zero(t, process.wait(t, 30*time.Second))
	began := time.Now()
	w.startWorker(t, "a")
	w.settle(t, settleBound)
	ended := time.Now()
	w.conclude(t, settleBound, &rules{}, took(began, ended, "from the key's arrival until all were delivered"))
}
