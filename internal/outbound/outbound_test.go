package outbound_test

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"tapedeck/internal/outbound"
)

// internalServer is a server that must not be asked.
func internalServer(t *testing.T) (url string, requests *atomic.Int64) {
	requests = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.Write([]byte("internal secret"))
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func TestClientFollowsNoRedirect(t *testing.T) {
	address, requests := internalServer(t)
	for _, status := range []int{300, 301, 302, 303, 305, 307, 308} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", address+"/latest/meta-data?token=secret")
			w.WriteHeader(status)
			w.Write([]byte("secret"))
		}))
		client := outbound.NewClient(nil)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			request, err := http.NewRequestWithContext(t.Context(), method, server.URL, strings.NewReader("a job's output"))
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err == nil {
				response.Body.Close()
			}
			var redirect *outbound.RedirectError
			if !errors.As(err, &redirect) || redirect.Status != status || redirect.Host != "127.0.0.1" {
				t.Errorf("%s %d: %v", method, status, err)
			} else if text := redirect.Error(); strings.Contains(text, "secret") || strings.Contains(text, "meta-data") {
				t.Errorf("%s %d: %s", method, status, text)
			}
		}
		client.CloseIdleConnections()
		server.Close()
	}
	if n := requests.Load(); n > 0 {
		t.Errorf("%d requests to the server that the redirects name", n)
	}
}

// TestErrorsDoNotQuoteAnswers asks a server that is not one of HTTP, such as a database.
func TestErrorsDoNotQuoteAnswers(t *testing.T) {
	for _, answer := range []string{
		"-ERR secret command\r\n", "SSH-2.0-secret\r\n", "HTTP/secret 200 OK\r\n\r\n", "HTTP/1.1 secret\r\n\r\n",
		"HTTP/1.1 200 OK\r\nsecret\r\n\r\n", "HTTP/1.1 200 OK\r\n secret: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: secret\r\n\r\n", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("secret", 100_000) + "\r\n\r\n",
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				conn.Write([]byte(answer))
			}
		}()
		client := outbound.NewClient(nil)
		response, err := client.Get("http://" + listener.Addr().String())
		listener.Close()
		if err == nil {
			response.Body.Close()
			t.Errorf("%.40q is an answer", answer)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%.40q: %v", answer, err)
		}
	}
}
