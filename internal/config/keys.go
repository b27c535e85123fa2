package config

import (
	"math"
	"net/netip"
	"strings"
	"time"
)

// Bounds that only keep nonsense out.
const (
	anyInt     = math.MaxInt32
	maxSeconds = 366 * 24 * 3600
	maxMS      = math.MaxInt32
	maxBuffer  = 1 << 30
)

// Keys returns every known key, section by section, in the order in which a new file lists them.
func Keys() []Key {
	var out []Key
	for _, part := range [][]Key{
		hookKeys(), httpKeys(), rtmpKeys(), generalKeys(), protocolKeys(), apiKeys(),
		serverKeys(), journalKeys(), deliveryKeys(), limitKeys(), tlsKeys(), telemetryKeys(),
		hlsKeys(), recordKeys(), rtspKeys(), rtpKeys(), rtpProxyKeys(), rtcKeys(), srtKeys(),
		clusterKeys(), ffmpegKeys(), smallKeys(),
	} {
		out = append(out, part...)
	}
	for i := range out {
		out[i].Own = isOwn(out[i].Name)
	}
	return out
}

// isOwn says whether the key is Hookline's own.
func isOwn(name string) bool {
	switch section, _, _ := strings.Cut(name, "."); section {
	case "server", "journal", "delivery", "limits", "tls", "recording", "telemetry":
		return true
	}
	return name == keyAllowPrivate || name == "hook.on_publication_ended" || name == "hook.on_event_gap" ||
		name == "hook.on_admin_action" || name == keyHookSecret || name == "hls.lowLatency" || name == "hls.partDur" ||
		name == "http.http2"
}

// sectionDoc says in a new file what a section is for.
func sectionDoc(section string) string {
	docs := map[string]string{
		"hook":      "Webhooks: the URLs that are asked and told. enable=1 switches them on.",
		"http":      "HTTP server: API, live streams, HLS, files.",
		"rtmp":      "RTMP server.",
		"general":   "Behaviour of streams and players, identity of the server.",
		"protocol":  "Options of every stream; the answer to on_publish overrides them.",
		"api":       "REST API below /index/api/.",
		"server":    "Hookline's own: where state is kept, how the log looks.",
		"journal":   "Hookline's own: the durable log of events.",
		"delivery":  "Hookline's own: how events are delivered, retried and given up.",
		"hls":       "HLS: protocol.enable_hls and protocol.enable_hls_fmp4 switch it on.",
		"limits":    "Hookline's own: bounds against overload.",
		"recording": "Hookline's own: MP4 files.",
		"tls":       "Hookline's own: certificates of HTTPS, RTMPS and RTSPS.",
		"telemetry": "Hookline's own: OpenTelemetry traces.",
	}
	if doc, ok := docs[section]; ok {
		return doc
	}
	return "Not used by this version of Hookline unless the documentation says so; kept for ZLMediaKit's tools."
}

