// The lab's control socket: hands each request to the process that it is about.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// heldPowerOn is a power-on that waits because a test holds it back.
type heldPowerOn struct {
	Site string `json:"site"`
	VM   string `json:"vm"`
}

func (l *lab) handler() http.Handler {
	mux := http.NewServeMux()
	wan := l.forward("wan")
	mux.Handle("/wan", wan)
	mux.Handle("/wan/", wan)
	for _, site := range []string{sourceSite, destinationSite} {
		forward := l.forward(site)
		for _, kind := range []string{"vms", "datastores"} {
			prefix := "/" + kind + "/" + site + "/"
			mux.HandleFunc(prefix, func(w http.ResponseWriter, r *http.Request) {
				r.URL.Path = "/" + kind + "/" + r.URL.Path[len(prefix):]
				r.URL.RawPath = ""
				forward.ServeHTTP(w, r)
			})
		}
	}
	mux.HandleFunc("GET /processes", func(w http.ResponseWriter, r *http.Request) {
		all := []runningProcess{}
		for _, site := range []string{sourceSite, destinationSite} {
			var some []runningProcess
			if !l.ask(w, r, site, "/processes", &some) {
				return
			}
			all = append(all, some...)
		}
		writeJSON(w, all)
	})
	mux.HandleFunc("GET /leaks", func(w http.ResponseWriter, r *http.Request) {
		all := map[string]json.RawMessage{}
		for _, site := range []string{sourceSite, destinationSite} {
			var held json.RawMessage
			if !l.ask(w, r, site, "/leaks", &held) {
				return
			}
			all[site] = held
		}
		writeJSON(w, all)
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		held := []heldPowerOn{}
		for _, site := range []string{sourceSite, destinationSite} {
			var names []string
			if !l.ask(w, r, site, "/power-ons-held", &names) {
				return
			}
			for _, name := range names {
				held = append(held, heldPowerOn{Site: site, VM: name})
			}
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		children := map[string]int{}
		for _, c := range l.children {
			children[c.name] = c.cmd.Process.Pid
		}
		writeJSON(w, map[string]any{"ready": true, "net": l.net, "children": children, "powerOnsHeld": held})
	})
	return mux
}

// transport reaches a child's control socket.
func (l *lab) transport(name string) *http.Transport {
	return &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", l.socket(name))
	}}
}

func (l *lab) forward(name string) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: name})
	proxy.Transport = l.transport(name)
	return proxy
}

// ask gets a child's answer; when it cannot, it answers the request itself.
func (l *lab) ask(w http.ResponseWriter, r *http.Request, name, path string, into any) bool {
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+name+path, nil)
	if err == nil {
		client := &http.Client{Transport: l.transport(name)}
		var response *http.Response
		if response, err = client.Do(request); err == nil {
			defer response.Body.Close()
			var raw []byte
			if raw, err = io.ReadAll(response.Body); err == nil {
				err = json.Unmarshal(raw, into)
			}
		}
	}
	if err != nil {
		http.Error(w, fmt.Sprintf("the %s process does not answer: %v", name, err), http.StatusBadGateway)
		return false
	}
	return true
}
