package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// publication is a line of the output. Times are of the recording, Unix nanoseconds, 0 when there is none.
type publication struct {
	Kind         string   `json:"kind"` // "publication"
	Trace        string   `json:"trace"`
	Source       string   `json:"source"` // mediaServerId
	Stream       string   `json:"stream"` // vhost/app/stream
	ID           string   `json:"publication"`
	Since        int64    `json:"since_ns"`
	End          int64    `json:"ended_ns"`
	State        string   `json:"state"`
	Reason       string   `json:"reason,omitempty"`
	EndCertainty string   `json:"end_certainty,omitempty"`
	Uncertain    bool     `json:"uncertain"`
	Schemas      []string `json:"schemas"` // that have registered
	Publisher    string   `json:"publisher,omitempty"`
	Origin       string   `json:"origin,omitempty"`
	Params       string   `json:"params,omitempty"`
	Bytes        uint64   `json:"bytes"`
	Recordings   []file   `json:"recordings"`
}

// file is a recording of a publication.
type file struct {
	Path      string  `json:"path"`
	Start     uint64  `json:"start_time"` // the sender's clock, Unix seconds
	Length    float64 `json:"time_len"`
	Size      uint64  `json:"file_size"`
	Certainty string  `json:"certainty"`
}

// taken is a line of -events: what a request was taken to be about.
type taken struct {
	Kind        string `json:"kind"` // "event"
	Trace       string `json:"trace"`
	At          int64  `json:"t_ns"`
	Path        string `json:"path"`
	HookIndex   uint64 `json:"hook_index"` // of the first attempt that was seen
	ID          string `json:"id"`
	Publication string `json:"publication,omitempty"`
	Certainty   string `json:"certainty"`
	Late        bool   `json:"late,omitempty"`
	// Answer is the status; a request that was answered and has no id repeats another.
	Answer int `json:"answer"`
}

// report is what came of one recording.
type report struct {
	name                            string
	requests, attributed, uncertain int
	publications                    []publication
	hooks                           []taken

	mu    sync.Mutex
	at    map[*receivertest.Request]*taken // guarded by mu
	base  int64
	begin time.Time
}

var errRecorded = errors.New("was answered with a failure when it was recorded")

// real returns a time of the virtual clock as one of the recording.
func (r *report) real(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return r.base + int64(t.Sub(r.begin))
}

// replay sends the recording to a kit, in its time, and waits until every retry would have come. It runs in a bubble of synctest.
func (r *report) replay(ctx context.Context, trace []receivertest.Request, s *settings) error {
	r.requests, r.base, r.begin, r.at = len(trace), trace[0].At, time.Now(), map[*receivertest.Request]*taken{}
	kit, err := receiver.New(
		receiver.WithLogger(slog.New(slog.DiscardHandler)),
		receiver.WithZLMediaKit(s.kit), receiver.WithLimits(len(trace)+1, len(trace)+1),
		receiver.OnAny(func(ctx context.Context, e *receiver.Event) error { return r.handle(ctx, e, s.handled) }),
		receiver.OnPublish(func(ctx context.Context, e *receiver.Event, _ *receiver.Publish) (receiver.PublishDecision, error) {
			return receiver.AllowPublish(receiver.PublishOptions{}), r.handle(ctx, e, s.handled)
		}),
		receiver.OnPlay(func(ctx context.Context, e *receiver.Event, _ *receiver.Play) (receiver.Decision, error) {
			return receiver.Allow(), r.handle(ctx, e, s.handled)
		}),
		receiver.OnStreamNoneReader(func(ctx context.Context, e *receiver.Event, _ *receiver.StreamNoneReader) (bool, error) {
			return false, r.handle(ctx, e, s.handled)
		}),
		receiver.OnStreamNotFound(func(ctx context.Context, e *receiver.Event, _ *receiver.StreamNotFound) (bool, error) {
			return false, r.handle(ctx, e, s.handled)
		}),
	)
	if err != nil {
		return err
	}
	_, changes, stop := kit.Watch(4*len(trace) + 16)
	defer stop()
	answers, err := receivertest.ReplayTrace(ctx, kit, trace, 1)
	if err != nil {
		return err
	}
	time.Sleep(5 * time.Minute)
	r.collect(changes)
	for i := range trace {
		q := &trace[i]
		h := r.at[q]
		if h == nil {
			h = &taken{}
		}
		h.Kind, h.Trace, h.At, h.Path, h.Answer = "event", r.name, q.At, q.Path, answers[i].Status
		r.hooks = append(r.hooks, *h)
	}
	return kit.Shutdown(ctx)
}

func (r *report) handle(ctx context.Context, e *receiver.Event, handled bool) error {
	q, _ := receivertest.Recorded(ctx)
	if !handled && q.Status != 0 && q.Status != 200 {
		return errRecorded
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[q] = &taken{HookIndex: e.HookIndex, ID: e.ID, Publication: e.Publication, Certainty: e.Certainty.String(), Late: e.Late}
	if e.Publication != "" {
		r.attributed++
		if e.Certainty == receiver.Unknown {
			r.uncertain++
		}
	}
	return nil
}

// collect makes the list of publications of all changes.
func (r *report) collect(changes <-chan receiver.Change) {
	type key struct{ source, id string }
	last, schemas := map[key]receiver.Publication{}, map[key][]string{}
	files := map[key][]file{} // all: a publication keeps the newest
	for len(changes) > 0 {
		c := <-changes
		k := key{c.Publication.Source, c.Publication.ID}
		last[k] = c.Publication
		for _, s := range c.Publication.Schemas {
			if !slices.Contains(schemas[k], s) {
				schemas[k] = append(schemas[k], s)
			}
		}
		for _, f := range c.Publication.Recordings {
			x := file{f.FilePath, f.StartTime, f.TimeLen, f.FileSize, f.Certainty.String()}
			if !slices.Contains(files[k], x) {
				files[k] = append(files[k], x)
			}
		}
	}
	for k, p := range last {
		out := publication{
			Kind: "publication", Trace: r.name, Source: p.Source, Stream: p.Stream, ID: p.ID, Since: r.real(p.Since), State: p.State.String(),
			Uncertain: p.Uncertain, Schemas: schemas[k], Publisher: p.Publisher, Origin: p.Origin, Params: p.Params, Bytes: p.Bytes, Recordings: append([]file{}, files[k]...),
		}
		if p.State == receiver.Ended || p.State == receiver.Closing {
			out.End, out.Reason, out.EndCertainty = r.real(p.EndedAt), p.Reason, p.EndCertainty.String()
		}
		r.publications = append(r.publications, out)
	}
	slices.SortFunc(r.publications, func(a, b publication) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.ID, b.ID))
	})
}
