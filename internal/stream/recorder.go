package stream

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// Recorder makes files of streams. Packages that write files define them; the composition root registers them with the
// hub. Adding one does not edit the hub.
type Recorder struct {
	// Name is what is recorded: "mp4", "hls", "hls.fmp4".
	Name string
	// Wanted says whether a publication with these options is recorded as soon as its tracks are ready.
	Wanted func(o *Options) bool
	// Counts says whether the recorder counts as a reader of the stream; nil: never.
	Counts func(o *Options) bool
	// Start begins a recording. It is called with the stream's lock held and must not block: files are opened later, by
	// the sink's own goroutine. The frames since the newest key frame follow at once.
	Start func(j Job) Sink
}

// Sink takes the frames of one recording. Its methods are called with the stream's lock held, so they must not block and
// must not call the Job's Report, Register or Done before they have returned; a sink hands what it gets to a goroutine of
// its own, over a queue that it bounds.
type Sink interface {
	// Write takes a frame, which may be kept and must not be changed. key: a viewer could start here.
	Write(f *media.Frame, key bool)
	// Change tells of new tracks or metadata.
	Change(p Program)
	// Close says that nothing follows. The sink finishes its file, reports it and calls Done.
	Close()
}

// Sleeper is a Sink that need not work while nobody watches what it makes.
type Sleeper interface {
	Sink
	// OnDemand says whether it sleeps as long as the schema that it registers has no viewers. It is asked once, after Start; such a
	// sink sleeps when it starts, and has to register its schema although it gets no frames.
	OnDemand() bool
	// Sleep says that the last viewer has left: nothing but Change and Close follows until there is a viewer again, and then at
	// first the frames since the newest key frame, some of which may be known. The rules of Sink's methods hold.
	Sleep()
}

// Job is what a sink is told when it starts, and its way to say what happened.
type Job struct {
	Publication string
	Stream      fact.Stream // after stream_replace
	Params      string
	Options     Options
	Program     Program
	// Root replaces the directory that the options name; "" does not.
	Root string
	// MaxSlice is the length of a slice that the API asked for; 0: that of the options.
	MaxSlice time.Duration
	// Now is the DTS of the newest frame.
	Now time.Duration
	// Asked: the API asked for it, so that it is wanted whether somebody watches or not.
	Asked bool

	rec *recording
}

// Report states that a file is complete. list: it is listed when the publication ends. Not after Done.
func (j *Job) Report(f *fact.Recorded, list bool) {
	p := j.rec.pub
	f.Publication, f.Stream, f.Params = p.id, p.name, p.first.Params
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	if j.rec.done {
		return
	}
	if list {
		p.files.Add(f.Recording())
	}
	p.hub.facts.Raise(f)
}

// List names a complete file when the publication ends, without a report of its own. Not after Done.
func (j *Job) List(x fact.Recording) {
	p := j.rec.pub
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	if !j.rec.done {
		p.files.Add(x)
	}
}

// Register states that a schema that the sink makes can be played from now on. Players that wait for it are served.
func (j *Job) Register(schema string) {
	p := j.rec.pub
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	if p.ended || j.rec.closed || !p.open || p.source(schema) != nil {
		return
	}
	p.registerOne(schema, time.Now())
	j.rec.schema = schema
	p.idle.schema = schema
	if p.readers() == 0 {
		p.readersChanged(schema)
	}
	p.serveWaiters()
}

// Readers returns the number of viewers of a schema.
func (j *Job) Readers(schema string) int {
	p := j.rec.pub
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	if s := p.source(schema); s != nil {
		return s.readers
	}
	return 0
}

// Done says that the recording is over: after Close, or because it can't go on. It is called once, after the last
// Report, and nothing of the sink is called any more when it has returned.
func (j *Job) Done() {
	r, d := j.rec, deferred{}
	p := r.pub
	p.live.mu.Lock()
	if !r.done {
		r.done = true
		close(r.over)
		r.withdraw()
		p.recordings = slices.DeleteFunc(p.recordings, func(x *recording) bool { return x == r })
		r.uncount()
		if p.ended && len(p.recordings) == 0 {
			p.finish(&d)
		}
	}
	p.live.mu.Unlock()
	d.run()
}

