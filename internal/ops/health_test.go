package ops

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/config"
)

func TestHealthTakesOverASocketAndNothingElse(t *testing.T) {
	t.Parallel()
	ready := func() error { return nil }
	path := filepath.Join(t.TempDir(), "a.sock")
	at := config.HealthAddr("unix:" + filepath.Join(filepath.Dir(path), "%i.sock"))
	for range 2 { // the first is left as a killed process leaves it
		health, err := NewHealth(t.Context(), at, "a", ready)
		require.NoError(t, err)
		defer health.Close()
	}
	file := filepath.Join(t.TempDir(), "notes")
	require.NoError(t, os.WriteFile(file, []byte("keep me"), 0o600))
	_, err := NewHealth(t.Context(), config.HealthAddr("unix:"+file), "a", ready)
	require.ErrorContains(t, err, "WORKER_HEALTH_ADDR")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "keep me", string(content))

	nowhere, err := NewHealth(t.Context(), "", "a", ready)
	require.NoError(t, err)
	nowhere.Close()
}
