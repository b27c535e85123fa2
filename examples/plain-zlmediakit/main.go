// Command plain-zlmediakit receives the hooks of a ZLMediaKit as it is: it lets publishers in, and prints what becomes live, what files
// there are and what has ended, each with how sure that is.
//
//	ZLM_URL=http://127.0.0.1:8080 ZLM_SECRET=… go run ./examples/plain-zlmediakit
//
// with hook.enable=1, general.flowThreshold=0 and, in ZLMediaKit's config.ini, the name of each hook behind the address:
// on_publish=http://127.0.0.1:9000/hooks/on_publish, and so on for on_stream_changed, on_record_mp4, on_flow_report, on_server_started,
// on_server_exited and on_server_keepalive. ZLM_SECRET is api.secret. Without ZLM_URL ZLMediaKit's list is not read.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/hookline/hookline/receiver"
)

func newKit(out io.Writer) (*receiver.Receiver, error) {
	return receiver.New(
		receiver.WithZLMediaKit(receiver.ZLMediaKit{LifeParam: "life"}),
		receiver.OnPublish(func(_ context.Context, _ *receiver.Event, p *receiver.Publish) (receiver.PublishDecision, error) {
			return receiver.AllowPublish(receiver.PublishOptions{}), nil // or receiver.RefusePublish("why"), by p.Params and p.IP
		}),
		receiver.OnStreamChanged(func(_ context.Context, e *receiver.Event, c *receiver.StreamChanged) error {
			_, err := fmt.Fprintf(out, "%s: %s registered: %t, of publication %s (%s)\n", e.Stream, c.Schema, c.Regist, e.Publication, e.Certainty)
			return err
		}),
		receiver.OnRecordMP4(func(_ context.Context, e *receiver.Event, f *receiver.Record) error {
			_, err := fmt.Fprintf(out, "%s: file %s of %.1f s, of publication %s (%s)\n", e.Stream, f.FileName, f.TimeLen, e.Publication, e.Certainty)
			return err
		}),
	)
}

// ends prints what has ended, until stop: no hook of ZLMediaKit says so, the state does.
func ends(out io.Writer, changes <-chan receiver.Change) {
	for c := range changes {
		if p := c.Publication; p.State == receiver.Ended && c.Before != receiver.Ended {
			fmt.Fprintf(out, "%s: publication %s ended at %s: %s (%s), %d files\n", p.Stream, p.ID, p.EndedAt.Format(time.TimeOnly), p.Reason, p.EndCertainty, len(p.Recordings))
		}
	}
}

func run(ctx context.Context) error {
	kit, err := newKit(os.Stdout)
	if err != nil {
		return err
	}
	_, changes, stop := kit.Watch(10_000)
	defer stop()
	go ends(os.Stdout, changes)
	if zlm := os.Getenv("ZLM_URL"); zlm != "" { // what is live, at the start, every minute, and when something is in doubt
		go func() {
			_ = kit.KeepReconciled(ctx, &receiver.ZLMediaKitAPI{URL: zlm, Secret: os.Getenv("ZLM_SECRET")}, time.Minute)
		}()
	}
	mux := http.NewServeMux()
	mux.Handle("/hooks/", kit)
	srv := &http.Server{Addr: "127.0.0.1:9000", Handler: mux, ReadTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = kit.Shutdown(patience)
		_ = srv.Shutdown(patience)
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}
