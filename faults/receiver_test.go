//go:build faults

package faults

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testport"
)

// arrival is one request that reached the receiver: its headers were read.
type arrival struct {
	id      string // webhook-id
	event   string // as the body says; empty if the body was not read
	path    string // of the partner
	port    string // the sender's
	began   time.Time
	hash    string // of the body; empty if that was not read
	problem string // what is wrong with the request
	status  int    // answered; 0: nothing
	refused bool   // it was not taken, on purpose
	cut     bool   // the sender went away before the answer
	ended   time.Time
}

// receiver is the partners' server. What it does to requests can be changed while it runs.
type receiver struct {
	port int
	tls  *tls.Config // nil: plain HTTP

	mu        sync.Mutex
	arrivals  []*arrival
	changed   chan struct{} // closed and replaced at each change
	secrets   map[string]string
	behaviour behaviour
	anyTime   bool         // timestamps may be of any time
	server    *http.Server // nil: down
}

func newReceiver(t *testing.T, config *tls.Config) *receiver {
	t.Helper()
	r := &receiver{
		port:      testport.Free(t),
		tls:       config,
		changed:   make(chan struct{}),
		secrets:   map[string]string{},
		behaviour: answer(http.StatusOK),
	}
	r.up(t)
	t.Cleanup(func() { r.down() })
	return r
}

// url is where a partner's requests go.
func (r *receiver) url(path string) string {
	scheme := "http://"
	if r.tls != nil {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)) + path
}

// up listens.
func (r *receiver) up(t *testing.T) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)))
	require.NoError(t, err)
	if r.tls != nil {
		listener = tls.NewListener(listener, r.tls)
	}
	server := &http.Server{Handler: r, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	r.mu.Lock()
	r.server = server
	r.mu.Unlock()
	go func() { _ = server.Serve(listener) }()
}

// down stops listening and cuts all connections. It returns the bound of the duplicates: answers that were under
// way may have been cut after they went on record.
func (r *receiver) down() (allowed int) {
	const underWay = 100 * time.Millisecond
	r.mu.Lock()
	server := r.server
	r.server = nil
	for _, a := range r.arrivals {
		if a.ended.IsZero() || time.Since(a.ended) < underWay {
			allowed++
		}
	}
	r.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
	return allowed
}

// behave changes what is done to requests from now on.
func (r *receiver) behave(b behaviour) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behaviour = b
}

// update changes what is known about an arrival.
func (r *receiver) update(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	close(r.changed)
	r.changed = make(chan struct{})
}

// ServeHTTP records the request and behaves.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	_, port, _ := net.SplitHostPort(request.RemoteAddr)
	seen := &arrival{
		id:    request.Header.Get(standardwebhooks.HeaderWebhookID),
		path:  request.URL.Path,
		port:  port,
		began: time.Now(),
	}
	x := &exchange{receiver: r, arrival: seen, w: w, request: request}
	var act behaviour
	r.update(func() {
		r.arrivals = append(r.arrivals, seen)
		act, x.server = r.behaviour, r.server
	})
	defer r.update(func() { seen.ended = time.Now() })
	act(x)
}

// exchange is one request that a behaviour deals with.
type exchange struct {
	receiver *receiver
	arrival  *arrival
	server   *http.Server // that it came to
	w        http.ResponseWriter
	request  *http.Request
}

// read reads the body and verifies the signature. It reports whether there is somebody to answer.
func (x *exchange) read() bool {
	body, err := io.ReadAll(x.request.Body)
	if err != nil {
		x.receiver.update(func() { x.arrival.refused = true }) // the body did not come whole
		return false
	}
	var payload struct {
		Event string `json:"event"`
	}
	problem := ""
	if err := json.Unmarshal(body, &payload); err != nil {
		problem = err.Error()
	} else if err := x.receiver.verify(x.arrival.path, body, x.request.Header); err != nil {
		problem = err.Error()
	}
	sum := sha256.Sum256(body)
	x.receiver.update(func() {
		x.arrival.event, x.arrival.hash, x.arrival.problem = payload.Event, hex.EncodeToString(sum[:]), problem
	})
	return true
}

func (r *receiver) verify(path string, body []byte, header http.Header) error {
	r.mu.Lock()
	secret, anyTime := r.secrets[path], r.anyTime
	r.mu.Unlock()
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	if anyTime {
		return verifier.VerifyIgnoringTimestamp(body, header)
	}
	return verifier.Verify(body, header)
}

// all are the arrivals so far.
func (r *receiver) all() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]arrival, len(r.arrivals))
	for i, a := range r.arrivals {
		list[i] = *a
	}
	return list
}

// count counts the arrivals of which is holds.
func (r *receiver) count(is func(*arrival) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := 0
	for _, a := range r.arrivals {
		if is(a) {
			count++
		}
	}
	return count
}

// rate is how many requests a second came in the last seconds.
func (r *receiver) rate() float64 {
	const window = 3 * time.Second
	since := time.Now().Add(-window)
	return float64(r.count(func(a *arrival) bool { return a.began.After(since) })) / window.Seconds()
}

// waitFor waits until what is holds of the arrivals, and says when.
func (r *receiver) waitFor(t *testing.T, bound time.Duration, what string, is func([]*arrival) bool) time.Time {
	t.Helper()
	timeout := time.After(bound)
	for {
		r.mu.Lock()
		done, changed := is(r.arrivals), r.changed
		r.mu.Unlock()
		if done {
			return time.Now()
		}
		select {
		case <-changed:
		case <-timeout:
			t.Errorf("not within %s: %s", bound, what)
			return time.Now()
		}
	}
}

// again waits until each of the deliveries has come once more after a time, not to be refused, and says when
// the last one came.
func (r *receiver) again(t *testing.T, bound time.Duration, after time.Time, ids []string) time.Time {
	t.Helper()
	var last time.Time
	r.waitFor(t, bound, "all deliveries again at the receiver", func(arrivals []*arrival) bool {
		missing := map[string]bool{}
		for _, id := range ids {
			missing[id] = true
		}
		last = after
		for _, a := range arrivals {
			if a.began.After(after) && !a.refused && missing[a.id] {
				delete(missing, a.id)
				last = a.began
			}
		}
		return len(missing) == 0
	})
	return last
}

// arrived waits until each of the deliveries has come once.
func (r *receiver) arrived(t *testing.T, bound time.Duration, ids []string) time.Time {
	t.Helper()
	return r.again(t, bound, time.Time{}, ids)
}

// next waits for the first arrival that begins after a time.
func (r *receiver) next(t *testing.T, bound time.Duration, after time.Time) time.Time {
	t.Helper()
	return r.waitFor(t, bound, "a new arrival", func(arrivals []*arrival) bool {
		return len(arrivals) > 0 && arrivals[len(arrivals)-1].began.After(after)
	})
}
