package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/joho/godotenv"
)

// envFile is where a run leaves what other commands need to work with it.
func envFile(dataDir string) string { return filepath.Join(dataDir, "env") }

// writeEnvFile writes what other commands need to work with this run.
func (d *devServer) writeEnvFile() error {
	var text strings.Builder
	for _, name := range []string{
		"DATABASE_URL", "WEBHOOK_ENCRYPTION_KEY", "WEBHOOK_ENCRYPTION_KEYS_OLD", "WEBHOOK_ALLOW_HTTP", "WEBHOOK_ALLOW_NETWORKS",
		// Empty, since a shell that has them set would have two sources of one value.
		"DATABASE_URL_FILE", "WEBHOOK_ENCRYPTION_KEY_FILE", "WEBHOOK_ENCRYPTION_KEYS_OLD_FILE",
	} {
		value := strings.ReplaceAll(d.getenv(name), "'", `'\''`)
		fmt.Fprintf(&text, "export %s='%s'\n", name, value)
	}
	return writePrivate(envFile(d.dataDir), text.String())
}

// databaseURLIn is the DATABASE_URL that an env file sets; empty if there is none.
func databaseURLIn(path string) string {
	variables, err := godotenv.Read(path)
	if err != nil {
		return ""
	}
	return variables["DATABASE_URL"]
}

// devKey reads the encryption key of earlier runs, or makes one.
func devKey(dataDir string) (string, error) {
	path := filepath.Join(dataDir, "encryption.key")
	content, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(content)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the development key: %w", err)
	}
	key := newKey()
	return key, writePrivate(path, key+"\n")
}

// writePrivate replaces a file that only this user may read.
func writePrivate(path, content string) error {
	// The directory is open, because PostgreSQL may run as another account; its files are not.
	const dirMode, fileMode = 0o755, 0o600
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return fmt.Errorf("making %s: %w", filepath.Dir(path), err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(content), fileMode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// addDotEnv adds the variables of a .env file that the environment does not have.
func addDotEnv(a *app, path string) error {
	variables, err := godotenv.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &usageError{fmt.Errorf("reading %s: %w", path, err)}
	}
	for name, value := range variables {
		a.setDefault(name, value)
	}
	return nil
}
