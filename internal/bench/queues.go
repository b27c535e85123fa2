package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/queue"
	"github.com/hookline/hookline/internal/webhook"
)

// queueHelper is the program that starts queue servers. The product does not carry them.
const queueHelper = "hookline-queueserver"

// queueServer is what the helper says.
type queueServer struct{ URL, What, Missing string }

// queueRate returns the benchmark of one kind of queue: durable ordered delivery into it, against bare publishing of
// the same bodies with the same client, unordered and without a journal.
func queueRate(kind string) func(context.Context, *env) ([]Result, error) {
	return func(ctx context.Context, e *env) ([]Result, error) {
		server, stop, err := e.startQueue(ctx, kind)
		if err != nil {
			return nil, err
		}
		defer stop()
		name := "queue_" + kind + "_rate"
		if server.Missing != "" {
			return []Result{{Name: name, Skipped: server.Missing, Unit: "events/s"}}, nil
		}
		dest, err := queue.Open(ctx, server.URL, queue.Options{Logger: quiet()})
		if err != nil {
			return nil, err
		}
		ours, bare, err := e.queueRates(ctx, dest)
		if err = errors.Join(err, dest.Close()); err != nil {
			return nil, err
		}
		note := fmt.Sprintf("%s; durable and ordered, fsync on, %d keys, %d events of %d bytes; raw is bare publishing with the same client, "+
			"%d at a time, each on a key of its own", server.What, min(e.keys, e.queueEvents), e.queueEvents, bodySize, concurrency)
		return []Result{Result{Name: name, Value: ours, Unit: "events/s", Note: note}.against(bare)}, nil
	}
}

func (e *env) queueRates(ctx context.Context, dest queue.Destination) (ours, bare float64, err error) {
	if err := connected(ctx, dest); err != nil {
		return 0, 0, err
	}
	if bare, err = barePublish(ctx, dest, e.queueEvents); err != nil {
		return 0, 0, err
	}
	dir, err := e.newDir()
	if err != nil {
		return 0, 0, err
	}
	r, err := openRig(rigConfig{dir: dir, url: nowhere, pad: e.pad, sender: intoQueue{dest}})
	if err != nil {
		return 0, 0, err
	}
	took, err := r.load(ctx, e.queueEvents, e.outstanding, newStreams(min(e.keys, e.queueEvents), ""))
	return perSecond(e.queueEvents, took), bare, errors.Join(err, r.close())
}

// connected waits until a message gets through: a destination connects in its own time, and what it is given meanwhile
// fails at once.
func connected(ctx context.Context, dest queue.Destination) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for i := uint64(1); ; i++ {
		err := dest.Publish(ctx, queue.Message{Key: "v/bare/first", ID: fmt.Sprintf("first-%d", i), Type: "bare", Seq: i, Epoch: 1, Body: []byte("{}")})
		if err == nil || ctx.Err() != nil || !errors.Is(err, queue.ErrUnavailable) {
			return err
		}
		_ = pause(ctx, 50*time.Millisecond)
	}
}

// barePublish publishes n messages, each worker the next of its own key when the one before was acknowledged.
func barePublish(ctx context.Context, dest queue.Destination, n int) (float64, error) {
	body := make([]byte, bodySize)
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, concurrency)
	start := time.Now()
	for w := range concurrency {
		wg.Go(func() {
			key := "v/bare/" + strconv.Itoa(w)
			for i := uint64(1); next.Add(1) <= int64(n) && errs[w] == nil; i++ {
				errs[w] = dest.Publish(ctx, queue.Message{Key: key, ID: fmt.Sprintf("bare-%d-%d", w, i), Type: "bare", Seq: i, Epoch: 1, Body: body})
			}
		})
	}
	wg.Wait()
	return perSecond(n, time.Since(start)), errors.Join(errs...)
}

// intoQueue sends what is delivered into a queue.
type intoQueue struct{ dest queue.Destination }

// Send implements webhook.Sender.
func (q intoQueue) Send(ctx context.Context, req webhook.Request) webhook.Reply {
	ctx, cancel := context.WithTimeout(ctx, req.Timeout)
	defer cancel()
	start := time.Now()
	err := q.dest.Publish(ctx, queue.Message{
		Key: req.Meta.Stream, ID: req.Meta.ID, Type: req.Meta.Type, Seq: req.Meta.Seq, Epoch: req.Meta.Epoch, Body: req.Body,
	})
	if err != nil {
		return webhook.Reply{Err: err, Latency: time.Since(start)}
	}
	return webhook.Reply{Status: http.StatusOK, Body: []byte(`{"code":0}`), Latency: time.Since(start)}
}

// startQueue starts a server in a directory of its own.
func (e *env) startQueue(ctx context.Context, kind string) (queueServer, func(), error) {
	none := func() {}
	path, err := findHelper()
	if err != nil {
		return queueServer{Missing: queueHelper + " is missing; make bench builds it"}, none, nil
	}
	dir, err := filepath.Abs(e.dir)
	if err != nil {
		return queueServer{}, none, err
	}
	if dir, err = os.MkdirTemp(dir, "queue-"); err != nil {
		return queueServer{}, none, err
	}
	cmd := exec.CommandContext(ctx, path, kind, dir) //nolint:gosec // it is built beside this program
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return queueServer{}, none, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return queueServer{}, none, err
	}
	if err := cmd.Start(); err != nil {
		return queueServer{}, none, err
	}
	stop := func() {
		_ = in.Close() // it ends then
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	var s queueServer
	line, err := bufio.NewReader(io.LimitReader(out, 64<<10)).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s)
	}
	if err != nil {
		stop()
		return s, none, fmt.Errorf("%s %s: %w", queueHelper, kind, err)
	}
	return s, stop, nil
}

// findHelper looks beside this program first.
func findHelper() (string, error) {
	if exe, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(exe), queueHelper)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(queueHelper)
}
