package tapedeck_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestOnlySendersGetTheToken: of the services in compose.yaml, only those that send messages get the bot's
// token, as a secret and in their environment.
func TestOnlySendersGetTheToken(t *testing.T) {
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var stack struct {
		Services map[string]struct {
			Environment map[string]any
			Secrets     []string
		}
	}
	if err := yaml.Unmarshal(text, &stack); err != nil {
		t.Fatal(err)
	}
	var secret, environment []string
	for _, name := range slices.Sorted(maps.Keys(stack.Services)) {
		service := stack.Services[name]
		if slices.Contains(service.Secrets, "telegram_token") {
			secret = append(secret, name)
		}
		for key := range service.Environment {
			if strings.Contains(key, "TOKEN") {
				environment = append(environment, name)
			}
		}
		if _, ok := service.Environment["TAPEDECK_SYMBOLS"]; !ok && !strings.HasPrefix(name, "demo-") {
			t.Errorf("%s does not get the settings", name)
		}
	}
	want := []string{"detect", "report", "schedule"}
	if !slices.Equal(secret, want) || !slices.Equal(environment, want) {
		t.Errorf("the secret goes to %q, its path to %q, want both to go to %q", secret, environment, want)
	}
}
