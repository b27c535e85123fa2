package config

import (
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"time"
)

// Config is a snapshot of all keys. It is immutable. Sections whose features do not exist yet have no fields; their
// values are in All and Get.
type Config struct {
	API      API
	General  General
	Protocol Protocol
	HTTP     HTTP
	Hook     Hook
	RTMP     RTMP
	RTSP     RTSP
	RTP      RTP
	Record   Record
	HLS      HLS
	Server   Server
	Journal  Journal
	Delivery Delivery
	Limits   Limits
	TLS      TLS
	// Endpoints are the [endpoint.NAME] sections by name.
	Endpoints []Endpoint
	// Telemetry is where traces go.
	Telemetry Telemetry

	path          string
	values        map[string]string
	sources       map[string]source
	warnings      []Warning
	unimplemented []string
	fileNames     []string // the keys of the file that nobody knows, in its order
}

// API is [api].
type API struct {
	Debug  bool   // log API calls; apiDebug, 1
	Secret string // the API secret; replaced at start when it is empty or PublishedSecret
	// AllowPrivateEndpoints lets endpoints that are made by API go where those of the file may; 0. Hookline's own.
	AllowPrivateEndpoints bool
	// DownloadRoot are the roots of downloadFile, separated by semicolons; ./www, or www below server.state_dir without a file.
	DownloadRoot string
	// Tokens are the lines of [tokens].
	Tokens []Token
}

// PublishedSecret is the secret in ZLMediaKit's own config.ini. It is never accepted.
const PublishedSecret = "035c73f7-bb6b-4889-a715-d9eb2d1925cc" //nolint:gosec // public, and refused for that

// General is [general].
type General struct {
	EnableVhost        bool          // 0: every stream is in __defaultVhost__
	FlowThreshold      int64         // bytes before on_flow_report is sent; 1024 KB
	MaxStreamWait      time.Duration // how long a player waits for a missing stream; 15 s
	StreamNoneReader   time.Duration // idle time before on_stream_none_reader; 20 s
	MergeWrite         time.Duration // write coalescing; 0
	MediaServerID      string        // identity in every hook; generated when not set
	WaitTrackReady     time.Duration // wait for tracks without configuration; 10 s
	WaitAudioTrackData time.Duration // drop a declared but silent audio track; 1 s
	WaitAddTrack       time.Duration // wait for a second track; 3 s
	UnreadyFrameCache  int           // frames kept while tracks get ready; 100
	ListenIP           netip.Addr    // bind address; ::
}

// Protocol is [protocol]: what a publication gets when the answer to on_publish does not say otherwise.
type Protocol struct {
	ModifyStamp   int           // 0 keep, 1 receive time, 2 relative with jump repair; 2
	EnableAudio   bool          // 1
	AddMuteAudio  bool          // 1
	AutoClose     bool          // 0
	ContinuePush  time.Duration // grace period of a dropped publisher; 15 s
	PacedSender   time.Duration // smoothing timer; 0: off
	EnableHLS     bool          // 1
	EnableHLSFMP4 bool          // 0
	EnableMP4     bool          // 0
	EnableRTSP    bool          // 1
	EnableRTMP    bool          // 1
	EnableTS      bool          // 1
	EnableFMP4    bool          // 1
	HLSDemand     bool          // 0
	RTSPDemand    bool          // 0
	RTMPDemand    bool          // 0
	TSDemand      bool          // 0
	FMP4Demand    bool          // 0
	MP4AsPlayer   bool          // 0
	MP4MaxSecond  int           // length of a slice in seconds; 3600
	MP4SavePath   string        // ./www
	HLSSavePath   string        // ./www; www below server.state_dir without a file
}

