//go:build ssrf

package ssrf

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	beginMark = "<!-- refusals: made by make refusals -->\n"
	endMark   = "<!-- end of refusals -->\n"
)

// report is the table of what was refused, and how.
type report struct{ lines []string }

func (r *report) add(form, url, saved, called string) {
	r.lines = append(r.lines, fmt.Sprintf("| %s | `%s` | %s | `blocked`: %s |\n", form, url, saved, called))
}

// finish writes the table into the report's file, if there is one and the test has passed.
func (r *report) finish(t *testing.T) {
	t.Helper()
	table := "| Form | URL | When it is saved | When it is called |\n|---|---|---|---|\n" + strings.Join(r.lines, "")
	t.Log("\n" + table)
	if *reportFile == "" {
		return
	}
	content, err := os.ReadFile(*reportFile)
	require.NoError(t, err)
	before, rest, foundBegin := strings.Cut(string(content), beginMark)
	_, after, foundEnd := strings.Cut(rest, endMark)
	require.True(t, foundBegin && foundEnd, "%s has no place for the table", *reportFile)
	require.NoError(t, os.WriteFile(*reportFile, []byte(before+beginMark+table+endMark+after), 0o644))
}
