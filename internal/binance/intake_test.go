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

// pieces is a network connection that delivers one piece a read, a second after the one before, and then its error.
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

func TestIntake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		broken := errors.New("connection reset")
		long := bytes.Repeat([]byte("0123456789"), intakeSize/8) // more than one piece can hold
		in := newIntake(&pieces{rest: [][]byte{[]byte("abcdef"), long}, err: broken}, unixNanos)
		small := make([]byte, 4)
		for _, want := range []string{"abcd", "ef"} {
			n, err := in.Read(small)
			if err != nil || string(small[:n]) != want {
				t.Fatalf("%q, %v, want %q", small[:n], err, want)
			}
			if came := in.cameAt.Load(); came != began.Add(time.Second).UnixNano() {
				t.Errorf("%q came at %d", want, came)
			}
		}
		rest, err := io.ReadAll(in)
		if !errors.Is(err, broken) || !bytes.Equal(rest, long) {
			t.Errorf("%d of %d bytes, %v", len(rest), len(long), err)
		}
		if came := in.cameAt.Load(); came != began.Add(3*time.Second).UnixNano() {
			t.Errorf("the last piece came at %d", came)
		}
	})
}
