// Reading files out of ISO images: enough of ISO 9660 with Rock Ridge names to find a file by path.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	agentFile         = "/landfall/replicator"
	configurationFile = "/config.json"
	sectorBytes       = 2048
	firstDescriptor   = 16
	primaryDescriptor = 1
	rootRecordAt      = 156
	recordNameAt      = 33
	folderFlag        = 2
	folderBytesMax    = 1 << 20
)

// image is an ISO image on this machine.
type image struct{ path string }

// isoEntry is one file or folder in an image.
type isoEntry struct {
	name     string
	sector   int64
	bytes    int64
	isFolder bool
}

// cdImages lists the ISO images in the VM's connected CD-ROM drives.
func (s *site) cdImages(vm *simulator.VirtualMachine) ([]image, error) {
	var images []image
	for _, device := range vm.Config.Hardware.Device {
		drive, ok := device.(*types.VirtualCdrom)
		if !ok || (drive.Connectable != nil && !drive.Connectable.StartConnected) {
			continue
		}
		backing, ok := drive.Backing.(*types.VirtualCdromIsoBackingInfo)
		if !ok || backing.FileName == "" {
			continue
		}
		path, err := s.datastoreFile(backing.FileName)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); err != nil {
			return nil, refuse(&types.FileNotFound{FileFault: types.FileFault{File: backing.FileName}}, "File %s was not found", backing.FileName)
		}
		images = append(images, image{path})
	}
	return images, nil
}

func (i image) has(name string) bool {
	file, err := os.Open(i.path)
	if err != nil {
		return false
	}
	defer file.Close()
	_, err = findInImage(file, name)
	return err == nil
}

// extract copies one file out of the image.
func (i image) extract(name, target string, mode os.FileMode) error {
	file, err := os.Open(i.path)
	if err != nil {
		return err
	}
	defer file.Close()
	entry, err := findInImage(file, name)
	if err != nil {
		return err
	}
	_ = os.Remove(target + ".new")
	out, err := os.OpenFile(target+".new", os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.NewSectionReader(file, entry.sector*sectorBytes, entry.bytes))
	if closeError := out.Close(); err == nil {
		err = closeError
	}
	if err != nil {
		return err
	}
	return os.Rename(target+".new", target)
}

// findInImage walks from the root folder to the named file.
func findInImage(file io.ReaderAt, name string) (isoEntry, error) {
	descriptor := make([]byte, sectorBytes)
	if _, err := file.ReadAt(descriptor, firstDescriptor*sectorBytes); err != nil {
		return isoEntry{}, err
	}
	if descriptor[0] != primaryDescriptor || string(descriptor[1:6]) != "CD001" {
		return isoEntry{}, errors.New("not an ISO 9660 image")
	}
	at, err := parseRecord(descriptor[rootRecordAt : rootRecordAt+recordNameAt+1])
	if err != nil {
		return isoEntry{}, err
	}
	for _, part := range strings.Split(strings.Trim(name, "/"), "/") {
		entries, err := readFolder(file, at)
		if err != nil {
			return isoEntry{}, err
		}
		found := false
		for _, entry := range entries {
			if strings.EqualFold(entry.name, part) {
				at, found = entry, true
				break
			}
		}
		if !found {
			return isoEntry{}, fmt.Errorf("the image has no %s", name)
		}
	}
	if at.isFolder {
		return isoEntry{}, fmt.Errorf("%s is a folder", name)
	}
	return at, nil
}

func readFolder(file io.ReaderAt, folder isoEntry) ([]isoEntry, error) {
	if !folder.isFolder || folder.bytes > folderBytesMax {
		return nil, errors.New("the image is damaged")
	}
	raw := make([]byte, folder.bytes)
	if _, err := file.ReadAt(raw, folder.sector*sectorBytes); err != nil {
		return nil, err
	}
	var entries []isoEntry
	for at := 0; at < len(raw); {
		length := int(raw[at])
		if length == 0 {
			at = (at/sectorBytes + 1) * sectorBytes
			continue
		}
		if at+length > len(raw) {
			return nil, errors.New("the image is damaged")
		}
		entry, err := parseRecord(raw[at : at+length])
		if err != nil {
			return nil, err
		}
		if entry.name != "" {
			entries = append(entries, entry)
		}
		at += length
	}
	return entries, nil
}

// parseRecord reads one directory record; the folder's own and its parent's have no name.
func parseRecord(record []byte) (isoEntry, error) {
	if len(record) <= recordNameAt || recordNameAt+int(record[32]) > len(record) {
		return isoEntry{}, errors.New("the image is damaged")
	}
	entry := isoEntry{
		sector:   int64(binary.LittleEndian.Uint32(record[2:])),
		bytes:    int64(binary.LittleEndian.Uint32(record[10:])),
		isFolder: record[25]&folderFlag != 0,
	}
	raw := record[recordNameAt : recordNameAt+int(record[32])]
	if len(raw) == 1 && raw[0] <= 1 {
		return entry, nil
	}
	entry.name, _, _ = strings.Cut(string(raw), ";")
	rest := recordNameAt + len(raw)
	rest += 1 - len(raw)%2
	if name := rockRidgeName(record[min(rest, len(record)):]); name != "" {
		entry.name = name
	}
	return entry, nil
}

// rockRidgeName finds the NM fields of a record's system use area.
func rockRidgeName(area []byte) string {
	name := ""
	for len(area) >= 4 {
		length := int(area[2])
		if length < 4 || length > len(area) {
			break
		}
		if area[0] == 'N' && area[1] == 'M' && length > 5 {
			name += string(area[5:length])
		}
		area = area[length:]
	}
	return name
}
