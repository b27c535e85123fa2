// Command minimal receives a server's events: it lets publishers in by a token, and prints what becomes live and what ends.
//
//	WEBHOOK_SECRET=whsec_… go run ./examples/minimal
//
// with every hook.on_* URL of the server set to http://127.0.0.1:9000/hooks, and hook.secret to the same secret.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"time"

	"github.com/hookline/hookline/receiver"
)

func options(out io.Writer) []receiver.Option {
	return []receiver.Option{
		receiver.OnPublish(func(_ context.Context, _ *receiver.Event, p *receiver.Publish) (receiver.PublishDecision, error) {
			params, err := url.ParseQuery(p.Params)
			if err != nil || params.Get("token") != "let-me-in" {
				return receiver.RefusePublish("wrong token"), nil
			}
			return receiver.AllowPublish(receiver.PublishOptions{}), nil
		}),
		receiver.OnPlay(func(context.Context, *receiver.Event, *receiver.Play) (receiver.Decision, error) {
			return receiver.Allow(), nil
		}),
		receiver.OnStreamChanged(func(_ context.Context, e *receiver.Event, c *receiver.StreamChanged) error {
			what := "gone"
			if c.Regist {
				what = "there"
			}
			_, err := fmt.Fprintf(out, "%s: %s is %s\n", e.Stream, c.Schema, what)
			return err
		}),
		receiver.OnPublicationEnded(func(_ context.Context, e *receiver.Event, p *receiver.PublicationEnded) error {
			_, err := fmt.Fprintf(out, "%s: ended (%s)\n", e.Stream, p.Reason)
			return err
		}),
		receiver.OnGap(func(_ context.Context, e *receiver.Event, g *receiver.Gap) error {
			_, err := fmt.Fprintf(out, "%s: events %d to %d are missing (%s)\n", e.Stream, g.Missing.From, g.Missing.To, g.Reason)
			return err
		}),
	}
}

func run(ctx context.Context) error {
	secret := os.Getenv("WEBHOOK_SECRET")
	if secret == "" {
		return errors.New("WEBHOOK_SECRET is not set; it is what hook.secret of the server is")
	}
	kit, err := receiver.New(append(options(os.Stdout), receiver.WithSecrets(secret))...)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/hooks", kit)
	srv := &http.Server{Addr: "127.0.0.1:9000", Handler: mux, ReadTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = kit.Shutdown(patience) // what is refused comes again
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
