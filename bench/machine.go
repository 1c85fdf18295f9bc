package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// describeMachine says when and on what the figures were measured.
func describeMachine(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	var postgres string
	if err := pool.QueryRow(ctx, `select split_part(current_setting('server_version'), ' ', 1)`).Scan(&postgres); err != nil {
		return "", fmt.Errorf("asking for PostgreSQL's version: %w", err)
	}
	cores := fmt.Sprint(runtime.NumCPU(), " cores")
	if model := cpuModel(); model != "" {
		cores += " of " + model
	}
	described := fmt.Sprintf("%s; %s, PostgreSQL %s, %s", time.Now().Format("2 January 2006"), cores, postgres, strings.Replace(runtime.Version(), "go", "Go ", 1))
	if revision, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		described += ", revision " + strings.TrimSpace(string(revision))
		if exec.CommandContext(ctx, "git", "diff", "--quiet", "HEAD", "--", "*.go", "*.sql", "go.mod").Run() != nil {
			described += " with changes"
		}
	}
	return described, nil
}

// cpuModel is what Linux calls the processor; empty elsewhere.
func cpuModel() string {
	content, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
