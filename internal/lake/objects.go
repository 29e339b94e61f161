package lake

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"tapedeck/internal/durable"
)

// attempts is how often a request is sent before it fails. The waits between them add up to about two
// minutes, which outlasts a SlowDown.
const attempts = 8

// sumKey is the metadata of an object that holds the SHA-256 of its content, in hex.
const sumKey = "tapedeck-sha256"

// ErrOtherObject is returned for an object that exists with another content than the one to be stored.
var ErrOtherObject = errors.New("an object of this name has another content")

// objects stores and reads objects. It is safe for concurrent use.
type objects struct {
	client *s3.Client
}

// loadAWS reads the SDK's own variables and files. Its client is used for credentials only.
func loadAWS(ctx context.Context, c Config) (aws.Config, error) {
	loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion(c.region()),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = attempts })
		}))
	if err != nil {
		return loaded, &AccessError{fmt.Sprintf("read the credentials of object storage: %v", err)}
	}
	return loaded, nil
}

// rootsOf returns the certificate authorities that AWS_CA_BUNDLE names; nil are the system's.
func rootsOf(loaded aws.Config) *tls.Config {
	if client, ok := loaded.HTTPClient.(*awshttp.BuildableClient); ok {
		return client.GetTransport().TLSClientConfig
	}
	return nil
}

func newObjects(loaded aws.Config, c Config, client *http.Client) *objects {
	return &objects{s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.HTTPClient = client
		if c.Endpoint != "" {
			o.BaseEndpoint, o.UsePathStyle = aws.String(c.Endpoint), true
		}
		// What is sent has a checksum already; stores that are not Amazon's reject the SDK's own trailers.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})}
}

// location splits s3://bucket/key.
func location(path string) (bucket, key string, err error) {
	parsed, err := url.Parse(path)
	if err != nil || parsed.Scheme != "s3" && parsed.Scheme != "s3a" || parsed.Host == "" {
		return "", "", fmt.Errorf("%q is not a location in object storage, such as s3://bucket/path", path)
	}
	_, rest, _ := strings.Cut(path, "://")
	bucket, key, _ = strings.Cut(rest, "/")
	return bucket, key, nil
}

// put stores a new object, or finds that it is stored already. sum is the SHA-256 of the content.
func (o *objects) put(ctx context.Context, path string, content io.ReadSeeker, size int64, sum [32]byte) error {
	bucket, key, err := location(path)
	if err != nil {
		return err
	}
	_, err = o.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: content, ContentLength: &size, IfNoneMatch: aws.String("*"),
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
		Metadata:       map[string]string{sumKey: hex.EncodeToString(sum[:])},
	})
	if hasStatus(err, http.StatusPreconditionFailed) {
		return o.checkStored(ctx, bucket, key, size, sum)
	}
	return describe("store", path, err)
}

// checkStored returns nil if an object is the one that was to be stored: an earlier attempt stored it.
func (o *objects) checkStored(ctx context.Context, bucket, key string, size int64, sum [32]byte) error {
	path := "s3://" + bucket + "/" + key
	head, err := o.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return describe("look at", path, err)
	}
	if aws.ToInt64(head.ContentLength) != size || head.Metadata[sumKey] != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("store %q: %w", path, ErrOtherObject)
	}
	return nil
}

// get opens an object, or a part of it: the range is an HTTP header's, or empty.
func (o *objects) get(ctx context.Context, path, bytes string) (io.ReadCloser, int64, error) {
	bucket, key, err := location(path)
	if err != nil {
		return nil, 0, err
	}
	input := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
	if bytes != "" {
		input.Range = &bytes
	}
	out, err := o.client.GetObject(ctx, input)
	if err != nil {
		return nil, 0, describe("read", path, err)
	}
	return out.Body, aws.ToInt64(out.ContentLength), nil
}

// download writes an object to a new file, whose directory must exist. It tries again if the answer ends too
// early. After an error the file does not exist.
func (o *objects) download(ctx context.Context, path, to string) (size int64, err error) {
	for attempt := range attempts {
		if size, err = o.downloadOnce(ctx, path, to); err == nil || ctx.Err() != nil || !errors.Is(err, errCut) {
			return size, err
		}
		if err := wait(ctx, attempt); err != nil {
			return 0, err
		}
	}
	return size, err
}

