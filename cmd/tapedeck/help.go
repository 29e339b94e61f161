package main

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"tapedeck/internal/wording"
)

// errHelpShown stops parsing after help was printed; the exit status is 0.
var errHelpShown = errors.New("help was shown")

// helpWidth is the maximum width of a line of help, in characters: that of a default terminal.
const helpWidth = 80

// helpFlag is --help. It prints the page of the command before it, before any value is checked.
type helpFlag bool

// BeforeReset is kong's hook for flags that act while the command line is being parsed.
func (helpFlag) BeforeReset(context *kong.Context, stdout io.Writer) error {
	var page string
	if node := context.Selected(); node != nil {
		page = commandHelp(node)
	} else {
		page = appHelp(context.Model)
	}
	if _, err := io.WriteString(stdout, page); err != nil {
		return &statusError{exitFailed, err}
	}
	return errHelpShown
}

// manuals holds NAME.txt for every command: how it works, its examples and its exit statuses. Empty
// lines separate paragraphs, which are wrapped; lines that start with a space are printed as they are.
//
//go:embed manual
var manuals embed.FS

// manual is the part of a command's help that does not come from its flags.
type manual struct {
	about    string
	examples []string // "command line  # what it does"
	exits    []string // what the exit statuses except 80 mean, such as "0  done"
}

// manualOf returns the manual of a command. Every command has one.
func manualOf(command string) manual {
	text, _ := manuals.ReadFile("manual/" + command + ".txt")
	about, rest, _ := strings.Cut(string(text), "\n\nExamples:\n")
	examples, exits, _ := strings.Cut(rest, "\n\nExit status:\n")
	return manual{about, strings.Split(examples, "\n"), strings.Split(strings.TrimSpace(exits), "\n")}
}

func appHelp(app *kong.Application) string {
	var page strings.Builder
	paragraphs(&page, "", `tapedeck records the trades of Binance's spot market to Parquet, proves that the record is complete, `+
		`and runs detectors, reports and your own queries over it as SQL, on a schedule.`)
	page.WriteString("\nUsage: tapedeck [flags] COMMAND [flags]\n")
	for _, group := range groups() {
		var rows [][2]string
		for _, node := range app.Children {
			if node.Group.Key == group.Key {
				rows = append(rows, [2]string{node.Name, node.Help})
			}
		}
		section(&page, group.Title, rows)
	}
	section(&page, "Flags for every command", flagRows(app.Flags))
	page.WriteString("\nConfiguration:\n")
	paragraphs(&page, "  ", `A flag such as --data-dir beats the environment (TAPEDECK_DATA_DIR), which beats config.yaml (data_dir), which `+
		`beats the default. No command needs a config.yaml.`)
	examples(&page, []string{
		"tapedeck demo  # everything in under a minute, without a network",
		"tapedeck stream --symbols BTCUSDT,ETHUSDT  # record",
		"tapedeck backfill --since 24h  # fetch what is missing from the last day",
		"tapedeck report --since 24h  # see what happened",
	})
	exitStatuses(&page, []string{"0  done", "1  failed", "3  done but incomplete, or a check found something"})
	page.WriteString("\nSee tapedeck COMMAND --help for each command.\n")
	return page.String()
}

func commandHelp(node *kong.Node) string {
	var page strings.Builder
	text := manualOf(node.Name)
	paragraphs(&page, "", "tapedeck "+node.Name+": "+strings.ToLower(node.Help[:1])+node.Help[1:])
	usage := "\nUsage: tapedeck " + node.Name
	if len(node.Flags) > 0 {
		usage += " [flags]"
	}
	var arguments [][2]string
	for _, argument := range node.Positional {
		name := argumentName(argument)
		arguments = append(arguments, [2]string{name, argument.Help})
		if !argument.Required {
			name = "[" + name + "]"
		}
		usage += " " + name
	}
	page.WriteString(usage + "\n\n")
	paragraphs(&page, "", text.about)
	section(&page, "Arguments", arguments)
	section(&page, "Flags", flagRows(node.Flags))
	page.WriteString("\nFlags for every command:\n")
	paragraphs(&page, "  ", "--config, --data-dir, --now, --log-level, --help; see tapedeck --help.")
	examples(&page, text.examples)
	exitStatuses(&page, text.exits)
	return page.String()
}

