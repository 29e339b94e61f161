package main

import (
	"os"
	"strings"
	"testing"
)

// TestValuesThatBeginWithADash requires a negative value and a statement that begins with a comment
// to be read as such, and everything else to stay as it is.
func TestValuesThatBeginWithADash(t *testing.T) {
	parser, err := newParser(&app{stdout: os.Stdout, stderr: os.Stderr}, &cli{}, &settings{config: &config{}})
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		"report|--since|-1h":                  "report|--since=-1h",
		"exchange|--clock-offset|-2h|--quiet": "exchange|--clock-offset=-2h|--quiet",
		"runs|-n|-5":                          "runs|-n-5",
		"detect|--budget|-.5":                 "detect|--budget=-.5",
		"runs|--failed|-1":                    "runs|--failed|-1", // takes no value
		"runs|--since|--failed":               "runs|--since|--failed",
		"query|-- a comment\nSELECT 1":        "query| -- a comment\nSELECT 1",
		"query|--|-- a comment|--since|-1":    "query|--|-- a comment|--since|-1",
		"query|--format|csv|SELECT -1":        "query|--format|csv|SELECT -1",
		"--data-dir|-5":                       "--data-dir=-5",
		"--unknown|-1h":                       "--unknown|-1h",
		"":                                    "",
	} {
		if got := strings.Join(joinValues(parser.Model, strings.Split(given, "|")), "|"); got != want {
			t.Errorf("%q became %q, want %q", given, got, want)
		}
	}
}
