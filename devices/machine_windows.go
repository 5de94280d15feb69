package devices

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// memoryStatus is MEMORYSTATUSEX of the Windows API.
type memoryStatus struct {
	length    uint32
	load      uint32
	totalPhys uint64
	rest      [6]uint64
}

func memory() (uint64, error) {
	s := memoryStatus{}
	s.length = uint32(unsafe.Sizeof(s))
	ask := windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")
	if ok, _, err := ask.Call(uintptr(unsafe.Pointer(&s))); ok == 0 {
		return 0, err
	}
	return s.totalPhys, nil
}

func diskSize(dir string) (uint64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var total uint64
	err = windows.GetDiskFreeSpaceEx(name, nil, &total, nil)
	return total, err
}

func chip() (model string, cores int) {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `HARDWARE\DESCRIPTION\System\CentralProcessor\0`, registry.QUERY_VALUE)
	if err != nil {
		return "", 0
	}
	defer key.Close()
	model, _, _ = key.GetStringValue("ProcessorNameString")
	return model, physicalCores()
}

// physicalCores counts the records that GetLogicalProcessorInformationEx has of cores, 0 if it cannot.
func physicalCores() (cores int) {
	const relationCore = 0
	ask := windows.NewLazySystemDLL("kernel32.dll").NewProc("GetLogicalProcessorInformationEx")
	var size uint32
	_, _, _ = ask.Call(relationCore, 0, uintptr(unsafe.Pointer(&size))) // it fails, and says how much there is
	if size < 8 || size > 1<<20 {
		return 0
	}
	buf := make([]byte, size)
	if ok, _, _ := ask.Call(relationCore, uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size))); ok == 0 {
		return 0
	}
	for buf = buf[:min(int(size), len(buf))]; len(buf) >= 8; cores++ { // each begins with its kind and its size
		n := binary.LittleEndian.Uint32(buf[4:])
		if n < 8 || int(n) > len(buf) {
			return 0
		}
		buf = buf[n:]
	}
	return cores
}
