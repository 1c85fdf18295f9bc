package ops

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// door is credentials with a clock and a log of the test's own.
type door struct {
	*credentials

	mu    sync.Mutex
	clock time.Time
	log   bytes.Buffer
}

func newDoor(t *testing.T, password string, change ...func(*Config)) *door {
	t.Helper()

	d := &door{clock: time.Now()}
	cfg := &Config{User: "ada", Password: password, Logger: slog.New(slog.NewTextHandler(&d.log, nil))}
	for _, apply := range change {
		apply(cfg)
	}
	var err error
	d.credentials, err = newCredentials(cfg)
	require.NoError(t, err)
	d.now = func() time.Time {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.clock
	}
	return d
}

func (d *door) later(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock = d.clock.Add(by)
}

// knock is a request's status.
func (d *door) knock(authorization string, header ...string) int {
	request := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	d.protect(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(recorder, request)
	return recorder.Code
}

func argon2(t *testing.T, password string, memory uint32) string {
	t.Helper()

	hash, err := argon2id.CreateHash(password, &argon2id.Params{Memory: memory, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	require.NoError(t, err)
	return hash
}

func TestCredentialsOfAllKinds(t *testing.T) {
	t.Parallel()

	bcrypted, err := bcrypt.GenerateFromPassword([]byte("hunter2"), bcrypt.MinCost)
	require.NoError(t, err)
	for _, stored := range []string{"hunter2", argon2(t, "hunter2", 64), string(bcrypted)} {
		d := newDoor(t, stored)
		for range 2 { // the second time it is remembered
			require.Equal(t, http.StatusOK, d.knock(basic("ada", "hunter2")))
			for _, wrong := range []string{
				"", "Basic", "Basic !", "Bearer x", basic("ada", ""), basic("", "hunter2"), basic("Ada", "hunter2"), basic("ada", "hunter3"),
				basic("ada:", "hunter2"), basic("ada", ":hunter2"), basic("", "ada:hunter2"), basic("ada", stored+"x"),
			} {
				require.Equal(t, http.StatusUnauthorized, d.knock(wrong), wrong)
			}
		}
		require.NotContains(t, d.log.String(), "hunter")
	}
	_, err = newCredentials(&Config{User: "ada", Password: "$argon2id$"})
	require.Error(t, err)
}

// A page is many requests: the hash is checked once in a while, and nothing that could be used elsewhere is kept.
func TestSuccessIsRemembered(t *testing.T) {
	t.Parallel()

	d := newDoor(t, argon2(t, "hunter2", 64))
	require.Equal(t, http.StatusOK, d.knock(basic("ada", "hunter2")))
	for range slowChecks { // nobody can check a hash now
		d.slots <- struct{}{}
	}
	require.Equal(t, http.StatusOK, d.knock(basic("ada", "hunter2")))
	d.later(rememberFor - time.Second)
	require.Equal(t, http.StatusOK, d.knock(basic("ada", "hunter2")))
	d.later(2 * time.Second)
	require.False(t, d.remembers(d.digest("ada:hunter2")), "it is checked again after a while")
	require.NotEqual(t, newDoor(t, "hunter2").digest("ada:hunter2"), d.digest("ada:hunter2"), "the key is another each time")
}

// However many guess at once, few hashes are made at once, and who is known is let in meanwhile.
func TestGuessesAreBounded(t *testing.T) {
	t.Parallel()

	d := newDoor(t, argon2(t, "hunter2", 64))
	d.wait = patience
	require.Equal(t, http.StatusOK, d.knock(basic("ada", "hunter2")))
	var running, most atomic.Int32
	full, release := make(chan struct{}, 50), make(chan struct{})
	d.matches = func(string) bool {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		full <- struct{}{}
		<-release
		return false
	}
	var guesses sync.WaitGroup
	for i := range 50 {
		guesses.Go(func() { d.knock(basic("ada", strconv.Itoa(i))) })
	}
	for range slowChecks {
		<-full
	}
	require.Equal(t, http.StatusOK, d.knock(basic("ada", "hunter2")))
	close(release)
	guesses.Wait()
	require.EqualValues(t, slowChecks, most.Load())
	require.Empty(t, d.slots, "each slot is given back")
}

func TestBusyIsNoFailure(t *testing.T) {
	t.Parallel()

	d := newDoor(t, argon2(t, "hunter2", 64))
	d.wait = time.Millisecond
	for range slowChecks {
		d.slots <- struct{}{}
	}
	require.Equal(t, http.StatusServiceUnavailable, d.knock(basic("ada", "hunter2")))
	require.Empty(t, d.log.String())
	<-d.slots
	require.Equal(t, http.StatusOK, d.knock(basic("ada", "hunter2")))
}

// A wrong user costs the same hash as a wrong password.
func TestWrongUserTakesAsLong(t *testing.T) {
	t.Parallel()

	d := newDoor(t, argon2(t, "hunter2", 32<<10))
	took := func(user, password string) time.Duration {
		best := time.Hour
		for range 5 {
			began := time.Now()
			require.Equal(t, http.StatusUnauthorized, d.knock(basic(user, password)))
			best = min(best, time.Since(began))
		}
		return best
	}
	for _, credentials := range [][2]string{{"eve", "wrong"}, {"ada", "wrong"}, {"eve", "hunter2"}} {
		require.Greater(t, took(credentials[0], credentials[1]), 5*time.Millisecond, credentials)
	}
}

func TestFailuresAreLoggedNowAndThen(t *testing.T) {
	t.Parallel()

	d := newDoor(t, "hunter2")
	require.Equal(t, http.StatusUnauthorized, d.knock(""))
	require.Empty(t, d.log.String(), "a browser asks without credentials first")
	for range 1000 {
		d.knock(basic("my secret", "my other secret"))
	}
	lines := strings.Split(strings.TrimSpace(d.log.String()), "\n")
	require.Len(t, lines, failureBurst)
	require.Contains(t, lines[0], `level=WARN msg="wrong user or password for the pages" remote_addr=192.0.2.1:1234`)
	require.NotContains(t, d.log.String(), "secret")
	require.NotContains(t, d.log.String(), "forwarded")
	d.failures.SetBurst(failureBurst + 1)
	d.failures.SetLimit(1e9)
	d.knock(basic("ada", "wrong"))
	require.Contains(t, d.log.String(), "unlogged_before=990")
}

func TestFailuresBehindProxies(t *testing.T) {
	t.Parallel()

	for forwarded, want := range map[string]string{
		"203.0.113.9":                     "forwarded_for=203.0.113.9\n",
		"1.2.3.4, 203.0.113.9":            "forwarded_for=203.0.113.9\n", // the client wrote the first
		"1.2.3.4\x00203.0.113.9":          "forwarded_for=203.0.113.9\n",
		"2001:db8::1":                     "forwarded_for=2001:db8::1\n",
		"203.0.113.9, evil\" level=ERROR": "forwarded_for=\"\"\n",
		"":                                "forwarded_for=\"\"\n",
		strings.Repeat("1.2.3.4, ", 1000): "forwarded_for=\"\"\n",
	} {
		d := newDoor(t, "hunter2", func(cfg *Config) { cfg.BehindProxy = true })
		var header []string
		for line := range strings.SplitSeq(forwarded, "\x00") {
			header = append(header, "X-Forwarded-For", line)
		}
		d.knock(basic("ada", "wrong"), header...)
		require.True(t, strings.HasSuffix(d.log.String(), want), d.log.String())
	}
}