// recording is one sink of a publication. Guarded by the stream's lock.
type recording struct {
	pub     *publication
	kind    *Recorder
	sink    Sink
	counted bool    // counts as a reader
	schema  string  // that it registered
	sleeper Sleeper // the sink, if it works on demand
	asleep  bool    // it gets no frames
	closed  bool    // nothing is written any more
	done    bool
	over    chan struct{} // closed with done
}

// uncount takes back what the recording counts as a reader.
func (r *recording) uncount() {
	if r.counted {
		r.counted = false
		r.pub.counting--
		if !r.pub.ended {
			r.pub.readersChanged(r.pub.idle.schema)
		}
	}
}

func (r *recording) close() {
	if !r.closed {
		r.closed = true
		r.withdraw()
		r.sink.Close()
	}
}

// withdraw unregisters the schema that the recording made, unless the stream as a whole has ended.
func (r *recording) withdraw() {
	if s := r.schema; s != "" {
		r.schema = ""
		r.pub.unregister(s)
	}
}

// sleep lets what a schema is made with sleep, since its last viewer has left.
func (p *publication) sleep(s *source) {
	if r := p.maker(s); r != nil && r.sleeper != nil && !r.asleep {
		r.asleep = true
		r.sleeper.Sleep()
	}
}

// wake lets it work for the first viewer.
func (p *publication) wake(s *source) {
	if r := p.maker(s); r != nil {
		r.wake()
	}
}

func (r *recording) wake() {
	if r.asleep {
		r.asleep = false
		r.take(r.pub.gop.frames)
	}
}

// take writes what was cached.
func (r *recording) take(cached []*media.Frame) {
	for i, f := range cached {
		r.sink.Write(f, i == 0 || f.Key)
	}
}

// maker returns the recording that makes a schema, or nil.
func (p *publication) maker(s *source) *recording {
	for _, r := range p.recordings {
		if r.schema == s.schema && !r.closed && p.source(s.schema) == s {
			return r
		}
	}
	return nil
}

// startRecording begins one with what is cached since the newest key frame. The stream's lock is held and the publication is
// open.
func (p *publication) startRecording(k *Recorder, j Job) { p.recordFrom(k, j, p.gop.frames) }

// recordFrom is startRecording with what was cached.
func (p *publication) recordFrom(k *Recorder, j Job, cached []*media.Frame) {
	r := &recording{pub: p, kind: k, over: make(chan struct{})}
	j.Publication, j.Stream, j.Params, j.Options, j.Program = p.id, p.name, p.first.Params, p.opts, p.program()
	j.Now, j.rec = p.clock.last, r
	r.sink = k.Start(j)
	if s, ok := r.sink.(Sleeper); ok && s.OnDemand() {
		r.sleeper, r.asleep = s, true
	}
	p.recordings = append(p.recordings, r)
	if k.Counts != nil && k.Counts(&p.opts) {
		r.counted = true
		p.counting++
		p.readersChanged(p.idle.schema)
	}
	if !r.asleep {
		r.take(cached)
	}
}

// wanted says whether the options ask for a recording.
func (p *publication) wanted() bool {
	return slices.ContainsFunc(p.hub.recorders, func(k Recorder) bool { return k.Wanted(&p.opts) })
}

// startWanted begins the recordings that the options ask for.
func (p *publication) startWanted() {
	for i := range p.hub.recorders {
		if k := &p.hub.recorders[i]; k.Wanted(&p.opts) {
			p.startRecording(k, Job{})
		}
	}
}

// record hands a frame to the recordings.
func (p *publication) record(f *media.Frame, key bool) {
	for _, r := range p.recordings {
		if !r.closed && !r.asleep {
			r.sink.Write(f, key)
		}
	}
}

// recordChange tells the recordings of new tracks.
func (p *publication) recordChange(g Program) {
	for _, r := range p.recordings {
		if !r.closed {
			r.sink.Change(g)
		}
	}
}

