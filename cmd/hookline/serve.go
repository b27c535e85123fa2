package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/server"
)

type serveCmd struct {
	Config string `short:"c" placeholder:"FILE" help:"ZLMediaKit's config.ini; written with defaults when it is missing. Without: RTMP 1935, RTSP 8554, HTTP 8080, state below ./data."`
	Level  *int   `short:"l" placeholder:"0-4" help:"Log level as in ZLMediaKit: 0 trace, 1 debug, 2 info, 3 warn, 4 error. Overrides server.log_level."`
	Log    string `enum:",text,json" default:"" help:"Form of the log: text or json. Overrides server.log_format."`

	SSL string `short:"s" placeholder:"PATH" help:"Certificates of HTTPS and RTMPS: a PEM file with its key, or a directory of them. Overrides tls.certificates."`

	Daemon  bool `short:"d" help:"Accepted for ZLMediaKit's scripts; Hookline stays in the foreground, for systemd and containers."`
	MaxDay  int  `short:"m" hidden:""`
	Threads int  `short:"t" hidden:""`
}

// Run implements the command.
func (c *serveCmd) Run() error {
	level := &slog.LevelVar{}
	environ := os.Environ()
	if c.Level != nil {
		l, err := zlmLevel(*c.Level)
		if err != nil {
			return err
		}
		environ = append(environ, "HOOKLINE_SERVER_LOG_LEVEL="+l)
	}
	if c.SSL != "" {
		environ = append(environ, "HOOKLINE_TLS_CERTIFICATES="+c.SSL)
	}
	log := newLogger(c.logFormat(environ), level)
	c.explain(log)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s, err := server.Start(ctx, server.Options{
		ConfigPath: c.Config, Environ: environ, Version: version, Logger: log, Level: level,
		Exit: func() { time.AfterFunc(time.Second, func() { _ = syscall.Kill(os.Getpid(), syscall.SIGTERM) }) },
	})
	if err != nil {
		return err
	}
	defer followHUP(s, log)()
	failed := s.Wait(ctx)
	stop() // a second signal ends the process at once
	if err := s.Stop(context.WithoutCancel(ctx)); err != nil {
		log.Error("while stopping", "err", err)
	}
	return failed
}

// logFormat reads server.log_format ahead of the start, which reports whatever is wrong with the file.
func (c *serveCmd) logFormat(environ []string) string {
	if c.Log != "" {
		return c.Log
	}
	if conf, err := config.Load(c.Config, environ); err == nil {
		return conf.Server.LogFormat
	}
	return "text"
}

func newLogger(form string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if form == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// zlmLevel translates ZLMediaKit's numbers.
func zlmLevel(n int) (string, error) {
	levels := []string{"debug", "debug", "info", "warn", "error"}
	if n < 0 || n >= len(levels) {
		return "", fmt.Errorf("-l %d: want 0 (trace) to 4 (error)", n)
	}
	return levels[n], nil
}

// explain answers the flags of ZLMediaKit that have no effect here.
func (c *serveCmd) explain(log *slog.Logger) {
	if c.Daemon {
		log.Info("-d: Hookline stays in the foreground; let systemd or a container restart it")
	}
	if c.MaxDay != 0 || c.Threads != 0 {
		log.Info("-m and -t have no effect: logs go to standard error, and all processors are used")
	}
}

// followHUP reloads the configuration on SIGHUP.
func followHUP(s *server.Server, log *slog.Logger) (stop func()) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			if err := s.Reload(); err != nil {
				log.Error("the configuration was not reloaded; the old one stays", "err", err)
			}
		}
	}()
	return func() {
		signal.Stop(hup)
		close(hup)
	}
}
