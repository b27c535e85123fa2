package server

import (
	"context"
	"path/filepath"
	"time"

	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/record"
	"github.com/hookline/hookline/internal/stream"
)

// openRecorder builds the recorder, and completes the files that the last run left open: before its publications are
// ended, because they are listed there.
func (s *Server) openRecorder(c *config.Config) (recovered *record.Recovered, err error) {
	if s.record, err = record.New(s.recordConfig(c)); err != nil {
		return nil, err
	}
	recovered, err = s.record.Recover()
	if err != nil {
		s.log.Warn("notes about open recordings can't be read; those files stay as they are", "err", err)
	}
	return recovered, nil
}

func (s *Server) recordConfig(c *config.Config) record.Config {
	return record.Config{
		AppName: c.Record.AppName, Vhosts: c.General.EnableVhost, Fragmented: c.Record.Fragmented, FastStart: c.Record.FastStart,
		SHA256: c.Record.SHA256, SyncEvery: c.Record.SyncEvery, Ledger: filepath.Join(c.Server.StateDir, "recordings"),
		Settled: s.settled, Logger: s.log,
	}
}

// settled waits until everything that was raised for a key is durable.
func (s *Server) settled(key string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return s.seq.WaitDurable(ctx, key, s.seq.Last(key)) == nil
}

// records implements api.Records.
type records struct {
	*stream.Hub
	rec *record.Recorder
	// root is protocol.mp4_save_path.
	root func() string
}

// StartClip implements api.Records.
func (r records) StartClip(name fact.Stream, path string, back, forward time.Duration, report bool) (string, error) {
	o, err := r.Options(name)
	if err != nil {
		return "", err
	}
	at, err := r.rec.ClipPath(name, &o, path)
	if err != nil {
		return "", err
	}
	return at, r.RecordExtra(name, r.rec.ClipFormat(record.Clip{Path: at, Forward: forward, Report: report}), back)
}

// RecordFolder implements api.Records.
func (r records) RecordFolder(name fact.Stream, root string) (string, error) {
	if root == "" {
		root = r.root()
	}
	cfg := r.rec.Config()
	return cfg.Folder(root, name)
}
