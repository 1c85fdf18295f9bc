package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode"

	"github.com/epicvoice/webhook-worker/internal/password"
	"github.com/epicvoice/webhook-worker/partners"
)

// secret marks the types whose values must not be shown, and may come from files.
type secret interface{ secret() }

// EncryptionKey is 32 bytes, read from base64. It prints as [redacted].
type EncryptionKey []byte

// UnmarshalText reads base64 of 32 bytes; white space around it does not matter.
func (k *EncryptionKey) UnmarshalText(text []byte) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return errors.New("it must be base64 of 32 bytes; `webhook-worker keys generate` makes one")
	}
	if len(key) != partners.KeySize {
		return fmt.Errorf("it must be base64 of 32 bytes, and holds %d; `webhook-worker keys generate` makes one", len(key))
	}
	*k = key
	return nil
}

func (k EncryptionKey) String() string { return redacted(len(k) > 0) }

// LogValue is for slog.
func (k EncryptionKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText is for JSON, and for logs of a whole Config.
func (k EncryptionKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// GoString is for %#v.
func (k EncryptionKey) GoString() string { return k.String() }

func (k EncryptionKey) secret() {}

// EncryptionKeys are any number of keys. They print as [redacted].
type EncryptionKeys []EncryptionKey

// UnmarshalText reads keys with commas or white space between, such as the lines of a file.
func (k *EncryptionKeys) UnmarshalText(text []byte) error {
	isBetween := func(r rune) bool { return r == ',' || unicode.IsSpace(r) }
	var list EncryptionKeys
	for item := range strings.FieldsFuncSeq(string(text), isBetween) {
		var key EncryptionKey
		if err := key.UnmarshalText([]byte(item)); err != nil {
			return fmt.Errorf("key %d of the list: %s", len(list)+1, err.Error())
		}
		list = append(list, key)
	}
	*k = list
	return nil
}

func (k EncryptionKeys) String() string { return redacted(len(k) > 0) }

// LogValue is for slog.
func (k EncryptionKeys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText is for JSON, and for logs of a whole Config.
func (k EncryptionKeys) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// GoString is for %#v.
func (k EncryptionKeys) GoString() string { return k.String() }

func (k EncryptionKeys) secret() {}

// Password is a password or the hash of one. It prints as [redacted].
type Password string

// UnmarshalText refuses hashes that can't be checked, or only at too high a cost.
func (p *Password) UnmarshalText(text []byte) error {
	if _, err := password.Parse(string(text)); err != nil {
		return err
	}
	*p = Password(text)
	return nil
}

func (p Password) String() string { return redacted(p != "") }

// LogValue is for slog.
func (p Password) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText is for JSON, and for logs of a whole Config.
func (p Password) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// GoString is for %#v.
func (p Password) GoString() string { return p.String() }

func (p Password) secret() {}

func redacted(set bool) string {
	if set {
		return "[redacted]"
	}
	return ""
}
