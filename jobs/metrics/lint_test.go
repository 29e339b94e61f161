package metrics

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// TestMetricsPassPromlint checks all metrics with the linter of promtool.
func TestMetricsPassPromlint(t *testing.T) {
	_, text := scrape(t, sources(), "/metrics")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	if named := strings.Count(text, "\n# HELP tapedeck_"); named < 35 {
		t.Errorf("only %d metrics were checked", named)
	}
}
