// Command live-dashboard shows what is live, on a page that changes by itself.
//
//	WEBHOOK_SECRET=whsec_… API_URL=http://127.0.0.1:8080 API_SECRET=… go run ./examples/live-dashboard
//
// with the hook.on_* URLs of the server set to http://127.0.0.1:9000/hooks. The page is http://127.0.0.1:9000/, the list
// /live.json, the changes /events. There is no database: what was live before the start is read from the server.
package main

import (
	"context"
	"encoding/json"
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

const page = `<!doctype html><meta charset="utf-8"><title>Live</title><h1>Live</h1><table id="t"></table><script>
const rows = {}, source = new EventSource('events');
const show = () => document.getElementById('t').replaceChildren(...Object.values(rows).sort((a, b) => a.stream < b.stream ? -1 : 1).map(p => {
  const tr = document.createElement('tr');
  for (const v of [p.stream, p.state, p.since, p.publisher, p.schemas, p.readers]) tr.insertCell().textContent = v;
  return tr;
}));
source.addEventListener('present', e => { for (const k in rows) delete rows[k]; for (const p of JSON.parse(e.data)) rows[p.id] = p; show(); });
source.addEventListener('change', e => { const p = JSON.parse(e.data); if (p.state === 'ended') delete rows[p.id]; else rows[p.id] = p; show(); });
</script>`

// view is a publication as the page sees it.
type view struct {
	ID        string    `json:"id"`
	Stream    string    `json:"stream"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	Publisher string    `json:"publisher"`
	Schemas   []string  `json:"schemas"`
	Readers   int       `json:"readers"`
	Reason    string    `json:"reason,omitempty"`
}

func viewOf(p *receiver.Publication) view {
	return view{p.ID, p.Stream, p.State.String(), p.Since, p.Publisher, append([]string{}, p.Schemas...), p.Readers, p.Reason}
}

func views(list []receiver.Publication) []view {
	out := []view{}
	for i := range list {
		out = append(out, viewOf(&list[i]))
	}
	return out
}

func newDashboard(kit *receiver.Receiver) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /hooks", kit)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("GET /live.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(views(kit.Live()))
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		now, changes, stop := kit.Watch(1024)
		defer stop()
		err := send(w, "present", views(now))
		for err == nil {
			select {
			case c, ok := <-changes:
				if !ok {
					return // the browser was behind, or we stop; it comes again and gets the present
				}
				err = send(w, "change", viewOf(&c.Publication))
			case <-r.Context().Done():
				return
			}
		}
	})
	return mux
}

// send sends one server-sent event.
func send(w http.ResponseWriter, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, b); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

func run(ctx context.Context) error {
	allow := func(context.Context, *receiver.Event, *receiver.Publish) (receiver.PublishDecision, error) {
		return receiver.AllowPublish(receiver.PublishOptions{}), nil
	}
	kit, err := receiver.New(receiver.WithSecrets(os.Getenv("WEBHOOK_SECRET")), receiver.OnPublish(allow))
	if err != nil {
		return err
	}
	go func() { // what no event has told: before the start, and after an outage
		_ = kit.KeepReconciled(ctx, &receiver.API{URL: os.Getenv("API_URL"), Secret: os.Getenv("API_SECRET")}, time.Minute)
	}()
	srv := &http.Server{Addr: "127.0.0.1:9000", Handler: newDashboard(kit), ReadTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = kit.Shutdown(patience) // it also ends the streams of changes
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
