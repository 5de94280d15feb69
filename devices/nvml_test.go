//go:build linux && cgo && !nonvml

package devices

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"

	"github.com/shoal-fabric/shoal"
)

// dgx is NVIDIA's own double of a machine with eight A100. Asked for what the double does not know, it would panic: so
// this says what a well card answers.
func dgx() *dgxa100.Server {
	s := dgxa100.New()
	for _, d := range s.Devices {
		d := d.(*dgxa100.Device)
		d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 33, nvml.SUCCESS }
		d.GetTemperatureThresholdFunc = func(nvml.TemperatureThresholds) (uint32, nvml.Return) { return 89, nvml.SUCCESS }
		d.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) { return 0, nvml.SUCCESS }
		d.GetRetiredPagesPendingStatusFunc = func() (nvml.EnableState, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
		d.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 0, false, false, nvml.SUCCESS }
		d.MemoryInfo.Free = d.MemoryInfo.Total - 1<<30
	}
	return s
}

func TestNVML(t *testing.T) {
	s := dgx()
	device := func(i int) *dgxa100.Device { return s.Devices[i].(*dgxa100.Device) }
	device(1).GetTotalEccErrorsFunc = func(kind nvml.MemoryErrorType, of nvml.EccCounterType) (uint64, nvml.Return) {
		if kind != nvml.MEMORY_ERROR_TYPE_UNCORRECTED || of != nvml.VOLATILE_ECC {
			t.Errorf("asked for errors %v, %v", kind, of)
		}
		return 7, nvml.SUCCESS
	}
	device(2).GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 90, nvml.SUCCESS }
	device(3).GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 1, 0, true, false, nvml.SUCCESS }
	device(4).GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_GPU_IS_LOST }
	device(5).GetTemperatureThresholdFunc = func(nvml.TemperatureThresholds) (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
	byIndex := s.DeviceGetHandleByIndexFunc
	s.DeviceGetHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		switch i {
		case 6:
			return nil, nvml.ERROR_NO_PERMISSION
		case 7:
			return nil, nvml.ERROR_GPU_IS_LOST
		}
		return byIndex(i)
	}
	closed := 0
	s.ShutdownFunc = func() nvml.Return { closed++; return nvml.SUCCESS }
	cards, err := listNVML(s)
	if err == nil || !strings.Contains(err.Error(), "graphics processor 7") || closed != 1 {
		t.Errorf("%v, closed %d times", err, closed)
	}
	if len(cards) != 6 {
		t.Fatalf("%d cards", len(cards))
	}
	for i, health := range []string{
		"", "7 memory errors that could not be corrected", "too hot: 90 °C", "bad pages of memory, retired at the next reset", "GPU is lost", "",
	} {
		c := cards[i]
		if c.Health != health || c.ID != device(i).UUID || c.Vendor != "nvidia" || !strings.Contains(c.Model, "A100") || c.Driver != s.DriverVersion {
			t.Errorf("%d: %+v, want health %q", i, c, health)
		}
		if i != 4 && (c.Memory != device(i).MemoryInfo.Total || c.free != c.Memory-1<<30 || !c.told) {
			t.Errorf("%d: memory %d, free %d", i, c.Memory, c.free)
		}
	}
}

// An old library lacks functions: they must not be called, for the process would end.
func TestOldNVML(t *testing.T) {
	s := dgx()
	for _, d := range s.Devices {
		d := d.(*dgxa100.Device)
		d.GetRemappedRowsFunc, d.GetTemperatureThresholdFunc = nil, nil // a call panics
	}
	s.LookupSymbolFunc = func(symbol string) error {
		if symbol == "nvmlDeviceGetRemappedRows" || symbol == "nvmlDeviceGetTemperatureThreshold" {
			return errors.New("undefined symbol")
		}
		return nil
	}
	cards, err := listNVML(s)
	if err != nil || len(cards) != 8 || cards[7].Health != "" {
		t.Errorf("%d cards, %v", len(cards), err)
	}
}

func TestNVMLFails(t *testing.T) {
	for ret, absent := range map[nvml.Return]bool{
		nvml.ERROR_LIBRARY_NOT_FOUND: true, nvml.ERROR_DRIVER_NOT_LOADED: true, nvml.ERROR_UNKNOWN: false,
	} {
		s := dgx()
		s.InitFunc = func() nvml.Return { return ret }
		if cards, err := listNVML(s); err == nil || errors.Is(err, fs.ErrNotExist) != absent || len(cards) > 0 {
			t.Errorf("%v: %v, %v", ret, cards, err)
		}
	}
	s := dgx()
	s.DeviceGetCountFunc = func() (int, nvml.Return) { return 1 << 30, nvml.SUCCESS }
	if cards, _ := listNVML(s); len(cards) > shoal.MaxGPUs {
		t.Errorf("%d cards", len(cards))
	}
}

// The library is not on the machines that test this: that is no error, and the next source is asked.
func TestNVMLAbsent(t *testing.T) {
	for range 3 {
		if cards, err := nvmlCards(t.Context()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, %v", cards, err)
		}
	}
}
