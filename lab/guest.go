// An ordinary virtual machine: QEMU on the flat files of its disks, followed through its console.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	pauseOption          = "guestinfo.writer.pauseMs"
	pauseDefaultMs       = "20"
	guestMemoryMbMin     = 96
	translationBufferMb  = 32
	scsiTimeoutSeconds   = 180
	reconnectSeconds     = 600
	tapOpenSeconds       = 3
	consoleLineBytesMax  = 4096
	emulatorProgram      = "qemu-system-x86_64"
	unplugAttemptsMax    = 100
	unplugAttemptDelayMs = 50
)

// guest is a running QEMU.
type guest struct {
	name   string
	site   string
	ip     string
	cmd    *exec.Cmd
	q      *qmp
	gone   chan struct{}
	booted chan struct{}
	byUs   atomic.Bool

	mu    sync.Mutex
	nodes map[int32]string // disk key -> block node below the disk
	count int
}

func (g *guest) done() <-chan struct{}  { return g.gone }
func (g *guest) ready() <-chan struct{} { return g.booted }
func (g *guest) address() string        { return g.ip }
func (g *guest) cut() *atomic.Bool      { return &g.byUs }

func (g *guest) kill() {
	_ = g.cmd.Process.Kill()
	<-g.gone
}

func (g *guest) shutDown() error { return g.q.call("system_powerdown", nil) }
func (g *guest) reset() error    { return g.q.call("system_reset", nil) }

func (g *guest) describe() runningProcess {
	return runningProcess{Role: "guest", Site: g.site, VM: g.name, PID: g.cmd.Process.Pid}
}

