// Package analytics runs SQL over the tape. A session is a DuckDB database in memory whose relations
// are a fixed list of the tape's files. Every query file is checked against the contract that its
// header states.
//
// Its one guarantee: a query that runs has the parameters, columns and types that its header names. It
// sees the tape as of the opening of the session, except for segments that cannot be read, which
// Session.Broken names. docs/SQL.md specifies the relations and the form of a query file.
package analytics

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/durable"
	"tapedeck/internal/progress"
	"tapedeck/internal/tape"
)

// Options are the settings of a session. The zero value is the default.
type Options struct {
	// Threads is the number of threads that a query may use; 0 is one per core, but not more than one
	// for each 256 MB of memory.
	Threads int
	// MemoryLimit is how much memory the process may use, for example 1GB: DuckDB gets what is left after
	// 100 MB and 32 MB for each thread, and 64 MB at least. Empty is what the machine or the cgroup has
	// available, and 80 % of its memory at most. A Result is not limited.
	MemoryLimit string
	// From and To restrict trades and alerts to the partitions that overlap the half-open window. A
	// zero value leaves that end open.
	From, To time.Time
	// Symbols restricts every relation with a column symbol to these symbols. Empty is all symbols.
	Symbols []string
	// MinutesFrom makes the relation minutes a table of the minutes from MinutesFrom to To, computed
	// when the session opens. Both must be on a minute. Minutes that an earlier session cached are not
	// computed again. If MinutesFrom is zero, minutes is a view that reads the trades at each use.
	MinutesFrom time.Time
	// CacheMinutes stores the computed minutes for later sessions.
	CacheMinutes bool
	// Tables are the tables of the tape that will be read, including those that minutes and incidents
	// read. The others are empty. Nil is all tables.
	Tables []tape.Table
	// Summaries are the summaries that queries can read; nil is those that are part of tapedeck.
	Summaries []Query
	// Stored names the summaries that are read from what is stored of the days that are over. What is not
	// stored yet is stored when the session opens. The others are computed from trades at each use.
	Stored []string
	// Progress shows how many days are summarised; nil shows nothing.
	Progress progress.Display
	// Statement is what the session will run. If its plan holds few rows at a time, as that of FROM trades,
	// and MemoryLimit is empty, the limit is small: DuckDB would use all that it has to read and write ahead.
	Statement string
	// Variables are set in the session. A query reads them with getvariable.
	Variables map[string]string
	// Cutoff hides what was traded, finished or checked at or after it, and alerts raised after it. It
	// must be on a minute, and To must be given and not be later. Zero hides nothing.
	Cutoff time.Time
	// Macros creates the macros of market.duckdb.
	Macros bool
	// Index is a refreshed index of the tape. With nil, Open reads the footer of every segment.
	Index *tape.Index
	// Logger receives what the session repaired by itself. Nil discards it.
	Logger *slog.Logger

	// disk is where summaries are written; nil is the operating system's. Tests let it fail.
	disk durable.Disk
}

// Session is a database in memory with the relations trades, alerts, runs, coverage, gaps, bounds,
// minutes and incidents. It is safe for concurrent use. Queries can neither read files outside the tape
// nor change the settings of the session.
type Session struct {
	db      *sql.DB
	dir     *tape.Dir // nil: the relations are empty
	root    string    // of dir
	opt     Options
	log     *slog.Logger
	scratch *scratchDir
	budget  budget
	// notSymbols are the names on the tape whose rows are left out; see NotSymbols.
	notSymbols []string

	mu     sync.Mutex // guards the fields below, and the views while they are replaced
	broken map[string]error
	views  int // how often the views were replaced
}

// Open opens a session over what is on the tape now. The caller must close it.
func Open(ctx context.Context, dir *tape.Dir, opt Options) (*Session, error) {
	s, err := open(ctx, dir, opt)
	if err != nil {
		return nil, fmt.Errorf("open a session over %q: %w", dir.Path(), err)
	}
	return s, nil
}

