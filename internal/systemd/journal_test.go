package systemd

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJournalEntriesAreLinesWithFields(t *testing.T) {
	t.Parallel()
	var entries bytes.Buffer
	level := &slog.LevelVar{}
	fields := slog.NewJSONHandler(&entries, &slog.HandlerOptions{Level: level})
	logger := slog.New(newJournalHandler(fields, func(w io.Writer, options *slog.HandlerOptions) slog.Handler {
		return slog.NewTextHandler(w, options)
	})).With(slog.String("instance", "1"))

	logger.Debug("too little")
	require.Empty(t, entries.String())
	logger.Error("delivery attempted", slog.String("delivery_id", "d1"))
	var entry map[string]any
	require.NoError(t, json.Unmarshal(entries.Bytes(), &entry))
	require.Equal(t, `level=ERROR msg="delivery attempted" instance=1 delivery_id=d1`, entry["msg"], "grep ERROR finds it")
	require.Equal(t, "d1", entry["delivery_id"])
	require.Equal(t, "1", entry["instance"])
	require.Equal(t, "ERROR", entry["level"])

	entries.Reset()
	level.Set(slog.LevelDebug)
	logger.WithGroup("http").Debug("now", slog.Int("status", 200))
	require.Contains(t, entries.String(), `http.status=200`)
}

func TestJournalFieldNames(t *testing.T) {
	t.Parallel()
	for key, name := range map[string]string{
		"delivery_id": "DELIVERY_ID", "http.status": "HTTP_STATUS", "_private": "PRIVATE", "2nd": "ND", "UPPER": "UPPER", "é": "",
	} {
		require.Equal(t, name, fieldName(key), key)
	}
	took := fieldOf(slog.Duration("took", 1500*1000*1000))
	require.Equal(t, "TOOK=1.5s", took.String())
}

func TestNoJournalWhereStderrIsNone(t *testing.T) {
	t.Parallel()
	format := func(w io.Writer, options *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, options) }
	require.Nil(t, OpenJournal(&bytes.Buffer{}, slog.LevelInfo, format))
	require.Nil(t, OpenJournal(os.Stderr, slog.LevelInfo, format), "JOURNAL_STREAM is not set, or is of another stream")
}
