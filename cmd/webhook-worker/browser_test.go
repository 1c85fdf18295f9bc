//go:build browser

package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

var screenshots = flag.String("browser.screenshots", "", "directory for pictures of the pages")

// browserLimit is for a whole test in the browser.
const browserLimit = time.Minute

// browser is a tab of a real Chromium, and what happened in it.
type browser struct {
	ctx context.Context

	mu         sync.Mutex
	requests   map[network.RequestID][2]string // method and path
	complaints []string                        // of the pages and about them
	answers    []answered
}

// answered is a request's answer, which may be known before the request itself is.
type answered struct {
	request network.RequestID
	status  int64
}

// newBrowser starts a Chromium of the test's own, in which evil.test leads to this machine.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // which root and containers can't have
		chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(1400, 900),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP evil.test 127.0.0.1"),
	)
	bounded, cancel := context.WithTimeout(t.Context(), browserLimit)
	t.Cleanup(cancel)
	allocated, cancel := chromedp.NewExecAllocator(bounded, options...)
	t.Cleanup(cancel)
	tab, cancel := chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	b := &browser{ctx: tab, requests: map[network.RequestID][2]string{}}
	require.NoError(t, chromedp.Listen(tab, b.note))
	_, err := chromedp.Call(tab, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	_, err = chromedp.Call(tab, audits.Enable, cdp.Empty{})
	require.NoError(t, err)
	return b
}

// note remembers an event of the tab.
func (b *browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch event := event.(type) {
	case *network.EventRequestWillBeSent:
		if at, err := url.Parse(event.Request.URL); err == nil {
			b.requests[event.RequestID] = [2]string{event.Request.Method, at.Path}
		}
	case *network.EventResponseReceivedExtraInfo: // which comes for answers too that pages may not see
		b.answers = append(b.answers, answered{event.RequestID, event.StatusCode})
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, event.Entry.Text)
	case *audits.EventIssueAdded:
		violation := event.Issue.Details.ContentSecurityPolicyIssueDetails
		// River UI's library for forms tries whether it may make code, and goes on without.
		if violation != nil && violation.ContentSecurityPolicyViolationType != audits.ContentSecurityPolicyViolationTypeKEvalViolation {
			b.complaints = append(b.complaints, fmt.Sprintf("%s violates %s", violation.ContentSecurityPolicyViolationType, violation.ViolatedDirective))
		}
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("console.%s %+v", event.Type, event.Args))
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("%s %+v", event.ExceptionDetails.Text, event.ExceptionDetails.Exception))
	}
}

func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		complaints, answers := b.happened()
		require.NoError(t, err, "the browser said %q, and was answered %q", complaints, answers)
	}
}

// see opens a page, waits for a text and gives all of its text.
func (b *browser) see(t *testing.T, at, text string) string {
	t.Helper()
	b.do(t, chromedp.Navigate(at), b.shows(text))
	shown, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("body")))
	require.NoError(t, err)
	return shown
}

// shows waits for a text.
func (*browser) shows(text string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(fmt.Sprintf(`//*[text()[contains(., %q)]]`, text))
}

// click clicks the button with a text.
func (*browser) click(text string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(fmt.Sprintf(`//button[contains(., %q)]`, text), chromedp.NodeVisible)
}

// eval runs JavaScript in the page, waits for its promise and gives what it says.
func (b *browser) eval(t *testing.T, script string) string {
	t.Helper()
	said, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	require.NoError(t, err)
	return said
}

// picture keeps what the tab shows, if pictures are asked for.
func (b *browser) picture(t *testing.T, name string) {
	t.Helper()
	if *screenshots == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o600))
}

// happened is what the pages complained of, and method, status and path of each request that was answered,
// since the last forget.
func (b *browser) happened() (complaints, answers []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, answer := range b.answers {
		request := b.requests[answer.request]
		answers = append(answers, fmt.Sprintf("%s %d %s", request[0], answer.status, request[1]))
	}
	return slices.Clone(b.complaints), answers
}

func (b *browser) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints, b.answers = nil, nil
}

// sees waits until so many requests were answered in one way.
func (b *browser) sees(t *testing.T, n int, answer string) {
	t.Helper()
	var answers []string
	defer func() {
		if t.Failed() {
			t.Logf("not %d times %s: %q", n, answer, answers)
		}
	}()
	require.Eventually(t, func() bool {
		_, answers = b.happened()
		return len(slices.DeleteFunc(slices.Clone(answers), func(other string) bool { return other != answer })) == n
	}, waitFor, look)
}
