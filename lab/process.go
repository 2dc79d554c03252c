// Child processes: started so that they die with their parent even on kill -9, marked so that the
// reaper finds what outlived it, and restarted where a host would restart them.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// runMarker is the environment variable that every process of one lab carries.
const runMarker = "LANDFALL_LAB_RUN"

// siteMarker and hostMarker tell which host's daemon a process descends from.
const (
	siteMarker = "LANDFALL_LAB_SITE"
	hostMarker = "LANDFALL_LAB_HOST"
)

const (
	restartDelay   = time.Second
	terminateGrace = 2 * time.Second
)

var (
	startsOnce sync.Once
	starts     chan func()
)

// startChild starts cmd in a process group of its own. Pdeathsig is bound to the creating thread,
// so all children are started from one locked thread that never ends.
func startChild(cmd *exec.Cmd) error {
	startsOnce.Do(func() {
		starts = make(chan func())
		go func() {
			runtime.LockOSThread()
			for start := range starts {
				start()
			}
		}()
	})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	result := make(chan error)
	starts <- func() { result <- cmd.Start() }
	return <-result
}

// service is a process that is started again one second after it ends, until it is stopped.
type service struct {
	name    string
	path    string
	args    []string
	env     []string
	logPath string

	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{}
	stopped bool
	ended   chan struct{}
}

// start runs the service in the background. The first start's error is returned.
func (s *service) start() error {
	s.ended = make(chan struct{})
	if err := s.launch(); err != nil {
		return err
	}
	go s.keep()
	return nil
}

func (s *service) launch() error {
	log, err := os.OpenFile(s.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.path, s.args...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stdout, cmd.Stderr = log, log
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return fmt.Errorf("%s is stopped", s.name)
	}
	if err := startChild(cmd); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.cmd = cmd
	exited := make(chan struct{})
	s.exited = exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	return nil
}

func (s *service) keep() {
	defer close(s.ended)
	for {
		s.mu.Lock()
		exited := s.exited
		s.mu.Unlock()
		<-exited
		for {
			time.Sleep(restartDelay)
			s.mu.Lock()
			stopped := s.stopped
			s.mu.Unlock()
			if stopped {
				return
			}
			if s.launch() == nil {
				break
			}
		}
	}
}

// pid is the process id of the running instance, or 0.
func (s *service) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	select {
	case <-s.exited:
		return 0
	default:
		return s.cmd.Process.Pid
	}
}

// stop ends the service for good: at once, or after a grace period in which it may tidy up.
func (s *service) stop(grace time.Duration) {
	s.mu.Lock()
	s.stopped = true
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	endProcess(cmd.Process, exited, grace)
}

// endProcess asks politely first when there is a grace period, and returns when the process is gone.
func endProcess(process *os.Process, exited <-chan struct{}, grace time.Duration) {
	if grace > 0 {
		_ = process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
			return
		case <-time.After(grace):
		}
	}
	_ = process.Kill()
	<-exited
}
