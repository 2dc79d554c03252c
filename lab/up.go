// `lab up`: starts both vCenters and the WAN as child processes, says when all is ready, offers the
// control socket, and takes everything down again.
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	labUser           = "administrator@vsphere.local"
	homeMark          = ".lab"
	socketPathMax     = 100
	childGrace        = 3 * time.Second
	passwordBytes     = 18
	controlSocketName = "control.sock"
)

// upOptions are the arguments of `lab up`.
type upOptions struct {
	home, build, scenario string
	net                   network
}

func parseUp(args []string) (upOptions, error) {
	flags := flag.NewFlagSet("lab up", flag.ContinueOnError)
	home := flags.String("home", "", "folder for everything the lab writes; it is emptied first")
	page := flags.String("net", "127.80", "loopback addresses to use, 127.N")
	build := flags.String("build", "build", "folder with guest/vmlinuz and guest/initrd.gz")
	file := flags.String("scenario", "", "scenario file (JSON)")
	if err := flags.Parse(args); err != nil {
		return upOptions{}, err
	}
	if *home == "" || *file == "" || flags.NArg() > 0 {
		return upOptions{}, errors.New("needs --home and --scenario")
	}
	parsed, err := parseNetwork(*page)
	if err != nil {
		return upOptions{}, err
	}
	options := upOptions{scenario: *file, net: parsed}
	if options.home, err = filepath.Abs(*home); err != nil {
		return upOptions{}, err
	}
	if options.build, err = filepath.Abs(*build); err != nil {
		return upOptions{}, err
	}
	if len(filepath.Join(options.home, controlSocketName)) > socketPathMax {
		return upOptions{}, fmt.Errorf("the path of --home is too long for a socket; choose one under %d characters", socketPathMax-len(controlSocketName))
	}
	return options, nil
}

// lab is a running lab.
type lab struct {
	upOptions
	run      string
	runtime  string
	program  string
	mu       sync.Mutex
	children []*child
	failed   chan error
}

// child is one of the lab's processes.
type child struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
	lines  chan string
}

// readyLine is what `lab up` prints when the lab can be used.
type readyLine struct {
	Ready       bool      `json:"ready"`
	Net         network   `json:"net"`
	Control     string    `json:"control"`
	Source      readySite `json:"source"`
	Destination readySite `json:"destination"`
}

// readySite is how to reach one vCenter.
type readySite struct {
	Address          string `json:"address"`
	User             string `json:"user"`
	Password         string `json:"password"`
	ThumbprintSha256 string `json:"thumbprintSha256"`
}

func runUp(args []string) error {
	options, err := parseUp(args)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	l := &lab{upOptions: options, run: randomText(), failed: make(chan error, 3)}
	if err := l.prepare(); err != nil {
		return err
	}
	reaperEnd, reaper, err := startReaper(l.program, l.run, l.runtime)
	if err != nil {
		return err
	}
	defer func() {
		l.down()
		_ = reaperEnd.Close()
		_ = reaper.Wait()
	}()
	if err := os.Setenv(runMarker, l.run); err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() { started <- l.up() }()
	for {
		select {
		case <-signals:
			return nil
		case err := <-l.failed:
			return err
		case err := <-started:
			if err != nil {
				return err
			}
		}
	}
}

// prepare checks what is needed and makes an empty home.
func (l *lab) prepare() error {
	for _, name := range []string{"vmlinuz", "initrd.gz"} {
		if _, err := os.Stat(filepath.Join(l.build, "guest", name)); err != nil {
			return fmt.Errorf("the guest image is missing; run lab/guest/build.sh %s", filepath.Join(l.build, "guest"))
		}
	}
	if _, err := exec.LookPath(emulatorProgram); err != nil {
		return fmt.Errorf("%s is missing; install qemu-system-x86", emulatorProgram)
	}
	var err error
	if l.program, err = os.Executable(); err != nil {
		return err
	}
	if err := emptyHome(l.home); err != nil {
		return err
	}
	l.runtime, err = os.MkdirTemp("", "lab-")
	return err
}

