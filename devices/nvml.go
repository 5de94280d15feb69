//go:build linux && cgo && !nonvml

package devices

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/shoal-fabric/shoal"
)

// oneNVML holds the one question to NVML that may be under way.
var oneNVML = make(asked, 1)

// nvmlCards asks NVML, NVIDIA's library, which is loaded when it is there.
func nvmlCards(ctx context.Context) ([]card, error) {
	return oneNVML.ask(ctx, "NVML", func(context.Context) ([]card, error) { return listNVML(nvml.New()) })
}

// listNVML lists the cards that lib knows. It closes the library again: an open one keeps the operator from resetting
// a card, and the card from sleeping.
func listNVML(lib nvml.Interface) (cards []card, err error) {
	switch ret := lib.Init(); ret {
	case nvml.SUCCESS:
	case nvml.ERROR_LIBRARY_NOT_FOUND, nvml.ERROR_DRIVER_NOT_LOADED: // as in a container on a machine without cards
		return nil, fs.ErrNotExist
	default:
		return nil, fmt.Errorf("NVML: %v", ret)
	}
	defer lib.Shutdown()
	count, ret := lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("NVML: %v", ret)
	}
	driver, _ := lib.SystemGetDriverVersion()
	var lost []string
	for i := range min(count, shoal.MaxGPUs) {
		d, ret := lib.DeviceGetHandleByIndex(i)
		switch ret {
		case nvml.SUCCESS:
			c := nvmlCard(lib, d)
			c.Driver = driver
			cards = append(cards, c)
		case nvml.ERROR_NO_PERMISSION, nvml.ERROR_NOT_FOUND: // another's
		default:
			lost = append(lost, fmt.Sprintf("graphics processor %d: %v", i, ret))
		}
	}
	if len(lost) > 0 {
		err = errors.New(strings.Join(lost, "; "))
	}
	return cards, err
}

// nvmlCard asks one card. A function that an older library lacks must not be called: the process would end.
func nvmlCard(lib nvml.Interface, d nvml.Device) card {
	has := func(symbol string) bool { return lib.Extensions().LookupSymbol(symbol) == nil }
	c := card{GPU: shoal.GPU{Vendor: "nvidia"}}
	var said []string
	ok := func(ret nvml.Return) bool {
		if ret == nvml.ERROR_GPU_IS_LOST || ret == nvml.ERROR_RESET_REQUIRED || ret == nvml.ERROR_UNKNOWN {
			said = append(said, map[nvml.Return]string{
				nvml.ERROR_GPU_IS_LOST: "GPU is lost", nvml.ERROR_RESET_REQUIRED: "requires reset", nvml.ERROR_UNKNOWN: "Unknown Error",
			}[ret])
		}
		return ret == nvml.SUCCESS
	}
	if id, ret := d.GetUUID(); ok(ret) {
		c.ID = id
	}
	if name, ret := d.GetName(); ok(ret) {
		c.Model = name
	}
	if mem, ret := d.GetMemoryInfo(); ok(ret) {
		c.Memory, c.free, c.told = mem.Total, mem.Free, true
	}
	var heat uint32
	limit := uint32(tooHot)
	if has("nvmlDeviceGetTemperature") {
		if t, ret := d.GetTemperature(nvml.TEMPERATURE_GPU); ok(ret) {
			heat = t
		}
	}
	if has("nvmlDeviceGetTemperatureThreshold") {
		if t, ret := d.GetTemperatureThreshold(nvml.TEMPERATURE_THRESHOLD_SLOWDOWN); ok(ret) && t > 0 {
			limit = t
		}
	}
	var errs uint64
	if has("nvmlDeviceGetTotalEccErrors") {
		if n, ret := d.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC); ok(ret) {
			errs = n
		}
	}
	pending := false
	if has("nvmlDeviceGetRetiredPagesPendingStatus") {
		if s, ret := d.GetRetiredPagesPendingStatus(); ok(ret) {
			pending = s == nvml.FEATURE_ENABLED
		}
	}
	if has("nvmlDeviceGetRemappedRows") {
		if _, _, wait, failed, ret := d.GetRemappedRows(); ok(ret) {
			pending = pending || wait || failed
		}
	}
	c.Health = ailment(strings.Join(said, " "), errs, pending, uint64(heat), uint64(limit))
	return c
}