func hookKeys() []Key {
	hookURL := func(hook, doc string) Key {
		return urlKey("hook."+hook, doc, func(c *Config, v string) { c.Hook.setURL(hook, v) })
	}
	keys := []Key{
		boolKey("hook.enable", "0", Now, "master switch of all hooks", func(c *Config) *bool { return &c.Hook.Enable }),
		hookURL("on_publish", "decision: may this publisher publish, and how"),
		hookURL("on_play", "decision: may this player play"),
		hookURL("on_stream_changed", "a schema of a stream appeared or went away"),
		hookURL("on_stream_none_reader", "question: nobody watches this stream, close it?"),
		hookURL("on_stream_not_found", "a player waits for a stream that is not there"),
		hookURL("on_flow_report", "a session ended and moved more than general.flowThreshold"),
		hookURL("on_server_started", "the server started; carries the whole configuration"),
		hookURL("on_server_exited", "the server stopped"),
		hookURL("on_server_keepalive", "heartbeat every alive_interval seconds"),
		hookURL("on_publication_ended", "a publication ended, with its reason and its figures (Hookline)"),
		signingKey(),
		hookURL("on_admin_action", "somebody changed something by API (Hookline)"),
		hookURL("on_event_gap", "names events that will not arrive in order (Hookline)"),
	}
	keys = append(keys,
		hookURL("on_record_mp4", "an MP4 file is complete"),
		hookURL("on_rtsp_realm", "decision: does this RTSP stream need authentication"),
		hookURL("on_rtsp_auth", "decision: the password of an RTSP user"),
		hookURL("on_record_ts", "an HLS segment is complete; needs hls.broadcastRecordTs"),
		hookURL("on_http_access", "decision: may this client read this file"),
	)
	keys = append(keys, planned(
		hookURL("on_shell_login", "decision: may this user log in to the console"),
		hookURL("on_send_rtp_stopped", "an RTP sender ended by itself"),
		hookURL("on_rtp_server_timeout", "an RTP port got no media"),
	)...)
	return append(keys,
		schemasKey("hook.stream_changed_schemas", "rtsp/rtmp/fmp4/ts/hls/hls.fmp4", Now,
			"the schemas that on_stream_changed tells of", func(c *Config) *Schemas { return &c.Hook.Schemas }),
		durationKey("hook.timeoutSec", "10", time.Second, 0.1, 3600, Now,
			"limit of one attempt", func(c *Config) *time.Duration { return &c.Hook.Timeout }),
		durationKey("hook.alive_interval", "30.0", time.Second, 0.1, maxSeconds, Now,
			"interval of on_server_keepalive", func(c *Config) *time.Duration { return &c.Hook.AliveInterval }).
			shippedAs("10.0"),
		intKey("hook.retry", "1", 0, 1000, Now, "extra attempts of a decision", func(c *Config) *int { return &c.Hook.Retry }),
		durationKey("hook.retry_delay", "3.0", time.Second, 0, 3600, Now,
			"time between the attempts of a decision", func(c *Config) *time.Duration { return &c.Hook.RetryDelay }),
	)
}

func httpKeys() []Key {
	keys := []Key{
		portKey("http.port", "80", "HTTP listener", func(c *Config) *int { return &c.HTTP.Port }).withoutFile("8080"),
		portKey("http.sslport", "443", "HTTPS listener; off while there is no certificate (tls.certificates)",
			func(c *Config) *int { return &c.HTTP.SSLPort }).withoutFile("8443"),
		boolKey("http.http2", "1", Start, "HTTP/2 beside HTTP/1.1 on http.sslport (Hookline)", func(c *Config) *bool { return &c.HTTP.HTTP2 }),
		textKey("http.charSet", "utf-8", Now, "charset of answers", func(c *Config) *string { return &c.HTTP.CharSet }),
		durationKey("http.keepAliveSecond", "15", time.Second, 1, maxSeconds, New,
			"idle time-out", func(c *Config) *time.Duration { return &c.HTTP.KeepAlive }).shippedAs("30"),
		sizeKey("http.maxReqSize", "40960", 1, "bytes", 1, maxBuffer, New,
			"limit of a request body", func(c *Config) *int64 { return &c.HTTP.MaxReqSize }),
		textKey("http.notFound", "<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>",
			Now, "body of a 404", func(c *Config) *string { return &c.HTTP.NotFound }),
		nameKey("http.forwarded_ip_header", "", Now, "trusted header with the client's address behind a proxy",
			func(c *Config) *string { return &c.HTTP.ForwardedIPHeader }),
		boolKey("http.allow_cross_domains", "1", Now, "CORS", func(c *Config) *bool { return &c.HTTP.AllowCrossDomains }),
		ipRangesKey("http.allow_ip_range",
			"::1,127.0.0.1,172.16.0.0-172.31.255.255,192.168.0.0-192.168.255.255,10.0.0.0-10.255.255.255", Now,
			"who may call the API, and read files while hook.on_http_access is empty", func(c *Config) *IPRanges { return &c.HTTP.AllowIPRange }),
		pathKey("http.rootPath", "./www", Now, "root of served files", func(c *Config) *string { return &c.HTTP.RootPath }),
		textKey("http.virtualPath", "", Now, "more roots: name,path;name,path", func(c *Config) *string { return &c.HTTP.VirtualPath }),
		boolKey("http.dirMenu", "1", Now, "listings of directories", func(c *Config) *bool { return &c.HTTP.DirMenu }),
		textKey("http.forbidCacheSuffix", "", Now, "endings of names that must not be cached, separated by commas",
			func(c *Config) *string { return &c.HTTP.NoStore }),
	}
	return append(keys, planned(
		sizeKey("http.maxUploadSize", "1073741824", 1, "bytes", 0, math.MaxInt64/2, Now, "limit of a streamed body", nil),
		intKey("http.sendBufSize", "65536", 1, maxBuffer, Now, "buffer for files, bytes", nil),
	)...)
}

