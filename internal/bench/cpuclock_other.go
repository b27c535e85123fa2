//go:build !linux

package bench

import "time"

func cpuOf(int) (time.Duration, error) { return 0, ErrNoProc }
