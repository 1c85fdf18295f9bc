package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/epicvoice/webhook-worker/partners"
)

func BenchmarkDeliveryArgs(b *testing.B) {
	encoded, err := json.Marshal(DeliveryArgs{
		Version: argsVersion, DeliveryID: uuid.New(), UserID: "user_123", PartnerID: uuid.New(), EventID: "call_1:call.completed", EventType: "call.completed",
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var args DeliveryArgs
			if err := json.Unmarshal(encoded, &args); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("metadata", func(b *testing.B) {
		job := &river.Job[DeliveryArgs]{JobRow: &rivertype.JobRow{Metadata: []byte(`{"trigger":"schedule","snoozes":1}`)}}
		b.ReportAllocs()
		for b.Loop() {
			metadataOf(job)
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	for _, test := range []struct {
		name     string
		response partners.Response
	}{
		{"delivered", partners.Response{Status: http.StatusOK}},
		{"busy", partners.Response{Status: http.StatusServiceUnavailable, RetryAfter: time.Minute}},
		{"refused", partners.Response{Kind: partners.KindConnect, Err: errors.New("connection refused")}},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Judge(&test.response)
			}
		})
	}
}

func BenchmarkNextRetry(b *testing.B) {
	worker := &DeliveryWorker{now: time.Now, schedule: RetrySchedule{BaseDelay: 30 * time.Second, MaxDelay: time.Hour, Jitter: 0.1}}
	for _, attempt := range []int{1, 5, 100} {
		job := &river.Job[DeliveryArgs]{JobRow: &rivertype.JobRow{Attempt: attempt}}
		b.Run(fmt.Sprint("try-", attempt), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				worker.NextRetry(job)
			}
		})
	}
}

// A batch of intents or outcomes, as parameters of one statement.
func BenchmarkLogBatch(b *testing.B) {
	for _, rows := range []int{10, 1000} {
		attempts := make([]*Attempt, rows)
		for i := range attempts {
			attempts[i] = &Attempt{
				ID: uuid.New(), DeliveryID: uuid.New(), JobID: int64(i), UserID: "user_123", PartnerID: uuid.New(), EventID: "call_1:call.completed",
				EventType: "call.completed", Number: 1, Trigger: TriggerSchedule, Outcome: OutcomeDelivered, ResponseStatus: new(http.StatusOK),
				ResponseHeaders: map[string]string{"content-type": "text/plain", "date": "Fri, 27 Nov 2026 15:00:00 GMT"}, ResponseBody: new("ok"),
				URL: new("https://partner.example/hook"), DurationMS: new(20.5), ClientID: "host-1-20260131T100000-abcdefgh", StartedAt: time.Now(),
			}
		}
		b.Run(fmt.Sprint("intents-", rows), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				insertColumns(attempts)
			}
		})
		b.Run(fmt.Sprint("outcomes-", rows), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := closeColumns(attempts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// echo is a gatherer of a table that has every key and takes no time.
func echo(most int) gatherer[int, int] {
	return gatherer[int, int]{most: most, read: func(_ context.Context, keys []int) (map[int]int, error) {
		values := make(map[int]int, len(keys))
		for _, key := range keys {
			values[key] = key
		}
		return values, nil
	}}
}

// Many ask at once, each for one of 100 keys, as deliveries of one event ask for their partners.
func BenchmarkGatherer(b *testing.B) {
	g := echo(maxRead)
	b.ReportAllocs()
	b.SetParallelism(50)
	b.RunParallel(func(pb *testing.PB) {
		for key := 0; pb.Next(); key++ {
			if _, _, err := g.ask(key % 100).wait(context.Background()); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkRecent(b *testing.B) {
	for _, test := range []struct {
		name    string
		lasting time.Duration
	}{{"known", time.Hour}, {"forgotten", 0}} {
		b.Run(test.name, func(b *testing.B) {
			r := recent[int, int]{gatherer: echo(maxRead), lasting: test.lasting, room: 1000, weigh: func(int) int { return 1 }, now: time.Now}
			due := time.Now().Add(-time.Minute)
			b.ReportAllocs()
			for key := 0; b.Loop(); key++ {
				asked := r.ask(key%100, due)
				if _, _, err := asked.wait(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMetrics is what a delivery that succeeds costs in metrics: nothing is to be allocated for it.
func BenchmarkMetrics(b *testing.B) {
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	counted, err := newMetrics(b.Context(), provider)
	if err != nil {
		b.Fatal(err)
	}
	attempt := &Attempt{Outcome: OutcomeDelivered, ResponseStatus: new(http.StatusOK), DurationMS: new(12.5)}
	b.ReportAllocs()
	for b.Loop() {
		counted.began(b.Context(), time.Millisecond)
		counted.ended(b.Context(), attempt, false, time.Second)
	}
}