func rtmpKeys() []Key {
	keys := []Key{
		portKey("rtmp.port", "1935", "RTMP listener", func(c *Config) *int { return &c.RTMP.Port }),
		portKey("rtmp.sslport", "19350", "RTMPS listener; off while there is no certificate (tls.certificates)",
			func(c *Config) *int { return &c.RTMP.SSLPort }),
		durationKey("rtmp.handshakeSecond", "15", time.Second, 0.1, maxSeconds, Now,
			"limit of the handshake", func(c *Config) *time.Duration { return &c.RTMP.Handshake }),
		durationKey("rtmp.keepAliveSecond", "15", time.Second, 0.1, maxSeconds, Now,
			"idle time-out", func(c *Config) *time.Duration { return &c.RTMP.KeepAlive }),
		boolKey("rtmp.enhanced", "1", New, "enhanced RTMP", func(c *Config) *bool { return &c.RTMP.Enhanced }),
	}
	return append(keys, planned(
		boolKey("rtmp.directProxy", "1", New, "pass packets through unchanged", nil),
	)...)
}

func generalKeys() []Key {
	ms := time.Millisecond
	keys := []Key{
		nameKey("general.mediaServerId", "", Start, "identity in every hook; empty: generated and kept in the state directory",
			func(c *Config) *string { return &c.General.MediaServerID }).shippedAs("your_server_id"),
		ipKey("general.listen_ip", "::", Start, "bind address", func(c *Config) *netip.Addr { return &c.General.ListenIP }),
		boolKey("general.enableVhost", "0", Now, "virtual hosts", func(c *Config) *bool { return &c.General.EnableVhost }),
		sizeKey("general.flowThreshold", "1024", 1<<10, "KB", 0, anyInt, Now,
			"least traffic for on_flow_report", func(c *Config) *int64 { return &c.General.FlowThreshold }),
		durationKey("general.maxStreamWaitMS", "15000", ms, 0, maxMS, Now,
			"how long a player waits for a stream", func(c *Config) *time.Duration { return &c.General.MaxStreamWait }),
		durationKey("general.streamNoneReaderDelayMS", "20000", ms, 0, maxMS, Now,
			"idle time before on_stream_none_reader", func(c *Config) *time.Duration { return &c.General.StreamNoneReader }),
		durationKey("general.mergeWriteMS", "0", ms, 0, 60000, Now,
			"write coalescing", func(c *Config) *time.Duration { return &c.General.MergeWrite }),
		durationKey("general.wait_track_ready_ms", "10000", ms, 0, maxMS, Now,
			"wait for tracks to get ready", func(c *Config) *time.Duration { return &c.General.WaitTrackReady }),
		durationKey("general.wait_audio_track_data_ms", "1000", ms, 0, maxMS, Now,
			"wait for a declared but silent audio track",
			func(c *Config) *time.Duration { return &c.General.WaitAudioTrackData }),
		durationKey("general.wait_add_track_ms", "3000", ms, 0, maxMS, Now,
			"wait for a second track", func(c *Config) *time.Duration { return &c.General.WaitAddTrack }),
		intKey("general.unready_frame_cache", "100", 0, 100000, Now,
			"frames kept while tracks get ready", func(c *Config) *int { return &c.General.UnreadyFrameCache }),
	}
	return append(keys, planned(
		boolKey("general.resetWhenRePlay", "1", Now, "a pull proxy registers anew when it reconnects", nil),
		boolKey("general.broadcast_player_count_changed", "0", Now, "in-process event of ZLMediaKit", nil),
		boolKey("general.check_nvidia_dev", "1", Now, "transcoding builds of ZLMediaKit", nil),
		boolKey("general.enable_ffmpeg_log", "0", Now, "transcoding builds of ZLMediaKit", nil),
	)...)
}

