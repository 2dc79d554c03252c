package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const testScenario = `{"wan":{"bytesPerSecondMax":25000000,"rttMs":5},"vms":[
 {"site":"source","name":"app-01","powerOn":true,"writerPauseMs":10,"disks":[{"capacityBytes":"67108864","seedBytes":"1048576"}]},
 {"site":"source","name":"snapshot-01","snapshot":true,"disks":[{"capacityBytes":"16777216"}]}]}`

// startLab runs `lab up` as a process of its own and waits for its ready line.
func startLab(t *testing.T, page string) (*exec.Cmd, readyLine) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "scenario.json")
	if err := os.WriteFile(file, []byte(testScenario), 0o600); err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "lab-up-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	cmd := exec.Command(self, "up", "--home", home, "--net", page, "--build", "../build", "--scenario", file)
	cmd.Env = append(os.Environ(), asLabVariable+"=1")
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var ready readyLine
	line, _ := bufio.NewReader(output).ReadBytes('\n')
	if err := json.Unmarshal(line, &ready); err != nil || !ready.Ready {
		t.Fatalf("ready line %q: %v", line, err)
	}
	return cmd, ready
}

func ask(t *testing.T, control, path string, into any) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", control)
	}}}
	response, err := client.Get("http://lab" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func alive(pid int) bool {
	return syscall.Kill(pid, 0) == nil && !zombie("/proc/"+strconv.Itoa(pid))
}

func TestTwoLabsRunAtOnceAndLeaveNothingBehind(t *testing.T) {
	ends := map[string]func(*exec.Cmd) error{
		"127.26": func(cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGTERM) },
		"127.27": func(cmd *exec.Cmd) error { return cmd.Process.Kill() },
	}
	type running struct {
		cmd  *exec.Cmd
		pids []int
	}
	labs := map[string]running{}
	for page := range ends {
		cmd, ready := startLab(t, page)
		if ready.Source.ThumbprintSha256 == ready.Destination.ThumbprintSha256 || ready.Destination.Address != page+".102.1:8443" {
			t.Fatalf("%+v", ready)
		}
		var processes []runningProcess
		ask(t, ready.Control, "/processes", &processes)
		if len(processes) != 1 || processes[0].Role != "guest" || processes[0].VM != "app-01" {
			t.Fatalf("%+v", processes)
		}
		var status struct {
			Children map[string]int `json:"children"`
		}
		ask(t, ready.Control, "/status", &status)
		pids := []int{processes[0].PID}
		for _, pid := range status.Children {
			pids = append(pids, pid)
		}
		var held map[string]holdings
		ask(t, ready.Control, "/leaks", &held)
		if len(held["source"].VMs) != 2 || len(held["source"].Snapshots) != 1 || len(held["destination"].VMs) != 0 {
			t.Fatalf("%+v", held)
		}
		labs[page] = running{cmd, pids}
	}
	for page, lab := range labs {
		start := time.Now()
		if err := ends[page](lab.cmd); err != nil {
			t.Fatal(err)
		}
		_ = lab.cmd.Wait()
		for _, pid := range lab.pids {
			for alive(pid) {
				if time.Since(start) > 5*time.Second {
					t.Fatalf("process %d outlives its lab", pid)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
}
