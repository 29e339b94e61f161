package tape

import (
	"encoding/json"
	"io"

	kzstd "github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// Keys of a segment's key-value metadata. runsKey holds symbolRuns as JSON.
const (
	originKey = "tapedeck.origin"
	feedKey   = "tapedeck.feed"
	runsKey   = "tapedeck.spans"
)

// rowGroupRows is DuckDB's own unit of parallel work, so that a scan of one large file uses every
// core.
const rowGroupRows = 122_880

// dictionaryLimit is the size in bytes at which a column stops using a dictionary.
const dictionaryLimit = 1 << 20

func writerOptions() []parquet.WriterOption {
	return []parquet.WriterOption{
		parquet.DataPageVersion(2),
		// Each writer has its own codec. The library's is shared by the process, and its encoders hold
		// channels that tests with synctest must not share.
		parquet.Compression(newCodec()),
		parquet.MaxRowsPerRowGroup(rowGroupRows),
		parquet.DictionaryMaxBytes(dictionaryLimit),
		parquet.CreatedBy("tapedeck", "1", ""),
	}
}

// encoder writes rows as Parquet and keeps its buffers between files, because creating them costs
// several times as much as writing a small file. It is not safe for concurrent use.
type encoder[T any] struct {
	writer *parquet.GenericWriter[T]
}

// start directs the encoder to a new file.
func (e *encoder[T]) start(w io.Writer) *parquet.GenericWriter[T] {
	if e.writer == nil {
		e.writer = parquet.NewGenericWriter[T](w, writerOptions()...)
	} else {
		e.writer.Reset(w)
	}
	return e.writer
}

func (e *encoder[T]) encode(w io.Writer, rows []T) error {
	e.start(w)
	return e.finish(rows)
}

// finish writes rows and ends the file.
func (e *encoder[T]) finish(rows []T) error {
	if _, err := e.writer.Write(rows); err != nil {
		return err
	}
	return e.writer.Close()
}

func encodeRows[T any](w io.Writer, rows []T) error { return new(encoder[T]).encode(w, rows) }

// encodeTrades writes trades, whose ids are runs.
func encodeTrades(e *encoder[Trade], w io.Writer, trades []Trade, runs symbolRuns, tape identity, origin Origin) error {
	if err := setMetadata(e.start(w), runs, tape, origin); err != nil {
		return err
	}
	return e.finish(trades)
}

// setMetadata sets the key-value metadata of a segment of trades.
func setMetadata(writer *parquet.GenericWriter[Trade], runs symbolRuns, tape identity, origin Origin) error {
	ids, err := runs.MarshalJSON()
	if err != nil {
		return err
	}
	from, err := json.Marshal(origin)
	if err != nil {
		return err
	}
	writer.SetKeyValueMetadata(runsKey, string(ids))
	writer.SetKeyValueMetadata(originKey, string(from))
	writer.SetKeyValueMetadata(feedKey, string(tape.feed))
	if tape.id != "" {
		writer.SetKeyValueMetadata(tapeKey, tape.id)
	}
	return nil
}

// compressionWindow is how far back in a page a match may be, in bytes. Dictionaries end at
// dictionaryLimit and other pages are a quarter of that, so that it covers a page.
const compressionWindow = 1 << 20

// codec is the library's zstd with an encoder that needs less memory. The library's encoders are
// made for streams and keep 16 MB of history each, a third of the memory that recording took. The
// output is as small.
type codec struct {
	zstd.Codec
	encoder *kzstd.Encoder
}

func newCodec() *codec {
	encoder, err := kzstd.NewWriter(nil, kzstd.WithEncoderConcurrency(1), kzstd.WithEncoderLevel(kzstd.SpeedDefault),
		kzstd.WithWindowSize(compressionWindow), kzstd.WithZeroFrames(true), kzstd.WithEncoderCRC(false))
	if err != nil {
		panic(err) // an option above is invalid
	}
	return &codec{encoder: encoder}
}

// Encode implements compress.Codec.
func (c *codec) Encode(dst, src []byte) ([]byte, error) {
	return c.encoder.EncodeAll(src, dst[:0]), nil
}
