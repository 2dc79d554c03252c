// Disk and file managers: disks keep their UUID wherever they go, flat files have their real size,
// and a file that a powered-on VM uses cannot be taken away.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// diskTask runs work as a task of the disk manager.
func (s *site) diskTask(ctx *simulator.Context, name string, work func() (types.AnyType, error)) types.ManagedObjectReference {
	return runTask(ctx, ctx.Map.VirtualDiskManager(), name, func() (types.AnyType, error) {
		result, err := work()
		s.refreshDatastores(ctx)
		return result, err
	})
}

// CreateVirtualDiskTask makes an empty disk with a UUID of its own.
func (s *site) CreateVirtualDiskTask(ctx *simulator.Context, req *types.CreateVirtualDisk_Task) soap.HasFault {
	reference := s.diskTask(ctx, "createVirtualDisk", func() (types.AnyType, error) {
		return req.Name, s.createDisk(ctx, req)
	})
	return &methods.CreateVirtualDisk_TaskBody{Res: &types.CreateVirtualDisk_TaskResponse{Returnval: reference}}
}

func (s *site) createDisk(ctx *simulator.Context, req *types.CreateVirtualDisk_Task) error {
	spec, ok := req.Spec.(types.BaseFileBackedVirtualDiskSpec)
	if !ok {
		return refuse(&types.InvalidArgument{InvalidProperty: "spec"}, "The lab makes file-backed disks only")
	}
	path, err := s.diskFile(req.Name)
	if err != nil {
		return err
	}
	thin := spec.GetFileBackedVirtualDiskSpec().DiskType == string(types.VirtualDiskTypeThin)
	if err := s.checkSpace(req.Name, spec.GetFileBackedVirtualDiskSpec().CapacityKb*1024, thin); err != nil {
		return err
	}
	answer := stockDiskManager(ctx).CreateVirtualDiskTask(ctx, req).(*methods.CreateVirtualDisk_TaskBody)
	if f := waitTask(ctx, answer.Res.Returnval); f != nil {
		return fromFault(f)
	}
	_, _, err = settleDisk(path, "")
	return err
}

// diskFile is datastoreFile for descriptors.
func (s *site) diskFile(name string) (string, error) {
	path, err := s.datastoreFile(name)
	if err == nil && !strings.HasSuffix(path, ".vmdk") {
		return "", refuse(&types.InvalidDatastorePath{DatastorePath: name}, "'%s' names no virtual disk", name)
	}
	return path, err
}

func stockDiskManager(ctx *simulator.Context) *simulator.VirtualDiskManager {
	return ctx.Map.VirtualDiskManager().(*simulator.VirtualDiskManager)
}

// DeleteVirtualDiskTask deletes a disk that no powered-on VM uses.
func (s *site) DeleteVirtualDiskTask(ctx *simulator.Context, req *types.DeleteVirtualDisk_Task) soap.HasFault {
	reference := s.diskTask(ctx, "deleteVirtualDisk", func() (types.AnyType, error) {
		path, err := s.presentDisk(req.Name)
		if err != nil {
			return nil, err
		}
		removeDisk(simulator.VirtualDiskBackingFileName(path))
		return nil, nil
	})
	return &methods.DeleteVirtualDisk_TaskBody{Res: &types.DeleteVirtualDisk_TaskResponse{Returnval: reference}}
}

// presentDisk finds a disk that may be changed.
func (s *site) presentDisk(name string) (string, error) {
	path, err := s.diskFile(name)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", refuse(&types.FileNotFound{FileFault: types.FileFault{File: name}}, "File %s was not found", name)
	}
	if s.openFile(path) {
		return "", fileLocked(name)
	}
	return path, nil
}

// MoveVirtualDiskTask renames a disk, also into another folder or datastore; its UUID stays.
func (s *site) MoveVirtualDiskTask(ctx *simulator.Context, req *types.MoveVirtualDisk_Task) soap.HasFault {
	reference := s.diskTask(ctx, "moveVirtualDisk", func() (types.AnyType, error) {
		from, to, err := s.diskPair(req.SourceName, req.DestName, req.Force)
		if err != nil {
			return nil, err
		}
		if err := os.Rename(simulator.VirtualDiskBackingFileName(from), simulator.VirtualDiskBackingFileName(to)); err != nil {
			return nil, cannotWrite(req.DestName, err)
		}
		if err := os.Rename(from, to); err != nil {
			return nil, cannotWrite(req.DestName, err)
		}
		_, _, err = settleDisk(to, "")
		return req.DestName, err
	})
	return &methods.MoveVirtualDisk_TaskBody{Res: &types.MoveVirtualDisk_TaskResponse{Returnval: reference}}
}

