package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// table is what a benchmark showed. The first column names the rows.
type table struct {
	columns []string
	rows    [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table for a terminal.
func (t *table) print(w io.Writer) error {
	aligned := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range append([][]string{t.columns}, t.rows...) {
		_, _ = fmt.Fprintf(aligned, "%s\t\n", strings.Join(row, "\t")) // errors come with Flush
	}
	if err := aligned.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// markdown is the table for a page.
func (t *table) markdown() string {
	var text strings.Builder
	line := func(cells []string) {
		for _, cell := range cells {
			fmt.Fprintf(&text, "| %s ", strings.ReplaceAll(cell, "|", `\|`))
		}
		text.WriteString("|\n")
	}
	line(t.columns)
	text.WriteString("|---" + strings.Repeat("|---:", len(t.columns)-1) + "|\n")
	for _, row := range t.rows {
		line(row)
	}
	return text.String()
}
