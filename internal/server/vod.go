package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hookline/hookline/internal/api"
	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/vod"
)

// openVOD builds what plays files, and lets players ask for those that were recorded.
func (s *Server) openVOD(c *config.Config) {
	s.vod = vod.New(s.vodConfig(c), s.hub)
	s.hub.SetDemand(s.vod.Demand)
	s.onFailure(s.vod.Close)
}

func (s *Server) vodConfig(c *config.Config) vod.Config {
	return vod.Config{
		AppName: c.Record.AppName, Root: c.Protocol.MP4SavePath, Vhosts: c.General.EnableVhost, Tick: c.Record.Tick,
		Buffer: c.Record.FileBuffer, Repeat: c.Record.Repeat, Options: options(c.Protocol), Logger: s.log,
	}
}

// playback implements api.Playback.
type playback struct {
	*stream.Hub
	vod *vod.Server
}

// Load implements api.Playback.
func (p playback) Load(ctx context.Context, q api.LoadRequest) (time.Duration, error) {
	d, err := p.vod.Load(ctx, vod.Request{
		Name: q.Name, Files: q.Files, Repeat: q.Repeat, Seek: q.Seek, Speed: q.Speed, Options: q.Options,
	})
	if errors.Is(err, vod.ErrFile) || errors.Is(err, vod.ErrRange) || errors.Is(err, vod.ErrNoSchema) {
		err = fmt.Errorf("%w: %w", api.ErrBadFile, err)
	}
	return d, err
}
