// The `lab relay` process: one line with bandwidth, delay, cut and reset in front of any addresses, without sites or guests.
// Benches use it; it must not know what runs behind it.
package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
)

// relayConfig names what the line leads to. Port 0 takes a free one; the ready line says which.
type relayConfig struct {
	Control string       `json:"control"`
	Line    lineSettings `json:"line"`
	Routes  []relayRoute `json:"routes"`
}

type relayRoute struct {
	Listen string `json:"listen"`
	Target string `json:"target"`
}

func runRelay(args []string) error {
	var config relayConfig
	if err := readConfig(args, &config); err != nil {
		return err
	}
	l := newLine(config.Line)
	listening := []string{}
	for _, route := range config.Routes {
		listener, err := net.Listen("tcp", route.Listen)
		if err != nil {
			return err
		}
		listening = append(listening, listener.Addr().String())
		go l.serve(listener.(*net.TCPListener), route.Target, true)
	}
	control, err := listenControl(config.Control)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"listening": listening}); err != nil {
		return err
	}
	return http.Serve(control, l.handler())
}
