// Tasks of the lab's own methods. Unlike the simulator's they carry a message that people can read,
// and a mistake in one call is a fault of that call, not the end of the vCenter.
package main

import (
	"fmt"
	"log"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

var tasksMade atomic.Int64

// runTask runs work in the background while it holds the entity's lock on behalf of ctx: calls to the
// simulator inside it must use the same ctx, or they wait for themselves.
func runTask(ctx *simulator.Context, entity mo.Reference, name string, work func() (types.AnyType, error)) types.ManagedObjectReference {
	task := simulator.CreateTask(entity, name, nil)
	task.Self = types.ManagedObjectReference{Type: "Task", Value: fmt.Sprintf("task-lab-%d", tasksMade.Add(1))}
	task.Info.Key, task.Info.Task = task.Self.Value, task.Self
	if ctx.Session != nil {
		task.Info.Reason = &types.TaskReasonUser{UserName: ctx.Session.UserName}
	}
	ctx.Map.Put(task)
	ctx.Map.AtomicUpdate(ctx, task, []types.PropertyChange{
		{Name: "info.startTime", Val: time.Now()}, {Name: "info.state", Val: types.TaskInfoStateRunning},
	})
	unlock := ctx.Map.AcquireLock(ctx, entity)
	go func() {
		result, err := guarded(name, work)
		unlock()
		ctx.Map.AtomicUpdate(ctx, task, outcome(result, err))
	}()
	return task.Self
}

// guarded turns a panic into an error.
func guarded(name string, work func() (types.AnyType, error)) (result types.AnyType, err error) {
	defer func() {
		if trouble := recover(); trouble != nil {
			log.Printf("%s: %v\n%s", name, trouble, debug.Stack())
			err = refuse(&types.SystemError{Reason: fmt.Sprint(trouble)}, "A general system error occurred: %v", trouble)
		}
	}()
	return work()
}

func outcome(result types.AnyType, err error) []types.PropertyChange {
	changes := []types.PropertyChange{{Name: "info.completeTime", Val: time.Now()}}
	if err == nil {
		return append(changes,
			types.PropertyChange{Name: "info.result", Val: result},
			types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess})
	}
	refused := methodFault(err)
	return append(changes,
		types.PropertyChange{Name: "info.error", Val: types.LocalizedMethodFault{Fault: refused, LocalizedMessage: faultText(refused)}},
		types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateError})
}
