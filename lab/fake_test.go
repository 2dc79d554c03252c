// A stand-in for the replicator in the lab's own tests: the host daemon's hypervisor face with nbdkit
// as the tap, and a receiver that only listens. The test binary plays it when it is told to.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const (
	fakeVariable  = "LAB_TEST_FAKE_REPLICATOR"
	asLabVariable = "LAB_TEST_AS_LAB"
)

func TestMain(m *testing.M) {
	if os.Getenv(fakeVariable) != "" {
		os.Exit(fakeReplicator(os.Args[1:]))
	}
	if os.Getenv(asLabVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// fakeProgram is a script that runs this test binary as the fake.
func fakeProgram(t *testing.T) []byte {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []byte(fmt.Sprintf("#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", fakeVariable, self))
}

func fakeReplicator(args []string) int {
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	values := map[string]*string{}
	for _, name := range []string{"address", "port", "state", "hypervisor-socket", "options", "config", "disks"} {
		values[name] = flags.String(name, "", "")
	}
	_ = flags.Parse(args[1:])
	listener, err := net.Listen("tcp", *values["address"]+":"+*values["port"])
	if err != nil {
		return 1
	}
	if args[0] == "receiver" {
		for {
			if _, err := listener.Accept(); err != nil {
				return 1
			}
		}
	}
	_ = os.Remove(*values["hypervisor-socket"])
	face, err := net.Listen("unix", *values["hypervisor-socket"])
	if err != nil {
		return 1
	}
	_ = http.Serve(face, newFakeHost(*values["state"]).handler())
	return 1
}

// fakeHost attaches disks by running nbdkit, and remembers what it was told.
type fakeHost struct {
	state string
	mu    sync.Mutex
	taps  map[string]*exec.Cmd
}

func newFakeHost(state string) *fakeHost {
	return &fakeHost{state: state, taps: map[string]*exec.Cmd{}}
}

func (h *fakeHost) note(line string) {
	file, err := os.OpenFile(filepath.Join(h.state, "told"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprintln(file, line)
		file.Close()
	}
}

func (h *fakeHost) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/attach", h.attach)
	mux.HandleFunc("POST /v1/detach", func(w http.ResponseWriter, r *http.Request) {
		request := h.read(r)
		h.mu.Lock()
		defer h.mu.Unlock()
		if tap := h.taps[request["diskUuid"]]; tap != nil {
			_ = tap.Process.Kill()
			_ = tap.Wait()
			delete(h.taps, request["diskUuid"])
		}
		h.note("detach " + request["diskUuid"])
	})
	mux.HandleFunc("POST /v1/closed", func(_ http.ResponseWriter, r *http.Request) { h.note("closed " + h.read(r)["vmUuid"]) })
	mux.HandleFunc("GET /v1/attachments", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, []string{}) })
	return mux
}

func (h *fakeHost) read(r *http.Request) map[string]string {
	request := map[string]string{}
	_ = json.NewDecoder(r.Body).Decode(&request)
	return request
}

func (h *fakeHost) attach(w http.ResponseWriter, r *http.Request) {
	request := h.read(r)
	if _, err := os.Stat(filepath.Join(h.state, "sealed")); err == nil {
		w.WriteHeader(http.StatusConflict)
		writeJSON(w, map[string]string{"code": "DISK_SEALED", "title": "The disk is sealed", "detail": "its migration was handed over"})
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	socket := filepath.Join(os.TempDir(), "lab-fake-"+request["diskUuid"])
	if h.taps[request["diskUuid"]] == nil {
		_ = os.Remove(socket)
		tap := exec.Command("nbdkit", "-f", "-U", socket, "file", request["path"])
		if err := startChild(tap); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h.taps[request["diskUuid"]] = tap
		for range 100 {
			if probeTap(socket) == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	h.note("attach " + request["diskUuid"])
	writeJSON(w, map[string]string{"nbdSocket": socket})
}

// fakePackage is a VIB with the fake in it.
func fakePackage(t *testing.T) []byte {
	t.Helper()
	var payload bytes.Buffer
	zipped := gzip.NewWriter(&payload)
	archive := tar.NewWriter(zipped)
	program := fakeProgram(t)
	_ = archive.WriteHeader(&tar.Header{Name: "bin/replicator", Mode: 0o755, Size: int64(len(program))})
	_, _ = archive.Write(program)
	_ = archive.Close()
	_ = zipped.Close()
	descriptor := []byte(`<vib version="5.0"><type>bootbank</type><name>landfall</name><version>0.0.1-1</version><vendor>LAB</vendor><summary>test</summary></vib>`)
	var vib bytes.Buffer
	vib.WriteString(arMagic)
	for _, member := range []struct {
		name string
		data []byte
	}{{"descriptor.xml", descriptor}, {"sig.pkcs7", nil}, {"replicator.tgz", payload.Bytes()}} {
		fmt.Fprintf(&vib, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", member.name, 0, 0, 0, "100644", len(member.data))
		vib.Write(member.data)
		if len(member.data)%2 == 1 {
			vib.WriteByte('\n')
		}
	}
	return vib.Bytes()
}
