package config

import "time"

func serverKeys() []Key {
	level := choiceKey("server.log_level", "info", []string{"debug", "info", "warn", "error"}, Now,
		"least level that is logged", nil)
	inner := level.store
	level.store = func(c *Config, v string) error {
		if err := inner(c, v); err != nil {
			return err
		}
		return c.Server.LogLevel.UnmarshalText([]byte(v))
	}
	return []Key{
		dirKey("server.state_dir", "./data", Start, "everything that must survive; relative to the working directory",
			func(c *Config) *string { return &c.Server.StateDir }),
		level,
		choiceKey("server.log_format", "text", []string{"text", "json"}, Start, "form of the log",
			func(c *Config) *string { return &c.Server.LogFormat }),
	}
}

func journalKeys() []Key {
	return []Key{
		dirKey("journal.dir", "journal", Start, "directory of the journal; relative to server.state_dir",
			func(c *Config) *string { return &c.Journal.Dir }),
		boolKey("journal.fsync", "1", Start, "an event is on the disk before anyone is told of it",
			func(c *Config) *bool { return &c.Journal.Fsync }),
		durationKey("journal.retention_hours", "72", time.Hour, 0.01, 24*366*10, Now, "how long events are kept",
			func(c *Config) *time.Duration { return &c.Journal.Retention }),
		sizeKey("journal.retention_gb", "10", 1<<30, "GiB", 0.01, 1<<20, Now, "how much is kept",
			func(c *Config) *int64 { return &c.Journal.RetentionBytes }),
		sizeKey("journal.min_free_mb", "256", 1<<20, "MiB", 0, 1<<30, Now,
			"free space on the disk below which no new publication is admitted",
			func(c *Config) *int64 { return &c.Journal.MinFreeBytes }),
	}
}

func deliveryKeys() []Key {
	ms := time.Millisecond
	return []Key{
		durationKey("delivery.max_age_hours", "24", time.Hour, 0.001, 24*366*10, Now, "how long an event is retried",
			func(c *Config) *time.Duration { return &c.Delivery.MaxAge }),
		intKey("delivery.concurrency", "32", 8, 64, Now, "requests in flight per endpoint",
			func(c *Config) *int { return &c.Delivery.Concurrency }),
		intKey("delivery.window", "65536", 1024, 1<<24, Now, "events held in memory per endpoint",
			func(c *Config) *int { return &c.Delivery.Window }),
		durationKey("delivery.backoff_min_ms", "1000", ms, 1, maxMS, Now, "first pause before an event is retried",
			func(c *Config) *time.Duration { return &c.Delivery.BackoffMin }),
		durationKey("delivery.backoff_max_ms", "60000", ms, 1, maxMS, Now, "longest pause before an event is retried",
			func(c *Config) *time.Duration { return &c.Delivery.BackoffMax }),
		intKey("delivery.reject_attempts", "8", 1, 1000, Now, "attempts of an event that the receiver refuses",
			func(c *Config) *int { return &c.Delivery.RejectAttempts }),
		choiceKey("delivery.policy", "default", []string{"default", "block", "skip"}, Now,
			"what happens when the attempts are used up", func(c *Config) *string { return &c.Delivery.Policy }),
		durationKey("delivery.start_hold_ms", "3000", ms, 0, maxMS, Start,
			"wait for the acceptance of on_server_started before listening",
			func(c *Config) *time.Duration { return &c.Delivery.StartHold }),
		durationKey("delivery.drain_ms", "5000", ms, 0, maxMS, Now, "time for deliveries at stop",
			func(c *Config) *time.Duration { return &c.Delivery.Drain }),
		durationKey("delivery.barrier_ms", "300", ms, 0, 300, Start,
			"wait for earlier events of a stream before on_publish asks",
			func(c *Config) *time.Duration { return &c.Delivery.Barrier }),
		intKey("delivery.attempts_recent", "16384", 0, 1<<20, Now, "attempts remembered that were accepted at once",
			func(c *Config) *int { return &c.Delivery.AttemptsRecent }),
		intKey("delivery.attempts_failed", "8192", 0, 1<<20, Now, "other attempts remembered",
			func(c *Config) *int { return &c.Delivery.AttemptsFailed }),
		intKey("delivery.attempts_answer_bytes", "1024", 0, 1<<16, Now, "bytes remembered of an answer",
			func(c *Config) *int { return &c.Delivery.AttemptsAnswer }),
		intKey("delivery.max_redirects", "3", 0, 10, Start, "redirects that are followed",
			func(c *Config) *int { return &c.Delivery.MaxRedirects }),
	}
}

