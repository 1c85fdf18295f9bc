package jobs

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/epicvoice/webhook-worker/partners"
)

// Outcome is how an attempt ended; webhook_delivery_log.outcome takes no other.
type Outcome string

// The outcomes.
const (
	OutcomeSending   Outcome = "sending"   // the POST is under way
	OutcomeDelivered Outcome = "delivered" // the partner answered 2xx
	OutcomeFailed    Outcome = "failed"    // it did not
	OutcomeLost      Outcome = "lost"      // nobody knows how the POST ended
	OutcomeCancelled Outcome = "cancelled" // the delivery ended without a POST
)

// Verdict is what an attempt's answer means.
type Verdict struct {
	Outcome    Outcome
	ErrorKind  partners.ErrorKind // empty if delivered
	Error      string             // the same in words
	Gone       bool               // 410: the endpoint wants no more deliveries
	SlowDown   bool               // 429, 502, 503 and 504: the partner wants fewer requests
	RetryAfter time.Duration      // how long the partner asks to wait; 0 if it does not
	PutOff     bool               // nothing was sent, for trouble of our own: it comes again, and no try is used
}

// Judge turns a response into a verdict: 2xx is delivered; 410 is the end of the partner; 429, 502, 503 and
// 504 slow the partner down, and may ask for a longer wait; all else fails and is tried again on the schedule.
func Judge(response *partners.Response) Verdict {
	switch status := response.Status; {
	case response.Kind == partners.KindShutdown:
		return Verdict{Outcome: OutcomeLost, ErrorKind: response.Kind, Error: response.Err.Error()}
	case errors.Is(response.Err, partners.ErrProxy):
		return Verdict{Outcome: OutcomeFailed, ErrorKind: response.Kind, Error: response.Err.Error(), PutOff: true}
	case response.Err != nil:
		return Verdict{Outcome: OutcomeFailed, ErrorKind: response.Kind, Error: response.Err.Error()}
	case status >= 200 && status < 300:
		return Verdict{Outcome: OutcomeDelivered}
	case status >= 300 && status < 400:
		return Verdict{
			Outcome:   OutcomeFailed,
			ErrorKind: partners.KindRedirect,
			Error:     answered(status) + ", and redirects are not followed",
		}
	default:
		verdict := Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindHTTPStatus, Error: answered(status)}
		switch status {
		case http.StatusGone:
			verdict.Gone = true
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			verdict.SlowDown, verdict.RetryAfter = true, response.RetryAfter
		}
		return verdict
	}
}

func answered(status int) string {
	if text := http.StatusText(status); text != "" {
		return fmt.Sprintf("the partner answered %d %s", status, text)
	}
	return fmt.Sprintf("the partner answered %d", status)
}