// recordingOf returns the recording of a kind that is going on, or nil.
func (p *publication) recordingOf(kind string) *recording {
	for _, r := range p.recordings {
		if r.kind.Name == kind && !r.closed {
			return r
		}
	}
	return nil
}

// ErrNoRecorder: there is no recorder of that name.
var ErrNoRecorder = errors.New("stream: no such recorder")

// StartRecord begins a recording of a live stream; one that goes on already stays as it is, but sleeps no more. root and slice are
// optional.
// Errors: ErrNotFound, ErrNoRecorder.
func (h *Hub) StartRecord(name fact.Stream, kind, root string, slice time.Duration) error {
	k := slices.IndexFunc(h.recorders, func(r Recorder) bool { return r.Name == kind })
	if k < 0 {
		return fmt.Errorf("%w: %q", ErrNoRecorder, kind)
	}
	return h.withLive(name, func(p *publication) error {
		if r := p.recordingOf(kind); r != nil {
			r.sleeper = nil
			r.wake()
			return nil
		}
		p.startRecording(&h.recorders[k], Job{Root: root, MaxSlice: slice, Asked: true})
		return nil
	})
}

// maxExtra is the most extra recordings of a publication at a time.
const maxExtra = 64

// ErrTooMany: there are as many extra recordings of the stream as there may be.
var ErrTooMany = errors.New("stream: too many recordings")

// RecordExtra begins a recording beside those of SetRecorders: k is of one recording, and its name not that of another kind. It
// gets what is cached from the newest key frame on that is at least back ago, or from the oldest. Errors: ErrNotFound, ErrTooMany.
func (h *Hub) RecordExtra(name fact.Stream, k Recorder, back time.Duration) error {
	return h.withLive(name, func(p *publication) error {
		n := 0
		for _, r := range p.recordings {
			if r.kind.Name == k.Name {
				n++
			}
		}
		if n >= maxExtra {
			return ErrTooMany
		}
		p.recordFrom(&k, Job{Asked: true}, p.gop.since(p.clock.last-back))
		return nil
	})
}

// Options returns the options of a live stream. Errors: ErrNotFound.
func (h *Hub) Options(name fact.Stream) (o Options, err error) {
	err = h.withLive(name, func(p *publication) error {
		o = p.opts
		return nil
	})
	return o, err
}

// StopRecord ends a recording. The channel is closed when its last file was reported; it is nil when nothing of that kind
// is recorded. Errors: ErrNotFound.
func (h *Hub) StopRecord(name fact.Stream, kind string) (over <-chan struct{}, err error) {
	err = h.withLive(name, func(p *publication) error {
		if r := p.recordingOf(kind); r != nil {
			r.close()
			over = r.over
		}
		return nil
	})
	return over, err
}

// Recording says whether a live stream is recorded. Errors: ErrNotFound.
func (h *Hub) Recording(name fact.Stream, kind string) (yes bool, err error) {
	err = h.withLive(name, func(p *publication) error {
		yes = p.recordingOf(kind) != nil
		return nil
	})
	return yes, err
}

// withLive calls f with the publication of a key, once its tracks are ready, under its lock.
func (h *Hub) withLive(name fact.Stream, f func(p *publication) error) error {
	st := h.acquire(name.Key())
	defer h.drop(st)
	st.mu.Lock()
	defer st.mu.Unlock()
	p := st.publication()
	if p == nil || !p.open {
		return ErrNotFound
	}
	return f(p)
}

// SetRecorders tells of the recorders. It is called once, before the first Publish.
func (h *Hub) SetRecorders(r []Recorder) { h.recorders = r }

// finish raises the last event of the publication: all its files are complete. The lock of live is held.
func (p *publication) finish(d *deferred) {
	h := p.hub
	p.last.Recordings, p.last.RecordingsOmitted = p.files.List, p.files.Omitted
	h.facts.Raise(p.last)
	d.call(p.release)
	d.call(func() {
		h.drop(p.live)
		h.finishing.Done()
	})
}
