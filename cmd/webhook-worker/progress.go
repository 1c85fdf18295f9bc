package main

import (
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows on a terminal how far a long command is; elsewhere it shows nothing.
type progress struct {
	bar *progressbar.ProgressBar // nil: not shown
}

func newProgress(a *app, total int64) *progress {
	if !isTerminal(a.stderr) || total == 0 {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(a.stderr),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("deliveries"),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100_000_000),
		progressbar.OptionClearOnFinish(),
	)}
}

func (p *progress) add(count int) {
	if p.bar != nil {
		_ = p.bar.Add(count)
	}
}

// end takes the bar away, so that what is said next has the line.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Exit()
		_ = p.bar.Clear()
	}
}

// isTerminal says whether somebody looks at what is written there.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
