//go:build units

// Package systemd_test looks at the units with systemd's own tools.
package systemd_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/config"
)

// maxExposure is what `systemd-analyze security` may give a service, of 10.
const maxExposure = 1.5

// units are the names of the unit files.
func units(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.service", "*.target"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		names = append(names, found...)
	}
	require.Len(t, names, 4)
	return names
}

// newRoot is a machine's root as systemd-analyze looks at it, with the units, the program and systemd's own units.
func newRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	etc := filepath.Join(root, "etc/systemd/system")
	require.NoError(t, os.MkdirAll(etc, 0o755))
	for _, name := range units(t) {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(etc, name), content, 0o644))
	}
	for _, program := range []string{"usr/bin/webhook-worker", "bin/kill"} {
		path := filepath.Join(root, program)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	}
	own := "/usr/lib/systemd/system"
	copyTo := filepath.Join(root, "lib/systemd/system")
	require.NoError(t, os.MkdirAll(copyTo, 0o755))
	require.NoError(t, filepath.WalkDir(own, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Dir(path) != own {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(copyTo, entry.Name()), content, 0o644)
	}))
	return root
}

// verify is what systemd-analyze has to say against a unit.
func verify(t *testing.T, root, name string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", "--root="+root,
		strings.Replace(name, "@.", "@1.", 1)).CombinedOutput()
	if err != nil {
		return string(output) + err.Error()
	}
	return string(output)
}

func TestUnitsAreValid(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	for _, name := range units(t) {
		require.Empty(t, verify(t, root, name), name)
	}
	// And what is wrong would be said.
	path := filepath.Join(root, "etc/systemd/system/webhook-worker@.service")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(content), "WatchdogSec=", "WatchDogSec=", 1)), 0o644))
	require.Contains(t, verify(t, root, "webhook-worker@.service"), "Unknown key")
}

func TestServicesAreConfined(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	overall := regexp.MustCompile(`Overall exposure level for .*: ([0-9.]+)`)
	for _, name := range units(t) {
		if !strings.HasSuffix(name, ".service") {
			continue
		}
		output, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--root="+root, name).CombinedOutput()
		require.NoError(t, err, string(output))
		match := overall.FindStringSubmatch(string(output))
		require.NotNil(t, match, string(output))
		exposure, err := strconv.ParseFloat(match[1], 64)
		require.NoError(t, err)
		t.Logf("%s: %.1f", name, exposure)
		require.LessOrEqual(t, exposure, maxExposure, string(output))
	}
}

// Each secret may be a credential, of services and of webhook-worker-env alike.
func TestSecretsMayBeCredentials(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(nil)
	require.NoError(t, err)
	read := func(path string) string {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(content)
	}
	for _, variable := range cfg.Variables() {
		if !variable.Secret {
			continue
		}
		line := "LoadCredential=" + variable.Name + ":webhook-worker." + variable.Name + "\n"
		require.Contains(t, read("webhook-worker-ui.service"), line)
		require.Contains(t, read("../packaging/webhook-worker-env"), "--property="+strings.TrimSpace(line)+" \\\n")
		if variable.Name == "WEBHOOK_UI_PASSWORD" {
			continue // the pages' alone
		}
		require.Contains(t, read("webhook-worker@.service"), line)
		require.Contains(t, read("webhook-worker-migrate.service"), line)
	}
}

// A migration that fails once, as at boot before the database is up, must not leave workers without its tables for ever.
func TestMigrationIsTriedAgain(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("webhook-worker-migrate.service")
	require.NoError(t, err)
	for _, line := range []string{"Restart=on-failure", "RestartSec=10", "StartLimitIntervalSec=0"} {
		require.Contains(t, string(content), "\n"+line+"\n")
	}
}

// TimeoutStopSec is longer than a worker takes that has the default SHUTDOWN_TIMEOUT.
func TestThereIsTimeToStop(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(nil)
	require.NoError(t, err)
	content, err := os.ReadFile("webhook-worker@.service")
	require.NoError(t, err)
	match := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindSubmatch(content)
	require.NotNil(t, match)
	seconds, err := strconv.Atoi(string(match[1]))
	require.NoError(t, err)
	require.Greater(t, float64(seconds), cfg.ShutdownTimeout.Std().Seconds()+40)
}

// The example in README.md scrapes where the units listen.
func TestReadmeScrapesTheUnits(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile("webhook-worker@.service")
	require.NoError(t, err)
	listens := regexp.MustCompile(`(?m)^Environment=WORKER_HEALTH_ADDR=(\S+):(\d+)\+%%i$`).FindSubmatch(unit)
	require.NotNil(t, listens)
	base, err := strconv.Atoi(string(listens[2]))
	require.NoError(t, err)
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	targets := regexp.MustCompile(`(?m)^ +- targets: \[([^]]*)\]`).FindSubmatch(readme)
	require.NotNil(t, targets)
	var want []string
	for instance := 1; instance <= 3; instance++ {
		want = append(want, strconv.Quote(string(listens[1])+":"+strconv.Itoa(base+instance)))
	}
	require.Equal(t, strings.Join(want, ", "), string(targets[1]))
}