// OpenEmpty opens a session whose relations are empty, to check queries without a tape. The caller must
// close it.
func OpenEmpty(ctx context.Context, opt Options) (*Session, error) {
	s, err := open(ctx, nil, opt)
	if err != nil {
		return nil, fmt.Errorf("open an empty session: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, dir *tape.Dir, opt Options) (_ *Session, err error) {
	s := &Session{dir: dir, opt: opt, log: opt.Logger, broken: map[string]error{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.opt.disk == nil {
		s.opt.disk = durable.OS{}
	}
	if s.scratch, err = createScratch(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.openDatabase(ctx); err != nil {
		return nil, err
	}
	if err := createRelations(ctx, s.db, s.summaries()); err != nil {
		return nil, err
	}
	if s.opt.Macros {
		if err := exec(ctx, s.db, embeddedSQL(macrosName)); err != nil {
			return nil, err
		}
	}
	allowed := []string{Quote(s.scratch.path)}
	if dir != nil {
		if s.root, err = dataRoot(dir); err != nil {
			return nil, err
		}
		for _, table := range tables {
			allowed = append(allowed, Quote(filepath.Join(s.root, string(table))))
		}
		allowed = append(allowed, Quote(s.judgedDir()), Quote(s.summaryPath("", "")))
		if err := s.loadTape(ctx); err != nil {
			return nil, err
		}
	}
	if err := exec(ctx, s.db,
		"SET allowed_directories = ["+strings.Join(allowed, ", ")+"]",
		"SET enable_external_access = false",
	); err != nil {
		return nil, err
	}
	if err := s.limitStreaming(ctx); err != nil {
		return nil, err
	}
	return s, exec(ctx, s.db, "SET lock_configuration = true")
}

// openDatabase opens the database in memory.
func (s *Session) openDatabase(ctx context.Context) error {
	settings := url.Values{
		"temp_directory":               {s.scratch.path},
		"max_temp_directory_size":      {spillLimit},
		"autoinstall_known_extensions": {"false"},
		"autoload_known_extensions":    {"false"},
	}
	var err error
	if s.budget, err = readMemory("/").budget(s.opt); err != nil {
		return err
	}
	if s.budget.threads > 0 {
		settings.Set("threads", fmt.Sprint(s.budget.threads))
	}
	if s.budget.bytes > 0 {
		settings.Set("memory_limit", inDuckDB(s.budget.bytes))
	}
	variables, err := variableStatements(s.opt.Variables)
	if err != nil {
		return err
	}
	connector, err := duckdb.NewConnector("?"+settings.Encode(), func(conn driver.ExecerContext) error {
		for _, statement := range variables {
			if _, err := conn.ExecContext(context.WithoutCancel(ctx), statement, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.db = sql.OpenDB(connector)
	return exec(ctx, s.db, "SET GLOBAL TimeZone = 'UTC'")
}

// loadTape makes the relations show the tape.
func (s *Session) loadTape(ctx context.Context) error {
	if err := s.loadIndex(ctx); err != nil {
		return err
	}
	if err := s.createViews(ctx); err != nil {
		return err
	}
	if err := s.loadOpenConflicts(ctx); err != nil {
		return err
	}
	if err := s.applyCutoff(ctx); err != nil {
		return err
	}
	if err := s.loadJudged(ctx); err != nil {
		return err
	}
	if err := s.loadSummaries(ctx, true); err != nil {
		return fmt.Errorf("summarise the days: %w", err)
	}
	if !s.opt.MinutesFrom.IsZero() {
		if err := s.loadMinutes(ctx); err != nil {
			return fmt.Errorf("compute the minutes: %w", err)
		}
	}
	return nil
}

// execer is a database or one connection to it.
type execer interface {
	ExecContext(ctx context.Context, statement string, args ...any) (sql.Result, error)
}

// exec runs statements until one fails.
func exec(ctx context.Context, db execer, statements ...string) error {
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// Broken returns the segments that are left out because they cannot be read or are stray, ordered by path.
func (s *Session) Broken() []tape.BrokenSegment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []tape.BrokenSegment
	for path, err := range s.broken {
		out = append(out, tape.BrokenSegment{Path: path, Err: err})
	}
	slices.SortFunc(out, func(a, b tape.BrokenSegment) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// NotSymbols returns the texts in the column symbol of trades that no symbol can have. The session
// leaves their rows out. They can have any characters; symbol.Quote shows them. If Options.Symbols
// restricts the session, there are none.
func (s *Session) NotSymbols() []string { return slices.Clone(s.notSymbols) }

// Close ends the session and deletes its scratch directory.
func (s *Session) Close() error {
	var err error
	if s.db != nil {
		err = s.db.Close()
	}
	return errors.Join(err, s.scratch.remove())
}

// Quote returns text as a string literal of SQL.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// Timestamp returns at as a literal of SQL.
func Timestamp(at time.Time) string {
	return "TIMESTAMP '" + at.UTC().Format("2006-01-02 15:04:05.999999") + "'"
}
