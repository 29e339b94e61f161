package exchange

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// serveAdmin handles the control interface for other processes; Client is its client:
//
//	GET  /_tapedeck/offences   Offences as JSON
//	GET  /_tapedeck/served     Served as JSON
//	GET  /_tapedeck/injected   Options.Injected as JSON
//	GET  /_tapedeck/faults     the random schedule's connection faults of the next hour
//	POST /_tapedeck/fault?kind=…[&count=…&match=…&code=…&retry_after=2s&for=1s&times=…]   Inject
func (s *Server) serveAdmin(w http.ResponseWriter, r *http.Request) {
	reply := func(v any) {
		body, err := json.Marshal(v)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, http.StatusOK, append(body, '\n'))
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /_tapedeck/offences":
		reply(s.Offences())
	case "GET /_tapedeck/served":
		reply(s.Served())
	case "GET /_tapedeck/injected":
		reply(s.opt.Injected)
	case "GET /_tapedeck/faults":
		reply(s.opt.Faults.Plan(time.Hour))
	case "POST /_tapedeck/fault":
		f, err := parseFault(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		n, err := s.Inject(f)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		reply(map[string]int{"connections": n})
	default:
		http.NotFound(w, r)
	}
}

func parseFault(q url.Values) (f Fault, err error) {
	f = Fault{Kind: FaultKind(q.Get("kind")), Match: q.Get("match")}
	for name, field := range map[string]*int{"count": &f.Count, "code": &f.Code, "times": &f.Times} {
		if text := q.Get(name); text != "" {
			if *field, err = strconv.Atoi(text); err != nil {
				return f, err
			}
		}
	}
	for name, field := range map[string]*time.Duration{"retry_after": &f.RetryAfter, "for": &f.For} {
		if text := q.Get(name); text != "" {
			if *field, err = time.ParseDuration(text); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}
