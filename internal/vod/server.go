package vod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// Errors of Load.
var (
	// ErrFile: a file is not there, can't be read, or is no MP4; it wraps the reason.
	ErrFile = errors.New("vod: bad file")
	// ErrTooMany: MaxStreams or MaxSamples are playing.
	ErrTooMany = errors.New("vod: too many files are playing")
	// ErrNoSchema: no schema that is switched on carries a track of the file.
	ErrNoSchema = errors.New("vod: no schema carries this file")
	// ErrStopping: the server is stopping.
	ErrStopping = errors.New("vod: stopping")
)

// Hub is what a Server needs of the stream hub.
type Hub interface {
	// Publish claims a stream; see stream.Hub.
	Publish(ctx context.Context, req stream.PublishRequest) (*stream.Publisher, error)
	// Control tells whether the stream has registered.
	Control(name fact.Stream) (stream.Control, error)
}

// Server opens files and plays them. Its methods are safe for concurrent use.
type Server struct {
	hub     Hub
	cfg     atomic.Pointer[Config]
	ctx     context.Context
	cancel  context.CancelFunc
	openers chan struct{} // a slot for each file that is being opened
	wg      sync.WaitGroup

	mu      sync.Mutex // guards what follows
	closed  bool
	opening map[string]*opening // by stream key
	players map[*player]struct{}
	samples int // that the indexes of players may have
}

// opening is a file that is being opened on demand, for all who ask meanwhile.
type opening struct {
	done chan struct{}
	ok   bool // before done is closed: written
}

// New returns a server that publishes to hub.
func New(cfg Config, hub Hub) *Server {
	s := &Server{hub: hub, openers: make(chan struct{}, openers), opening: map[string]*opening{}, players: map[*player]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.Reconfigure(cfg)
	return s
}

// Reconfigure replaces the configuration for streams that are opened later. Logger may not change.
func (s *Server) Reconfigure(cfg Config) {
	cfg = cfg.withDefaults()
	s.cfg.Store(&cfg)
}

// Playing returns the number of streams.
func (s *Server) Playing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.players)
}

// Close ends all streams and waits for their goroutines. It is idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for p := range s.players {
		p.kick()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Demand is a stream.Demand: it opens the file that a stream is, if there is one.
func (s *Server) Demand(ctx context.Context, q stream.PlayQuestion) bool {
	cfg := s.cfg.Load()
	path, ok := cfg.path(q.Stream)
	if !ok || strings.HasPrefix(q.Schema, "hls") {
		return false
	}
	key := q.Key()
	s.mu.Lock()
	o := s.opening[key]
	if o == nil {
		if s.closed {
			s.mu.Unlock()
			return false
		}
		o = &opening{done: make(chan struct{})}
		s.opening[key] = o
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			o.ok = s.demanded(cfg, q.Stream, path)
			s.mu.Lock()
			delete(s.opening, key)
			s.mu.Unlock()
			close(o.done)
		}()
	}
	s.mu.Unlock()
	select {
	case <-o.done:
		return o.ok
	case <-ctx.Done():
		return true // nobody waits any more, so nobody needs to be asked
	}
}

// demanded opens and publishes a file that somebody wants to watch.
func (s *Server) demanded(cfg *Config, name fact.Stream, path string) bool {
	opts := cfg.Options
	opts.EnableMP4, opts.EnableHLS, opts.EnableHLSFMP4, opts.AutoClose = false, false, false, false
	_, err := s.play(cfg, request{name: name, url: path, paths: []string{path}, options: opts})
	switch {
	case err == nil, errors.Is(err, stream.ErrBusy): // somebody published it meanwhile
		return true
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNoFile), errors.Is(err, ErrStopping):
	default:
		cfg.Logger.Warn("VOD: a file can't be played", "stream", name.Key(), "err", err)
	}
	return false
}

// path returns the file that a stream is. No name leads out of the directory of the app, nor to a hidden file.
func (c *Config) path(name fact.Stream) (string, bool) {
	if name.App != c.AppName {
		return "", false
	}
	rel := name.App + "/" + name.Stream
	if c.Vhosts {
		rel = name.Vhost + "/" + rel
	}
	for level := range strings.SplitSeq(rel, "/") {
		if level == "" || level[0] == '.' || strings.ContainsRune(level, 0) || strings.ContainsRune(level, '\\') {
			return "", false
		}
	}
	rel = filepath.FromSlash(rel)
	if !filepath.IsLocal(rel) {
		return "", false
	}
	path, err := filepath.Abs(filepath.Join(c.Root, rel))
	return path, err == nil
}

