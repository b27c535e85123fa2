package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// RoleEnv is the variable that makes RunChild take over the process.
const RoleEnv = "HOOKLINE_BENCH_ROLE"

const (
	argsEnv      = "HOOKLINE_BENCH_ARGS"
	roleReceiver = "receiver"
	roleMemory   = "memory"
	roleFill     = "fill"
	rolePublish  = "publish"
	rolePlay     = "play"
	roleLoop     = "loop"
	roleFetch    = "fetch"
)

// ErrChild says that this executable, started again, did not do its part: main does not call RunChild, for instance.
var ErrChild = errors.New("bench: the child process failed")

// RunChild does the part of a child process when this process was started as one, and then returns true: main must
// call it first and end when it does. It answers on stdout and ends, at the latest, when its stdin does.
func RunChild(ctx context.Context) (bool, error) {
	role := os.Getenv(RoleEnv)
	if role == "" {
		return false, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // nobody writes: it ends with the parent
		cancel()
	}()
	args := []byte(os.Getenv(argsEnv))
	switch role {
	case roleReceiver:
		return true, serveReceiver(ctx)
	case roleMemory:
		return true, memoryChild(ctx, args)
	case roleFill:
		return true, fillChild(ctx, args)
	case rolePublish:
		return true, publishChild(ctx, args)
	case rolePlay:
		return true, playChild(ctx, args)
	case roleLoop:
		return true, loopChild(ctx, args)
	case roleFetch:
		return true, fetchChild(ctx, args)
	}
	return true, fmt.Errorf("%w: unknown role %q", ErrChild, role)
}

// child is a running child process.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

func startChild(ctx context.Context, role string, args any) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	a, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	// The argument is unknown to every command line: an executable that does not call RunChild fails at it.
	cmd := exec.CommandContext(ctx, exe, "bench-child-role-is-in-the-environment") //nolint:gosec // it is this program
	cmd.Env = append(os.Environ(), RoleEnv+"="+role, argsEnv+"="+string(a))
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return &child{cmd: cmd, stdin: in, out: bufio.NewReader(out)}, nil
}

// answer reads the next JSON value that a child says.
func (c *child) answer(v any) error {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%w: no answer: %w", ErrChild, err)
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("%w: %q: %w", ErrChild, line, err)
	}
	return nil
}

// stop ends the child and waits for it.
func (c *child) stop() error {
	_ = c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %w", ErrChild, err)
	}
	return nil
}

// finish ends a child that says one thing at its end.
func (c *child) finish(v any) error {
	_ = c.stdin.Close()
	err := c.answer(v)
	return errors.Join(err, c.stop())
}

// ask runs a child that says one thing.
func ask(ctx context.Context, role string, args, answer any) error {
	c, err := startChild(ctx, role, args)
	if err != nil {
		return err
	}
	err = c.answer(answer)
	return errors.Join(err, c.stop())
}

// say is the child's side of answer.
func say(v any) error {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}
