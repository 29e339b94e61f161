package state

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ReadUptime returns the present on the clock of the running system.
func ReadUptime() Uptime {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var since unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &since) != nil {
		return Uptime{}
	}
	return Uptime{strings.TrimSpace(string(id)), time.Duration(since.Nano())}
}