// Request says what Load plays.
type Request struct {
	Name fact.Stream
	// Files is a file, several with semicolons between them, or a directory.
	Files string
	// Repeat begins again at the end.
	Repeat bool
	// Seek is where to begin.
	Seek time.Duration
	// Speed is the pace; 0 is 1.
	Speed float64
	// Options changes what the configuration says of the stream; nil: nothing. Recording is off before.
	Options func(o *stream.Options)
}

// Load plays files under a name and returns how long they are. It returns when the stream has registered. Errors: ErrFile,
// ErrRange, ErrTooMany, ErrNoSchema, ErrStopping, and those of stream.Hub.Publish.
func (s *Server) Load(ctx context.Context, q Request) (time.Duration, error) {
	cfg := s.cfg.Load()
	if q.Seek < 0 || q.Speed != 0 && !(q.Speed >= MinSpeed && q.Speed <= MaxSpeed) {
		return 0, ErrRange
	}
	paths, err := files(q.Files)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFile, err)
	}
	r := request{name: q.Name, url: q.Files, paths: paths, options: cfg.Options, repeat: q.Repeat, seek: q.Seek, speed: q.Speed}
	r.options.EnableMP4 = false
	if q.Options != nil {
		q.Options(&r.options)
	}
	r.options.AutoClose = true
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return s.play(cfg, r)
}

// request is what is played.
type request struct {
	name    fact.Stream
	url     string
	paths   []string
	options stream.Options
	repeat  bool
	seek    time.Duration
	speed   float64
}

// play opens files, publishes them and starts their player.
func (s *Server) play(cfg *Config, r request) (time.Duration, error) {
	line, err := s.open(cfg, r.paths)
	if err != nil {
		return 0, err
	}
	p := newPlayer(s, line, cfg)
	p.repeat = r.repeat
	p.log = cfg.Logger.With("stream", r.name.Key())
	if err := s.start(cfg, p, r); err != nil {
		line.close()
		return 0, err
	}
	p.log.Info("VOD started", "file", r.url, "length", line.length())
	return line.length(), nil
}

// open opens files, few at a time.
func (s *Server) open(cfg *Config, paths []string) (*timeline, error) {
	select {
	case s.openers <- struct{}{}:
		defer func() { <-s.openers }()
	case <-s.ctx.Done():
		return nil, ErrStopping
	}
	line, err := openTimeline(paths, cfg.Buffer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return line, nil
}

// start publishes p and runs it.
func (s *Server) start(cfg *Config, p *player, r request) error {
	if err := p.prepare(r.seek, r.speed); err != nil {
		if !errors.Is(err, ErrRange) {
			err = fmt.Errorf("%w: %w", ErrFile, err)
		}
		return err
	}
	if err := s.enter(p); err != nil {
		return err
	}
	opts := r.options
	opts.ContinuePush, opts.StreamReplace, opts.ModifyStamp, opts.PacedSender = 0, "", 0, 0 // a file has its own pace
	var err error
	p.pub, err = s.hub.Publish(s.ctx, stream.PublishRequest{
		MediaInfo:  fact.MediaInfo{Schema: "mp4", Protocol: "file", Stream: r.name},
		OriginType: fact.OriginMP4VOD, OriginURL: r.url, Options: &opts, Control: p, Bytes: &p.bytes,
		Quiet: r.name.App == cfg.AppName, Kick: p.kick,
	})
	if err != nil {
		s.leave(p)
		return err
	}
	if err = p.announce(); err == nil {
		if _, err = s.hub.Control(r.name); errors.Is(err, stream.ErrNotFound) {
			err = ErrNoSchema
		}
	}
	if err != nil {
		close(p.done) // nobody waits for it
		p.pub.Close(fact.EndUnpublish)
		s.leave(p)
		return err
	}
	go func() {
		defer s.leave(p)
		p.run()
	}()
	return nil
}

// enter counts a player in, if there is room.
func (s *Server) enter(p *player) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrStopping
	case len(s.players) >= MaxStreams, s.samples+p.line.most > MaxSamples:
		return ErrTooMany
	}
	s.players[p] = struct{}{}
	s.samples += p.line.most
	s.wg.Add(1)
	return nil
}

func (s *Server) leave(p *player) {
	s.mu.Lock()
	delete(s.players, p)
	s.samples -= p.line.most
	s.mu.Unlock()
	s.wg.Done()
}
