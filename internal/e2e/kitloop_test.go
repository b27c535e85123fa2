package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/pgtest"
	kit "github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/sqlstore"
)

const (
	kitLoopFor     = 25 * time.Second
	kitLoopLoad    = 4
	kitLoopPause   = 600 * time.Millisecond
	kitLoopViewers = 1
	// kitDSN and kitSecret are environment of the receiver's process.
	kitDSN    = "HOOKLINE_E2E_RECEIVER_DSN"
	kitSecret = "HOOKLINE_E2E_RECEIVER_SECRET"
)

// kitTables have no unique columns: what happens twice is there twice.
const kitTables = `CREATE TABLE seen (n BIGSERIAL, stream TEXT, epoch BIGINT, seq BIGINT, type TEXT, id TEXT);
CREATE TABLE publications (id TEXT, stream TEXT, params TEXT, started BIGINT, ended BIGINT, reason TEXT);
CREATE TABLE recordings (publication TEXT, path TEXT, started BIGINT, seconds DOUBLE PRECISION, bytes BIGINT, reason TEXT);
CREATE TABLE missing (stream TEXT, first BIGINT, last BIGINT, reason TEXT)`

// kitHooks are what the receiver of the loop gets.
func kitHooks() []event.Type {
	return []event.Type{
		event.OnPublish, event.OnStreamChanged, event.OnFlowReport, event.OnRecordMP4, event.OnPublicationEnded, event.OnEventGap,
	}
}

// kitProcess is a receiver on the kit in a process of its own, which keeps tables in PostgreSQL.
func kitProcess(dsn, secret string) error {
	ctx := context.Background()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(20)
	store, err := sqlstore.New(ctx, db, sqlstore.PostgreSQL)
	if err != nil {
		return err
	}
	insert := func(ctx context.Context, table string, values ...any) error {
		marks := make([]string, len(values))
		for i := range marks {
			marks[i] = "$" + strconv.Itoa(i+1)
		}
		_, err := sqlstore.Tx(ctx).ExecContext(ctx, "INSERT INTO "+table+" VALUES ("+strings.Join(marks, ", ")+")", values...)
		time.Sleep(rand.N(5 * time.Millisecond)) // so that kills find it between effect and commit
		return err
	}
	k, err := kit.New(kit.WithStore(store), kit.WithSecrets(secret), kit.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		kit.OnPublish(func(context.Context, *kit.Event, *kit.Publish) (kit.PublishDecision, error) {
			return kit.AllowPublish(kit.PublishOptions{}), nil
		}),
		kit.OnAny(func(ctx context.Context, e *kit.Event) error {
			return insert(ctx, "seen (stream, epoch, seq, type, id)", e.Stream, e.Epoch, int64(e.Seq), string(e.Type), e.ID)
		}),
		kit.OnPublicationEnded(func(ctx context.Context, e *kit.Event, p *kit.PublicationEnded) error {
			return insert(ctx, "publications", e.Publication, e.Stream, p.Params, p.Start, p.End, p.Reason)
		}),
		kit.OnRecordMP4(func(ctx context.Context, e *kit.Event, r *kit.Record) error {
			return insert(ctx, "recordings", e.Publication, r.FilePath, int64(r.StartTime), r.TimeLen, int64(r.FileSize), r.Reason)
		}),
		kit.OnGap(func(ctx context.Context, e *kit.Event, g *kit.Gap) error {
			return insert(ctx, "missing", e.Stream, int64(g.Missing.From), int64(g.Missing.To), g.Reason)
		}))
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("receiver is up at %s.\n", ln.Addr())
	return (&http.Server{Handler: k, ReadHeaderTimeout: time.Minute}).Serve(ln)
}

// kitLoop is a server and a receiver that are killed.
type kitLoop struct {
	t          *testing.T
	cfg        settings
	dsn        string
	secret     string
	load       *load
	server     *server
	receiver   *server
	at         atomic.Pointer[url.URL] // of the receiver; nil while it is dead
	kills      [3]int                  // of the server, the receiver, both
	unfinished int                     // starts of the server that were cut off
}

