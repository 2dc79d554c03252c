// Disks of a running guest: plugging and unplugging them, and putting the tap in front of them or
// taking it away while the guest writes. A disk is never reopened on a tap that does not answer:
// QEMU would stand still until the tap is back.
package main

import (
	"fmt"
	"io"
	"net"
	"time"
)

const (
	tapProbeTimeout = 2 * time.Second
	tapReturnTime   = 25 * time.Second // a source that died is served again within 20 s
	nbdGreeting     = "NBDMAGIC"
)

// probeTap checks that something speaks NBD on the socket.
func probeTap(socket string) error {
	conn, err := net.DialTimeout("unix", socket, tapProbeTimeout)
	if err != nil {
		return fmt.Errorf("the tap does not answer: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(tapProbeTimeout))
	greeting := make([]byte, len(nbdGreeting))
	if _, err := io.ReadFull(conn, greeting); err != nil || string(greeting) != nbdGreeting {
		return fmt.Errorf("the tap does not answer as an NBD server: %w", err)
	}
	return nil
}

// waitForTap gives a restarting tap the time to come back.
func waitForTap(socket string) error {
	deadline := time.Now().Add(tapReturnTime)
	for {
		err := probeTap(socket)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func fileNode(name, path string) arguments {
	return arguments{"driver": "file", "node-name": name, "filename": path, "locking": "off"}
}

func tapNode(name, socket string) arguments {
	return arguments{
		"driver": "nbd", "node-name": name, "server": arguments{"type": "unix", "path": socket},
		"export": "", "reconnect-delay": reconnectSeconds, "open-timeout": tapOpenSeconds,
	}
}

// insertTaps moves disks from their files to the given taps, all in one step.
func (g *guest) insertTaps(taps map[int32]string, disks []disk) error {
	for _, d := range disks {
		if err := probeTap(taps[d.key]); err != nil {
			return err
		}
	}
	return g.switchNodes(disks, func(name string, d disk) arguments { return tapNode(name, taps[d.key]) })
}

// removeTaps moves disks back to their files. The taps must be alive: what is in flight ends there.
func (g *guest) removeTaps(disks []disk) error {
	return g.switchNodes(disks, func(name string, d disk) arguments { return fileNode(name, d.flat) })
}

// switchNodes puts new nodes below the disks; on failure everything is as before.
func (g *guest) switchNodes(disks []disk, node func(name string, d disk) arguments) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var added []string
	drop := func(names []string) {
		for _, name := range names {
			_ = g.q.call("blockdev-del", arguments{"node-name": name})
		}
	}
	var options []arguments
	for _, d := range disks {
		name := g.newNode()
		if err := g.q.call("blockdev-add", node(name, d)); err != nil {
			drop(added)
			return err
		}
		added = append(added, name)
		options = append(options, arguments{"driver": "raw", "node-name": topNode(d), "file": name})
	}
	if err := g.q.call("blockdev-reopen", arguments{"options": options}); err != nil {
		drop(added)
		return err
	}
	var old []string
	for i, d := range disks {
		old = append(old, g.nodes[d.key])
		g.nodes[d.key] = added[i]
	}
	drop(old)
	return nil
}

// plug adds a disk to the running guest, behind a tap if one is given.
func (g *guest) plug(d disk, tap string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	name := g.newNode()
	node := fileNode(name, d.flat)
	if tap != "" {
		node = tapNode(name, tap)
	}
	if err := g.q.call("blockdev-add", node); err != nil {
		return err
	}
	drop := func(name string) { _ = g.q.call("blockdev-del", arguments{"node-name": name}) }
	if err := g.q.call("blockdev-add", arguments{"driver": "raw", "node-name": topNode(d), "file": name}); err != nil {
		drop(name)
		return err
	}
	err := g.q.call("device_add", arguments{
		"driver": "scsi-hd", "id": deviceName(d), "bus": busName(d.controller) + ".0",
		"scsi-id": d.unit, "drive": topNode(d), "serial": d.serial(),
	})
	if err != nil {
		drop(topNode(d))
		drop(name)
		return err
	}
	g.nodes[d.key] = name
	return nil
}

// unplug removes a disk from the running guest and waits until the guest has let go of it.
func (g *guest) unplug(d disk) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.q.call("device_del", arguments{"id": deviceName(d)}); err != nil {
		return err
	}
	var err error
	for range unplugAttemptsMax {
		if err = g.q.call("blockdev-del", arguments{"node-name": topNode(d)}); err == nil {
			_ = g.q.call("blockdev-del", arguments{"node-name": g.nodes[d.key]})
			delete(g.nodes, d.key)
			return nil
		}
		time.Sleep(unplugAttemptDelayMs * time.Millisecond)
	}
	return fmt.Errorf("the guest does not release the disk: %w", err)
}
