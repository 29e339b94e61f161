package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"tapedeck/internal/strictyaml"
	"tapedeck/internal/wording"

	"github.com/alecthomas/kong"
)

// parseError rewrites kong's error. It names the source of a bad value that is not on the command
// line.
func parseError(err error, settings *settings) error {
	text := err.Error()
	var of *kong.ParseError
	errors.As(err, &of)
	switch {
	// kong's error if no command is named.
	case strings.HasPrefix(text, "expected one of "), strings.HasPrefix(text, "unexpected argument , did you mean"):
		return withHint(misuse("no command given"),
			"tapedeck --help lists the commands; tapedeck demo shows what they do")
	}
	text = plainParseError(text, of)
	if match := flagPrefix.FindStringSubmatch(text); match != nil {
		prefix := "--" + match[1]
		if origin := settings.origins[match[1]]; origin != "" {
			prefix = origin
		}
		text = prefix + ": " + text[len(match[0]):]
	}
	return withHint(misuse("%s", text), helpHint(of))
}

// kongText is one of kong's errors about a value, and what it says in plain words.
type kongText struct {
	pattern *regexp.Regexp
	plain   string
}

func kongTexts() []kongText {
	return []kongText{
		{regexp.MustCompile(`^(--\S+): expected .*value but got "EOL" \(<EOL>\)$`), `$1 needs a value`},
		{regexp.MustCompile(`^(--\S+): expected .*value but got "(-.*)" \((?:short |long )?flag\).*$`), `$1 needs a value; $2 is a flag`},
		{regexp.MustCompile(`^(--\S+): expected a valid 64 bit int but got (".*")$`), `$1: $2 is not a whole number`},
		{regexp.MustCompile(`^(--\S+): expected a valid 64 bit uint but got (".*")$`), `$1: $2 is not a whole number from 0 on`},
		{regexp.MustCompile(`^(--\S+): expected a float but got (".*") \(.*\)$`), `$1: $2 is not a number`},
		{regexp.MustCompile(`^(--\S+): bool value must be .* but got (".*")$`), `$1: $2 is neither true nor false`},
		{regexp.MustCompile(`^(--\S+): expected "<key>=<value>" but got (".*")$`), `$1: $2 is not of the form NAME=VALUE`},
	}
}

var (
	kongEnum       = regexp.MustCompile(`^(--\S+) must be one of (".*") but got "(.*)"$`)
	kongUnknown    = regexp.MustCompile(`^unknown flag (\S+?)(, did you mean .*)?$`)
	kongUnexpected = regexp.MustCompile(`^unexpected argument (.*?)(, did you mean .*)?$`)
	flagPrefix     = regexp.MustCompile(`^--([\w-]+)(?:=\S+)?: `) // with kong's summary of its value, or without
	kongMissing    = regexp.MustCompile(`^(?:missing positional arguments|expected) "<(\S+)>.*"$`)
)

// plainParseError says in plain words what kong's error says. of is where it occurred, or nil.
func plainParseError(text string, of *kong.ParseError) string {
	for _, known := range kongTexts() {
		if known.pattern.MatchString(text) {
			return known.pattern.ReplaceAllString(text, known.plain)
		}
	}
	if match := kongEnum.FindStringSubmatch(text); match != nil {
		values := slices.DeleteFunc(strings.Split(strings.ReplaceAll(match[2], `"`, ""), ","), func(v string) bool { return v == "" })
		return fmt.Sprintf("%s: %q is none of %s", match[1], strictyaml.Shorten(match[3]), strings.Join(values, ", "))
	}
	var selected *kong.Node
	if of != nil && of.Context != nil {
		selected = of.Context.Selected()
	}
	if match := kongUnknown.FindStringSubmatch(text); match != nil {
		var flags []string
		if of != nil && of.Context != nil {
			for _, flag := range of.Context.Flags() {
				flags = append(flags, "--"+flag.Name)
			}
		}
		return fmt.Sprintf("unknown flag %s%s", match[1], suggestion(match[1], flags))
	}
	if match := kongUnexpected.FindStringSubmatch(text); match != nil {
		if selected != nil {
			return fmt.Sprintf("unexpected argument %q", strictyaml.Shorten(match[1]))
		}
		var commands []string
		if of != nil && of.Context != nil {
			for _, node := range of.Context.Model.Children {
				commands = append(commands, node.Name)
			}
		}
		return fmt.Sprintf("unknown command %q%s", strictyaml.Shorten(match[1]), suggestion(match[1], commands))
	}
	if match := kongMissing.FindStringSubmatch(text); match != nil {
		return strings.ToUpper(match[1]) + " is missing"
	}
	return text
}

// suggestion returns the end of an error about a word: the name that it was probably meant to be. A
// short word is similar to too many names, and few misspell the first letter.
func suggestion(word string, names []string) string {
	const least = 4
	bare := strings.TrimLeft(word, "-")
	if len(bare) < least {
		return ""
	}
	nearest := wording.Nearest(word, names)
	if nearest != "" && strings.EqualFold(strings.TrimLeft(nearest, "-")[:1], bare[:1]) {
		return fmt.Sprintf("; did you mean %s?", nearest)
	}
	return ""
}

// isSyntaxError reports whether the command line is wrong whatever the configuration says.
func isSyntaxError(err error) bool {
	var parseError *kong.ParseError
	return errors.As(err, &parseError) && parseError.Context.Error != nil
}

// helpHint names the help page of the command that an error is about.
func helpHint(of *kong.ParseError) string {
	if of == nil || of.Context == nil || of.Context.Selected() == nil {
		return "tapedeck --help lists the commands"
	}
	name := of.Context.Selected().Name
	if name == "query" && kongUnexpected.MatchString(of.Error()) {
		return "put the whole statement into quotes: tapedeck query 'SELECT count(*) FROM trades'"
	}
	return fmt.Sprintf("tapedeck %s --help shows its flags and examples", name)
}

// negativeValue matches a value that kong takes for a flag: -1h, -5.
var negativeValue = regexp.MustCompile(`^-\.?[0-9]`)

// joinValues writes --flag=-1h for --flag -1h, so that the flag itself says what is wrong with the
// value. A statement that begins with a comment is not taken for a flag either.
func joinValues(app *kong.Application, args []string) []string {
	takesValue := map[string]bool{}
	nodes := append([]*kong.Node{app.Node}, app.Children...)
	for _, node := range nodes {
		for _, flag := range node.Flags {
			takesValue["--"+flag.Name] = !flag.IsBool()
			if flag.Short != 0 {
				takesValue["-"+string(flag.Short)] = !flag.IsBool()
			}
		}
	}
	var out []string
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		switch {
		case i > 0 && takesValue[args[i-1]] && negativeValue.MatchString(arg):
			separator := "="
			if !strings.HasPrefix(args[i-1], "--") {
				separator = "" // of a short flag: -n-1
			}
			out[len(out)-1] += separator + arg
		case strings.HasPrefix(arg, "--") && strings.ContainsAny(arg[:min(3, len(arg))], " \n\t"):
			out = append(out, " "+arg)
		default:
			out = append(out, arg)
		}
	}
	return out
}
