package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"text/template"
)

// plotTemplate draws a plot.
//
//go:embed plot.svg.tmpl
var plotTemplate string

// plot is a chart of bars: medians of rounds, and their ranges. All scales begin at 0.
type plot struct {
	title, subtitle string
	panels          []panel
	oneScale        bool // else each panel has its own
}

type panel struct {
	title, unit string
	bars        []plotBar
}

type plotBar struct {
	label  string
	values []float64 // one a round
	note   string    // beside the value
	own    bool      // the product's, which stands out
}

// The measures of a plot, in pixels.
const (
	plotWidth  = 800
	plotMargin = 24
	barStart   = 220
	barRoom    = 340 // of the longest bar
	barHeight  = 18
	barStep    = 28
	panelGap   = 24
)

// drawnPanel and drawnBar are where things are on the picture.
type (
	drawnPanel struct {
		Title, Unit                 string
		TitleY, BaseTop, BaseBottom int
		Bars                        []drawnBar
	}
	drawnBar struct {
		Label, Value, Note, Class   string
		Y, TextY, MiddleY, WhiskerY int
		Width, Low, High, ValueX    int
		Ranged                      bool
	}
)

// svg draws the plot.
func (p *plot) svg() ([]byte, error) {
	y := 64
	panels := make([]drawnPanel, len(p.panels))
	longest := 0.0
	for _, panel := range p.panels {
		longest = max(longest, panel.longest())
	}
	for i, panel := range p.panels {
		y += panelGap
		if !p.oneScale {
			longest = panel.longest()
		}
		panels[i] = panel.draw(y, longest)
		y = panels[i].BaseBottom
	}
	var drawn bytes.Buffer
	err := template.Must(template.New("plot").Parse(plotTemplate)).Execute(&drawn, map[string]any{
		"Title": p.title, "Subtitle": p.subtitle, "Panels": panels, "Width": plotWidth, "Height": y + plotMargin,
		"Margin": plotMargin, "LabelX": barStart - 10, "BarX": barStart, "BarHeight": barHeight,
	})
	if err != nil {
		return nil, fmt.Errorf("drawing: %w", err)
	}
	return drawn.Bytes(), nil
}

// longest is the greatest of the panel's values.
func (p *panel) longest() float64 {
	longest := 0.0
	for _, bar := range p.bars {
		for _, value := range bar.values {
			longest = max(longest, value)
		}
	}
	return longest
}

// draw puts the panel's title on a line of the picture, and the bars below it, on a scale up to longest.
func (p *panel) draw(y int, longest float64) drawnPanel {
	drawn := drawnPanel{Title: p.title, Unit: p.unit, TitleY: y, BaseTop: y + 8}
	length := func(value float64) int {
		if longest == 0 {
			return 0
		}
		return int(math.Round(barRoom * value / longest))
	}
	for i, bar := range p.bars {
		top := y + 14 + i*barStep
		low, high := 0.0, 0.0
		if len(bar.values) > 0 {
			low, high = slices.Min(bar.values), slices.Max(bar.values)
		}
		class := "other"
		if bar.own {
			class = "own"
		}
		middle := median(bar.values)
		drawn.Bars = append(drawn.Bars, drawnBar{
			Label: bar.label, Value: threeDigits(middle), Note: bar.note, Class: class,
			Y: top, TextY: top + 14, MiddleY: top + barHeight/2, WhiskerY: top + barHeight/2 - 4,
			Width: max(length(middle), 1), Low: barStart + length(low), High: barStart + length(high), ValueX: barStart + length(high) + 10,
			Ranged: high > low,
		})
	}
	drawn.BaseBottom = y + 14 + len(p.bars)*barStep - (barStep - barHeight) + 6
	return drawn
}

// threeDigits writes a number with three digits, or more where they stand before the point.
func threeDigits(value float64) string {
	switch {
	case value == 0:
		return "0"
	case value < 10:
		return fmt.Sprintf("%.2f", value)
	case value < 100:
		return fmt.Sprintf("%.1f", value)
	default:
		return fmt.Sprintf("%.0f", value)
	}
}
