package systemd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
	slogjournal "github.com/systemd/slog-journal"
)

// OpenJournal returns a handler that writes to systemd's journal, if stderr leads there; nil if it does not.
func OpenJournal(stderr io.Writer, level slog.Leveler, format Format) slog.Handler {
	if stderr != io.Writer(os.Stderr) {
		return nil
	}
	if there, err := journal.StderrIsJournalStream(); err != nil || !there {
		return nil
	}
	fields, err := slogjournal.NewHandler(&slogjournal.Options{
		Level:        level,
		ReplaceAttr:  func(_ []string, attr slog.Attr) slog.Attr { return fieldOf(attr) },
		ReplaceGroup: fieldName,
	})
	if err != nil {
		return nil // the stream takes lines too
	}
	return newJournalHandler(fields, format)
}

// Format makes the handler that formats lines.
type Format func(w io.Writer, options *slog.HandlerOptions) slog.Handler

// journalHandler writes each record as the line that it would be on a terminal, so that it can be searched with grep, with
// its level as the priority and its attributes as fields, so that `journalctl DELIVERY_ID=…` finds it too.
type journalHandler struct {
	fields slog.Handler // writes the entry
	line   slog.Handler // formats the message, into buffer
	buffer *lockedBuffer
}

// lockedBuffer is shared by all handlers that were made from one.
type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func newJournalHandler(fields slog.Handler, format Format) *journalHandler {
	buffer := &lockedBuffer{}
	line := format(&buffer.Buffer, &slog.HandlerOptions{
		Level: slog.LevelDebug, // what is too little is left out by fields
		ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
			if len(groups) == 0 && attr.Key == slog.TimeKey {
				return slog.Attr{} // the journal has it
			}
			return attr
		},
	})
	return &journalHandler{fields, line, buffer}
}

func (h *journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.fields.Enabled(ctx, level)
}

func (h *journalHandler) Handle(ctx context.Context, record slog.Record) error {
	text, err := h.format(ctx, record)
	if err != nil {
		return err
	}
	entry := record.Clone()
	entry.Message = text
	return h.fields.Handle(ctx, entry)
}

func (h *journalHandler) format(ctx context.Context, record slog.Record) (string, error) {
	h.buffer.Lock()
	defer h.buffer.Unlock()
	h.buffer.Reset()
	err := h.line.Handle(ctx, record)
	return strings.TrimSuffix(h.buffer.String(), "\n"), err
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{h.fields.WithAttrs(attrs), h.line.WithAttrs(attrs), h.buffer}
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{h.fields.WithGroup(name), h.line.WithGroup(name), h.buffer}
}

// fieldOf is an attribute as a field of the journal: what the line says is what is found.
func fieldOf(attr slog.Attr) slog.Attr {
	return slog.String(fieldName(attr.Key), attr.Value.String())
}

// fieldName is a key as the journal takes names: capitals, digits and underscores, which must not come first.
func fieldName(key string) string {
	return strings.TrimLeft(strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, key), "_0123456789")
}
