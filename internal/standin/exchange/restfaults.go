package exchange

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"time"
)

// replaceAnswer serves the faults that come instead of an answer. It returns true if it answered.
func (s *Server) replaceAnswer(w http.ResponseWriter, r *http.Request, f Fault) bool {
	switch f.Kind {
	case REST429:
		s.limits.block(address(r), cmp.Or(f.RetryAfter, time.Second)).write(w)
	case REST418:
		s.limits.ban(address(r), cmp.Or(f.RetryAfter, 2*time.Second)).write(w)
	case REST403:
		http.Error(w, "<html>\r\n<head><title>403 Forbidden</title></head>\r\n</html>", http.StatusForbidden)
	case REST5xx:
		status := f.Code
		if status == 0 {
			status = []int{500, 502, 503, 504}[s.faults.turn("5xx")%4]
		}
		switch status {
		case 500:
			writeError(w, status, -1000, "An unknown error occurred while processing the request.")
		case 503:
			writeError(w, status, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes.")
		case 504:
			writeError(w, status, -1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown.")
		default:
			http.Error(w, "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>", status)
		}
	case RESTSlow:
		s.counters.fault(f.Kind)
		return !s.pause(r, cmp.Or(f.For, time.Second))
	default:
		return false
	}
	s.counters.fault(f.Kind)
	return true
}

// alterBody serves the faults of an answer's body. It returns nil if it sent the answer. isPage means
// that the body is a page of rows requested by fromId.
func (s *Server) alterBody(w http.ResponseWriter, f Fault, body []byte, isPage bool) []byte {
	switch f.Kind {
	case RESTReset:
		s.counters.fault(f.Kind)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return body
		}
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Length: %d\r\n\r\n", len(body))
		_, _ = rw.Write(body[:len(body)/2])
		_ = rw.Flush()
		setReset(conn)
		_ = conn.Close()
		return nil
	case RESTTruncated:
		s.counters.fault(f.Kind)
		return body[:len(body)/2]
	case RESTLater:
		rows := bytes.Count(body, []byte("},{")) + 1
		if rows == 1 || !isPage {
			s.faults.putBack(f)
			return body
		}
		s.counters.fault(f.Kind)
		for range max(rows/3, 1) {
			_, body, _ = bytes.Cut(body, []byte("},{"))
		}
		return append([]byte("[{"), body...)
	}
	return body
}
