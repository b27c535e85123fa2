// Command queue-handover hands every event over to NATS JetStream, in the order of its stream, and answers the server when JetStream
// has it. Marks are in JetStream, too, so several of these programs may run behind a load balancer. A message has the id of its
// event: what is handed over twice, because the program died between message and mark, is in the stream once.
//
//	NATS_URL=nats://127.0.0.1:4222 WEBHOOK_SECRET=whsec_… go run ./examples/queue-handover
//
// with the hook.on_* URLs of what only tells (not on_publish and the like, which want a decision) set to http://127.0.0.1:9000/.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/natsstore"
)

// stream is the JetStream stream, with subjects "hookline.on_stream_changed" and so on.
const stream = "HOOKLINE"

// duplicates is how long JetStream knows an id. A repetition comes when the program is back: after an outage of an hour nobody
// repeats what was handed over before it but the one event that was in the works.
const duplicates = time.Hour

func newReceiver(ctx context.Context, js jetstream.JetStream, store receiver.Store, opts ...receiver.Option) (*receiver.Receiver, error) {
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: stream, Subjects: []string{"hookline.>"}, Duplicates: duplicates}); err != nil {
		return nil, err
	}
	hand := func(ctx context.Context, id, subject string, e *receiver.Event, body []byte) error {
		m := nats.NewMsg("hookline." + subject)
		m.Data = body
		m.Header.Set(nats.MsgIdHdr, id)
		m.Header.Set("Hookline-Source", e.Source)
		m.Header.Set("Hookline-Stream", e.Stream)
		m.Header.Set("Hookline-Publication", e.Publication)
		m.Header.Set("Hookline-Epoch", strconv.FormatInt(e.Epoch, 10))
		m.Header.Set("Hookline-Seq", strconv.FormatUint(e.Seq, 10))
		m.Header.Set("Hookline-Late", strconv.FormatBool(e.Late))
		_, err := js.PublishMsg(ctx, m)
		return err // without an acknowledgement the server gets 500, and sends the event again
	}
	return receiver.New(append(opts,
		receiver.WithStore(store),
		receiver.OnAny(func(ctx context.Context, e *receiver.Event) error { return hand(ctx, e.ID, string(e.Type), e, e.Body) }),
		receiver.OnGap(func(ctx context.Context, e *receiver.Event, g *receiver.Gap) error {
			body, err := json.Marshal(g)
			if err != nil {
				return err
			}
			return hand(ctx, fmt.Sprintf("gap %s %d %s %d", e.Source, e.Epoch, e.Stream, g.Missing.From), "gap", e, body)
		}))...)
}

func run(ctx context.Context) error {
	conn, err := nats.Connect(os.Getenv("NATS_URL"))
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	store, err := natsstore.New(ctx, js, natsstore.Config{})
	if err != nil {
		return err
	}
	kit, err := newReceiver(ctx, js, store, receiver.WithSecrets(os.Getenv("WEBHOOK_SECRET")))
	if err != nil {
		return err
	}
	srv := &http.Server{Addr: "127.0.0.1:9000", Handler: kit, ReadTimeout: 10 * time.Second}
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