// ServeHTTP passes requests on to the receiver. When that dies, the connection breaks, as it would without the proxy.
func (k *kitLoop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := k.at.Load()
	if to == nil {
		panic(http.ErrAbortHandler)
	}
	(&httputil.ReverseProxy{
		Rewrite:      func(p *httputil.ProxyRequest) { p.SetURL(to) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}).ServeHTTP(w, r)
}

var kitUp = regexp.MustCompile(`receiver is up at (\S+)\.\n`)

// startReceiver starts the receiver's process, which is the test's own program.
func (k *kitLoop) startReceiver() {
	k.t.Helper()
	self, err := os.Executable()
	if err != nil {
		k.t.Fatal(err)
	}
	k.receiver = launchCommand(k.t, settings{}, []string{"/usr/bin/env", kitDSN + "=" + k.dsn, kitSecret + "=" + k.secret, self})
	m := k.receiver.log.await(kitUp, k.receiver.gone)
	if m == nil {
		k.t.Fatalf("the receiver did not come up:\n%s", k.receiver.log)
	}
	k.at.Store(&url.URL{Scheme: "http", Host: m[1]})
}

func (k *kitLoop) killReceiver() {
	k.receiver.kill()
	k.at.Store(nil)
}

// startServer starts the server, sometimes after one that is killed in the middle of its start.
func (k *kitLoop) startServer() {
	k.t.Helper()
	if rand.IntN(6) == 0 {
		s := launch(k.t, k.cfg)
		time.Sleep(rand.N(60 * time.Millisecond))
		s.kill()
		k.unfinished++
	}
	k.server = start(k.t, k.cfg)
	k.load.target(k.server)
}

// run kills for so long.
func (k *kitLoop) run(length time.Duration) {
	for end := time.Now().Add(length); time.Now().Before(end); {
		time.Sleep(50*time.Millisecond + rand.N(1500*time.Millisecond))
		victim := rand.IntN(3)
		k.kills[victim]++
		switch victim {
		case 0:
			k.load.kill(k.server)
			k.startServer()
		case 1:
			k.killReceiver()
			time.Sleep(rand.N(500 * time.Millisecond))
			k.startReceiver()
		case 2:
			k.load.kill(k.server)
			k.killReceiver()
			k.startServer() // it sends what it has to nobody
			k.startReceiver()
		}
	}
}

// TestKitLoop: server and receiver are killed at random, again and again, while publications come and go and are recorded. At
// the end the receiver's tables in PostgreSQL say what the server's log says: each publication once, with its begin, its end
// and the reason; each recording once; each event once, in the order of its stream. HOOKLINE_E2E_KIT is the duration.
func TestKitLoop(t *testing.T) {
	t.Parallel()
	length := kitLoopFor
	if v := os.Getenv("HOOKLINE_E2E_KIT"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < time.Second {
			t.Fatalf("HOOKLINE_E2E_KIT=%s: want a duration of at least 1s", v)
		}
		length = d
	}
	k := &kitLoop{t: t, dsn: pgtest.Start(t).DSN(pgtest.Admin), secret: event.GenerateSecret().Reveal()}
	k.load = newLoad(t, kitLoopLoad, kitLoopViewers, kitLoopPause)
	db := pgtest.Open(t, k.dsn)
	if _, err := db.ExecContext(t.Context(), kitTables); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(k)
	web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	web.Start()
	t.Cleanup(web.Close)
	k.cfg = quick().with("server.state_dir", stateDir(t), "hook.enable", "1", "hook.secret", k.secret, "protocol.enable_mp4", "1",
		"protocol.mp4_save_path", t.TempDir(), "protocol.continue_push_ms", "0", "delivery.drain_ms", "60000", "general.maxStreamWaitMS", "300")
	for _, h := range kitHooks() {
		k.cfg["hook."+string(h)] = web.URL
	}
	k.startReceiver()
	k.startServer()
	k.run(length)
	k.load.stop()
	k.server.stop()
	s := start(t, k.cfg) // what its predecessors left is ended and delivered
	s.awaitEndpoint("hook", "done", func(st endpointState) bool { return st.Lag == 0 })
	s.stop()
	if log := s.log.String(); strings.Contains(log, "not everything was delivered") {
		t.Errorf("the backlog was not drained:\n%s", tail(log, 1000))
	}
	k.compare(db)
}

// facts reads the whole log.
func (k *kitLoop) facts() (list []apiEvent, bodies []json.RawMessage) {
	k.t.Helper()
	s := start(k.t, k.cfg.with("hook.enable", "0"))
	defer s.stop()
	cursor, epoch := "1", ""
	for {
		q := url.Values{"secret": {"e2e-secret"}, "cursor": {cursor}, "limit": {"1000"}}
		if epoch != "" {
			q.Set("epoch", epoch)
		}
		var page struct {
			Events []struct {
				apiEvent
				Body json.RawMessage `json:"body"`
			} `json:"events"`
			Cursor json.Number `json:"cursor"`
			Epoch  json.Number `json:"epoch"`
			Gap    any         `json:"gap"`
		}
		res := get(k.t, "http://"+s.http+"/api/v1/events?"+q.Encode())
		err := json.NewDecoder(res.Body).Decode(&page)
		if err != nil || page.Gap != nil {
			k.t.Fatalf("%s: %v, gap %v", res.Status, err, page.Gap)
		}
		if len(page.Events) == 0 {
			return list, bodies
		}
		for _, e := range page.Events {
			list, bodies = append(list, e.apiEvent), append(bodies, e.Body)
		}
		cursor, epoch = page.Cursor.String(), page.Epoch.String()
	}
}

// compare holds the tables against the log, and the log against what the clients know.
func (k *kitLoop) compare(db *sql.DB) {
	k.t.Helper()
	facts, bodies := k.facts()
	var seen, publications, recordings []string
	reasons, ended := map[string]int{}, map[string]int{}
	for i, e := range facts {
		if e.Seq == 0 || event.ClassOf(e.Type) != event.Lifecycle || !slices.Contains(kitHooks(), e.Type) {
			continue
		}
		seen = append(seen, fmt.Sprintf("%s %d %d %s %s", e.Stream, e.Epoch, e.Seq, e.Type, e.ID))
		switch e.Type {
		case event.OnPublicationEnded:
			p := bodyAs[kit.PublicationEnded](k.t, bodies[i])
			publications = append(publications, fmt.Sprintf("%s %s %s %d %d %s", e.Publication, e.Stream, p.Params, p.Start, p.End, p.Reason))
			reasons[p.Reason]++
			ended[e.Stream+"?"+p.Params]++
		case event.OnRecordMP4:
			r := bodyAs[kit.Record](k.t, bodies[i])
			recordings = append(recordings, fmt.Sprintf("%s %s %d %g %d %s.", e.Publication, r.FilePath, r.StartTime, r.TimeLen, r.FileSize, r.Reason))
		default:
		}
	}
	for what, pair := range map[string][2][]string{
		"publications": {publications, rows(k.t, db, `SELECT concat_ws(' ', id, stream, params, started, ended, reason) FROM publications`)},
		"recordings":   {recordings, rows(k.t, db, `SELECT concat_ws(' ', publication, path, started, seconds, bytes, reason || '.') FROM recordings`)},
		"events":       {seen, rows(k.t, db, `SELECT concat_ws(' ', stream, epoch, seq, type, id) FROM seen`)},
		"gaps":         {nil, rows(k.t, db, `SELECT concat_ws(' ', stream, first, last, reason) FROM missing`)},
	} {
		if lost, extra := difference(pair[0], pair[1]); len(lost)+len(extra) > 0 {
			k.t.Errorf("%s: %d are in the log only: %q; %d in the table only, or too often: %q", what, len(lost), lost[:min(5, len(lost))],
				len(extra), extra[:min(5, len(extra))])
		}
	}
	if wrong := rows(k.t, db, `SELECT concat_ws(' ', stream, last, seq) FROM (SELECT stream, seq, lag(seq) OVER (PARTITION BY stream ORDER BY n) AS last
 FROM seen) AS s WHERE last >= seq`); len(wrong) > 0 {
		k.t.Errorf("out of order: %q", wrong)
	}
	settled := 0
	for _, f := range k.load.facts {
		if f.Type != event.OnPublicationEnded {
			continue
		}
		settled++
		if ended[f.Stream+"?"+f.Params] != 1 {
			k.t.Errorf("a publication that its client ended is in the log %d times: %s %s", ended[f.Stream+"?"+f.Params], f.Stream, f.Params)
		}
	}
	k.t.Logf("killed: server %d times, receiver %d times, both %d times, and %d starts of the server; %d events, %d publications (%v), %d recordings",
		k.kills[0], k.kills[1], k.kills[2], k.unfinished, len(seen), len(publications), reasons, len(recordings))
	if len(publications) == 0 || len(recordings) == 0 || settled == 0 {
		k.t.Errorf("%d publications, %d recordings, %d known to clients", len(publications), len(recordings), settled)
	}
}

func bodyAs[T any](t *testing.T, body []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return v
}

// rows returns a query's only column.
func rows(t *testing.T, db *sql.DB, query string) (list []string) {
	t.Helper()
	r, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for r.Next() {
		var s string
		if err := r.Scan(&s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// difference returns what is only in a, and what is only in b, each as often as it is there more often.
func difference(a, b []string) (onlyA, onlyB []string) {
	n := map[string]int{}
	for _, s := range a {
		n[s]++
	}
	for _, s := range b {
		n[s]--
	}
	for _, s := range slices.Sorted(maps.Keys(n)) {
		if n[s] > 0 {
			onlyA = append(onlyA, s)
		}
		if n[s] < 0 {
			onlyB = append(onlyB, s)
		}
	}
	return onlyA, onlyB
}
