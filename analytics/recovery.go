package analytics

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/tape"
)

// maxRetries limits how often a call looks for missing and damaged files. Each retry either has a new
// listing or leaves out another file.
const maxRetries = 5

// retry calls do. If a file of the tape was replaced meanwhile, as by a compaction, it lists the tape
// again; if a file is damaged, it leaves that file out. In both cases it calls do again.
func (s *Session) retry(ctx context.Context, do func(*sql.Conn) error) error {
	for try := 0; ; try++ {
		s.mu.Lock()
		views := s.views
		s.mu.Unlock()
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		err = do(conn)
		conn.Close()
		if err == nil || ctx.Err() != nil || s.dir == nil || try == maxRetries || !s.repairViews(ctx, err, views) {
			return err
		}
	}
}

// repairViews replaces the views if err, from a query over the given version of them, is about a file. It
// reports whether to run the query again.
func (s *Session) repairViews(ctx context.Context, err error, views int) bool {
	if !mayBeFileError(err) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.views != views {
		return true // another query has replaced them meanwhile
	}
	if s.forgetSummary(err) {
		return s.loadSummaries(ctx, false) == nil
	}
	if isMissingFile(err) {
		s.log.Info("files of the tape were replaced; the tape is listed again")
		return s.replaceViews(ctx)
	}
	return s.leaveOutDamaged(ctx, err) && s.replaceViews(ctx)
}

// leaveOutDamaged leaves out the segments that an error is about. It reports whether there are any.
func (s *Session) leaveOutDamaged(ctx context.Context, err error) bool {
	damaged := s.findDamaged(ctx, err.Error())
	for _, segment := range damaged {
		s.broken[segment.Path] = segment.Err
		s.log.Error("a segment is damaged and left out", "segment", segment.Path, "error", segment.Err.Error())
	}
	return len(damaged) > 0
}

func (s *Session) replaceViews(ctx context.Context) bool {
	if s.createViews(ctx) != nil || s.loadSummaries(ctx, false) != nil {
		return false
	}
	s.views++
	return true
}

// mayBeFileError reports whether an error may be about a file rather than the statement.
func mayBeFileError(err error) bool {
	var known *duckdb.Error
	if !errors.As(err, &known) {
		return false
	}
	switch known.Type {
	case duckdb.ErrorTypeIO, duckdb.ErrorTypeInvalidInput, duckdb.ErrorTypeSerialization, duckdb.ErrorTypeInvalid, duckdb.ErrorTypeUnknownType,
		duckdb.ErrorTypeConversion, duckdb.ErrorTypeInternal, duckdb.ErrorTypeOutOfRange:
		return true
	}
	return strings.Contains(known.Msg, ".parquet")
}

func isMissingFile(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "No such file or directory") || strings.Contains(err.Error(), "No files found"))
}

// findDamaged reads the segments completely and returns those that cannot be read. If the message of the
// error names a damaged segment, the segments that it does not name are not read.
func (s *Session) findDamaged(ctx context.Context, message string) []tape.BrokenSegment {
	var named, others []string
	for _, table := range tables {
		segments, _, err := s.dir.Segments(table, "", "")
		if err != nil {
			return nil
		}
		for _, segment := range segments {
			if s.broken[segment.Path] != nil {
				continue
			}
			if strings.Contains(message, segment.Path) {
				named = append(named, segment.Path)
			} else {
				others = append(others, segment.Path)
			}
		}
	}
	for _, candidates := range [][]string{named, others} {
		var damaged []tape.BrokenSegment
		for _, path := range candidates {
			var ignored int64
			statement := fmt.Sprintf("SELECT count(hash(data)) FROM read_parquet(%s) AS data", Quote(filepath.Join(s.root, path)))
			err := s.db.QueryRowContext(ctx, statement).Scan(&ignored)
			var known *duckdb.Error
			if errors.As(err, &known) && !isMissingFile(known) {
				_, text := splitDuckError(known, "")
				damaged = append(damaged, tape.BrokenSegment{Path: path, Err: errors.New(text)})
			}
		}
		if len(damaged) > 0 {
			return damaged
		}
	}
	return nil
}