func protocolKeys() []Key {
	return []Key{
		intKey("protocol.modify_stamp", "2", 0, 2, New, "time stamps: 0 keep, 1 receive time, 2 relative with repair",
			func(c *Config) *int { return &c.Protocol.ModifyStamp }),
		boolKey("protocol.enable_audio", "1", New, "keep audio", func(c *Config) *bool { return &c.Protocol.EnableAudio }),
		boolKey("protocol.auto_close", "0", New, "close a stream that nobody watches",
			func(c *Config) *bool { return &c.Protocol.AutoClose }),
		durationKey("protocol.continue_push_ms", "15000", time.Millisecond, 0, maxMS, New, "grace period of a dropped publisher",
			func(c *Config) *time.Duration { return &c.Protocol.ContinuePush }),
		boolKey("protocol.enable_rtsp", "1", New, "RTSP and WebRTC", func(c *Config) *bool { return &c.Protocol.EnableRTSP }),
		boolKey("protocol.enable_rtmp", "1", New, "RTMP and FLV", func(c *Config) *bool { return &c.Protocol.EnableRTMP }),
		boolKey("protocol.enable_ts", "1", New, "HTTP-TS and SRT", func(c *Config) *bool { return &c.Protocol.EnableTS }),
		boolKey("protocol.enable_fmp4", "1", New, "HTTP-fMP4", func(c *Config) *bool { return &c.Protocol.EnableFMP4 }),
		boolKey("protocol.enable_mp4", "0", New, "record MP4", func(c *Config) *bool { return &c.Protocol.EnableMP4 }),
		boolKey("protocol.mp4_as_player", "0", New, "a recorder counts as a viewer",
			func(c *Config) *bool { return &c.Protocol.MP4AsPlayer }),
		intKey("protocol.mp4_max_second", "3600", 0, anyInt, New, "length of an MP4 slice, seconds",
			func(c *Config) *int { return &c.Protocol.MP4MaxSecond }),
		pathKey("protocol.mp4_save_path", "./www", New, "root of MP4 files",
			func(c *Config) *string { return &c.Protocol.MP4SavePath }),
		boolKey("protocol.rtmp_demand", "0", New, "mux RTMP and FLV only for viewers",
			func(c *Config) *bool { return &c.Protocol.RTMPDemand }),
		boolKey("protocol.enable_hls", "1", New, "HLS", func(c *Config) *bool { return &c.Protocol.EnableHLS }),
		boolKey("protocol.enable_hls_fmp4", "0", New, "HLS with fMP4",
			func(c *Config) *bool { return &c.Protocol.EnableHLSFMP4 }),
		pathKey("protocol.hls_save_path", "./www", New, "root of HLS files",
			func(c *Config) *string { return &c.Protocol.HLSSavePath }),
		boolKey("protocol.add_mute_audio", "1", New, "add silence where audio is missing",
			func(c *Config) *bool { return &c.Protocol.AddMuteAudio }),
		durationKey("protocol.paced_sender_ms", "0", time.Millisecond, 0, maxMS, New, "smoothing timer",
			func(c *Config) *time.Duration { return &c.Protocol.PacedSender }),
		boolKey("protocol.hls_demand", "0", New, "mux HLS only for viewers",
			func(c *Config) *bool { return &c.Protocol.HLSDemand }),
		boolKey("protocol.rtsp_demand", "0", New, "mux RTSP only for viewers",
			func(c *Config) *bool { return &c.Protocol.RTSPDemand }),
		boolKey("protocol.ts_demand", "0", New, "mux TS only for viewers",
			func(c *Config) *bool { return &c.Protocol.TSDemand }),
		boolKey("protocol.fmp4_demand", "0", New, "mux fMP4 only for viewers",
			func(c *Config) *bool { return &c.Protocol.FMP4Demand }),
	}
}

func apiKeys() []Key {
	keys := []Key{
		boolKey("api.apiDebug", "1", Now, "log API calls", func(c *Config) *bool { return &c.API.Debug }),
		nameKey("api.secret", PublishedSecret, Now, "secret of the API; empty or the published one: replaced at start",
			func(c *Config) *string { return &c.API.Secret }),
		boolKey("api.allow_private_endpoints", "0", Now, "endpoints that are made by API may go to private addresses and follow redirects",
			func(c *Config) *bool { return &c.API.AllowPrivateEndpoints }),
		textKey("api.downloadRoot", "./www", Now, "roots of downloadFile, separated by ;", func(c *Config) *string { return &c.API.DownloadRoot }),
	}
	return append(keys, planned(
		pathKey("api.snapRoot", "./www/snap/", Now, "cache of snapshots", nil),
		pathKey("api.defaultSnap", "./www/logo.png", Now, "picture when a snapshot fails", nil),
	)...)
}
