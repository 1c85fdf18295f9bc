package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// cellWidth is the most characters of a cell in a table; --json has them all.
const cellWidth = 60

// printTable writes aligned columns under a header.
func printTable(out io.Writer, header []string, rows [][]string) error {
	writer := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(writer, strings.Join(header, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = shorten(printable(cell), cellWidth)
		}
		_, _ = fmt.Fprintln(writer, strings.Join(cells, "\t"))
	}
	return writer.Flush()
}

// printFields writes names and values, one pair a line; empty values are left out.
func printFields(out io.Writer, fields [][2]string) error {
	writer := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, field := range fields {
		if field[1] != "" {
			_, _ = fmt.Fprintf(writer, "%s\t%s\n", field[0], printable(field[1]))
		}
	}
	return writer.Flush()
}

// printable makes foreign text one line that can't steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return '\uFFFD'
		}
		return r
	}, text)
}

func shorten(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return string(runes[:width-1]) + "…"
}

// localTime writes a time to the second in the local zone.
func localTime(t time.Time) string { return t.Local().Format(time.DateTime) }

// or writes a pointer's value; empty if it is nil.
func or[T any](value *T) string {
	if value == nil {
		return ""
	}
	return fmt.Sprint(*value)
}
