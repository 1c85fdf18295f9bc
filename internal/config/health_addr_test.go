package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHealthAddrOfAnInstance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, instance, network, address string }{
		{"", "1", "", ""},
		{"127.0.0.1:19090+%i", "1", "tcp", "127.0.0.1:19091"},
		{"127.0.0.1:19090+%i", "10", "tcp", "127.0.0.1:19100"},
		{"[::1]:19090+%i", "2", "tcp", "[::1]:19092"},
		{"127.0.0.1:909%i", "3", "tcp", "127.0.0.1:9093"},
		{":9090", "blue", "tcp", ":9090"},
		{"unix:/run/webhook-worker/%i/health.sock", "blue", "unix", "/run/webhook-worker/blue/health.sock"},
	} {
		network, address, err := HealthAddr(tt.text).Of(tt.instance)
		require.NoError(t, err, tt.text)
		require.Equal(t, tt.network, network, tt.text)
		require.Equal(t, tt.address, address, tt.text)
	}
	for _, tt := range []struct{ text, instance, says string }{
		{"127.0.0.1:19090+%i", "blue", `instance "blue" is no number`},
		{"127.0.0.1:19090+%i", "-1", `instance "-1" is no number`},
		{"127.0.0.1:x+%i", "1", "x is no number that an instance can be added to"},
		{"127.0.0.1:909%i", "10", "is port 90910 for instance 10, and 65535 is the highest"},
		{"127.0.0.1:65535+%i", "1", "is port 65536 for instance 1"},
	} {
		_, _, err := HealthAddr(tt.text).Of(tt.instance)
		require.ErrorContains(t, err, "WORKER_HEALTH_ADDR="+tt.text)
		require.ErrorContains(t, err, tt.says)
	}
}

func TestLogLevelInAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "webhook-worker.env")
	for content, want := range map[string]string{
		"":                                   "ERROR",
		"#LOG_LEVEL=DEBUG\n":                 "ERROR",
		"LOG_LEVEL=\n":                       "INFO",
		"LOG_LEVEL=DEBUG":                    "DEBUG",
		"X=$y {{ \"\n LOG_LEVEL='warning'\n": "WARNING",
		"LOG_LEVEL=DEBUG\nLOG_LEVEL=info\n":  "INFO",
		"LOG_LEVEL_OF_OTHERS=DEBUG\n":        "ERROR",
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		level, err := LogLevelIn(path, LogLevel(slog.LevelError))
		require.NoError(t, err, content)
		require.Equal(t, want, level.String(), content)
	}
	require.NoError(t, os.WriteFile(path, []byte("LOG_LEVEL=loud\n"), 0o600))
	_, err := LogLevelIn(path, 0)
	require.EqualError(t, err, "LOG_LEVEL=loud in "+path+" is not valid: it must be DEBUG, INFO, WARNING or ERROR")
	_, err = LogLevelIn(path+".missing", 0)
	require.EqualError(t, err, "WORKER_ENV_FILE="+path+".missing can't be read: no such file or directory")
}
