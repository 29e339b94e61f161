package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"

	"tapedeck/internal/lake/request"
	"tapedeck/internal/redact"
	"tapedeck/internal/strictyaml"
)

// lakeProgram is the program that talks to the lake. It is installed beside this one.
const lakeProgram = "tapedeck-lake"

// parseLake parses the key lake of config.yaml.
func (c *config) parseLake(node *yaml.Node) error {
	return strictyaml.Each(c.path, node, "lake", request.Keys(), func(key string, _ int, value *yaml.Node) error {
		if strictyaml.IsNull(value) {
			return nil
		}
		text, err := strictyaml.Text(value)
		if err == nil && (key == "catalog" || key == "endpoint") {
			if err = checkURL(text, "http", "https"); err == nil && redact.Text(text) != text {
				err = errors.New("credentials do not belong into the address; docs/LAKE.md says where they do")
			}
		}
		if err != nil {
			return fmt.Errorf("%s: lake: %s: %w", c.position(value.Line), key, err)
		}
		switch key {
		case "catalog":
			c.lake.Catalog = text
		case "endpoint":
			c.lake.Endpoint = text
		case "namespace":
			c.lake.Namespace = text
		case "region":
			c.lake.Region = text
		case "warehouse":
			c.lake.Warehouse = text
		}
		return nil
	})
}

// askLake replaces this process by tapedeck-lake, which gets its streams, environment and signals, and whose exit
// status becomes that of the command. It returns only if that is not possible.
func (a *app) askLake(asked request.Request) error {
	if a.config.lake.Catalog == "" {
		return withHint(misuse("no lake is configured"),
			"name its catalog in config.yaml, for example: lake: {catalog: \"http://localhost:8181\", warehouse: \"s3://lake\"}")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if resolved, err := filepath.EvalSymlinks(self); err == nil {
		self = resolved
	}
	program := filepath.Join(filepath.Dir(self), lakeProgram)
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("the program %s is not beside tapedeck in %q", lakeProgram, filepath.Dir(self)),
			"the image has both; from the sources: go build -o "+filepath.Dir(self)+"/ ./cmd/"+lakeProgram)
	}
	asked.DataDir, asked.Now, asked.Lake = absolute(a.dataDir), a.now(), a.config.lake
	text, err := json.Marshal(asked)
	if err != nil {
		return err
	}
	err = syscall.Exec(program, []string{program, string(text)}, a.environ)
	return fmt.Errorf("start %q: %w", program, err)
}

type shipCmd struct {
	DryRun      bool   `xor:"what" help:"Change nothing; say which days would be shipped, and why others wait."`
	AllowShrink bool   `help:"Ship also days of which ids were dropped on purpose, and replace days that this tape shipped with more ids."`
	Verify      bool   `xor:"what" help:"Read all trades in the lake and prove them against the coverage there. Nothing is shipped."`
	Expire      bool   `xor:"what" help:"Remove snapshots and unused objects that are older than --grace. Nothing is shipped."`
	Grace       length `placeholder:"LENGTH" default:"7d" help:"What --expire keeps: at least 2d, and longer than any reader takes."`
	From        date   `placeholder:"DATE" help:"First UTC date of --verify. The default is the first in the lake."`
	To          date   `placeholder:"DATE" help:"Last UTC date of --verify. The default is the last in the lake."`
}

// leastGrace is longer than a shipment takes: what it uploaded is not removed before it is committed.
const leastGrace = 48 * time.Hour

func (c *shipCmd) Run(a *app) error {
	asked := request.Request{
		Command: request.Ship, LogLevel: a.logLevel, DryRun: c.DryRun, AllowShrink: c.AllowShrink,
		Grace: time.Duration(c.Grace), From: string(c.From), To: string(c.To),
	}
	switch {
	case c.Verify:
		asked.Command = request.Verify
	case c.Expire:
		asked.Command = request.Expire
	}
	switch {
	case c.Expire && asked.Grace < leastGrace:
		return misuse("--grace: %s is less than 2d, which a shipment or a reader may take", c.Grace)
	case !c.Verify && asked.From+asked.To != "":
		return misuse("--from and --to are for --verify; ship ships every day that the lake lacks")
	case c.AllowShrink && asked.Command != request.Ship:
		return misuse("--allow-shrink is for shipping")
	}
	if asked.Command == request.Ship {
		if _, err := a.openTape(); err != nil {
			return err
		}
	}
	return a.askLake(asked)
}

type restoreCmd struct {
	From    date       `placeholder:"DATE" help:"First UTC date, such as 2026-01-15. The default is the first in the lake."`
	To      date       `placeholder:"DATE" help:"Last UTC date, included. The default is the last in the lake."`
	Symbols symbolList `placeholder:"LIST" help:"Symbols or patterns, separated by commas: BTCUSDT,ETH*. The default is all."`
}

func (c *restoreCmd) Run(a *app) error {
	if c.From != "" && c.To != "" && c.From > c.To {
		return misuse("--from %s is after --to %s", c.From, c.To)
	}
	for _, word := range c.Symbols {
		if strings.ContainsAny(word, "!>") {
			return misuse("--symbols: %q: restore selects by name only, without ! and >", word)
		}
	}
	return a.askLake(request.Request{
		Command: request.Restore, LogLevel: a.logLevel, From: string(c.From), To: string(c.To), Symbols: upper(c.Symbols),
	})
}

// upper returns symbols as Binance spells them.
func upper(words []string) (out []string) {
	for _, word := range words {
		out = append(out, strings.ToUpper(word))
	}
	return out
}

// date is a UTC date on the command line.
type date string

func (d *date) UnmarshalText(text []byte) error {
	if _, err := time.Parse(time.DateOnly, strings.TrimSpace(string(text))); err != nil {
		return fmt.Errorf("%q is not a date, such as 2026-01-15", strictyaml.Shorten(string(text)))
	}
	*d = date(strings.TrimSpace(string(text)))
	return nil
}
