// An NBD client for one disk behind a tap: reads, writes and flushes, one at a time. A server that is gone is
// waited for and the request is made again, as QEMU does; the machine only stands still meanwhile.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	nbdOptionMagic   = 0x49484156454F5054
	nbdReplyMagic    = 0x3e889045565a9
	nbdRequestMagic  = 0x25609513
	nbdSimpleMagic   = 0x67446698
	nbdOptionGo      = 7
	nbdReplyAck      = 1
	nbdFixedNewstyle = 1
	nbdNoZeroes      = 2
	nbdRead          = 0
	nbdWrite         = 1
	nbdDisconnect    = 2
	nbdFlush         = 3
	nbdRetryDelay    = 100 * time.Millisecond
	nbdTimeout       = 20 * time.Second
	nbdOptionMax     = 1 << 16
)

// nbdDisk is a disk behind an NBD socket. It is used by one goroutine at a time.
type nbdDisk struct {
	socket string
	conn   net.Conn
	handle uint64
}

// openNBD connects and negotiates; a tap that does not answer is refused.
func openNBD(socket string) (*nbdDisk, error) {
	d := &nbdDisk{socket: socket}
	return d, d.connect()
}

func (d *nbdDisk) connect() error {
	conn, err := net.DialTimeout("unix", d.socket, tapProbeTimeout)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(nbdTimeout))
	if err := negotiate(conn); err != nil {
		conn.Close()
		return fmt.Errorf("negotiate with the tap: %w", err)
	}
	d.conn = conn
	return nil
}

// negotiate asks for the only export.
func negotiate(conn net.Conn) error {
	var greeting struct {
		Magic, Option uint64
		Flags         uint16
	}
	if err := binary.Read(conn, binary.BigEndian, &greeting); err != nil {
		return err
	}
	if greeting.Option != nbdOptionMagic {
		return errors.New("the server is not of the new style")
	}
	flags := uint32(nbdFixedNewstyle | int(greeting.Flags)&nbdNoZeroes)
	// The name of the export has no bytes, and nothing is asked to be told about it.
	ask := struct {
		Flags          uint32
		Magic          uint64
		Option, Length uint32
		Name           uint32
		Infos          uint16
	}{flags, nbdOptionMagic, nbdOptionGo, 6, 0, 0}
	if err := binary.Write(conn, binary.BigEndian, ask); err != nil {
		return err
	}
	for {
		var reply struct {
			Magic                uint64
			Option, Kind, Length uint32
		}
		if err := binary.Read(conn, binary.BigEndian, &reply); err != nil {
			return err
		}
		if reply.Magic != nbdReplyMagic || reply.Length > nbdOptionMax || reply.Kind&(1<<31) != 0 {
			return fmt.Errorf("the export is refused (%#x)", reply.Kind)
		}
		if _, err := io.CopyN(io.Discard, conn, int64(reply.Length)); err != nil {
			return err
		}
		if reply.Kind == nbdReplyAck {
			return nil
		}
	}
}

func (d *nbdDisk) ReadAt(into []byte, offset int64) (int, error) {
	return len(into), d.ask(nbdRead, offset, uint32(len(into)), nil, into)
}

func (d *nbdDisk) WriteAt(from []byte, offset int64) (int, error) {
	return len(from), d.ask(nbdWrite, offset, uint32(len(from)), from, nil)
}

func (d *nbdDisk) Sync() error { return d.ask(nbdFlush, 0, 0, nil, nil) }

func (d *nbdDisk) Close() error {
	if d.conn == nil {
		return nil
	}
	_ = d.send(nbdDisconnect, 0, 0, nil)
	err := d.conn.Close()
	d.conn = nil
	return err
}

// ask makes a request until it is answered; an answer that refuses it is an error of the disk.
func (d *nbdDisk) ask(command uint16, offset int64, length uint32, payload, into []byte) error {
	deadline := time.Now().Add(reconnectSeconds * time.Second)
	for {
		refused, err := d.try(command, offset, length, payload, into)
		if err == nil {
			return refused
		}
		if d.conn != nil {
			d.conn.Close()
			d.conn = nil
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(nbdRetryDelay)
	}
}

func (d *nbdDisk) try(command uint16, offset int64, length uint32, payload, into []byte) (refused, err error) {
	if d.conn == nil {
		if err := d.connect(); err != nil {
			return nil, err
		}
	}
	// A tap may hold a request for as long as it likes; only the connection's end says that it is gone.
	_ = d.conn.SetDeadline(time.Time{})
	if err := d.send(command, offset, length, payload); err != nil {
		return nil, err
	}
	var reply struct {
		Magic, Error uint32
		Handle       uint64
	}
	if err := binary.Read(d.conn, binary.BigEndian, &reply); err != nil {
		return nil, err
	}
	if reply.Magic != nbdSimpleMagic || reply.Handle != d.handle {
		return nil, errors.New("an answer to something else")
	}
	if reply.Error != 0 {
		return fmt.Errorf("the disk refuses with error %d", reply.Error), nil
	}
	_, err = io.ReadFull(d.conn, into)
	return nil, err
}

func (d *nbdDisk) send(command uint16, offset int64, length uint32, payload []byte) error {
	d.handle++
	var request bytes.Buffer
	header := struct {
		Magic          uint32
		Flags, Command uint16
		Handle         uint64
		Offset         int64
		Length         uint32
	}{nbdRequestMagic, 0, command, d.handle, offset, length}
	if err := binary.Write(&request, binary.BigEndian, header); err != nil {
		return err
	}
	request.Write(payload)
	_, err := d.conn.Write(request.Bytes())
	return err
}
