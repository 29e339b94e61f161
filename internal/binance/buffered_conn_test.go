package binance

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// pieces is a connection whose reads deliver one piece each, a second after the one before, and
// then err.
type pieces struct {
	net.Conn
	rest [][]byte
	err  error
}

func (p *pieces) Read(into []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, p.err
	}
	time.Sleep(time.Second)
	n := copy(into, p.rest[0])
	if p.rest[0] = p.rest[0][n:]; len(p.rest[0]) == 0 {
		p.rest = p.rest[1:]
	}
	return n, nil
}

func TestBufferedConnNotesWhenEachPieceArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		broken := errors.New("connection reset")
		long := bytes.Repeat([]byte("0123456789"), bufferedConnSize/8) // more than one piece can hold
		in := newBufferedConn(&pieces{rest: [][]byte{[]byte("abcdef"), long}, err: broken}, unixNanos)
		small := make([]byte, 4)
		for _, want := range []string{"abcd", "ef"} {
			n, err := in.Read(small)
			if err != nil || string(small[:n]) != want {
				t.Fatalf("%q, %v, want %q", small[:n], err, want)
			}
			if at := in.receivedAt.Load(); at != start.Add(time.Second).UnixNano() {
				t.Errorf("%q arrived at %d", want, at)
			}
		}
		rest, err := io.ReadAll(in)
		if !errors.Is(err, broken) || !bytes.Equal(rest, long) {
			t.Errorf("%d of %d bytes, %v", len(rest), len(long), err)
		}
		if at := in.receivedAt.Load(); at != start.Add(3*time.Second).UnixNano() {
			t.Errorf("the last piece arrived at %d", at)
		}
	})
}
