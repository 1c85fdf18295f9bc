package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// latencies are those of one run's deliveries.
type latencies struct {
	took  []float64 // milliseconds; of lost deliveries how long they were waited for
	lost  float64   // the least of the lost ones; 0 if there are none
	ready bool      // whether took is sorted
}

// figure is one of a run. It may be known only that it is at least so much.
type figure struct {
	value   float64
	atLeast bool
}

// add adds the latency of a delivery.
func (l *latencies) add(took time.Duration, lost bool) {
	value := milliseconds(took)
	l.took = append(l.took, value)
	l.ready = false
	if lost && (l.lost == 0 || value < l.lost) {
		l.lost = value
	}
}

// percentile is the latency that p percent do not exceed.
func (l *latencies) percentile(p float64) figure {
	if len(l.took) == 0 {
		return figure{}
	}
	if !l.ready {
		slices.Sort(l.took)
		l.ready = true
	}
	const rounding = 1e-9
	index := int(math.Ceil(float64(len(l.took))*p/100-rounding)) - 1
	value := l.took[max(index, 0)]
	return figure{value: value, atLeast: l.lost > 0 && value >= l.lost}
}

// medianOf is the median of figures. One that may be higher makes it uncertain only if it is not above it.
func medianOf(figures []figure) figure {
	middle := median(each(figures, func(f *figure) float64 { return f.value }))
	uncertain := slices.ContainsFunc(figures, func(f figure) bool { return f.atLeast && f.value <= middle })
	return figure{value: middle, atLeast: uncertain}
}

// String is a figure with one digit after the point, and with a > if it may be higher.
func (f figure) String() string {
	if f.atLeast {
		return fmt.Sprintf(">%.1f", f.value)
	}
	return fmt.Sprintf("%.1f", f.value)
}
