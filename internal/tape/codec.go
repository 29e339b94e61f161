package tape

import (
	kzstd "github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// compressionWindow is how far back a match may lie, in bytes. No page is larger by much: a dictionary ends at dictionaryLimit, other pages at a quarter of that.
const compressionWindow = 1 << 20

// codec is the library's zstd with one encoder of its own that looks no further back than a page is long. The library's encoders are made for streams: each keeps 16 MB
// of history, and there are some of them, a third of all memory that recording took. What is written is as small as before.
type codec struct {
	zstd.Codec
	encoder *kzstd.Encoder
}

func newCodec() *codec {
	encoder, err := kzstd.NewWriter(nil, kzstd.WithEncoderConcurrency(1), kzstd.WithEncoderLevel(kzstd.SpeedDefault), kzstd.WithWindowSize(compressionWindow), kzstd.WithZeroFrames(true), kzstd.WithEncoderCRC(false))
	if err != nil {
		panic(err) // one of the options above is none
	}
	return &codec{encoder: encoder}
}

func (c *codec) Encode(dst, src []byte) ([]byte, error) {
	return c.encoder.EncodeAll(src, dst[:0]), nil
}
