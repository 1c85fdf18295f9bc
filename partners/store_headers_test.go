package partners

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// requireHeaders checks the headers that a partner's requests have.
func requireHeaders(t *testing.T, bundle *testBundle, partner *Partner, want Headers) {
	t.Helper()

	opened, err := bundle.store.Unseal(partner, time.Now())
	require.NoError(t, err)
	require.Equal(t, maps.Collect(want.all()), maps.Collect(opened.Headers.all()))
	require.Len(t, opened.Headers.Secret, len(want.Secret))
}

func TestHeadersAreSealed(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	const text = "leaky-header-value"
	headers := Headers{Plain: map[string]string{"x-env": "<prod>"}, Secret: map[string]Secret{"authorization": text}}
	partner, secret := bundle.add(t, "anna", acme(func(p *Params) { p.Headers = headers }))
	requireSigns(t, bundle, partner, secret)
	requireHeaders(t, bundle, partner, Headers{Plain: map[string]string{"X-Env": "<prod>"}, Secret: map[string]Secret{"Authorization": text}})

	var row string
	require.NoError(t, bundle.pool.QueryRow(t.Context(), `select row_to_json(p)::text from partner_webhooks p`).Scan(&row))
	require.Contains(t, row, `{"Authorization":null,"X-Env":"<prod>"}`)
	document := asJSON(t, partner)
	require.Contains(t, document, `"request_headers":{"Authorization":"[redacted]","X-Env":"\u003cprod\u003e"}`)
	opened, err := bundle.store.Unseal(partner, time.Now())
	require.NoError(t, err)
	for _, shown := range []string{row, document, fmt.Sprintf("%+v %#v %v", partner, partner, opened), asJSON(t, opened), fmt.Sprintf("%+v", Request{Headers: headers})} {
		requireHidden(t, text, shown)
	}
	require.NotContains(t, string(partner.sealed.ciphertext), text)
}

func TestUpdateHeaders(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	_, first := bundle.add(t, "anna", acme(func(p *Params) {
		p.Headers = Headers{Plain: map[string]string{"X-Env": "prod"}, Secret: map[string]Secret{"Authorization": "Bearer one"}}
	}))
	bens, _ := bundle.add(t, "ben", acme())
	second := bundle.rotate(t, "", time.Hour)
	update := func(changes Changes, want Headers) *Partner {
		t.Helper()
		partner, err := bundle.store.Update(t.Context(), "anna", "acme-corp", &changes)
		require.NoError(t, err)
		require.Equal(t, bundle.get(t), partner)
		requireHeaders(t, bundle, partner, want)
		requireSigns(t, bundle, partner, second, first)
		return partner
	}
	update(Changes{Headers: Headers{Plain: map[string]string{"x-env": "test"}}},
		Headers{Plain: map[string]string{"X-Env": "test"}, Secret: map[string]Secret{"Authorization": "Bearer one"}})
	update(Changes{EnabledEvents: []string{"*"}},
		Headers{Plain: map[string]string{"X-Env": "test"}, Secret: map[string]Secret{"Authorization": "Bearer one"}})
	update(Changes{Headers: Headers{Secret: map[string]Secret{"authorization": "", "X-Api-Key": "key"}}},
		Headers{Plain: map[string]string{"X-Env": "test"}, Secret: map[string]Secret{"Authorization": "Bearer one", "X-Api-Key": "key"}})
	update(Changes{Headers: Headers{Secret: map[string]Secret{}}}, Headers{Plain: map[string]string{"X-Env": "test"}})
	update(Changes{Headers: Headers{Plain: map[string]string{}}}, Headers{})

	unchanged, err := bundle.store.Get(t.Context(), "ben", "acme-corp")
	require.NoError(t, err)
	require.Equal(t, bens, unchanged)
	_, err = bundle.store.Update(t.Context(), "anna", "another", &Changes{Headers: plain("X-Env", "x")})
	require.ErrorIs(t, err, ErrNotFound)
	_, err = bundle.store.Update(t.Context(), "anna", "acme-corp", &Changes{Headers: Headers{Secret: map[string]Secret{"X-Env": ""}}})
	requireRefused(t, err, "request_headers", "must have a value")
	_, err = NewStore(&StoreConfig{Pool: bundle.pool}).Update(t.Context(), "anna", "acme-corp", &Changes{Headers: plain("X-Env", "x")})
	require.ErrorIs(t, err, ErrNoKey)
	_, err = NewStore(&StoreConfig{Pool: bundle.pool, Keyring: testKeyring(t, 2)}).Unseal(bundle.get(t), time.Now())
	require.ErrorIs(t, err, ErrWrongKey)
}

// A rotation and a change of headers write the same ciphertext, each what the other left.
func TestConcurrentRotationsAndHeaderChangesLoseNothing(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	bundle.add(t, "anna", acme())
	errs := make([]error, 8)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			if i%2 == 0 {
				_, errs[i] = bundle.store.RotateSecret(t.Context(), "anna", "acme-corp", "", time.Hour)
			} else {
				_, errs[i] = bundle.store.Update(t.Context(), "anna", "acme-corp", &Changes{Headers: Headers{Secret: map[string]Secret{"X-Api-Key": "key"}}})
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	opened, err := bundle.store.Unseal(bundle.get(t), time.Now())
	require.NoError(t, err)
	require.Len(t, opened.Secrets, 5)
	requireHeaders(t, bundle, bundle.get(t), Headers{Secret: map[string]Secret{"X-Api-Key": "key"}})
}
