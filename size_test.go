package shoal

import "testing"

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB", 1536: "1.5 KiB", 1 << 20: "1 MiB", 3 << 19: "1.5 MiB", 5 << 29: "2.5 GiB", 4 << 30: "4 GiB", 1 << 41: "2048 GiB",
	} {
		if got := Size(n); got != want {
			t.Errorf("%d is %q, not %q", n, got, want)
		}
	}
}
