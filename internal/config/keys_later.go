package config

import "time"

// The keys of features that do not exist yet. They have no fields.

func rtpProxyKeys() []Key {
	payloadType := func(name, def, codec string) Key {
		return intKey("rtp_proxy."+name, def, 0, 127, Now, "payload type of "+codec, nil)
	}
	ports := portRangeKey("rtp_proxy.port_range", "30000-35000", 4, Now, "pool of ports for RTP over UDP",
		func(c *Config, first, last int) { c.RTSP.PortMin, c.RTSP.PortMax = first, last })
	return append(planned(
		portKey("rtp_proxy.port", "10000", "shared GB28181 port, UDP and TCP", nil),
		durationKey("rtp_proxy.timeoutSec", "15", time.Second, 0.1, maxSeconds, Now, "limit without data", nil),
		pathKey("rtp_proxy.dumpDir", "", Now, "debug dump", nil),
		payloadType("h264_pt", "98", "H.264"),
		payloadType("h265_pt", "99", "H.265"),
		payloadType("ps_pt", "96", "PS"),
		payloadType("opus_pt", "100", "Opus"),
		durationKey("rtp_proxy.rtp_g711_dur_ms", "100", time.Millisecond, 1, 10000, New, "length of a G.711 packet", nil),
		intKey("rtp_proxy.udp_recv_socket_buffer", "4194304", 0, maxBuffer, New, "receive buffer, bytes", nil),
		boolKey("rtp_proxy.merge_frame", "1", New, "merge frames of one time stamp", nil),
	), ports, intKey("rtp_proxy.gop_cache", "1", 0, 1000, Now, "GOPs kept for startRecordTask", func(c *Config) *int { return &c.Record.GOPs }))
}

func rtcKeys() []Key {
	keys := []Key{
		portKey("rtc.port", "8000", "WebRTC media, UDP", nil),
		portKey("rtc.tcpPort", "8000", "WebRTC media, TCP", nil),
		portKey("rtc.signalingPort", "3000", "signalling", nil),
		portKey("rtc.signalingSslPort", "3001", "signalling over TLS", nil),
		portKey("rtc.icePort", "3478", "STUN and TURN, UDP", nil),
		portKey("rtc.iceTcpPort", "3478", "STUN and TURN, TCP", nil),
		textKey("rtc.externIP", "", Now, "public addresses, comma list", nil),
		textKey("rtc.interfaces", "", Now, "interfaces, comma list", nil),
		durationKey("rtc.timeoutSec", "15", time.Second, 0.1, maxSeconds, Now, "limit without data", nil),
		intKey("rtc.rembBitRate", "0", 0, anyInt, Now, "REMB bit rate, bit/s", nil),
		textKey("rtc.preferredCodecA", "PCMA,PCMU,opus,mpeg4-generic", New, "audio codecs by preference", nil),
		textKey("rtc.preferredCodecV", "H264,H265,AV1,VP9,VP8", New, "video codecs by preference", nil),
		intKey("rtc.start_bitrate", "0", 0, anyInt, New, "first bit rate, kbit/s", nil),
		intKey("rtc.max_bitrate", "0", 0, anyInt, New, "highest bit rate, kbit/s", nil),
		intKey("rtc.min_bitrate", "0", 0, anyInt, New, "lowest bit rate, kbit/s", nil),
		boolKey("rtc.bfilter", "0", New, "drop B-frames", nil),
		boolKey("rtc.preferred_tcp", "0", New, "prefer TCP", nil),
		boolKey("rtc.datachannel_echo", "1", New, "echo on the data channel", nil),
		boolKey("rtc.enableTurn", "1", New, "TURN server", nil),
		intKey("rtc.iceTransportPolicy", "0", 0, 2, New, "0 all, 1 relay only, 2 direct only", nil),
		nameKey("rtc.iceUfrag", "ZLMediaKit", New, "user of STUN and TURN", nil),
		nameKey("rtc.icePwd", "ZLMediaKit", New, "password of STUN and TURN", nil),
		intKey("rtc.max_stun_retry", "7", 0, 1000, New, "STUN retries", nil),
		portRangeKey("rtc.port_range", "49152-65535", 1, New, "ports of TURN", nil),
	}
	return planned(append(keys, nackKeys()...)...)
}

func nackKeys() []Key {
	return []Key{
		durationKey("rtc.maxRtpCacheMS", "5000", time.Millisecond, 0, maxMS, New, "packets kept for NACK", nil),
		intKey("rtc.maxRtpCacheSize", "2048", 0, anyInt, New, "packets kept for NACK", nil),
		intKey("rtc.nackMaxSize", "2048", 0, anyInt, New, "packets asked for", nil),
		durationKey("rtc.nackMaxMS", "3000", time.Millisecond, 0, maxMS, New, "how long a packet is asked for", nil),
		intKey("rtc.nackMaxCount", "15", 0, anyInt, New, "how often a packet is asked for", nil),
		floatKey("rtc.nackIntervalRatio", "1.0", 0, 1000, New, "interval in round-trip times", nil),
		intKey("rtc.nackRtpSize", "8", 0, anyInt, New, "video packets per NACK", nil),
		intKey("rtc.nackAudioRtpSize", "4", 0, anyInt, New, "audio packets per NACK", nil),
	}
}

func srtKeys() []Key {
	return planned(
		portKey("srt.port", "9000", "SRT listener", nil),
		durationKey("srt.timeoutSec", "5", time.Second, 0.1, maxSeconds, Now, "limit without data", nil),
		floatKey("srt.latencyMul", "4", 0, 1000, New, "latency in round-trip times", nil),
		intKey("srt.pktBufSize", "8192", 1, anyInt, New, "packets of buffer", nil),
		nameKey("srt.passPhrase", "", New, "pass phrase", nil),
	)
}

func clusterKeys() []Key {
	return planned(
		textKey("cluster.origin_url", "", Now, "templates of origin URLs, separated by ;", nil),
		durationKey("cluster.timeout_sec", "15", time.Second, 0.1, maxSeconds, Now, "time for all origins", nil),
		intKey("cluster.retry_count", "3", -1, anyInt, Now, "retries", nil),
	)
}

func ffmpegKeys() []Key {
	return planned(
		pathKey("ffmpeg.bin", "ffmpeg", Now, "the binary; not settable by the API", nil).shippedAs("/usr/bin/ffmpeg"),
		commandKey("ffmpeg.cmd", "%s -re -i %s -c:a aac -strict -2 -ar 44100 -ab 48k -c:v libx264 -f flv %s",
			"command of addFFmpegSource: binary, source, destination"),
		commandKey("ffmpeg.snap", "%s -i %s -y -f mjpeg -frames:v 1 -an %s",
			"command of getSnap: binary, source, file; not settable by the API"),
		pathKey("ffmpeg.log", "./ffmpeg/ffmpeg.log", Now, "log of FFmpeg; empty: none", nil),
		durationKey("ffmpeg.restart_sec", "0", time.Second, 0, maxSeconds, Now, "restart FFmpeg after; 0: never", nil),
	)
}

func smallKeys() []Key {
	return planned(
		intKey("shell.maxReqSize", "1024", 1, maxBuffer, New, "limit of a line, bytes", nil),
		portKey("shell.port", "9000", "Telnet console", nil),
		portKey("onvif.port", "3702", "ONVIF discovery", nil),
		textKey("python.plugin", "", Start, "Python plugin of ZLMediaKit", nil),
	)
}
