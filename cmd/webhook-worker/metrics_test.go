package main

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// series are the labels of each series, by name.
type series map[string][]map[string]string

// scrape reads /metrics of a worker that answers at a socket.
func scrape(t *testing.T, socket string) series {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://worker/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(response.Body)
	require.NoError(t, err)
	all := series{}
	for name, family := range families {
		for _, one := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range one.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			if family.GetType() != dto.MetricType_HISTOGRAM {
				all[name] = append(all[name], labels)
				continue
			}
			all[name+"_sum"], all[name+"_count"] = append(all[name+"_sum"], labels), append(all[name+"_count"], labels)
			bucket := maps.Clone(labels)
			bucket["le"] = "+Inf"
			all[name+"_bucket"] = append(all[name+"_bucket"], bucket)
		}
	}
	return all
}

// startScraped starts a worker that answers at the socket whose path it returns.
func (c *terminal) startScraped(t *testing.T) (*background, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ww") //nolint:usetesting // a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	worker := c.with("WORKER_HEALTH_ADDR=unix:"+dir+"/%i", "RETRY_BASE_DELAY=50ms").start(t, "work", "--instance", "7")
	require.Eventually(t, func() bool { return strings.Contains(worker.stderr.String(), "worker started") }, waitFor, look)
	return worker, dir + "/7"
}

// awaitEnded waits until so many deliveries have ended.
func awaitEnded(t *testing.T, pool *pgxpool.Pool, deliveries int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var ended int
		require.NoError(t, pool.QueryRow(t.Context(), `
			select count(*) from river_job where kind = 'webhook_delivery' and finalized_at is not null`).Scan(&ended))
		return ended == deliveries
	}, waitFor, look)
}

// What rules and dashboard ask for is really there, of a worker that has made real deliveries; and nothing that it says has
// a label of which there may be ever more.
func TestMetricsAreThoseOfRulesAndDashboard(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	const user, event = "user-of-the-labels", "call.of_the_labels"
	good, bad := newEndpoint(t, http.StatusOK), newEndpoint(t, http.StatusInternalServerError)
	names := []string{user, event, good.URL, bad.URL, "id-of-the-labels"}
	for slug, url := range map[string]string{"goodslug": good.URL, "badslug": bad.URL} {
		partner := terminal.addPartner(t, user, slug, url, "--max-retries", "1")
		names = append(names, slug, partner["id"].(string))
	}
	_, socket := terminal.startScraped(t)
	terminal.ok(t, "send", "--user", user, "--event", event, "--id", "id-of-the-labels", "--data", `{}`)
	awaitEnded(t, pool, 2)
	// What River maintains, and how the queue stands, may come a moment later.
	var got series
	require.Eventually(t, func() bool {
		got = scrape(t, socket)
		return len(got["webhook_queue_deliveries"]) == 6 && len(got["river_work_count_total"]) == 2
	}, waitFor, look)

	for _, one := range expressions(t) {
		one.check(t, got)
	}
	checkLabels(t, got, names)
	require.Equal(t, documented(t), exported(got), "docs/operations.md has all metrics, with their labels")
}

// documented are the names of the labels of each metric in the table of docs/operations.md.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	content, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	all := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(webhook_[a-z0-9_]+)` \\| (?:counter|gauge|histogram) \\| ([^|]*)\\|").FindAllStringSubmatch(string(content), -1) {
		labels := []string{}
		for _, label := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[2], -1) {
			labels = append(labels, label[1])
		}
		slices.Sort(labels)
		all[row[1]] = labels
	}
	return all
}

// exported are the names of the labels of each of our metrics that a worker has.
func exported(got series) map[string][]string {
	all := map[string][]string{}
	for name, of := range got {
		name = strings.TrimSuffix(name, "_bucket")
		if !strings.HasPrefix(name, "webhook_") || got[name+"_bucket"] == nil && (got[strings.TrimSuffix(name, "_sum")+"_bucket"] != nil ||
			got[strings.TrimSuffix(name, "_count")+"_bucket"] != nil) {
			continue
		}
		labels := slices.DeleteFunc(slices.Sorted(maps.Keys(of[0])), func(label string) bool { return label == "le" })
		all[name] = slices.AppendSeq([]string{}, slices.Values(labels))
	}
	return all
}

// checkLabels looks for labels that there may be ever more of.
func checkLabels(t *testing.T, got series, names []string) {
	t.Helper()
	known := map[string]*regexp.Regexp{}
	for name, values := range map[string]string{
		"outcome": "delivered|failed|lost|cancelled", "status_class": "none|2xx|3xx|4xx|5xx", "retried": "true|false", "held": "true|false",
		"error_kind": "none|dns|connect|tls|timeout|http_status|redirect|blocked|protocol|shutdown|internal",
		"reason":     "partner_busy|user_busy|circuit_open|slowed_down|rate_limit|paused|missing_key|newer|database|proxy|gone|failing",
		"part":       "ages|counts", "pool": "deliveries|river", "state": "acquired|idle|open|closed|enabled|paused|disabled",
		"status": "pending|processing|failed|delivered|dead_letter|cancelled|ok|error|panic", "le": ".*",
		"queue": "webhooks|webhook_maintenance", "kind": "webhook_retention|webhook_settlement", "unique_skipped_as_duplicate": "true|false",
		"version": ".*", "goversion": "go.*", "quantile": "0|0.25|0.5|0.75|1",
	} {
		known[name] = regexp.MustCompile("^(?:" + values + ")$")
	}
	count := 0
	for name, all := range got {
		for _, labels := range all {
			count++
			for label, value := range labels {
				require.Contains(t, known, label, name)
				require.Regexp(t, known[label], value, "%s of %s", label, name)
				for _, unbounded := range names {
					require.NotContains(t, value, unbounded, "%s of %s", label, name)
				}
			}
		}
	}
	require.Greater(t, count, 100)
	require.Less(t, count, 300)
}

