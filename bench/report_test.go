package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReplaceSection(t *testing.T) {
	t.Parallel()

	page := "before\n<!-- one -->\nold\n<!-- /one -->\n<!-- two -->\n<!-- /two -->\nafter\n"
	changed, err := replaceSection(page, "one", "new\n")
	require.NoError(t, err)
	require.Equal(t, "before\n<!-- one -->\nnew\n<!-- /one -->\n<!-- two -->\n<!-- /two -->\nafter\n", changed)
	_, err = replaceSection(page, "three", "new\n")
	require.ErrorContains(t, err, "no place for the results")
}

func TestCommandOf(t *testing.T) {
	t.Parallel()

	require.Equal(t, "go run ./bench throughput --try 'small WORKER_BATCH_SIZE=10' --rounds 3",
		commandOf([]string{"throughput", "--report", "docs/performance.md", "--try", "small WORKER_BATCH_SIZE=10", "--report=x", "--rounds", "3"}))
}

func TestTableAsMarkdown(t *testing.T) {
	t.Parallel()

	shown := &table{columns: []string{"", "rate"}}
	shown.add("a|b", "1")
	require.Equal(t, "|  | rate |\n|---|---:|\n| a\\|b | 1 |\n", shown.markdown())
}

func TestPlotIsXML(t *testing.T) {
	t.Parallel()

	drawn, err := (&plot{title: "A < B & C", panels: []panel{
		{title: "rate", unit: "a second", bars: []plotBar{{label: "<bare>", values: []float64{3, 1, 2}}, {label: "nothing"}}},
		{title: "empty"},
	}}).svg()
	require.NoError(t, err)
	require.Contains(t, string(drawn), "&lt;bare&gt;")
	decoder := xml.NewDecoder(strings.NewReader(string(drawn)))
	for err == nil {
		_, err = decoder.Token()
	}
	require.ErrorIs(t, err, io.EOF)
}
