package pubtool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/rtmp"
)

// message is what a source gives: a message without the connection.
type message struct {
	typ  rtmp.MessageType
	at   time.Duration // since the start of the publication
	body []byte        // not to be modified
}

// source gives the messages of one publication.
type source interface {
	// next returns the next message; io.EOF at the end.
	next() (message, error)
	close()
}

// opener returns what opens the sources of a run, after a look whether there is anything in them.
func opener(cfg Config) (func() (source, error), error) {
	if cfg.File == "" {
		g, err := generate(cfg.Bitrate)
		if err != nil {
			return nil, err
		}
		return func() (source, error) { return &generatedSource{g: g}, nil }, nil
	}
	open := func() (source, error) { return openFile(cfg.File, cfg.Life+cfg.LifeJitter > 0) }
	probe, err := open()
	if err != nil {
		return nil, err
	}
	defer probe.close()
	for {
		m, err := probe.next()
		if err != nil {
			return nil, err
		}
		if m.typ != rtmp.TypeDataAMF0 {
			return open, nil
		}
	}
}

// errNoMedia says that a file has nothing to publish.
var errNoMedia = errors.New("neither audio nor video in it")

// loopStep is the time from the last tag of a file to the first of its next turn.
const loopStep = 40 * time.Millisecond

// fileSource reads an FLV file.
type fileSource struct {
	f      *os.File
	r      *flv.Reader
	loop   bool
	turns  int
	media  int           // audio and video tags of this turn
	opened bool          // the first media tag of the turn was there
	first  time.Duration // its timestamp
	offset time.Duration // of this turn
	last   time.Duration // the newest that was given
}

func openFile(path string, loop bool) (*fileSource, error) {
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, err
	}
	return &fileSource{f: f, r: newReader(f), loop: loop}, nil
}

func newReader(f *os.File) *flv.Reader { return flv.NewReader(bufio.NewReaderSize(f, 64<<10)) }

func (s *fileSource) close() { _ = s.f.Close() }

func (s *fileSource) next() (message, error) {
	for {
		tag, err := s.r.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			if err := s.rewind(); err != nil {
				return message{}, err
			}
			continue
		}
		if err != nil {
			return message{}, fmt.Errorf("%s: %w", s.f.Name(), err)
		}
		switch tag.Type {
		case flv.TagAudio, flv.TagVideo:
			s.media++
			return message{typ: rtmp.MessageType(tag.Type), at: s.time(tag.Timestamp), body: tag.Body}, nil
		case flv.TagData:
			if s.turns == 0 {
				return message{typ: rtmp.TypeDataAMF0, at: s.last, body: setDataFrame(tag.Body)}, nil
			}
		}
	}
}

// rewind begins the next turn, if there is one.
func (s *fileSource) rewind() error {
	switch {
	case s.media == 0 && s.turns == 0:
		return fmt.Errorf("%s: %w", s.f.Name(), errNoMedia)
	case s.media == 0 || !s.loop:
		return io.EOF
	}
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	s.r = newReader(s.f)
	s.turns++
	s.media, s.opened = 0, false
	s.offset = s.last + loopStep
	return nil
}

// time moves a timestamp of the file to the publication's.
func (s *fileSource) time(ts time.Duration) time.Duration {
	if !s.opened {
		s.opened, s.first = true, ts
	}
	at := s.offset + max(ts-s.first, 0)
	s.last = max(s.last, at)
	return at
}

// setDataFrame makes an RTMP data message of a script tag: publishers say with it that the server is to keep it.
func setDataFrame(body []byte) []byte { return append(amf.AppendString(nil, "@setDataFrame"), body...) }
