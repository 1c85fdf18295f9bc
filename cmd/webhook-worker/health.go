package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/epicvoice/webhook-worker/internal/config"
)

const (
	// healthTimeout bounds a question to a worker, which answers in no time if it can.
	healthTimeout = 10 * time.Second
	// maxReason bounds what is read of an answer, in bytes.
	maxReason = 4 << 10
)

type healthCommand struct {
	Instance string `default:"1" help:"The worker to ask, by its --instance."`
	Addr     given  `placeholder:"ADDR" help:"Where to ask, instead of WORKER_HEALTH_ADDR: HOST:PORT or unix:PATH, such as 127.0.0.1:8080 for serve."`
	JSON     bool   `name:"json" help:"Print one JSON object."`
}

// health is what a worker says of itself.
type health struct {
	Address string `json:"address"`
	Alive   bool   `json:"alive"`
	Ready   bool   `json:"ready"`
	Reason  string `json:"reason,omitempty"` // why it is not both
}

// Run asks a worker.
func (c *healthCommand) Run(a *app) error {
	addr, err := c.addr(a)
	if err != nil {
		return err
	}
	network, address, err := addr.Of(c.Instance)
	if err != nil {
		return &usageError{err}
	}
	found := askHealth(a.ctx, network, address)
	if c.JSON {
		if err := a.printJSON(found); err != nil {
			return err
		}
	}
	switch {
	case !found.Alive:
		return errors.New(found.Reason)
	case !found.Ready:
		return fmt.Errorf("alive, and not ready: %s", found.Reason)
	case !c.JSON:
		_, err = fmt.Fprintln(a.stdout, "ready")
	}
	return err
}

// addr is where the worker answers.
func (c *healthCommand) addr(a *app) (config.HealthAddr, error) {
	var addr config.HealthAddr
	if c.Addr != "" {
		if err := addr.UnmarshalText([]byte(c.Addr)); err != nil {
			return "", usagef("--addr=%s is not valid: %w", c.Addr, err)
		}
		return addr, nil
	}
	if value := a.getenv("WORKER_HEALTH_ADDR"); value != "" { // alone: who asks needs no secrets
		if err := addr.UnmarshalText([]byte(value)); err != nil {
			return "", usagef("WORKER_HEALTH_ADDR=%s is not valid: %w", value, err)
		}
		return addr, nil
	}
	return "", usagef("WORKER_HEALTH_ADDR is not set: set it as the worker has it, or give --addr")
}

// askHealth asks a worker, or whatever else answers /healthz and /readyz.
func askHealth(ctx context.Context, network, address string) *health {
	found := &health{Address: address}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: healthTimeout}
	if found.Reason = askPath(ctx, client, "/healthz"); found.Reason != "" {
		return found
	}
	found.Alive = true
	found.Reason = askPath(ctx, client, "/readyz")
	found.Ready = found.Reason == ""
	return found
}

// askPath is empty for the status 200, and else says what is wrong.
func askPath(ctx context.Context, client *http.Client, path string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, http.NoBody)
	if err != nil {
		return err.Error()
	}
	response, err := client.Do(request)
	if err != nil {
		return "no answer: " + rootCause(err).Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReason))
	reason := strings.TrimSpace(string(body))
	switch {
	case err != nil:
		return "no answer: " + err.Error()
	case response.StatusCode == http.StatusOK:
		return ""
	case response.StatusCode == http.StatusServiceUnavailable && reason != "":
		return reason
	}
	return fmt.Sprintf("%s answers %s, which is no worker's answer", path, response.Status)
}