// emptyHome removes what an earlier lab left, and refuses a folder that is not a lab's.
func emptyHome(home string) error {
	mark := filepath.Join(home, homeMark)
	entries, err := os.ReadDir(home)
	if err == nil && len(entries) > 0 {
		if _, err := os.Stat(mark); err != nil {
			return fmt.Errorf("%s is not empty and not a lab's home", home)
		}
		for _, entry := range entries {
			if err := os.RemoveAll(filepath.Join(home, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	return os.WriteFile(mark, nil, 0o600)
}

// up starts the children and prints the ready line.
func (l *lab) up() error {
	wanted, err := readScenario(l.scenario)
	if err != nil {
		return err
	}
	wan := wanConfig{Net: l.net, Control: l.socket("wan"), Line: wanted.Wan}
	if _, err := l.start("wan", wan); err != nil {
		return err
	}
	ready := readyLine{Ready: true, Net: l.net, Control: filepath.Join(l.home, controlSocketName)}
	sites := map[string]*readySite{sourceSite: &ready.Source, destinationSite: &ready.Destination}
	vcenters := map[string]*child{}
	for name, title := range map[string]string{sourceSite: "Source", destinationSite: "Destination"} {
		config := siteConfig{
			Site: name, Title: title, Net: l.net, Home: filepath.Join(l.home, name), Runtime: l.runtime, Control: l.socket(name),
			Build: l.build, User: labUser, Password: randomText(), VMs: wanted.VMs,
		}
		if vcenters[name], err = l.start(name, config); err != nil {
			return err
		}
		*sites[name] = readySite{Address: l.net.vcenterSeen(name), User: labUser, Password: config.Password}
	}
	for name, vcenter := range vcenters {
		var said siteReady
		line, open := <-vcenter.lines
		if !open || json.Unmarshal([]byte(line), &said) != nil {
			return fmt.Errorf("%s vCenter does not start; see %s", name, l.logPath(name))
		}
		sites[name].ThumbprintSha256 = said.ThumbprintSha256
	}
	control, err := net.Listen("unix", ready.Control)
	if err != nil {
		return err
	}
	if err := os.Chmod(ready.Control, 0o600); err != nil {
		return err
	}
	go func() { _ = http.Serve(control, l.handler()) }()
	return json.NewEncoder(os.Stdout).Encode(ready)
}

func (l *lab) socket(name string) string  { return filepath.Join(l.runtime, name+".sock") }
func (l *lab) logPath(name string) string { return filepath.Join(l.home, name+".log") }

// start runs one child; `wan` or a site's vCenter.
func (l *lab) start(name string, config any) (*child, error) {
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(l.runtime, name+".json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(l.logPath(name))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := "vcenter"
	if name == "wan" {
		command = "wan"
	}
	c := &child{name: name, cmd: exec.Command(l.program, command, file), exited: make(chan struct{}), lines: make(chan string, 1)}
	c.cmd.Stderr = log
	output, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startChild(c.cmd); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.children = append(l.children, c)
	l.mu.Unlock()
	go func() {
		scanner := bufio.NewScanner(output)
		if scanner.Scan() {
			c.lines <- scanner.Text()
		}
		close(c.lines)
		_, _ = io.Copy(io.Discard, output)
		_ = c.cmd.Wait()
		close(c.exited)
		l.failed <- fmt.Errorf("the lab's %s process has ended; see %s", name, l.logPath(name))
	}()
	return c, nil
}

// down ends the children; the reaper takes care of the rest.
func (l *lab) down() {
	l.mu.Lock()
	children := l.children
	l.mu.Unlock()
	var all sync.WaitGroup
	for _, c := range children {
		all.Add(1)
		go func() {
			defer all.Done()
			endProcess(c.cmd.Process, c.exited, childGrace)
		}()
	}
	all.Wait()
	_ = os.Remove(filepath.Join(l.home, controlSocketName))
}

func randomText() string {
	raw := make([]byte, passwordBytes)
	_, _ = rand.Read(raw)
	return base64.RawURLEncoding.EncodeToString(raw)
}