// CopyVirtualDiskTask copies a disk with its holes; the copy gets a UUID of its own.
func (s *site) CopyVirtualDiskTask(ctx *simulator.Context, req *types.CopyVirtualDisk_Task) soap.HasFault {
	reference := s.diskTask(ctx, "copyVirtualDisk", func() (types.AnyType, error) {
		from, to, err := s.diskPair(req.SourceName, req.DestName, req.Force)
		if err != nil {
			return nil, err
		}
		flat := simulator.VirtualDiskBackingFileName
		if err := copySparse(flat(from), flat(to)); err != nil {
			return nil, cannotWrite(req.DestName, err)
		}
		descriptor, err := readDescriptor(from)
		if err != nil {
			return nil, cannotWrite(req.SourceName, err)
		}
		if err := writeDescriptor(to, descriptor); err != nil {
			return nil, cannotWrite(req.DestName, err)
		}
		_, _, err = settleDisk(to, newDiskUUID())
		return req.DestName, err
	})
	return &methods.CopyVirtualDisk_TaskBody{Res: &types.CopyVirtualDisk_TaskResponse{Returnval: reference}}
}

// diskPair resolves the two ends of a move or copy.
func (s *site) diskPair(source, destination string, force *bool) (from, to string, err error) {
	if from, err = s.presentDisk(source); err != nil {
		return "", "", err
	}
	if to, err = s.diskFile(destination); err != nil {
		return "", "", err
	}
	if _, err := os.Stat(to); err == nil && (force == nil || !*force) {
		return "", "", refuse(&types.FileAlreadyExists{FileFault: types.FileFault{File: destination}}, "File %s exists already", destination)
	}
	if _, err := os.Stat(filepath.Dir(to)); err != nil {
		return "", "", refuse(&types.FileNotFound{FileFault: types.FileFault{File: destination}}, "The folder of %s does not exist", destination)
	}
	return from, to, nil
}

func cannotWrite(name string, err error) error {
	return refuse(&types.CannotCreateFile{FileFault: types.FileFault{File: name}}, "Cannot write %s: %v", name, err)
}

// ExtendVirtualDiskTask grows a disk and its flat file.
func (s *site) ExtendVirtualDiskTask(ctx *simulator.Context, req *types.ExtendVirtualDisk_Task) soap.HasFault {
	reference := s.diskTask(ctx, "extendVirtualDisk", func() (types.AnyType, error) {
		path, err := s.presentDisk(req.Name)
		if err != nil {
			return nil, err
		}
		answer := stockDiskManager(ctx).ExtendVirtualDiskTask(ctx, req).(*methods.ExtendVirtualDisk_TaskBody)
		if f := waitTask(ctx, answer.Res.Returnval); f != nil {
			return nil, fromFault(f)
		}
		_, _, err = settleDisk(path, "")
		return req.Name, err
	})
	return &methods.ExtendVirtualDisk_TaskBody{Res: &types.ExtendVirtualDisk_TaskResponse{Returnval: reference}}
}

// QueryVirtualDiskUuid reads the UUID from the descriptor.
func (s *site) QueryVirtualDiskUuid(_ *simulator.Context, req *types.QueryVirtualDiskUuid) soap.HasFault {
	id, err := s.diskUUID(req.Name, "")
	if err != nil {
		return &methods.QueryVirtualDiskUuidBody{Fault_: fault(methodFault(err))}
	}
	return &methods.QueryVirtualDiskUuidBody{Res: &types.QueryVirtualDiskUuidResponse{Returnval: id}}
}

