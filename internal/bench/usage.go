package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// ErrNoProc says that this system does not tell what a process uses.
var ErrNoProc = errors.New("only Linux says in /proc what a process uses")

// restful is what a server at rest may use of the processor while it is watched.
const restful = 10 * time.Millisecond

// usage is what a process has used since its start (proc(5)).
type usage struct {
	cpu    time.Duration // user and system
	bytes  uint64        // given to write calls: of a server that does nothing else, what its sockets took
	writes uint64        // write calls, not those of send(2)
	read   uint64        // got from read calls
}

func usageOf(pid int) (u usage, err error) {
	if u.cpu, err = cpuOf(pid); err != nil {
		return u, err
	}
	if u.bytes, err = procField(pid, "io", "wchar:"); err != nil {
		return u, err
	}
	if u.writes, err = procField(pid, "io", "syscw:"); err != nil {
		return u, err
	}
	u.read, err = procField(pid, "io", "rchar:")
	return u, err
}

// less returns what was used since before.
func (u usage) less(before usage) usage {
	return usage{cpu: u.cpu - before.cpu, bytes: u.bytes - before.bytes, writes: u.writes - before.writes, read: u.read - before.read}
}

// procField returns the number after name in a file of /proc/PID.
func procField(pid int, file, name string) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/%s", pid, file)
	b, err := os.ReadFile(path) //nolint:gosec // of a process of ours
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoProc, err)
	}
	_, rest, ok := bytes.Cut(b, []byte(name))
	fields := bytes.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, fmt.Errorf("%w: %s has no %s", ErrNoProc, path, name)
	}
	n, err := strconv.ParseUint(string(fields[0]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoProc, err)
	}
	return n, nil
}

// idleLimit bounds the wait for a server to come to rest.
const idleLimit = time.Minute

// rssIdle measures the resident memory of the real server when it has nothing to do.
func rssIdle(ctx context.Context, e *env) ([]Result, error) {
	p, err := e.startServer(ctx, nil)
	if err != nil {
		return nil, err
	}
	size, anon, err := rssAtRest(ctx, p.pid(), e.idleFor)
	if err = errors.Join(err, p.stop()); err != nil {
		return nil, err
	}
	return []Result{{
		Name: "rss_idle", Value: size / mib, Unit: "MiB", Note: fmt.Sprintf(
			"VmRSS of the server after %v without work; %.1f MiB of it are its own, the rest is pages of files, mostly the "+
				"program itself", e.idleFor, anon/mib),
	}}, nil
}

// rssAtRest waits until the process has used nearly nothing in the given time and returns its resident memory and
// the part of it that no file backs, in bytes.
func rssAtRest(ctx context.Context, pid int, rest time.Duration) (size, anon float64, err error) {
	limited, cancel := context.WithTimeout(ctx, idleLimit)
	defer cancel()
	for {
		before, err := usageOf(pid)
		if err != nil {
			return 0, 0, err
		}
		if err := pause(limited, rest); err != nil {
			return 0, 0, fmt.Errorf("the server does not come to rest: %w", err)
		}
		after, err := usageOf(pid)
		if err != nil {
			return 0, 0, err
		}
		if after.less(before).cpu <= restful {
			break
		}
	}
	all, err := procField(pid, "status", "VmRSS:")
	if err != nil {
		return 0, 0, err
	}
	own, err := procField(pid, "status", "RssAnon:")
	return float64(all << 10), float64(own << 10), err
}
