package botapi

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
)

// write sends an answer with the status of its error_code, as the Bot API does.
func write(w http.ResponseWriter, reply answer) {
	body, _ := json.Marshal(reply) // an answer has no values that cannot be encoded
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if reply.ErrorCode != 0 {
		w.WriteHeader(reply.ErrorCode)
	}
	w.Write(body)
}

// closeConnection sends the beginning of an answer and closes the connection, or resets it if the
// beginning is empty.
func closeConnection(w http.ResponseWriter, beginning []byte) {
	connection, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if len(beginning) > 0 {
		fmt.Fprintf(buffered, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n%s", beginning)
		buffered.Flush()
	} else if tcp, ok := connection.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	connection.Close()
}
