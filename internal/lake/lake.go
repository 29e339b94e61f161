// Package lake owns the Iceberg tables on object storage: their schemas, their files, and the one way in which
// they change.
//
// Its one guarantee: a table changes in one transaction, which adds or replaces the files of one date and sets
// the date's certificate. The transaction is bound to the snapshot that was read, and after an error without a clear
// answer the table is read again, so that a date is never added twice. The table is the truth; nothing is
// remembered elsewhere. docs/LAKE.md describes the tables.
package lake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/catalog/rest"
	"github.com/apache/iceberg-go/table"

	"tapedeck/internal/lake/request"
	"tapedeck/internal/outbound"
	"tapedeck/internal/redact"
	"tapedeck/internal/tape"
)

// Config says where the tables are.
type Config request.Lake

func (c Config) region() string { return cmp.Or(c.Region, "us-east-1") }

func (c Config) namespace() string { return cmp.Or(c.Namespace, "tapedeck") }

// Secrets are what the catalog asks for. Those of the object storage are read by the SDK, from the usual variables
// and files.
type Secrets struct {
	Credential string // client id and secret of OAuth, separated by a colon
	Token      string // a bearer token
}

// AccessError says in one line why the lake cannot be reached.
type AccessError struct{ text string }

func (e *AccessError) Error() string { return e.text }

// UnreachableError says in one line that the catalog does not answer.
type UnreachableError struct{ text string }

func (e *UnreachableError) Error() string { return e.text }

// answerError is an error with another text.
type answerError struct {
	text string
	err  error
}

func (e *answerError) Error() string { return e.text }
func (e *answerError) Unwrap() error { return e.err }

// oneLine returns the first line of an error, without secrets and not longer than a few lines of a terminal.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	text, _, _ := strings.Cut(strings.TrimSpace(redact.Text(err.Error())), "\n")
	return text[:min(len(text), 300)]
}

// Traffic is what was sent and received.
type Traffic struct{ Requests, Uploaded, Downloaded int64 }

// Lake is a connection to the tables. It is safe for concurrent use.
type Lake struct {
	config  Config
	feed    tape.Feed
	catalog *rest.Catalog
	objects *objects
	meter   *meter
}

// Open connects to the catalog. Nothing is created. ctx ends everything that the lake does. The error is an
// *AccessError if the catalog is none, or does not accept the credentials.
func Open(ctx context.Context, c Config, secrets Secrets, feed tape.Feed) (*Lake, error) {
	loaded, err := loadAWS(ctx, c)
	if err != nil {
		return nil, err
	}
	transport := outbound.NewTransport()
	transport.TLSClientConfig = rootsOf(loaded)
	m := &meter{base: outbound.Guard(transport)}
	store := newObjects(loaded, c, outbound.ClientOver(m))
	useObjects(ctx, store)
	options := []rest.Option{rest.WithCustomTransport(m), rest.WithWarehouseLocation(c.Warehouse)}
	if secrets.Credential != "" {
		options = append(options, rest.WithCredential(secrets.Credential))
	}
	if secrets.Token != "" {
		options = append(options, rest.WithOAuthToken(secrets.Token))
	}
	found, err := rest.NewCatalog(ctx, "lake", c.Catalog, options...)
	if err != nil {
		return nil, c.catalogError(err)
	}
	return &Lake{c, feed, found, store, m}, nil
}

// Traffic returns what was sent and received so far.
func (l *Lake) Traffic() Traffic {
	return Traffic{l.meter.requests.Load(), l.meter.sent.Load(), l.meter.received.Load()}
}

