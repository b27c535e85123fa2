package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/hookline/hookline/internal/server"
)

type serveCmd struct {
	Config string `short:"c" placeholder:"FILE" help:"ZLMediaKit's config.ini. Without: RTMP 1935, HTTP 8080, state below ./data."`
}

// Run implements the command.
func (c *serveCmd) Run() error {
	level := &slog.LevelVar{}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s, err := server.Start(ctx, server.Options{
		ConfigPath: c.Config, Environ: os.Environ(), Version: version, Logger: log, Level: level,
	})
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go func() {
		for range hup {
			if err := s.Reload(); err != nil {
				log.Error("the configuration was not reloaded", "err", err)
			}
		}
	}()
	failed := s.Wait(ctx)
	stop() // a second signal ends the process at once
	if err := s.Stop(context.WithoutCancel(ctx)); err != nil {
		log.Error("while stopping", "err", err)
	}
	return failed
}
