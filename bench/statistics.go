package main

import (
	"fmt"
	"slices"
)

// each makes a list of one figure of many runs.
func each[T any](runs []T, figure func(*T) float64) []float64 {
	figures := make([]float64, len(runs))
	for i := range runs {
		figures[i] = figure(&runs[i])
	}
	return figures
}

// median is the middle one of some values; 0 if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// ratiosOf compares one figure of many runs with that of other runs, round by round.
func ratiosOf[T any](runs, with []T, figure func(*T) float64) []float64 {
	ratios := make([]float64, len(runs))
	for round := range runs {
		ratios[round] = figure(&runs[round]) / figure(&with[round])
	}
	return ratios
}

// rangeOf is the least and the greatest of some values.
func rangeOf(format string, values []float64) string {
	return fmt.Sprintf(format+"-"+format, slices.Min(values), slices.Max(values))
}

// plural is a number of things.
func plural(count int, thing string) string {
	if count == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", count, thing)
}

// mebibytes writes a number of bytes.
func mebibytes(bytes float64) string { return fmt.Sprintf("%.0f", bytes/(1<<20)) }
