package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/epicvoice/webhook-worker/jobs"
)

// printStats writes statistics for people.
func printStats(out io.Writer, stats *jobs.Stats, audit bool) error {
	sections := []func(io.Writer, *jobs.Stats) error{printStatuses, printLastHour, printMinutes, printFailures, printPartners}
	if !audit && stats.LastHour.Attempts == 0 {
		sections = []func(io.Writer, *jobs.Stats) error{printStatuses, printUnrecorded, printPartners}
	}
	for i, section := range sections {
		if i > 0 {
			if _, err := fmt.Fprintln(out); err != nil {
				return err
			}
		}
		if err := section(out, stats); err != nil {
			return err
		}
	}
	return nil
}

// printUnrecorded stands for what is made of recorded attempts.
func printUnrecorded(out io.Writer, stats *jobs.Stats) error {
	if stats.LastHour.SuccessRate != nil {
		if err := printLastHour(out, stats); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, "AUDIT_LOG_ENABLED=false: attempts are not recorded")
	return err
}

func printStatuses(out io.Writer, stats *jobs.Stats) error {
	rows := make([][]string, len(stats.Statuses))
	for i := range stats.Statuses {
		status := &stats.Statuses[i]
		rows[i] = []string{
			string(status.Status), strconv.FormatInt(status.Count, 10), or(status.Due), age(status.OldestAgeSeconds), or(status.LastHour),
		}
	}
	return printTable(out, []string{"STATUS", "COUNT", "DUE", "OLDEST", "LAST HOUR"}, rows)
}

func printLastHour(out io.Writer, stats *jobs.Stats) error {
	hour := &stats.LastHour
	var lines []string
	if hour.SuccessRate != nil {
		lines = append(lines, percent(hour.SuccessRate)+" of the deliveries that ended were delivered")
	}
	switch {
	case hour.P50MS != nil && hour.P95MS != nil:
		lines = append(lines, fmt.Sprintf("%s of %d attempts succeeded; median %s, p95 %s",
			percent(hour.AttemptSuccessRate), hour.Attempts, milliseconds(*hour.P50MS), milliseconds(*hour.P95MS)))
	case hour.Attempts > 0:
		lines = append(lines, fmt.Sprintf("%s of %d attempts succeeded", percent(hour.AttemptSuccessRate), hour.Attempts))
	case len(lines) == 0:
		lines = append(lines, "no attempt ended")
	}
	fields := make([][2]string, len(lines))
	for i, line := range lines {
		fields[i][1] = line
	}
	fields[0][0] = "last hour"
	return printFields(out, fields)
}

func printMinutes(out io.Writer, stats *jobs.Stats) error {
	delivered, failed := make([]int64, len(stats.Minutes)), make([]int64, len(stats.Minutes))
	for i := range stats.Minutes {
		delivered[i], failed[i] = stats.Minutes[i].Delivered, stats.Minutes[i].Failed
	}
	return printFields(out, [][2]string{{"delivered", sparklineWithMost(delivered)}, {"failed", sparklineWithMost(failed)}})
}

func sparklineWithMost(counts []int64) string {
	most := int64(0)
	for _, count := range counts {
		most = max(most, count)
	}
	return fmt.Sprintf("%s %d/min", sparkline(counts), most)
}

// sparkline draws counts, the highest at full height. What is not zero can be told from it.
func sparkline(counts []int64) string {
	blocks := []rune("▁▂▃▄▅▆▇█")
	most := int64(1)
	for _, count := range counts {
		most = max(most, count)
	}
	var line strings.Builder
	for _, count := range counts {
		if count <= 0 {
			line.WriteRune('·')
			continue
		}
		height := math.Ceil(float64(count) / float64(most) * float64(len(blocks)))
		line.WriteRune(blocks[int(height)-1])
	}
	return line.String()
}

func printFailures(out io.Writer, stats *jobs.Stats) error {
	if len(stats.Failures) == 0 {
		_, err := fmt.Fprintln(out, "No attempt of the last hour failed.")
		return err
	}
	rows := make([][]string, len(stats.Failures))
	for i := range stats.Failures {
		failure := &stats.Failures[i]
		rows[i] = []string{or(failure.ResponseStatus), or(failure.ErrorKind), strconv.FormatInt(failure.Count, 10), or(failure.Error)}
	}
	return printTable(out, []string{"HTTP", "KIND", "FAILED", "FOR EXAMPLE"}, rows)
}

func printPartners(out io.Writer, stats *jobs.Stats) error {
	if len(stats.Partners) == 0 {
		_, err := fmt.Fprintln(out, "No partner has dead letters.")
		return err
	}
	rows := make([][]string, len(stats.Partners))
	for i := range stats.Partners {
		partner := &stats.Partners[i]
		rows[i] = []string{
			partner.UserID, or(partner.PartnerSlug), strconv.FormatInt(partner.DeadLetters, 10), strconv.FormatInt(partner.Failed, 10),
			percent(partner.SuccessRate), partner.State,
		}
	}
	return printTable(out, []string{"USER", "PARTNER", "DEAD LETTERS", "FAILED", "SUCCESS", "STATE"}, rows)
}

// age writes seconds in their largest unit; empty for nil.
func age(seconds *float64) string {
	if seconds == nil {
		return ""
	}
	switch d := time.Duration(max(*seconds, 0)) * time.Second; {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

// percent writes a rate, never more than it is: only all are 100%. Empty for nil.
func percent(rate *float64) string {
	if rate == nil {
		return ""
	}
	const floatError = 1e-9
	return strconv.FormatFloat(math.Floor(*rate*1000+floatError)/10, 'f', -1, 64) + "%"
}

// milliseconds writes a duration to three digits or the millisecond.
func milliseconds(ms float64) string {
	switch {
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 2, 64) + " ms"
	case ms < 100:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	}
	return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
}
