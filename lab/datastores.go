// Space on datastores: capacity is nominal, what is used is what the files really occupy, and a test
// can claim any number of free bytes.
package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	datastoreCapacityBytes = int64(1) << 40
	blockBytes             = 512
	seekData, seekHole     = 3, 4
)

// freeBytes is what the datastore has left, or what a test says it has.
func (s *site) freeBytes(datastore string) int64 {
	s.mu.Lock()
	claimed, isClaimed := s.free[datastore]
	s.mu.Unlock()
	if isClaimed {
		return claimed
	}
	used := int64(0)
	_ = filepath.WalkDir(filepath.Join(s.Home, "datastores", datastore), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			used += info.Sys().(*syscall.Stat_t).Blocks * blockBytes
		}
		return nil
	})
	return max(datastoreCapacityBytes-used, 0)
}

// claimFree makes the datastore report the given free bytes; nil means the truth again.
func (s *site) claimFree(datastore string, bytes *int64) {
	s.mu.Lock()
	delete(s.free, datastore)
	if bytes != nil {
		s.free[datastore] = *bytes
	}
	s.mu.Unlock()
	s.refreshDatastores(s.newContext())
}

// newContext is a context for changes that the lab makes on its own.
func (s *site) newContext() *simulator.Context { return background(s.service.Context) }

// refreshDatastores publishes the space of every datastore.
func (s *site) refreshDatastores(ctx *simulator.Context) {
	for _, entity := range ctx.Map.All("Datastore") {
		s.refreshDatastore(ctx, entity.(*simulator.Datastore))
	}
}

func (s *site) refreshDatastore(ctx *simulator.Context, datastore *simulator.Datastore) {
	free := s.freeBytes(datastore.Name)
	ctx.WithLock(datastore, func() {
		info := datastore.Info.GetDatastoreInfo()
		info.FreeSpace, info.MaxFileSize, info.Timestamp = free, datastoreCapacityBytes, types.NewTime(time.Now())
		datastore.Summary.Capacity = datastoreCapacityBytes
		ctx.Update(datastore, []types.PropertyChange{
			{Name: "summary.freeSpace", Val: free}, {Name: "summary.capacity", Val: datastoreCapacityBytes},
		})
	})
}

// RefreshDatastore publishes the space of one datastore.
func (s *site) RefreshDatastore(ctx *simulator.Context, req *types.RefreshDatastore) soap.HasFault {
	s.refreshDatastore(ctx, ctx.Map.Get(req.This).(*simulator.Datastore))
	return &methods.RefreshDatastoreBody{Res: &types.RefreshDatastoreResponse{}}
}

// checkSpace refuses a disk that does not fit: a thin one needs little, a thick one all.
func (s *site) checkSpace(name string, capacity int64, thin bool) error {
	var path object.DatastorePath
	if !path.FromString(name) {
		return refuse(&types.InvalidDatastorePath{DatastorePath: name}, "Invalid datastore path '%s'", name)
	}
	if _, err := s.datastoreFile(name); err != nil {
		return err
	}
	needed := capacity
	if thin {
		needed = freeBytesMin
	}
	if s.freeBytes(path.Datastore) < needed {
		return refuse(&types.NoDiskSpace{FileFault: types.FileFault{File: name}, Datastore: path.Datastore},
			"Insufficient disk space on datastore '%s'", path.Datastore)
	}
	return nil
}

// copyExtents copies the parts of a file that hold data.
func copyExtents(source, target *os.File, size int64) error {
	for at := int64(0); at < size; {
		start, err := source.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		end, err := source.Seek(start, seekHole)
		if err != nil {
			return err
		}
		if _, err := target.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(target, io.NewSectionReader(source, start, end-start)); err != nil {
			return err
		}
		at = end
	}
	return nil
}