// HTTP is [http].
type HTTP struct {
	Port              int           // 80; 8080 without a file; 0: off
	SSLPort           int           // 443; 8443 without a file; 0: off
	HTTP2             bool          // http2: HTTP/2 beside HTTP/1.1 on SSLPort; 1. Hookline's own
	CharSet           string        // utf-8
	KeepAlive         time.Duration // idle time-out; 15 s
	MaxReqSize        int64         // limit of a body in bytes; 40960
	NotFound          string        // body of a 404
	ForwardedIPHeader string        // header that names the client behind a proxy; empty: none is trusted
	AllowCrossDomains bool          // 1
	AllowIPRange      IPRanges      // who may call the API; loopback and RFC 1918
	RootPath          string        // of files; ./www; www below server.state_dir without a file
	VirtualPath       string        // more roots, name,path;name,path; none
	DirMenu           bool          // listings; 1
	NoStore           string        // forbidCacheSuffix: endings of names, separated by commas; none
}

// Hook is [hook].
type Hook struct {
	Enable        bool          // master switch; 0
	Schemas       Schemas       // stream_changed_schemas: which schemas on_stream_changed tells of; all six
	Timeout       time.Duration // of one attempt; 10 s
	AliveInterval time.Duration // of on_server_keepalive; 30 s
	Retry         int           // extra attempts of a decision; 1
	RetryDelay    time.Duration // between them; 3 s
	Secrets       []string      // whsec_ and whsk_ keys that sign each request; none: not signed

	urls map[string]string
}

// URL returns the URL of the hook, for example "on_play"; empty when it has none. It does not look at Enable.
func (h Hook) URL(hook string) string { return h.urls[hook] }

// URLs returns the hooks that have a URL. It does not look at Enable.
func (h Hook) URLs() map[string]string { return maps.Clone(h.urls) }

// setURL stores the URL of a hook.
func (h *Hook) setURL(hook, url string) {
	if h.urls == nil {
		h.urls = map[string]string{}
	}
	delete(h.urls, hook)
	if url != "" {
		h.urls[hook] = url
	}
}

// RTSP is [rtsp].
type RTSP struct {
	Port      int           // 554; 8554 without a file; 0: off
	SSLPort   int           // 332; 8332 without a file; 0: off
	AuthBasic bool          // Basic instead of Digest; 0
	Handshake time.Duration // limit until RECORD or PLAY; 15 s
	KeepAlive time.Duration // idle time-out of publishers; 15 s
	Transport int           // -1 any, 0 TCP, 1 UDP, 2 multicast; -1
	// PortMin and PortMax are rtp_proxy.port_range: the UDP ports of RTSP; 30000-35000.
	PortMin, PortMax int
	// MulticastMin and MulticastMax are multicast.addrMin and multicast.addrMax; 239.0.0.0-239.255.255.255.
	MulticastMin, MulticastMax string
	MulticastTTL               int // multicast.udpTTL; 64
}

// Record is [record] and [recording].
type Record struct {
	AppName    string        // directory level of MP4 files; record
	FastStart  bool          // the index of long files in front, too; 0
	Fragmented bool          // files stay in fragments; 0
	SHA256     bool          // hash each file; 0
	SyncEvery  time.Duration // of open files; 5 s
	Tick       time.Duration // of playback; 500 ms
	FileBuffer int           // of playback, bytes; 65536
	Repeat     bool          // playback; 0
	GOPs       int           // rtp_proxy.gop_cache: kept for clips; 1
}

// RTP is [rtp].
type RTP struct {
	AudioMTU int  // bytes; 600
	VideoMTU int  // bytes; 1400
	STAP     bool // parameter sets of H.264 in aggregation packets; true
}

// RTMP is [rtmp].
type RTMP struct {
	Port      int           // 1935; 0: off
	SSLPort   int           // 19350; 0: off
	Handshake time.Duration // limit of the handshake; 15 s
	KeepAlive time.Duration // idle time-out; 15 s
	Enhanced  bool          // offer enhanced RTMP to players; 1
}

// Server is [server], Hookline's own.
type Server struct {
	StateDir  string     // everything that must survive; relative to the working directory; ./data
	LogLevel  slog.Level // debug, info, warn or error; info
	LogFormat string     // text or json; text
}

