package bench

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// cpuOf returns the processor time, user and system, of all threads that the process has or had, in nanoseconds as the
// scheduler counts them (clock_getcpuclockid(3)). The ticks of /proc/PID/stat would not do: a server that is woken by
// timers works in step with them, so that a tick sees it too often or not at all.
func cpuOf(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED of the process's clocks
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|schedClock, &ts); err != nil {
		return 0, fmt.Errorf("%w: the clock of process %d: %w", ErrNoProc, pid, err)
	}
	return time.Duration(ts.Nano()), nil
}
