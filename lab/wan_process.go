// The `lab wan` process: listens on the product's side of every address that stands behind the WAN,
// and answers the control requests of `lab up`.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// wanConfig is what `lab up` tells `lab wan`.
type wanConfig struct {
	Net     network      `json:"net"`
	Control string       `json:"control"`
	Line    lineSettings `json:"line"`
}

func runWan(args []string) error {
	var config wanConfig
	if err := readConfig(args, &config); err != nil {
		return err
	}
	wan := newLine(config.Line)
	if err := wan.listen(config.Net); err != nil {
		return err
	}
	control, err := listenControl(config.Control)
	if err != nil {
		return err
	}
	return http.Serve(control, wan.handler())
}

// listenControl opens the unix socket for control requests at path; a signal closes it and ends the process.
func listenControl(path string) (net.Listener, error) {
	control, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		_ = control.Close()
		os.Exit(0)
	}()
	return control, nil
}

// listen opens every crossing: the destination's vCenter and the shadow VMs of both sites.
func (l *line) listen(n network) error {
	open := func(seen, real string, outward bool) error {
		listener, err := net.Listen("tcp", seen)
		if err != nil {
			return err
		}
		go l.serve(listener.(*net.TCPListener), real, outward)
		return nil
	}
	if err := open(n.vcenterSeen(destinationSite), n.vcenter(destinationSite), true); err != nil {
		return err
	}
	for k := 1; k <= shadowsMax; k++ {
		for _, site := range []string{sourceSite, destinationSite} {
			seen := fmt.Sprintf("%s:%d", n.shadowSeen(site, k), receiverPort)
			real := fmt.Sprintf("%s:%d", n.shadow(site, k), receiverPort)
			if err := open(seen, real, site == destinationSite); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *line) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /wan", func(w http.ResponseWriter, _ *http.Request) {
		settings, isCut, _, connections := l.state()
		writeJSON(w, map[string]any{
			"bytesPerSecondMax": settings.BytesPerSecondMax, "rttMs": settings.RttMs,
			"cut": isCut, "connections": connections,
		})
	})
	mux.HandleFunc("PUT /wan", func(w http.ResponseWriter, r *http.Request) {
		settings, _, _, _ := l.state()
		if !readJSON(w, r, &settings) {
			return
		}
		if settings.BytesPerSecondMax < 0 || settings.RttMs < 0 {
			http.Error(w, "bytesPerSecondMax and rttMs must not be negative", http.StatusBadRequest)
			return
		}
		l.set(settings)
		writeJSON(w, settings)
	})
	mux.HandleFunc("POST /wan/cut", func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			Seconds float64 `json:"seconds"`
		}
		if !readJSON(w, r, &request) {
			return
		}
		l.cut(time.Duration(request.Seconds * float64(time.Second)))
		writeJSON(w, map[string]any{"cut": true})
	})
	mux.HandleFunc("POST /wan/restore", func(w http.ResponseWriter, _ *http.Request) {
		l.restore()
		writeJSON(w, map[string]any{"cut": false})
	})
	mux.HandleFunc("POST /wan/reset", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"connections": l.reset()})
	})
	mux.HandleFunc("GET /wan/bytes", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{
			"toDestination": l.toDestination.bytes.Load(), "toSource": l.toSource.bytes.Load(),
		})
	})
	return mux
}

// isEnd tells an orderly end of a connection from a broken one.
func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) }

// readConfig reads the JSON file that is a child process's only argument.
func readConfig(args []string, into any) error {
	if len(args) != 1 {
		return errors.New("needs the path of its configuration; it is started by lab up")
	}
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

// readJSON reads a request body; an empty one leaves the value as it is.
func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(into)
	if err != nil && !errors.Is(err, io.EOF) {
		http.Error(w, "not the JSON expected here: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}
