// Package verify proves how complete the tape is: it reads the ids of every row, works out by arithmetic which are missing, and
// keeps the answer in the coverage table. Coverage and its states are specified in the project's README.
package verify

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"tapedeck/internal/tape"
)

// Options of a run; the zero value checks what is new since the last time.
type Options struct {
	// Now is when the check is made.
	Now time.Time
	// Full reads every file again, also those that have not changed.
	Full bool
	// Progress, if not nil, is told how many files of how many have been read. It may be called from any goroutine, one at a time.
	Progress func(done, of int)
	Logger   *slog.Logger
}

// Run checks the tape, publishes its coverage and returns the certificate. An incomplete tape is not an error: see Certificate.Complete. Nor is a
// tape that this process may not write to: see Certificate.SaveErr. Where the coverage could not be written for another reason, a full disk say, the
// certificate is whole beside the error; it is nil beside any other.
func Run(ctx context.Context, dir *tape.Dir, opt Options) (*tape.Certificate, error) {
	certificate, err := dir.Certify(ctx, opt.Now, opt.Full, opt.Progress)
	if err != nil {
		return nil, err
	}
	published, err := dir.PublishCoverage(ctx, certificate)
	if tape.IsReadOnly(err) {
		certificate.SaveErr = err
	} else if err != nil {
		return &certificate, fmt.Errorf("write the coverage: %w", err)
	}
	if opt.Logger != nil {
		opt.Logger.Info("tape checked", "symbols", len(certificate.Symbols), "files", certificate.Files, "files_read", certificate.Scanned,
			"coverage_rows", published.Rows, "complete", certificate.Complete())
	}
	return &certificate, nil
}
