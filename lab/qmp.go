// A QMP client: one command at a time, events are skipped.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"
)

const qmpTimeout = 20 * time.Second

type qmp struct {
	mu      sync.Mutex
	conn    net.Conn
	decoder *json.Decoder
}

// arguments of a QMP command.
type arguments = map[string]any

// dialQMP waits until QEMU answers, or until it is gone.
func dialQMP(path string, gone <-chan struct{}) (*qmp, error) {
	deadline := time.Now().Add(qmpTimeout)
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return greet(conn)
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-gone:
			return nil, fmt.Errorf("the machine ended while starting")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func greet(conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, decoder: json.NewDecoder(conn)}
	_ = conn.SetDeadline(time.Now().Add(qmpTimeout))
	var greeting any
	if err := q.decoder.Decode(&greeting); err != nil {
		conn.Close()
		return nil, err
	}
	if err := q.call("qmp_capabilities", nil); err != nil {
		conn.Close()
		return nil, err
	}
	return q, nil
}

// call runs one command and waits for its answer.
func (q *qmp) call(command string, args any) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	request := arguments{"execute": command}
	if args != nil {
		request["arguments"] = args
	}
	raw, err := json.Marshal(request)
	if err != nil {
		return err
	}
	_ = q.conn.SetDeadline(time.Now().Add(qmpTimeout))
	if _, err := q.conn.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	for {
		var answer struct {
			Event string `json:"event"`
			Error *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := q.decoder.Decode(&answer); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		if answer.Event != "" {
			continue
		}
		if answer.Error != nil {
			return fmt.Errorf("%s: %s", command, answer.Error.Desc)
		}
		return nil
	}
}

func (q *qmp) close() { _ = q.conn.Close() }
