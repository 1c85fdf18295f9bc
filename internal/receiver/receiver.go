// Package receiver is a partner's side: an HTTP server that verifies Standard Webhooks signatures and
// prints what it gets. `receive` and the demo partner of `dev` are this.
package receiver

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// maxBody is the most bytes of a request that are read: a payload of 256 KiB and a partner's own fields.
const maxBody = 1 << 20

// Config is what a Handler needs.
type Config struct {
	Secret   string        // or a public key; empty: signatures are not verified
	Status   int           // what to answer; 0: 200
	FailRate float64       // share of requests, 0 to 1, that are answered with 500
	Delay    time.Duration // before the answer
	JSON     bool          // print one JSON object a line
	Out      io.Writer     // where to print
	Now      func() time.Time
}

// Handler answers webhooks.
type Handler struct {
	cfg      Config
	verifier verifier // nil: signatures are not verified

	mu sync.Mutex // one request is printed at a time
}

// New makes a Handler. Its error says what is wrong with the secret.
func New(cfg *Config) (*Handler, error) {
	handler := &Handler{cfg: *cfg}
	if handler.cfg.Status == 0 {
		handler.cfg.Status = http.StatusOK
	}
	if handler.cfg.Now == nil {
		handler.cfg.Now = time.Now
	}
	if cfg.Secret == "" {
		return handler, nil
	}
	var err error
	if handler.verifier, err = newVerifier(cfg.Secret); err != nil {
		return nil, err
	}
	return handler, nil
}

// received is one request as it is printed.
type received struct {
	Time       time.Time       `json:"time"`
	WebhookID  string          `json:"webhook_id"`
	EventType  string          `json:"event_type"`
	Signature  string          `json:"signature"` // verified, not verified, or why it is wrong
	Answered   int             `json:"answered"`
	Body       json.RawMessage `json:"body,omitempty"`
	RawBody    string          `json:"raw_body,omitempty"` // a body that is not JSON
	RemoteAddr string          `json:"remote_addr"`
}

// ServeHTTP verifies, prints and answers: 401 to a wrong signature, 405 to what is no POST.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "webhooks are posted here", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "body not read: "+err.Error(), http.StatusBadRequest)
		return
	}
	seen := &received{
		Time:       h.cfg.Now().UTC(),
		WebhookID:  r.Header.Get(standardwebhooks.HeaderWebhookID),
		EventType:  r.Header.Get("webhook-event-type"),
		Signature:  "not verified",
		Answered:   h.cfg.Status,
		RemoteAddr: r.RemoteAddr,
	}
	if json.Valid(body) {
		seen.Body = body
	} else {
		seen.RawBody = string(body)
	}
	if h.verifier != nil {
		seen.Signature = "verified"
		if err := h.verifier.Verify(body, r.Header); err != nil {
			seen.Signature = strings.TrimPrefix(err.Error(), "unable to verify payload, err: ")
			seen.Answered = http.StatusUnauthorized
		}
	}
	if seen.Answered == h.cfg.Status && rand.Float64() < h.cfg.FailRate { //nolint:gosec // a demonstration
		seen.Answered = http.StatusInternalServerError
	}
	h.print(seen)

	select {
	case <-r.Context().Done():
		return
	case <-time.After(h.cfg.Delay):
	}
	w.WriteHeader(seen.Answered)
	_, _ = fmt.Fprintln(w, http.StatusText(seen.Answered))
}

func (h *Handler) print(seen *received) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cfg.JSON {
		_ = json.NewEncoder(h.cfg.Out).Encode(seen) //nolint:errchkjson // its body was checked to be JSON
		return
	}
	body := string(seen.Body)
	if seen.Body == nil {
		body = fmt.Sprintf("%q", seen.RawBody)
	}
	_, _ = fmt.Fprintf(h.cfg.Out, "%s  %s  %s  signature %s, answered %d\n  %s\n",
		seen.Time.Format("15:04:05.000"), seen.WebhookID, seen.EventType, seen.Signature, seen.Answered, body)
}
