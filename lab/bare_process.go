// The `lab bare` process: a machine without an operating system. It checks the records on its disks as it starts, then
// writes numbered ones into the last MiB of every disk, flushed before they are acknowledged, as the guest's writer does.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"sync"
	"time"
)

const (
	bareBlockBytes = 4096
	bareBlocks     = 256
)

// bareDisk is where a disk is written: its flat file, or the socket of its tap.
type bareDisk struct {
	Key      int32  `json:"key"`
	Flat     string `json:"flat"`
	Tap      string `json:"tap"`
	Capacity int64  `json:"capacity"`
}

// bareCommand is one line of the process's input; each is answered by one line of the output.
type bareCommand struct {
	Do    string     `json:"do"` // switch, unplug, shut-down, reset
	Disks []bareDisk `json:"disks"`
}

// bareConfig is what the process starts with.
type bareConfig struct {
	PauseMs int        `json:"pauseMs"`
	Disks   []bareDisk `json:"disks"`
}

// blockFile is a disk that is open, whatever lies below it.
type blockFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
}

type openDisk struct {
	blockFile
	bareDisk
}

func (d bareDisk) open() (*openDisk, error) {
	if d.Tap != "" {
		file, err := openNBD(d.Tap)
		return &openDisk{file, d}, err
	}
	file, err := os.OpenFile(d.Flat, os.O_RDWR, 0)
	return &openDisk{file, d}, err
}

// writer is the machine's only program.
type writer struct {
	mu    sync.Mutex // held while a record is written, and while disks are exchanged
	disks map[int32]*openDisk
	last  uint64
	off   bool
	say   func(format string, args ...any)
}

func runBare(args []string) error {
	var config bareConfig
	if err := readConfig(args, &config); err != nil {
		return err
	}
	w := &writer{disks: map[int32]*openDisk{}, say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	if err := w.exchange(config.Disks); err != nil {
		return err
	}
	if err := w.boot(); err != nil {
		return err
	}
	go w.write(time.Duration(config.PauseMs) * time.Millisecond)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var command bareCommand
		err := json.Unmarshal(lines.Bytes(), &command)
		if err == nil {
			err = w.obey(command)
		}
		answer := ""
		if err != nil {
			answer = err.Error()
		}
		w.say("DONE %s", answer)
		if command.Do == "shut-down" && err == nil {
			return nil
		}
	}
	return lines.Err()
}

func (w *writer) obey(command bareCommand) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch command.Do {
	case "switch":
		return w.exchange(command.Disks)
	case "unplug":
		for _, d := range command.Disks {
			if open := w.disks[d.Key]; open != nil {
				open.Close()
				delete(w.disks, d.Key)
			}
		}
		return nil
	case "reset":
		return w.boot()
	case "shut-down":
		w.off = true
		for _, open := range w.disks {
			open.Close()
		}
		return nil
	}
	return fmt.Errorf("unknown command %q", command.Do)
}

// exchange opens disks anew, all of them or none.
func (w *writer) exchange(disks []bareDisk) error {
	var opened []*openDisk
	for _, d := range disks {
		open, err := d.open()
		if err != nil {
			for _, other := range opened {
				other.Close()
			}
			return err
		}
		opened = append(opened, open)
	}
	for _, open := range opened {
		if old := w.disks[open.Key]; old != nil {
			old.Close()
		}
		w.disks[open.Key] = open
	}
	return nil
}

// boot finds the last record that is whole on every disk, with all before it that must still be there.
func (w *writer) boot() error {
	w.say("LAB-BOOT")
	found := false
	for _, d := range w.disks {
		last, err := lastRecord(d, d.Capacity)
		if err != nil {
			w.say("LOST on disk %d: %v", d.Key, err)
			return err
		}
		if !found || last < w.last {
			w.last, found = last, true
		}
	}
	w.say("VERIFIED %d", w.last)
	w.say("LAB-READY")
	return nil
}

func (w *writer) write(pause time.Duration) {
	for w.writeNext() {
		time.Sleep(pause)
	}
}

// writeNext returns false when the machine was shut down.
func (w *writer) writeNext() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.off {
		return false
	}
	if err := w.writeRecord(w.last + 1); err != nil {
		w.say("LAB-ERROR %v", err)
		return true
	}
	w.last++
	w.say("ACK %d", w.last)
	return true
}

func (w *writer) writeRecord(n uint64) error {
	block := record(n)
	for _, d := range w.disks {
		if _, err := d.WriteAt(block, recordOffset(n, d.Capacity)); err != nil {
			return err
		}
		if err := d.Sync(); err != nil {
			return err
		}
	}
	return nil
}

var recordTable = crc64.MakeTable(crc64.ECMA)

// record is a block full of its number, with a checksum at its end.
func record(n uint64) []byte {
	block := make([]byte, bareBlockBytes)
	for at := 0; at < bareBlockBytes-8; at += 8 {
		binary.LittleEndian.PutUint64(block[at:], n)
	}
	binary.LittleEndian.PutUint64(block[bareBlockBytes-8:], crc64.Checksum(block[:bareBlockBytes-8], recordTable))
	return block
}

func recordOffset(n uint64, capacity int64) int64 {
	return capacity - bareBlocks*bareBlockBytes + int64(n%bareBlocks)*bareBlockBytes
}

// lastRecord reads all of them; 0 where there is none. A torn newest one was never acknowledged.
func lastRecord(disk io.ReaderAt, capacity int64) (uint64, error) {
	numbers := map[uint64]bool{}
	last := uint64(0)
	for slot := range uint64(bareBlocks) {
		block := make([]byte, bareBlockBytes)
		if _, err := disk.ReadAt(block, recordOffset(slot, capacity)); err != nil {
			return 0, err
		}
		n := binary.LittleEndian.Uint64(block)
		if n%bareBlocks != slot || string(block) != string(record(n)) {
			continue
		}
		numbers[n] = true
		last = max(last, n)
	}
	for n := last; n > 0 && n+bareBlocks > last+1; n-- {
		if !numbers[n] {
			return 0, fmt.Errorf("record %d of %d is missing", n, last)
		}
	}
	return last, nil
}