func argumentName(argument *kong.Value) string {
	name := cmp.Or(argument.Tag.PlaceHolder, strings.ToUpper(argument.Name))
	if argument.IsCumulative() {
		name += "…"
	}
	return name
}

// exitStatuses prints exit statuses and their meanings.
func exitStatuses(page *strings.Builder, exits []string) {
	var rows [][2]string
	if !slices.ContainsFunc(exits, func(exit string) bool { return strings.HasPrefix(exit, "80 ") }) {
		exits = append(slices.Clone(exits), "80  the command line or the configuration is wrong; nothing was done")
	}
	for _, exit := range exits {
		status, meaning, _ := strings.Cut(exit, "  ")
		rows = append(rows, [2]string{status, meaning})
	}
	section(page, "Exit status", rows)
}

func flagRows(flags []*kong.Flag) [][2]string {
	var rows [][2]string
	for _, flag := range flags {
		if flag.Hidden {
			continue
		}
		name := "--" + flag.Name
		if flag.Short != 0 {
			name = fmt.Sprintf("-%c, %s", flag.Short, name)
		}
		if !flag.IsBool() {
			name += " " + cmp.Or(flag.PlaceHolder, "VALUE")
		}
		var notes []string
		if flag.HasDefault && flag.Default != "" {
			notes = append(notes, "default "+flag.Default)
		}
		if key := flag.Tag.Get("key"); key != "" {
			notes = append(notes, envName(key))
		}
		help := flag.Help
		if len(notes) > 0 {
			help += " (" + strings.Join(notes, "; ") + ")"
		}
		rows = append(rows, [2]string{name, help})
	}
	return rows
}

// section prints rows below a heading, or nothing if there are none.
func section(page *strings.Builder, heading string, rows [][2]string) {
	if len(rows) > 0 {
		fmt.Fprintf(page, "\n%s:\n", heading)
		columns(page, rows)
	}
}

// columns prints rows of a name and a text. All texts start in one column, below a name that is too
// long.
func columns(page *strings.Builder, rows [][2]string) {
	const most = 22
	width := 0
	for i := range rows {
		rows[i] = [2]string{wording.Name(rows[i][0]), wording.VisibleLines(rows[i][1])}
	}
	for _, row := range rows {
		if n := utf8.RuneCountInString(row[0]); n <= most {
			width = max(width, n)
		}
	}
	for _, row := range rows {
		lines := wording.Wrap(row[1], helpWidth-width-4)
		if utf8.RuneCountInString(row[0]) > width {
			fmt.Fprintf(page, "  %s\n", row[0])
		} else {
			fmt.Fprintf(page, "  %-*s  %s\n", width, row[0], lines[0])
			lines = lines[1:]
		}
		for _, line := range lines {
			fmt.Fprintf(page, "  %*s  %s\n", width, "", line)
		}
	}
}

// examples prints command lines with their comments, above a line that would be too long.
func examples(page *strings.Builder, lines []string) {
	page.WriteString("\nExamples:\n")
	for _, line := range lines {
		command, comment, _ := strings.Cut(line, "  # ")
		if comment != "" && utf8.RuneCountInString(line)+2 > helpWidth {
			fmt.Fprintf(page, "  # %s\n  %s\n", comment, command)
			continue
		}
		fmt.Fprintf(page, "  %s\n", line)
	}
}

// paragraphs wraps text and prints it. A line that starts with a space is printed as it is.
func paragraphs(page *strings.Builder, indent, text string) {
	var words []string
	flush := func() {
		if len(words) > 0 {
			for _, line := range wording.Wrap(strings.Join(words, " "), helpWidth-len(indent)) {
				page.WriteString(indent + line + "\n")
			}
		}
		words = nil
	}
	for line := range strings.SplitSeq(strings.Trim(wording.VisibleLines(text), "\n"), "\n") {
		switch {
		case strings.TrimSpace(line) == "":
			flush()
			page.WriteString("\n")
		case strings.HasPrefix(line, " "):
			flush()
			page.WriteString(indent + line + "\n")
		default:
			words = append(words, line)
		}
	}
	flush()
}
