package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	shellBlocks  = regexp.MustCompile("(?ms)^```(?:bash|console)\n(.*?)^```$")
	continuation = regexp.MustCompile(`\\\n\s*`)
	ownCommand   = regexp.MustCompile(`(?m)^(?:\$ )?(?:[A-Z_]+=\S+ )*webhook-worker (.*)$`)
	// shellWord is a word of a command, quoted or not; what comes after a comment's or an operator's beginning is none.
	shellWord = regexp.MustCompile(`^\s*(?:(#.*|[|>&;].*)|((?:'[^']*'|"[^"]*"|[^\s'"|>&;]+)+))`)
	quotes    = regexp.MustCompile(`'([^']*)'|"([^"]*)"`)
)

// TestCommandsOfTheDocuments sees that each command in a document is one that the program understands. The context has
// ended, so that none does anything.
func TestCommandsOfTheDocuments(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	checked := 0
	for _, path := range append(documents, "../../README.md") {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, block := range shellBlocks.FindAllStringSubmatch(string(content), -1) {
			for _, match := range ownCommand.FindAllStringSubmatch(continuation.ReplaceAllString(block[1], " "), -1) {
				if strings.Contains(match[1], "…") {
					continue
				}
				checked++
				var stdout, stderr strings.Builder
				status := run(ctx, wordsOf(match[1]), []string{
					"DATABASE_URL=postgres://nobody@127.0.0.1:1/none", "WEBHOOK_UI_USER=admin", "WEBHOOK_UI_PASSWORD=a long password", "WORKER_HEALTH_ADDR=127.0.0.1:1",
					"WEBHOOK_ENCRYPTION_KEY=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
				}, strings.NewReader("a secret that is long enough\n"), &stdout, &stderr)
				if strings.HasSuffix(stderr.String(), "no such file or directory\n") {
					continue // understood, and the file is the reader's
				}
				require.NotEqual(t, exitUsage, status, "%s: %s: %s", path, match[1], stderr.String())
			}
		}
	}
	require.Greater(t, checked, 50, "the commands are found")
}

// wordsOf splits a command as a shell does, up to a comment or an operator.
func wordsOf(command string) []string {
	var words []string
	for {
		match := shellWord.FindStringSubmatch(command)
		if match == nil || match[1] != "" {
			return words
		}
		words = append(words, quotes.ReplaceAllString(match[2], "$1$2"))
		command = command[len(match[0]):]
	}
}
