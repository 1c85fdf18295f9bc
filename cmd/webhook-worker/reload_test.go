package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/config"
)

func TestReloadSetsTheLevelOfTheFile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		content string
		debug   bool
		want    slog.Level
		says    string
	}{
		{"LOG_LEVEL=DEBUG\n", false, slog.LevelDebug, `msg="log level changed" log_level=DEBUG before=WARNING`},
		{"# nothing\n", false, slog.LevelInfo, `msg="log level changed" log_level=INFO before=WARNING`}, // that of the start
		{"LOG_LEVEL=loud\n", false, slog.LevelWarn, "log level not read again"},
		{"LOG_LEVEL=ERROR\n", true, slog.LevelWarn, "the worker was started with --debug"},
	} {
		file := filepath.Join(t.TempDir(), "webhook-worker.env")
		require.NoError(t, os.WriteFile(file, []byte(tt.content), 0o600))
		log := &output{}
		a := &app{ctx: t.Context(), stderr: log, level: &slog.LevelVar{}}
		logger := a.logger(&config.Config{LogLevel: config.LogLevel(slog.LevelWarn)})
		r := &reloader{file: file, level: config.LogLevel(slog.LevelInfo), debug: tt.debug}
		r.reload(a, logger)
		require.Equal(t, tt.want, a.level.Level(), tt.content)
		require.Contains(t, log.String(), tt.says)
	}
}
