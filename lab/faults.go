// Faults: how the lab says no. Typed faults as vSphere has them, with a text a person can read.
package main

import (
	"errors"
	"fmt"

	"github.com/vmware/govmomi/vim25/types"
)

// faultError carries a method fault through Go code.
type faultError struct {
	fault types.BaseMethodFault
	text  string
}

func (e *faultError) Error() string { return e.text }

// refuse makes a fault with its text.
func refuse(f types.BaseMethodFault, format string, args ...any) *faultError {
	text := fmt.Sprintf(format, args...)
	f.GetMethodFault().FaultMessage = []types.LocalizableMessage{{Key: "com.landfall.lab", Message: text}}
	return &faultError{fault: f, text: text}
}

// methodFault turns any error into a fault; an unexpected one becomes a configuration fault.
func methodFault(err error) types.BaseMethodFault {
	if err == nil {
		return nil
	}
	var typed *faultError
	if errors.As(err, &typed) {
		return typed.fault
	}
	return refuse(&types.GenericVmConfigFault{Reason: err.Error()}, "%s", err.Error()).fault
}

// fromFault turns a fault of the simulator into an error.
func fromFault(f types.BaseMethodFault) error {
	if f == nil {
		return nil
	}
	return &faultError{fault: f, text: faultText(f)}
}

func faultText(f types.BaseMethodFault) string {
	if f == nil {
		return ""
	}
	if messages := f.GetMethodFault().FaultMessage; len(messages) > 0 && messages[0].Message != "" {
		return messages[0].Message
	}
	return fmt.Sprintf("%T", f)
}

func invalidDevice(index int, property, format string, args ...any) *faultError {
	return refuse(&types.InvalidDeviceSpec{
		InvalidVmConfig: types.InvalidVmConfig{Property: fmt.Sprintf("configSpec.deviceChange[%d].device.%s", index, property)},
		DeviceIndex:     int32(index),
	}, format, args...)
}

func invalidBacking(index int, format string, args ...any) *faultError {
	return refuse(&types.InvalidDeviceBacking{InvalidDeviceSpec: types.InvalidDeviceSpec{
		InvalidVmConfig: types.InvalidVmConfig{Property: fmt.Sprintf("configSpec.deviceChange[%d].device.backing", index)},
		DeviceIndex:     int32(index),
	}}, format, args...)
}

func fileLocked(path string) *faultError {
	return refuse(&types.FileLocked{FileFault: types.FileFault{File: path}}, "Failed to lock the file %s: a powered-on virtual machine uses it", path)
}