func limitKeys() []Key {
	ms := time.Millisecond
	return []Key{
		intKey("limits.max_connections", "20000", 1, anyInt, Start, "connections at a time",
			func(c *Config) *int { return &c.Limits.MaxConnections }),
		intKey("limits.max_connections_per_ip", "0", 0, anyInt, Start, "connections of one address; 0: no limit",
			func(c *Config) *int { return &c.Limits.MaxConnectionsPerIP }),
		sizeKey("limits.viewer_lag_bytes", "16777216", 1, "bytes", 1<<16, 1<<40, New,
			"a viewer that is further behind jumps to the newest key frame, then is closed",
			func(c *Config) *int64 { return &c.Limits.ViewerLagBytes }),
		durationKey("limits.viewer_lag_ms", "10000", ms, 100, maxMS, New, "the same in time",
			func(c *Config) *time.Duration { return &c.Limits.ViewerLag }),
		sizeKey("limits.gop_max_bytes", "33554432", 1, "bytes", 1<<16, 1<<40, New, "largest group of pictures that is cached",
			func(c *Config) *int64 { return &c.Limits.GOPMaxBytes }),
		intKey("limits.rtmp_message_bytes", "16777215", 1<<16, 1<<24-1, Start, "largest audio or video message of an RTMP peer",
			func(c *Config) *int { return &c.Limits.RTMPMessageBytes }),
		intKey("limits.rtmp_data_bytes", "1048576", 1<<12, 1<<24-1, Start, "largest data message of an RTMP publisher",
			func(c *Config) *int { return &c.Limits.RTMPDataBytes }),
		intKey("limits.rtmp_chunk_streams", "64", 8, 1<<16, Start, "chunk streams of an RTMP connection",
			func(c *Config) *int { return &c.Limits.RTMPChunkStreams }),
		intKey("limits.rtmp_commands_per_s", "200", 10, 1<<20, Start,
			"commands and pings of an RTMP connection per second; twice as many may come at once",
			func(c *Config) *int { return &c.Limits.RTMPCommands }),
		sizeKey("limits.media_max_bytes", "1073741824", 1, "bytes", 1<<20, 1<<40, New,
			"media that all streams hold together, in cached groups of pictures and for viewers that lag",
			func(c *Config) *int64 { return &c.Limits.MediaMaxBytes }),
		durationKey("limits.gop_max_ms", "20000", ms, 100, maxMS, New, "longest group of pictures that is cached",
			func(c *Config) *time.Duration { return &c.Limits.GOPMax }),
	}
}

func tlsKeys() []Key {
	return []Key{
		textKey("tls.certificates", "", Now,
			"certificates of HTTPS and RTMPS, separated by ; - a PEM file with its key, CERTIFICATE,KEY, or a directory of PEM files",
			func(c *Config) *string { return &c.TLS.Certificates }),
		boolKey("tls.self_signed", "0", Start, "without certificates: make a self-signed one in the state directory",
			func(c *Config) *bool { return &c.TLS.SelfSigned }),
	}
}

func telemetryKeys() []Key {
	collector := urlKey("telemetry.otlp_endpoint", "OTLP/HTTP collector that gets traces, like http://127.0.0.1:4318; empty: none",
		func(c *Config, v string) { c.Telemetry.Endpoint = v })
	collector.Hot = Start
	return []Key{
		collector,
		floatKey("telemetry.sample_ratio", "1", 0, 1, Start, "part of the traces that is sampled",
			func(c *Config) *float64 { return &c.Telemetry.Ratio }),
	}
}
