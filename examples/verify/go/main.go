// Command go receives webhooks and verifies them with the official Standard Webhooks library.
package main

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func main() {
	secret := os.Getenv("WEBHOOK_SECRET") // whsec_…
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil || secret == "" { // anybody can sign with an empty one
		slog.Error("WEBHOOK_SECRET must be the partner's secret")
		os.Exit(1)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil || webhook.Verify(body, r.Header) != nil {
			http.Error(w, "not a webhook for us", http.StatusUnauthorized)
			return
		}
		// The same webhook-id may come again: remember it, and do the work once.
		slog.InfoContext(r.Context(), "received", slog.String("webhook_id", r.Header.Get("webhook-id")))
		w.WriteHeader(http.StatusNoContent)
	})
	server := &http.Server{Addr: os.Getenv("ADDR"), Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	if err := server.ListenAndServe(); err != nil {
		slog.Error("serving", slog.String("error", err.Error()))
		os.Exit(1)
	}
}
