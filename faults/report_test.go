//go:build faults

package faults

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// row is one scenario's line in the table.
type row struct {
	result

	scenario string
	bound    int    // of duplicates; negative: none
	recovery string // how long it took, and to what
	failed   bool
}

// report collects the rows of a run.
type report struct {
	mu   sync.Mutex
	rows []*row
}

func (r *report) add(line *row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, line)
}

// finish prints the table, and writes it into file if there is one and all passed.
func (r *report) finish(out io.Writer, file string, passed bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rows) == 0 {
		return nil
	}
	table := r.table()
	_, _ = fmt.Fprintf(out, "%s\n", table)
	switch {
	case file == "":
		return nil
	case !passed:
		_, _ = fmt.Fprintf(out, "%s is left as it is, because a test failed\n", file)
		return nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the report's file: %w", err)
	}
	changed, err := replaceTable(string(content), table)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(changed), 0o644)
}

var tablePlace = regexp.MustCompile(`(?s)(<!-- faults -->\n).*?(<!-- /faults -->)`)

// replaceTable puts the table between the markers.
func replaceTable(content, table string) (string, error) {
	if len(tablePlace.FindAllString(content, -1)) != 1 {
		return "", fmt.Errorf("the markers %q are not in it exactly once", []string{"<!-- faults -->", "<!-- /faults -->"})
	}
	return tablePlace.ReplaceAllStringFunc(content, func(place string) string {
		match := tablePlace.FindStringSubmatch(place)
		return match[1] + table + match[2]
	}), nil
}

func (r *report) table() string {
	var text strings.Builder
	text.WriteString("| Scenario | Events | Deliveries | Duplicates | Allowed | Lost | Recovery |\n|---|---:|---:|---:|---:|---:|---|\n")
	slices.SortFunc(r.rows, func(a, b *row) int { return cmp.Compare(a.scenario, b.scenario) })
	for _, line := range r.rows {
		bound := strconv.Itoa(line.bound)
		if line.bound < 0 {
			bound = "any"
		}
		name := inWords(line.scenario)
		if line.failed {
			name += " **FAILED**"
		}
		fmt.Fprintf(&text, "| %s | %d | %d | %d | %s | %d | %s |\n",
			name, line.events, line.deliveries, line.duplicates, bound, line.lost, line.recovery)
	}
	return text.String()
}

var nextWord = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// inWords makes "Kill one of three" of TestKillOneOfThree.
func inWords(test string) string {
	words := strings.Fields(nextWord.ReplaceAllString(strings.TrimPrefix(test, "Test"), "$1 $2"))
	for i, word := range words {
		if i > 0 && (len(word) == 1 || word != strings.ToUpper(word)) {
			words[i] = strings.ToLower(word)
		}
	}
	return strings.Join(words, " ")
}

// took writes a recovery time and what it was measured to.
func took(from, to time.Time, what string) string {
	return fmt.Sprintf("%.1f s %s", max(0, to.Sub(from)).Seconds(), what)
}