// catalogError makes one clear line of an error of the catalog.
func (c Config) catalogError(err error) error {
	var access *AccessError
	var network *net.OpError
	var timeout interface{ Timeout() bool }
	address := redact.Text(c.Catalog)
	text := oneLine(err)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &access):
		return access // of the object storage
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &timeout) && timeout.Timeout():
		return &UnreachableError{fmt.Sprintf("the catalog at %s does not answer: %v", address, innermost(err))}
	case strings.Contains(text, "dial tcp"): // in an error of OAuth, which does not wrap it
		return &UnreachableError{fmt.Sprintf("the catalog at %s does not answer: %s", address, text[strings.LastIndex(text, "dial tcp"):])}
	case isTransient(err):
		return &answerError{fmt.Sprintf("the catalog at %s answers: %s", address, text), err}
	case strings.Contains(text, "cannot parse json"), strings.Contains(text, "invalid character"), strings.Contains(text, "decod"):
		return &AccessError{fmt.Sprintf("there is no Iceberg REST catalog at %s", address)}
	case errors.Is(err, rest.ErrUnauthorized), errors.Is(err, rest.ErrOAuthError), errors.Is(err, rest.ErrForbidden):
		return &AccessError{fmt.Sprintf("the catalog at %s does not accept these credentials", address)}
	case errors.Is(err, table.ErrCommitFailed), errors.Is(err, rest.ErrRESTError):
		return &answerError{fmt.Sprintf("the catalog at %s answers: %s", address, text), err}
	}
	return fmt.Errorf("the catalog at %s: %w", address, err)
}

// innermost returns the last error of a chain, without the URLs of those before.
func innermost(err error) error {
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Err
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

// isTransient reports whether a request may succeed if it is sent again.
func isTransient(err error) bool {
	var unreachable *UnreachableError
	return errors.As(err, &unreachable) || errors.Is(err, rest.ErrServiceUnavailable) || errors.Is(err, rest.ErrServerError) ||
		errors.Is(err, rest.ErrCommitStateUnknown)
}

// load reads a table. It is nil if it does not exist.
func (l *Lake) load(ctx context.Context, name tape.Table) (*table.Table, error) {
	found, err := l.catalog.LoadTable(ctx, l.identifier(name))
	switch {
	case errors.Is(err, catalog.ErrNoSuchTable), errors.Is(err, catalog.ErrNoSuchNamespace):
		return nil, nil
	case err != nil:
		return nil, l.config.catalogError(err)
	}
	if err := l.check(name, found); err != nil {
		return nil, err
	}
	return found, nil
}

func (l *Lake) identifier(name tape.Table) table.Identifier {
	return table.Identifier{l.config.namespace(), string(name)}
}

// create creates a table. It is no error if another process is first.
func (l *Lake) create(ctx context.Context, name tape.Table) error {
	err := l.catalog.CreateNamespace(ctx, table.Identifier{l.config.namespace()}, nil)
	if err != nil && !errors.Is(err, catalog.ErrNamespaceAlreadyExists) {
		return l.config.catalogError(err)
	}
	schema, spec, order := shapeOf(name)
	_, err = l.catalog.CreateTable(ctx, l.identifier(name), schema, catalog.WithPartitionSpec(spec),
		catalog.WithSortOrder(order), catalog.WithProperties(l.properties(name)))
	if err != nil && !errors.Is(err, catalog.ErrTableAlreadyExists) {
		return l.config.catalogError(err)
	}
	return nil
}

// ensure loads a table, which it creates if necessary.
func (l *Lake) ensure(ctx context.Context, name tape.Table) (*table.Table, error) {
	found, err := l.load(ctx, name)
	if err != nil || found != nil {
		return found, err
	}
	if err := l.create(ctx, name); err != nil {
		return nil, err
	}
	found, err = l.load(ctx, name)
	if err == nil && found == nil {
		err = fmt.Errorf("the catalog does not have the table %s that it created", strings.Join(l.identifier(name), "."))
	}
	return found, err
}

// meter counts what a transport sends and receives.
type meter struct {
	base                     http.RoundTripper
	requests, sent, received atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (m *meter) RoundTrip(request *http.Request) (*http.Response, error) {
	m.requests.Add(1)
	m.sent.Add(max(0, request.ContentLength))
	response, err := m.base.RoundTrip(request)
	if err == nil {
		m.received.Add(max(0, response.ContentLength))
	}
	return response, err
}
