package config

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSecretsDoNotShow(t *testing.T) {
	t.Parallel()

	cfg := load(t, "DATABASE_URL=postgres://u:leaky@h/db", "WEBHOOK_ENCRYPTION_KEY="+testKey,
		"WEBHOOK_ENCRYPTION_KEYS_OLD="+testKey, "WEBHOOK_UI_USER=ada", "WEBHOOK_UI_PASSWORD=leaky",
		"WEBHOOK_PROXY_URL=http://ada:leaky@proxy:3128")
	for _, value := range []any{*cfg, cfg, cfg.DatabaseURL, cfg.EncryptionKey, cfg.OldEncryptionKeys, cfg.UIPassword, cfg.Proxy} {
		for _, verb := range []string{"%v", "%+v", "%s", "%q", "%#v", "%x"} {
			requireHidden(t, fmt.Sprintf(verb, value))
		}
		document, err := json.Marshal(value)
		require.NoError(t, err)
		requireHidden(t, string(document))

		var logged bytes.Buffer
		slog.New(slog.NewTextHandler(&logged, nil)).InfoContext(t.Context(), "leak", slog.Any("value", value))
		slog.New(slog.NewJSONHandler(&logged, nil)).InfoContext(t.Context(), "leak", slog.Any("value", value))
		requireHidden(t, logged.String())
		require.Equal(t, 2, strings.Count(logged.String(), "value"))
	}
}

// requireHidden looks for the secrets of these tests, which all have "leaky" in them, in the forms that fmt
// and encoders give bytes.
func requireHidden(t *testing.T, shown string) {
	t.Helper()

	for _, form := range []string{
		"leaky", fmt.Sprintf("%x", "leaky"), "bGVha3", base64.StdEncoding.EncodeToString([]byte("leaky")), "108 101 97 107 121", "0x6c, 0x65",
	} {
		require.NotContains(t, shown, form)
	}
}
