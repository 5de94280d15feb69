package devices

import (
	"unsafe"

	"golang.org/x/sys/windows"
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
