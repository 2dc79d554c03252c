// The reaper outlives `lab up` by a moment: processes that detach from their parents on purpose (the
// replicator's sources survive their daemon) would otherwise outlive a lab that is killed. It ends
// only processes that carry the mark of its own lab.
package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startReaper starts the reaper for a lab; it acts when this process ends, however that happens.
// The returned file must be kept open until then.
func startReaper(program, run, runtimeDir string) (*os.File, *exec.Cmd, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer reader.Close()
	cmd := exec.Command(program, "reaper", run, runtimeDir)
	cmd.Stdin = reader
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		writer.Close()
		return nil, nil, err
	}
	return writer, cmd, nil
}

func runReaper(args []string) error {
	if len(args) != 2 {
		return errors.New("the reaper is started by lab up")
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	_, _ = io.Copy(io.Discard, os.Stdin)
	endMarked(args[0])
	return os.RemoveAll(args[1])
}

// endMarked kills every process that carries the mark, until none is left.
func endMarked(run string) {
	for range 50 {
		left := markedProcesses(run)
		if len(left) == 0 {
			return
		}
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// markedProcess is a process of this lab as the kernel describes it.
type markedProcess struct {
	pid  int
	args []string
	env  []string
}

// environment returns the value of one variable of the process.
func (p markedProcess) environment(name string) string {
	for _, entry := range p.env {
		if value, found := strings.CutPrefix(entry, name+"="); found {
			return value
		}
	}
	return ""
}

// markedProcesses lists the processes that carry the mark, this one excepted.
func markedProcesses(run string) []markedProcess {
	var found []markedProcess
	mark := []byte(runMarker + "=" + run)
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		pid, _ := strconv.Atoi(filepath.Base(folder))
		if pid == os.Getpid() {
			continue
		}
		environment, err := os.ReadFile(folder + "/environ")
		if err != nil || !bytes.Contains(environment, mark) || zombie(folder) {
			continue
		}
		commandLine, _ := os.ReadFile(folder + "/cmdline")
		found = append(found, markedProcess{pid: pid, args: words(commandLine), env: words(environment)})
	}
	return found
}

func words(raw []byte) []string {
	return strings.Split(strings.TrimRight(string(raw), "\x00"), "\x00")
}

func zombie(folder string) bool {
	stat, err := os.ReadFile(folder + "/stat")
	if err != nil {
		return true
	}
	after := stat[bytes.LastIndexByte(stat, ')')+1:]
	return len(after) > 1 && (after[1] == 'Z' || after[1] == 'X')
}