// expression is a PromQL expression of a rule or a panel, with the texts that name labels of its result.
type expression struct {
	from, expr string
	texts      []string
}

// expressions are all of the rules and the dashboard.
func expressions(t *testing.T) []expression {
	t.Helper()
	var all []expression
	for _, rule := range readRules(t) {
		all = append(all, expression{rule.Alert, rule.Expr, slices.Collect(maps.Values(rule.Annotations))})
	}
	content, err := os.ReadFile("../../deploy/grafana/dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Type    string `json:"type"`
			Targets []struct {
				Expr         string `json:"expr"`
				LegendFormat string `json:"legendFormat"`
			} `json:"targets"`
		} `json:"panels"`
	}
	require.NoError(t, json.Unmarshal(content, &dashboard))
	for _, panel := range dashboard.Panels {
		require.Equal(t, panel.Type == "row", len(panel.Targets) == 0, panel.Title)
		for _, target := range panel.Targets {
			all = append(all, expression{panel.Title, target.Expr, []string{target.LegendFormat}})
		}
	}
	require.Greater(t, len(all), 40)
	return all
}

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func readRules(t *testing.T) []rule {
	t.Helper()
	content, err := os.ReadFile("../../deploy/prometheus/rules.yaml")
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	require.NoError(t, yaml.Unmarshal(content, &file))
	var all []rule
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

var (
	grouping  = regexp.MustCompile(`\b(?:by|without|on|ignoring) *\(([^)]*)\)`)
	selector  = regexp.MustCompile(`\b((?:webhook|river|process|go)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?`)
	matcher   = regexp.MustCompile(`^(\w+)(=~|!~|!=|=)"(.*)"$`)
	labelUsed = regexp.MustCompile(`\{\{ *(?:\$labels\.)?(\w+) *\}\}`)
)

// ofTarget are the labels that Prometheus adds to all that it scrapes from a worker: database, where its configuration says so.
func ofTarget(label string) bool { return label == "job" || label == "instance" || label == "database" }

// check sees that each selector of the expression finds something, and that each label that it names is there.
func (e *expression) check(t *testing.T, got series) {
	t.Helper()
	found := map[string]bool{}
	selectors := selector.FindAllStringSubmatch(grouping.ReplaceAllString(e.expr, ""), -1)
	require.NotEmpty(t, selectors, "%s: %s", e.from, e.expr)
	for _, one := range selectors {
		name, matchers := one[1], one[2]
		if name == "up" { // Prometheus's own
			continue
		}
		require.Contains(t, got, name, "%s: %s", e.from, e.expr)
		matching := slices.DeleteFunc(slices.Clone(got[name]), func(labels map[string]string) bool { return !matches(t, labels, matchers) })
		require.NotEmpty(t, matching, "%s: nothing is %s{%s}", e.from, name, matchers)
		for _, labels := range matching {
			for label := range labels {
				found[label] = true
			}
		}
	}
	for _, group := range grouping.FindAllStringSubmatch(e.expr, -1) {
		for label := range strings.SplitSeq(group[1], ",") {
			label = strings.TrimSpace(label)
			require.True(t, label == "" || ofTarget(label) || found[label], "%s: no %s in %s", e.from, label, e.expr)
		}
	}
	for _, text := range e.texts {
		for _, used := range labelUsed.FindAllStringSubmatch(text, -1) {
			require.True(t, ofTarget(used[1]) || found[used[1]], "%s: no %s for %q", e.from, used[1], text)
		}
	}
}

// matches says whether a series has what matchers ask for. A label that it has not at all is a slip.
func matches(t *testing.T, labels map[string]string, matchers string) bool {
	t.Helper()
	for one := range strings.SplitSeq(matchers, ",") {
		if one == "" {
			continue
		}
		parts := matcher.FindStringSubmatch(strings.TrimSpace(one))
		require.NotNil(t, parts, one)
		if ofTarget(parts[1]) {
			continue
		}
		require.Contains(t, labels, parts[1])
		pattern := parts[3]
		if !strings.HasSuffix(parts[2], "~") {
			pattern = regexp.QuoteMeta(pattern)
		}
		if regexp.MustCompile("^(?:"+pattern+")$").MatchString(labels[parts[1]]) == strings.HasPrefix(parts[2], "!") {
			return false
		}
	}
	return true
}

// Each alert says where to read on, and is tested both ways; promtool runs the tests.
func TestRulesAreComplete(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../deploy/prometheus/rules_test.yaml")
	require.NoError(t, err)
	var file struct {
		Tests []struct {
			Checks []struct {
				Alert  string `yaml:"alertname"`
				Alerts []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	require.NoError(t, yaml.Unmarshal(content, &file))
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, one := range file.Tests {
		for _, check := range one.Checks {
			if len(check.Alerts) > 0 {
				fires[check.Alert] = true
			} else {
				quiet[check.Alert] = true
			}
		}
	}
	rules := readRules(t)
	require.Len(t, rules, len(fires))
	for _, rule := range rules {
		require.True(t, fires[rule.Alert] && quiet[rule.Alert], rule.Alert)
		require.Contains(t, []string{"critical", "warning", "info"}, rule.Labels["severity"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["description"], rule.Alert)
		require.Equal(t, "https://github.com/epicvoice/webhook-worker/blob/main/docs/operations.md#"+strings.ToLower(rule.Alert), rule.Annotations["runbook_url"])
	}
}