// startGuest starts QEMU and returns when its control socket answers.
func (s *site) startGuest(vm *simulator.VirtualMachine, disks []disk, taps map[int32]string) (machine, error) {
	folder := s.path("machines", vm.Self.Value)
	sockets := filepath.Join(s.Runtime, fmt.Sprintf("%d-%s.qmp", siteNumber(s.Site), vm.Self.Value))
	_ = os.Remove(sockets)
	g := &guest{
		name: vm.Name, site: s.Site, ip: s.Net.guest(s.Site, s.number(vm.Self)),
		gone: make(chan struct{}), booted: make(chan struct{}), nodes: map[int32]string{},
	}
	args := append(machineArguments(vm, sockets), controllerArguments(vm)...)
	for _, d := range disks {
		args = append(args, g.diskArguments(d, taps[d.key])...)
	}
	args = append(args, networkArguments(vm)...)
	args = append(args, s.bootArguments(vm, disks)...)

	log, err := os.OpenFile(filepath.Join(folder, "emulator.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	g.cmd = exec.Command(emulatorProgram, args...)
	g.cmd.Stderr = log
	console, consoleEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	g.cmd.Stdout = consoleEnd
	err = startChild(g.cmd)
	consoleEnd.Close()
	if err != nil {
		console.Close()
		return nil, fmt.Errorf("start %s: %w", emulatorProgram, err)
	}
	go g.listen(console, s.record(vm.Self), filepath.Join(folder, "console.log"), nil)
	go func() {
		_ = g.cmd.Wait()
		close(g.gone)
	}()
	if g.q, err = dialQMP(sockets, g.gone); err != nil {
		g.kill()
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%s: %w: %.400s", vm.Name, err, lastLine(said))
	}
	return g, nil
}

func machineArguments(vm *simulator.VirtualMachine, control string) []string {
	memory := max(int(vm.Config.Hardware.MemoryMB), guestMemoryMbMin)
	return []string{
		"-name", escaped(vm.Name), "-M", "pc", "-accel", fmt.Sprintf("tcg,tb-size=%d", translationBufferMb), "-cpu", "max",
		"-smp", "1", "-m", fmt.Sprint(memory), "-nodefaults", "-no-user-config", "-display", "none",
		"-uuid", vm.Config.Uuid, "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-qmp", "unix:" + escaped(control) + ",server=on,wait=off",
	}
}

// controllerArguments makes every controller that can hold disks; the guest's kernel has drivers for
// pvscsi and virtio only, so all other kinds become virtio.
func controllerArguments(vm *simulator.VirtualMachine) []string {
	var args []string
	for _, device := range vm.Config.Hardware.Device {
		controller, ok := device.(types.BaseVirtualController)
		if !ok || !holdsDisks(vm, controller) {
			continue
		}
		driver := "virtio-scsi-pci"
		if _, para := device.(*types.ParaVirtualSCSIController); para {
			driver = "pvscsi"
		}
		args = append(args, "-device", driver+",id="+busName(controller))
	}
	return args
}

func holdsDisks(vm *simulator.VirtualMachine, controller types.BaseVirtualController) bool {
	if _, scsi := controller.(types.BaseVirtualSCSIController); scsi {
		return true
	}
	key := controller.GetVirtualController().Key
	return slices.ContainsFunc(vm.Config.Hardware.Device, func(device types.BaseVirtualDevice) bool {
		d, isDisk := device.(*types.VirtualDisk)
		return isDisk && d.ControllerKey == key
	})
}

func busName(controller types.BaseVirtualController) string {
	return fmt.Sprintf("bus%d", controller.GetVirtualController().Key)
}

func (g *guest) diskArguments(d disk, tap string) []string {
	node := g.newNode()
	g.nodes[d.key] = node
	backing := "driver=file,node-name=" + node + ",filename=" + escaped(d.flat) + ",locking=off"
	if tap != "" {
		backing = fmt.Sprintf("driver=nbd,node-name=%s,server.type=unix,server.path=%s,reconnect-delay=%d,open-timeout=%d",
			node, escaped(tap), reconnectSeconds, tapOpenSeconds)
	}
	return []string{
		"-blockdev", backing,
		"-blockdev", "driver=raw,node-name=" + topNode(d) + ",file=" + node,
		"-device", fmt.Sprintf("scsi-hd,id=%s,bus=%s.0,scsi-id=%d,drive=%s,serial=%s", deviceName(d), busName(d.controller), d.unit, topNode(d), d.serial()),
	}
}

func deviceName(d disk) string { return fmt.Sprintf("disk%d", d.key) }
func topNode(d disk) string    { return fmt.Sprintf("top%d", d.key) }

// newNode names a block node; names are never used twice in one machine.
func (g *guest) newNode() string {
	g.count++
	return fmt.Sprintf("node%d", g.count)
}

func networkArguments(vm *simulator.VirtualMachine) []string {
	var args []string
	for _, device := range vm.Config.Hardware.Device {
		card, ok := device.(types.BaseVirtualEthernetCard)
		if !ok {
			continue
		}
		id := fmt.Sprintf("net%d", device.GetVirtualDevice().Key)
		args = append(args, "-netdev", "user,restrict=on,id="+id,
			"-device", "vmxnet3,netdev="+id+",mac="+card.GetVirtualEthernetCard().MacAddress)
	}
	return args
}

func (s *site) bootArguments(vm *simulator.VirtualMachine, disks []disk) []string {
	pause := extraOption(vm, pauseOption)
	if pause == "" {
		pause = pauseDefaultMs
	}
	line := fmt.Sprintf("console=ttyS0 quiet panic=5 no_timer_check mitigations=off nokaslr sdto=%d pause=%s", scsiTimeoutSeconds, pause)
	if len(disks) > 0 {
		line += " data=" + disks[0].serial()
	}
	return []string{
		"-kernel", filepath.Join(s.Build, "guest", "vmlinuz"),
		"-initrd", filepath.Join(s.Build, "guest", "initrd.gz"), "-append", line,
	}
}

// listen reads the console until the machine ends. Acknowledgements are not written to the file:
// there are many of them, and the record has the last one. A line that is taken is not the console's.
func (g *guest) listen(console io.ReadCloser, record *vmRecord, path string, taken func(line string) bool) {
	defer console.Close()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		defer file.Close()
	}
	var once sync.Once
	lines := bufio.NewReaderSize(console, consoleLineBytesMax)
	for {
		raw, err := lines.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
		line := strings.TrimSpace(string(raw))
		if line == "" || taken != nil && taken(line) {
			continue
		}
		record.hear(line)
		if !strings.HasPrefix(line, "ACK ") && file != nil {
			fmt.Fprintln(file, line)
		}
		if line == "LAB-READY" {
			once.Do(func() { close(g.booted) })
		}
	}
}

// escaped doubles the commas of a QEMU option value.
func escaped(value string) string { return strings.ReplaceAll(value, ",", ",,") }

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}