// Journal is [journal], Hookline's own.
type Journal struct {
	Dir            string        // relative to server.state_dir; journal. Use Config.JournalDir
	Fsync          bool          // 1: an event is on the disk before anyone is told of it
	Retention      time.Duration // 72 h
	RetentionBytes int64         // 10 GiB
	MinFreeBytes   int64         // space left on the disk below which nothing new is admitted; 256 MiB
}

// Delivery is [delivery], Hookline's own.
type Delivery struct {
	MaxAge         time.Duration // how long an event is retried; 24 h
	Concurrency    int           // requests in flight per endpoint; 32
	Window         int           // events held in memory per endpoint; 65536
	BackoffMin     time.Duration // 1 s
	BackoffMax     time.Duration // 60 s
	RejectAttempts int           // attempts of an event that the receiver refuses; 8
	Policy         string        // what follows them: default, block or skip
	StartHold      time.Duration // wait for the acceptance of on_server_started before listening; 3 s
	Drain          time.Duration // time for deliveries at stop; 5 s
	Barrier        time.Duration // wait for earlier events of a key before on_publish asks; 300 ms
	MaxRedirects   int           // 3
	AttemptsRecent int           // attempts remembered that were accepted at once; 16384
	AttemptsFailed int           // other attempts remembered; 8192
	AttemptsAnswer int           // bytes remembered of an answer; 1024
}

// Telemetry is [telemetry], Hookline's own.
type Telemetry struct {
	Endpoint string  // URL of an OTLP/HTTP collector; empty: no traces
	Ratio    float64 // part of the traces that is sampled; 1
}

// Limits is [limits], Hookline's own.
type Limits struct {
	MaxConnections      int // 20000
	MaxConnectionsPerIP int // 0: no limit
	RTMPMessageBytes    int
	RTMPDataBytes       int
	RTMPChunkStreams    int
	RTMPCommands        int           // per second
	ViewerLagBytes      int64         // a viewer that is further behind jumps, then is closed; 16 MiB
	ViewerLag           time.Duration // the same in time; 10 s
	GOPMaxBytes         int64         // 32 MiB
	GOPMax              time.Duration // 20 s
	MediaMaxBytes       int64         // of all streams together; 1 GiB
}

// TLS is [tls], Hookline's own.
type TLS struct {
	Certificates string // what tlscert.Sources splits; empty
	SelfSigned   bool   // without certificates: one of its own; 0
}

// source says where a value comes from.
type source struct {
	file string // path, "environment" or "" for a default
	line int
	env  string // the variable
}

// Path returns the path of the file, empty when there is none.
func (c *Config) Path() string { return c.path }

// All returns every key, known or not, as getServerConfig and on_server_started show them.
func (c *Config) All() map[string]string {
	all := maps.Clone(c.values)
	for name, value := range all {
		all[name] = shown(name, value) // on_server_started carries the whole configuration
	}
	return all
}

// Get returns the value of a key, known or not.
func (c *Config) Get(key string) (string, bool) {
	v, ok := c.values[key]
	return v, ok
}

// Warnings returns what was accepted but is probably not meant.
func (c *Config) Warnings() []Warning { return slices.Clone(c.warnings) }

// Unimplemented returns the keys, sorted, that were given a value that is not the default although Hookline does
// not have their feature yet.
func (c *Config) Unimplemented() []string { return slices.Clone(c.unimplemented) }

// FromEnvironment returns the keys, sorted, that the environment sets.
func (c *Config) FromEnvironment() []string {
	var out []string
	for key, src := range c.sources {
		if src.env != "" {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// JournalDir returns the directory of the journal: journal.dir below server.state_dir.
func (c *Config) JournalDir() string {
	if filepath.IsAbs(c.Journal.Dir) {
		return filepath.Clean(c.Journal.Dir)
	}
	return filepath.Join(c.Server.StateDir, c.Journal.Dir)
}

// changedKeys returns the keys, sorted, whose values differ between a and b.
func changedKeys(a, b *Config) []string {
	var out []string
	for key, v := range b.values {
		if old, ok := a.values[key]; !ok || old != v {
			out = append(out, key)
		}
	}
	for key := range a.values {
		if _, ok := b.values[key]; !ok {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}
