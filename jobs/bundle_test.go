package jobs_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

func TestMain(m *testing.M) { testdb.Main(m) }

const (
	user    = "user_123"
	waitFor = 20 * time.Second
	look    = 5 * time.Millisecond
)

// testBundle is a database of the test's own with what works on it.
type testBundle struct {
	pool     *pgxpool.Pool
	store    *partners.Store
	enqueuer *jobs.Enqueuer
	logger   *slog.Logger
	sender   *partners.Sender
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	pool := testdb.New(t)
	sender := partners.NewSender(&partners.SenderConfig{
		Guard:     newGuard(),
		Timeout:   5 * time.Second,
		MaxIdle:   10,
		UserAgent: "webhook-worker/test",
	})
	t.Cleanup(sender.Close)
	enqueuer, err := jobs.NewEnqueuer(nil)
	require.NoError(t, err)
	return &testBundle{
		pool:     pool,
		store:    newStore(t, pool),
		enqueuer: enqueuer,
		logger:   slog.New(slog.NewTextHandler(t.Output(), nil)),
		sender:   sender,
	}
}

// newGuard makes a guard that lets partners be on this machine.
func newGuard() *partners.Guard {
	return partners.NewGuard(&partners.GuardConfig{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
}

// newStore makes a store with a key that no other store has.
func newStore(t *testing.T, pool *pgxpool.Pool) *partners.Store {
	t.Helper()
	key := make([]byte, partners.KeySize)
	_, _ = rand.Read(key)
	keyring, err := partners.NewKeyring(key)
	require.NoError(t, err)
	return partners.NewStore(&partners.StoreConfig{Pool: pool, Keyring: keyring, Guard: newGuard()})
}

// partner adds a partner of user with the slug and events given.
func (b *testBundle) partner(t *testing.T, userID, slug, url string, events ...string) *partners.Partner {
	t.Helper()
	partner, _, err := b.store.Create(t.Context(), userID, &partners.Params{
		Name: slug, Slug: slug, URL: url, EnabledEvents: events,
	})
	require.NoError(t, err)
	return partner
}

// enqueue enqueues an event in a transaction of its own.
func (b *testBundle) enqueue(t *testing.T, event *jobs.Event) []jobs.Delivery {
	t.Helper()
	deliveries, err := b.tryEnqueue(t.Context(), event)
	require.NoError(t, err)
	return deliveries
}

func (b *testBundle) tryEnqueue(ctx context.Context, event *jobs.Event) (deliveries []jobs.Delivery, err error) {
	err = pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		deliveries, err = b.enqueuer.EnqueueTx(ctx, tx, event)
		return err
	})
	return deliveries, err
}

// count counts the rows of a query.
func (b *testBundle) count(t *testing.T, from string, args ...any) int {
	t.Helper()
	var n int
	require.NoError(t, b.pool.QueryRow(t.Context(), "select count(*) from "+from, args...).Scan(&n))
	return n
}

// completed is an event of user with the id given.
func completed(id string) *jobs.Event {
	return &jobs.Event{ID: id, UserID: user, Type: "call.completed", Payload: json.RawMessage(`{"call_id":"c1"}`)}
}

// request is what a partner received.
type request struct {
	at     time.Time
	header http.Header
	body   string
}

// endpoint is a partner's server that keeps what it received.
type endpoint struct {
	*httptest.Server

	mu       sync.Mutex
	requests []request
}

// newEndpoint answers with the handler given, after keeping the request.
func newEndpoint(t *testing.T, answer http.HandlerFunc) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		e.requests = append(e.requests, request{at: time.Now(), header: r.Header.Clone(), body: string(body)})
		e.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) received() []request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]request(nil), e.requests...)
}

// status answers with a status and nothing else.
func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}
