// The `lab vcenter` process: builds the inventory, serves it over TLS, makes the scenario's VMs and
// answers the control requests of `lab up`. Everything it started ends with it.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
)

// siteReady is what a vCenter says on its standard output when it can be used.
type siteReady struct {
	ThumbprintSha256 string `json:"thumbprintSha256"`
}

func runVCenter(args []string) error {
	var config siteConfig
	if err := readConfig(args, &config); err != nil {
		return err
	}
	log.SetFlags(log.LUTC | log.Ltime | log.Lmicroseconds)
	s := newSite(config)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	certificate, err := s.serve()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		if err := s.createScenario(context.Background()); err != nil {
			failed <- err
			return
		}
		answer, _ := json.Marshal(siteReady{ThumbprintSha256: thumbprint(certificate)})
		fmt.Println(string(answer))
	}()
	select {
	case err = <-failed:
	case <-signals:
	}
	s.close()
	return err
}

// close ends what runs and stops listening. Pending long polls are not waited for.
func (s *site) close() {
	s.stopAll()
	s.stopHosts()
	if s.server != nil {
		_ = s.server.Listener.Close()
		s.server.CloseClientConnections()
	}
	s.model.Remove()
}

// serve builds the inventory and opens vCenter's port and the control socket.
func (s *site) serve() (tls.Certificate, error) {
	var none tls.Certificate
	if err := s.createModel(); err != nil {
		return none, fmt.Errorf("inventory: %w", err)
	}
	s.refreshDatastores(s.newContext())
	seen, _, err := net.SplitHostPort(s.Net.vcenterSeen(s.Site))
	if err != nil {
		return none, err
	}
	certificate, err := newCertificate(s.Title+" vCenter", s.Net.address(siteNumber(s.Site), 1), seen)
	if err != nil {
		return none, err
	}
	address := s.Net.vcenter(s.Site)
	// The simulator would end the process when it cannot listen; say it in our words first.
	probe, err := net.Listen("tcp", address)
	if err != nil {
		return none, fmt.Errorf("vCenter cannot listen on %s: %w", address, err)
	}
	probe.Close()
	s.registerPolicies()
	s.service.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	s.service.RegisterEndpoints = true
	s.service.Listen = &url.URL{Host: address, User: url.UserPassword(s.User, s.Password)}
	s.service.ServeMux = http.NewServeMux()
	s.serveFolder()
	s.server = s.service.NewServer()

	control, err := net.Listen("unix", s.Control)
	if err != nil {
		return none, err
	}
	go func() { _ = http.Serve(control, s.handler()) }()
	return certificate, nil
}
