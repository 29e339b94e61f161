package metrics

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// TestNamesAreAsPrometheusWantsThem holds all that is served to the linter of promtool.
func TestNamesAreAsPrometheusWantsThem(t *testing.T) {
	_, text := scrape(t, sources(), "/metrics")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	if named := strings.Count(text, "\n# HELP tapedeck_"); named < 35 {
		t.Errorf("only %d metrics were held to it", named)
	}
}
