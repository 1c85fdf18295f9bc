package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSparkline(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		counts []int64
		want   string
	}{
		"nothing":             {nil, ""},
		"zeros":               {[]int64{0, 0, 0}, "···"},
		"one":                 {[]int64{1}, "█"},
		"all the same":        {[]int64{7, 7}, "██"},
		"every height":        {[]int64{0, 1, 2, 3, 4, 5, 6, 7, 8}, "·▁▂▃▄▅▆▇█"},
		"few are not nothing": {[]int64{0, 1, 1_000_000}, "·▁█"},
		"more than blocks":    {[]int64{100, 50, 51, 49, 12, 13}, "█▄▅▄▁▂"},
		"large":               {[]int64{1 << 62, 1 << 61, 1}, "█▄▁"},
		"nonsense":            {[]int64{-1, 1}, "·█"},
	} {
		require.Equal(t, test.want, sparkline(test.counts), name)
	}
}

func TestStatsNumbers(t *testing.T) {
	t.Parallel()
	require.Empty(t, age(nil))
	for seconds, want := range map[float64]string{
		-1: "0s", 0: "0s", 3.9: "3s", 59.99: "59s", 60: "1m", 725: "12m", 3599: "59m", 3600: "1h", 86399: "23h", 86400: "1d", 90 * 86400: "90d",
	} {
		require.Equal(t, want, age(&seconds), seconds)
	}
	require.Empty(t, percent(nil))
	for rate, want := range map[float64]string{0: "0%", 1: "100%", 0.9999999: "99.9%", 0.57: "57%", 3.0 / 7: "42.8%", 0.0004: "0%"} {
		require.Equal(t, want, percent(&rate), rate)
	}
	for ms, want := range map[float64]string{0.004: "0.00 ms", 1.234: "1.23 ms", 12.34: "12.3 ms", 115.3: "115 ms", 30000: "30000 ms"} {
		require.Equal(t, want, milliseconds(ms), ms)
	}
}
