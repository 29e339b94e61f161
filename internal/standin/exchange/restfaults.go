package exchange

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// breakREST serves the faults that come instead of an answer. It says whether the request is done with.
func (s *Server) breakREST(w http.ResponseWriter, r *http.Request, f Fault) bool {
	wait := f.RetryAfter
	switch f.Kind {
	case REST429:
		if wait == 0 {
			wait = time.Second
		}
		s.limits.block(address(r), wait).write(w)
	case REST418:
		if wait == 0 {
			wait = 2 * time.Second
		}
		s.limits.impose(address(r), wait).write(w)
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
		s.ledger.fault(f.Kind)
		if f.For == 0 {
			f.For = time.Second
		}
		return !s.pause(r, f.For)
	default:
		return false
	}
	s.ledger.fault(f.Kind)
	return true
}

// breakBody serves the faults of an answer's body; page says that it is rows asked for by fromId. It returns nil where nothing more is to be sent.
func (s *Server) breakBody(w http.ResponseWriter, f Fault, body []byte, page bool) []byte {
	switch f.Kind {
	case RESTReset:
		s.ledger.fault(f.Kind)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return body
		}
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Length: %d\r\n\r\n", len(body))
		_, _ = rw.Write(body[:len(body)/2])
		_ = rw.Flush()
		cutConn(conn)
		return nil
	case RESTTruncated:
		s.ledger.fault(f.Kind)
		return body[:len(body)/2]
	case RESTLater:
		if rows := strings.Count(string(body), "},{") + 1; rows > 1 && page {
			s.ledger.fault(f.Kind)
			cut := body
			for range max(rows/3, 1) {
				_, after, _ := strings.Cut(string(cut), "},{")
				cut = append([]byte(`[{`), after...)
			}
			return cut
		}
	}
	return body
}