// SetVirtualDiskUuid writes the UUID into the descriptor; not while a powered-on VM uses the disk.
func (s *site) SetVirtualDiskUuid(ctx *simulator.Context, req *types.SetVirtualDiskUuid) soap.HasFault {
	wanted, err := normalUUID(req.Uuid)
	if err == nil {
		if _, err = s.presentDisk(req.Name); err == nil {
			_, err = s.diskUUID(req.Name, wanted)
		}
	}
	if err != nil {
		return &methods.SetVirtualDiskUuidBody{Fault_: fault(methodFault(err))}
	}
	s.refreshAttached(ctx, req.Name)
	return &methods.SetVirtualDiskUuidBody{Res: &types.SetVirtualDiskUuidResponse{}}
}

// refreshAttached shows a changed descriptor in the VM that the disk is attached to.
func (s *site) refreshAttached(ctx *simulator.Context, name string) {
	for _, entity := range ctx.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		ctx.WithLock(vm, func() {
			disks, err := s.disksOf(vm)
			if err != nil {
				return
			}
			for _, d := range disks {
				if d.file == name {
					s.showDisks(ctx, vm)
				}
			}
		})
	}
}

func (s *site) diskUUID(name, wanted string) (string, error) {
	path, err := s.diskFile(name)
	if err != nil {
		return "", err
	}
	id, _, err := settleDisk(path, wanted)
	if err != nil {
		return "", refuse(&types.FileNotFound{FileFault: types.FileFault{File: name}}, "File %s was not found", name)
	}
	return id, nil
}

// DeleteDatastoreFileTask deletes a file or folder that no powered-on VM uses.
func (s *site) DeleteDatastoreFileTask(ctx *simulator.Context, req *types.DeleteDatastoreFile_Task) soap.HasFault {
	manager := ctx.Map.FileManager()
	task := runTask(ctx, manager, "deleteDatastoreFile", func() (types.AnyType, error) {
		return nil, s.deleteFile(ctx, req.Name)
	})
	return &methods.DeleteDatastoreFile_TaskBody{Res: &types.DeleteDatastoreFile_TaskResponse{Returnval: task}}
}

func (s *site) deleteFile(ctx *simulator.Context, name string) error {
	path, err := s.datastoreFile(name)
	if err != nil {
		return err
	}
	if filepath.Dir(path) == filepath.Join(s.Home, "datastores") {
		return refuse(&types.InvalidDatastorePath{DatastorePath: name}, "A datastore's root cannot be deleted")
	}
	if _, err := os.Lstat(path); err != nil {
		return refuse(&types.FileNotFound{FileFault: types.FileFault{File: name}}, "File %s was not found", name)
	}
	if s.openFile(path) {
		return fileLocked(name)
	}
	if err := os.RemoveAll(path); err != nil {
		return refuse(&types.CannotDeleteFile{FileFault: types.FileFault{File: name}}, "Cannot delete %s", name)
	}
	s.refreshDatastores(ctx)
	return nil
}

// MoveDatastoreFileTask renames a file or folder that no powered-on VM uses.
func (s *site) MoveDatastoreFileTask(ctx *simulator.Context, req *types.MoveDatastoreFile_Task) soap.HasFault {
	manager := ctx.Map.FileManager()
	task := runTask(ctx, manager, "moveDatastoreFile", func() (types.AnyType, error) {
		return nil, s.moveFile(ctx, req)
	})
	return &methods.MoveDatastoreFile_TaskBody{Res: &types.MoveDatastoreFile_TaskResponse{Returnval: task}}
}

func (s *site) moveFile(ctx *simulator.Context, req *types.MoveDatastoreFile_Task) error {
	for _, name := range []string{req.SourceName, req.DestinationName} {
		path, err := s.datastoreFile(name)
		if err != nil {
			return err
		}
		if s.openFile(path) {
			return fileLocked(name)
		}
	}
	answer := ctx.Map.FileManager().MoveDatastoreFileTask(ctx, req).(*methods.MoveDatastoreFile_TaskBody)
	return fromFault(waitTask(ctx, answer.Res.Returnval))
}

// copySparse copies a file and leaves its holes out.
func copySparse(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := target.Truncate(info.Size()); err != nil {
		return err
	}
	if err := copyExtents(source, target, info.Size()); err != nil {
		return fmt.Errorf("copy %s: %w", filepath.Base(from), err)
	}
	return target.Close()
}
