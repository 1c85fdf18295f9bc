package ops

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/epicvoice/webhook-worker/internal/password"
)

const (
	// slowChecks are how many passwords are hashed at once, each with up to 256 MiB and a second or so of a
	// processor; slowCheckWait is how long others wait for their turn.
	slowChecks    = 2
	slowCheckWait = 5 * time.Second

	// rememberFor is how long a success stands for the hash: a page is dozens of requests.
	rememberFor = 5 * time.Minute

	// Refusals are logged at once up to failureBurst, and then one in failureEvery with the number of the rest.
	failureBurst = 10
	failureEvery = 10 * time.Second
)

var errBusy = errors.New("too many passwords are being checked: try again")

// credentials asks for a user name and a password.
type credentials struct {
	key         []byte // of digests, which are of no use to anybody else
	user        digest
	matches     func(password string) bool
	slow        bool // matching takes long, and a slot
	slots       chan struct{}
	wait        time.Duration // for a slot
	behindProxy bool
	logger      *slog.Logger
	now         func() time.Time

	mu       sync.Mutex
	known    digest // of the user and password that were right until knownEnd
	knownEnd time.Time
	failures *rate.Limiter
	unlogged int
}

// digest stands for a text that is not kept.
type digest [sha256.Size]byte

func newCredentials(cfg *Config) (*credentials, error) {
	stored, err := password.Parse(cfg.Password)
	if err != nil {
		return nil, err
	}
	c := &credentials{
		key:         make([]byte, sha256.Size),
		matches:     stored.Matches,
		slow:        stored.Slow(),
		slots:       make(chan struct{}, slowChecks),
		wait:        slowCheckWait,
		behindProxy: cfg.BehindProxy,
		logger:      cfg.Logger,
		now:         time.Now,
		failures:    rate.NewLimiter(rate.Every(failureEvery), failureBurst),
	}
	_, _ = rand.Read(c.key) // never fails
	c.user = c.digest(cfg.User)
	return c, nil
}

// protect lets through who knows the credentials.
func (c *credentials) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, given, hasCredentials := r.BasicAuth()
		right, err := false, error(nil)
		if hasCredentials { // a browser's first request has none, and is no failure
			if right, err = c.check(r.Context(), user, given); err == nil && !right {
				c.logFailure(r)
			}
		}
		switch {
		case err != nil:
			w.Header().Set("Retry-After", "1")
			http.Error(w, errBusy.Error(), http.StatusServiceUnavailable)
		case !right:
			w.Header().Set("WWW-Authenticate", `Basic realm="webhook-worker", charset="UTF-8"`)
			http.Error(w, "user and password, please", http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// check takes as long for a wrong user as for a wrong password: it checks both.
func (c *credentials) check(ctx context.Context, user, given string) (bool, error) {
	both := c.digest(user + ":" + given) // a user has no colon
	if c.remembers(both) {
		return true, nil
	}
	if c.slow {
		timer := time.NewTimer(c.wait)
		defer timer.Stop()
		select {
		case c.slots <- struct{}{}:
			defer func() { <-c.slots }()
		case <-timer.C:
			return false, errBusy
		case <-ctx.Done():
			return false, errBusy
		}
		if c.remembers(both) { // another request of the same page was first
			return true, nil
		}
	}
	gotUser := c.digest(user)
	userIsRight := subtle.ConstantTimeCompare(gotUser[:], c.user[:]) == 1
	passwordIsRight := c.matches(given)
	if !userIsRight || !passwordIsRight {
		return false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.knownEnd = both, c.now().Add(rememberFor)
	return true, nil
}

func (c *credentials) remembers(both digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now().Before(c.knownEnd) && subtle.ConstantTimeCompare(both[:], c.known[:]) == 1
}

func (c *credentials) digest(text string) (sum digest) {
	mac := hmac.New(sha256.New, c.key)
	_, _ = mac.Write([]byte(text))
	mac.Sum(sum[:0])
	return sum
}

// logFailure tells from where a password was guessed. Nothing of what was entered is logged: people enter
// passwords as names.
func (c *credentials) logFailure(r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.failures.Allow() {
		c.unlogged++
		return
	}
	attrs := []slog.Attr{slog.String("remote_addr", r.RemoteAddr)}
	if c.behindProxy {
		attrs = append(attrs, slog.String("forwarded_for", forwardedFor(r)))
	}
	if c.unlogged > 0 {
		attrs = append(attrs, slog.Int("unlogged_before", c.unlogged))
	}
	c.unlogged = 0
	c.logger.LogAttrs(r.Context(), slog.LevelWarn, "wrong user or password for the pages", attrs...)
}

// forwardedFor is the client's address as the proxy before us saw it; what stands before it anybody can write.
func forwardedFor(r *http.Request) string {
	lines := r.Header.Values("X-Forwarded-For")
	if len(lines) == 0 {
		return ""
	}
	last := lines[len(lines)-1]
	address, err := netip.ParseAddr(strings.TrimSpace(last[strings.LastIndex(last, ",")+1:]))
	if err != nil {
		return ""
	}
	return address.String()
}