// errCut is an answer that ended before its length.
var errCut = errors.New("the answer ended too early")

func (o *objects) downloadOnce(ctx context.Context, path, to string) (size int64, err error) {
	body, length, err := o.get(ctx, path, "")
	if err != nil {
		return 0, err
	}
	defer body.Close()
	file, err := durable.OS{}.Create(to)
	if err != nil {
		return 0, err
	}
	size, err = io.Copy(file, body)
	if closeErr := file.Close(); err == nil && closeErr != nil {
		os.Remove(to)
		return 0, closeErr
	}
	if err != nil || size != length {
		os.Remove(to)
		return 0, fmt.Errorf("read %q: %w", path, errors.Join(errCut, err))
	}
	return size, nil
}

// size returns the size of an object in bytes and when it was stored.
func (o *objects) stat(ctx context.Context, path string) (size int64, modified time.Time, err error) {
	bucket, key, err := location(path)
	if err != nil {
		return 0, time.Time{}, err
	}
	head, err := o.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return 0, time.Time{}, describe("look at", path, err)
	}
	return aws.ToInt64(head.ContentLength), aws.ToTime(head.LastModified), nil
}

// remove removes an object. It is no error if it does not exist.
func (o *objects) remove(ctx context.Context, path string) error {
	bucket, key, err := location(path)
	if err != nil {
		return err
	}
	_, err = o.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	return describe("remove", path, err)
}

// object is one of a listing.
type object struct {
	path     string
	size     int64
	modified time.Time
}

// list calls visit for every object below a location.
func (o *objects) list(ctx context.Context, below string, visit func(object) error) error {
	bucket, key, err := location(strings.TrimSuffix(below, "/") + "/")
	if err != nil {
		return err
	}
	pages := s3.NewListObjectsV2Paginator(o.client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &key})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return describe("list", below, err)
		}
		for _, found := range page.Contents {
			if strings.HasSuffix(aws.ToString(found.Key), "/") {
				continue // a directory of a gateway to a file system
			}
			if err := visit(object{
				"s3://" + bucket + "/" + aws.ToString(found.Key), aws.ToInt64(found.Size), aws.ToTime(found.LastModified),
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasStatus reports whether err is an answer with an HTTP status.
func hasStatus(err error, status int) bool {
	var answer interface{ HTTPStatusCode() int }
	return errors.As(err, &answer) && answer.HTTPStatusCode() == status
}

// describe makes one clear line of an error of the SDK.
func describe(what, path string, err error) error {
	if err == nil {
		return nil
	}
	bucket, _, _ := location(path)
	var noKey *types.NoSuchKey
	var code smithy.APIError
	if errors.As(err, &code) {
		switch code.ErrorCode() {
		case "NoSuchBucket":
			return &AccessError{fmt.Sprintf("there is no bucket %q", bucket)}
		case "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", "InvalidToken", "ExpiredToken", "TokenRefreshRequired":
			return &AccessError{fmt.Sprintf("object storage does not accept these credentials (%s)", code.ErrorCode())}
		case "AccessDenied", "Forbidden":
			return &AccessError{fmt.Sprintf("these credentials may not %s %q", what, path)}
		}
	}
	if errors.As(err, &noKey) || hasStatus(err, http.StatusNotFound) {
		return fmt.Errorf("%s %q: %w", what, path, fs.ErrNotExist)
	}
	if strings.Contains(err.Error(), "get identity: get credentials") || strings.Contains(err.Error(), "failed to refresh cached credentials") {
		return &AccessError{"no credentials for object storage"}
	}
	if code != nil {
		return fmt.Errorf("%s %q: object storage answers %s", what, path, code.ErrorCode())
	}
	return fmt.Errorf("%s %q: %w", what, path, shortened(err))
}

// shortened returns the innermost error, without the SDK's description of the request.
func shortened(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	var operation *smithy.OperationError
	if errors.As(err, &operation) {
		return operation.Err
	}
	return err
}

// wait waits before the next attempt: 50 ms, doubling up to 5 s.
func wait(ctx context.Context, attempt int) error {
	timer := time.NewTimer(min(50*time.Millisecond<<min(attempt, 10), 5*time.Second))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
