// A bare machine: a VM of a scenario that runs the lab's own writer instead of QEMU. It opens its disks, through the taps
// where there are some, and writes to them; it costs next to nothing, so that many can run at once.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
)

const (
	machineOption     = "lab.machine"
	bareMachine       = "bare"
	bareAnswerTimeout = 25 * time.Second
)

// bare is a running bare machine. What it says is heard as a guest's console is.
type bare struct {
	guest
	commands io.WriteCloser
	asking   sync.Mutex
	answers  chan string
}

func (b *bare) shutDown() error               { return b.ask("shut-down") }
func (b *bare) reset() error                  { return b.ask("reset") }
func (b *bare) plug(d disk, tap string) error { return b.ask("switch", bareDiskOf(d, tap)) }
func (b *bare) unplug(d disk) error           { return b.ask("unplug", bareDiskOf(d, "")) }
func (b *bare) removeTaps(disks []disk) error { return b.insertTaps(nil, disks) }

func (b *bare) insertTaps(taps map[int32]string, disks []disk) error {
	var wanted []bareDisk
	for _, d := range disks {
		wanted = append(wanted, bareDiskOf(d, taps[d.key]))
	}
	return b.ask("switch", wanted...)
}

func bareDiskOf(d disk, tap string) bareDisk {
	return bareDisk{Key: d.key, Flat: d.flat, Tap: tap, Capacity: d.capacity}
}

// ask gives one command and waits for its answer.
func (b *bare) ask(do string, disks ...bareDisk) error {
	b.asking.Lock()
	defer b.asking.Unlock()
	line, err := json.Marshal(bareCommand{Do: do, Disks: disks})
	if err != nil {
		return err
	}
	if _, err := b.commands.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%s: %w", do, err)
	}
	select {
	case answer := <-b.answers:
		if answer != "" {
			return errors.New(answer)
		}
		return nil
	case <-b.gone:
		if do == "shut-down" {
			return nil
		}
		return fmt.Errorf("%s: the machine has ended", do)
	case <-time.After(bareAnswerTimeout):
		return fmt.Errorf("%s: the machine does not answer", do)
	}
}

// startBare starts the writer on the VM's disks.
func (s *site) startBare(vm *simulator.VirtualMachine, disks []disk, taps map[int32]string) (machine, error) {
	folder := s.path("machines", vm.Self.Value)
	config := bareConfig{PauseMs: pauseOf(vm)}
	for _, d := range disks {
		if d.capacity < bareBlocks*bareBlockBytes {
			return nil, fmt.Errorf("disk %s is too small for the records of a bare machine", d.file)
		}
		config.Disks = append(config.Disks, bareDiskOf(d, taps[d.key]))
	}
	path := filepath.Join(folder, "bare.json")
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bare{
		guest:   guest{name: vm.Name, site: s.Site, ip: s.Net.guest(s.Site, s.number(vm.Self)), gone: make(chan struct{}), booted: make(chan struct{})},
		answers: make(chan string, 1),
	}
	b.cmd = exec.Command(program, "bare", path)
	b.cmd.Stderr = os.Stderr
	if b.commands, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	console, consoleEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	b.cmd.Stdout = consoleEnd
	err = startChild(b.cmd)
	consoleEnd.Close()
	if err != nil {
		console.Close()
		return nil, fmt.Errorf("start a bare machine: %w", err)
	}
	go b.listen(console, s.record(vm.Self), filepath.Join(folder, "console.log"), b.hearAnswer)
	go func() {
		_ = b.cmd.Wait()
		close(b.gone)
	}()
	return b, nil
}

// hearAnswer takes the lines that answer commands; they are not the console's.
func (b *bare) hearAnswer(line string) bool {
	word, answer, _ := strings.Cut(line, " ")
	if word != "DONE" {
		return false
	}
	select {
	case b.answers <- answer:
	default: // Nobody waited for it so long.
	}
	return true
}

func pauseOf(vm *simulator.VirtualMachine) int {
	pause, err := strconv.Atoi(extraOption(vm, pauseOption))
	if err != nil {
		return writerPauseMsDef
	}
	return pause
}
