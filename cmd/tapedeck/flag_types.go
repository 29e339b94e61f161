package main

import (
	"fmt"
	"math"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"tapedeck/internal/strictyaml"
)

// positive is a whole number above 0.
type positive int

func (p *positive) UnmarshalText(text []byte) error {
	value, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || value < 1 {
		return fmt.Errorf("%q is not a whole number above 0", strictyaml.Shorten(string(text)))
	}
	*p = positive(value)
	return nil
}

// connectionCount is how many connections a symbol has.
type connectionCount int

func (c *connectionCount) UnmarshalText(text []byte) error {
	const most = 8 // of stream.Options
	value, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || value < 1 || value > most {
		return fmt.Errorf("%q is not a whole number from 1 to %d", strictyaml.Shorten(string(text)), most)
	}
	*c = connectionCount(value)
	return nil
}

// columnMap is a list of NAME=COLUMN, separated by commas.
type columnMap map[string]string

func (c *columnMap) UnmarshalText(text []byte) error {
	if *c == nil {
		*c = columnMap{}
	}
	for pair := range strings.SplitSeq(string(text), ",") {
		name, column, found := strings.Cut(pair, "=")
		_, isTwice := (*c)[name]
		switch {
		case !found:
			return fmt.Errorf("%q is not of the form NAME=COLUMN", strictyaml.Shorten(pair))
		case isTwice:
			return fmt.Errorf("%q is given twice: %s=%s and %s", strictyaml.Shorten(name), name, strictyaml.Shorten((*c)[name]), strictyaml.Shorten(pair))
		}
		(*c)[name] = column
	}
	return nil
}

// threadCount is how many threads a query may use.
type threadCount int

func (c *threadCount) UnmarshalText(text []byte) error {
	const most = 1024
	value, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || value < 1 || value > most {
		return fmt.Errorf("%q is not a whole number from 1 to %d", strictyaml.Shorten(string(text)), most)
	}
	*c = threadCount(value)
	return nil
}

// memorySize is an amount of memory as DuckDB reads it.
type memorySize string

var memorySizeText = regexp.MustCompile(`(?i)^\d+(\.\d+)? ?[mgt]i?b$`)

func (m *memorySize) UnmarshalText(text []byte) error {
	if !memorySizeText.Match(text) {
		return fmt.Errorf("%q is not an amount of memory, such as 512MB or 2GB", strictyaml.Shorten(string(text)))
	}
	if whole, _, _ := strings.Cut(string(text), "."); len(strings.TrimRight(whole, " mMgGtTiIbB")) > 6 {
		return fmt.Errorf("%q is more memory than any machine has", strictyaml.Shorten(string(text)))
	}
	*m = memorySize(text)
	return nil
}

// rowCount is how many rows to show: a number, all, or the default.
type rowCount string

func (r *rowCount) UnmarshalText(text []byte) error {
	if n, err := strconv.ParseInt(string(text), 10, 64); string(text) != "all" && (err != nil || n < 1 || n == math.MaxInt64) {
		return fmt.Errorf("%q is neither a number of rows nor all", strictyaml.Shorten(string(text)))
	}
	*r = rowCount(text)
	return nil
}

// limit returns the most rows to show.
func (r rowCount) limit(onTerminal bool) int64 {
	const screenful = 40
	if n, err := strconv.ParseInt(string(r), 10, 64); err == nil {
		return n
	}
	if r == "" && onTerminal {
		return screenful
	}
	return math.MaxInt64
}

// listenAddress is a host, which may be empty, and a port.
type listenAddress string

func (l *listenAddress) UnmarshalText(text []byte) error {
	_, port, err := net.SplitHostPort(string(text))
	if number, portErr := strconv.Atoi(port); err != nil || portErr != nil || number < 0 || number > 65535 {
		return fmt.Errorf("%q is not an address with a port, such as 127.0.0.1:9090 or :9090", strictyaml.Shorten(string(text)))
	}
	*l = listenAddress(text)
	return nil
}

// dirName is the name of a directory.
type dirName string

func (d *dirName) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return fmt.Errorf("%q is not the name of a directory; . is the present one", "")
	}
	// DuckDB replaces a leading ~ by the home directory, nothing else does.
	if first, _, _ := strings.Cut(filepath.Clean(string(text)), string(filepath.Separator)); strings.HasPrefix(first, "~") {
		return fmt.Errorf("%q begins with ~, which only a shell replaces: write the whole path", strictyaml.Shorten(string(text)))
	}
	*d = dirName(text)
	return nil
}
