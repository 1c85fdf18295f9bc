package config

import (
	"fmt"
	"os"
	"strings"

	"github.com/joho/godotenv"
)

// LogLevelIn reads LOG_LEVEL from a file as systemd's EnvironmentFile= takes it; otherwise is what it is if the file does
// not set it. The other lines may be anything. The error is one line that names the file.
func LogLevelIn(path string, otherwise LogLevel) (LogLevel, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("WORKER_ENV_FILE=%s %w", oneLine(path), unreadable(err))
	}
	level := otherwise
	for line := range strings.Lines(string(content)) {
		name, _, _ := strings.Cut(line, "=")
		if strings.TrimSpace(name) != "LOG_LEVEL" {
			continue
		}
		values, err := godotenv.Unmarshal(strings.TrimSpace(line))
		if err != nil {
			return 0, fmt.Errorf("LOG_LEVEL in %s is not valid: %w", oneLine(path), err)
		}
		level = 0 // INFO, as at the start
		if value := values["LOG_LEVEL"]; value != "" {
			if err := level.UnmarshalText([]byte(value)); err != nil {
				return 0, fmt.Errorf("LOG_LEVEL=%s in %s is not valid: %w", oneLine(value), oneLine(path), err)
			}
		}
	}
	return level, nil
}
