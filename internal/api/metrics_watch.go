package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/sequencer"
	"github.com/hookline/hookline/internal/stream"
)

// Sources are what Metrics asks at every scrape. Each is optional and must not block for long.
type Sources struct {
	Sequencer func() sequencer.Stats
	Journal   func() journal.Info
	// Healthy is nil while events are journaled.
	Healthy   func() error
	Endpoints func() []EndpointStats
	// DeadLetters counts what is kept, by endpoint.
	DeadLetters func() map[string]int
	Replays     func() []ReplayInfo
	Hub         func() stream.Stats
	Sessions    *Sessions
	// Traffic returns the media bytes received and sent since the start.
	Traffic func() (in, out uint64)
	// CertificateExpiry returns the earliest end of a certificate of the TLS listeners, zero when there is none.
	CertificateExpiry func() time.Time
	Version           Version
}

// Watch shows src from now on. It is called once.
func (m *Metrics) Watch(src Sources) {
	m.registry.MustRegister(&watcher{src: src, info: newDescriptions()})
}

// watcher is a prometheus.Collector without descriptions, an unchecked one: what it has depends on its sources.
type watcher struct {
	src  Sources
	info descriptions
}

// Describe implements prometheus.Collector.
func (w *watcher) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (w *watcher) Collect(out chan<- prometheus.Metric) {
	s := sink{out: out, info: w.info}
	s.gauge("hookline_build_info", 1, w.src.Version.CommitHash, w.src.Version.BranchName, w.src.Version.BuildTime)
	if w.src.Sequencer != nil {
		st := w.src.Sequencer()
		s.counter("hookline_events_raised_total", st.Raised)
		s.counter("hookline_events_shed_total", st.Shed)
		s.gauge("hookline_events_pending", float64(st.Pending))
		s.gauge("hookline_events_reserved", float64(st.Rooms))
		s.gauge("hookline_hook_index", float64(st.NextIndex))
		s.gauge("hookline_sequencer_keys", float64(st.Keys))
	}
	if w.src.Journal != nil {
		info := w.src.Journal()
		s.gauge("hookline_journal_bytes", float64(info.Bytes))
		s.gauge("hookline_journal_first_position", float64(info.First))
		s.gauge("hookline_journal_last_position", float64(info.Last))
	}
	if w.src.Healthy != nil {
		s.gauge("hookline_journal_healthy", truth(w.src.Healthy() == nil))
	}
	if w.src.Endpoints != nil {
		for _, e := range w.src.Endpoints() {
			s.endpoint(&e)
		}
	}
	if w.src.CertificateExpiry != nil {
		if t := w.src.CertificateExpiry(); !t.IsZero() {
			s.gauge("hookline_tls_certificate_expiry_seconds", float64(t.Unix()))
		}
	}
	if w.src.DeadLetters != nil {
		for endpoint, n := range w.src.DeadLetters() {
			s.gauge("hookline_dead_letters", float64(n), endpoint)
		}
	}
	if w.src.Replays != nil {
		s.replays(w.src.Replays())
	}
	w.media(&s)
}

// replays sums up those that run, by endpoint: their ids are no labels, since there is no end to them.
func (s *sink) replays(list []ReplayInfo) {
	running := 0
	wanted, done := map[string]uint64{}, map[string]uint64{}
	for i := range list {
		if r := &list[i]; r.State == ReplayRunning {
			running++
			wanted[r.Endpoint] += r.Count
			done[r.Endpoint] += r.Delivered + r.Failed
		}
	}
	s.gauge("hookline_replays_running", float64(running))
	for endpoint, n := range wanted {
		s.gauge("hookline_replay_events", float64(n), endpoint)
		s.gauge("hookline_replay_events_done", float64(done[endpoint]), endpoint)
	}
}

func (w *watcher) media(s *sink) {
	if w.src.Hub != nil {
		st := w.src.Hub()
		s.gauge("hookline_streams", float64(st.Sources))
		s.gauge("hookline_publications", float64(st.Publications))
		s.gauge("hookline_viewers", float64(st.Viewers))
		s.gauge("hookline_viewers_waiting", float64(st.Waiting))
		s.gauge("hookline_media_bytes", float64(st.MediaBytes))
	}
	if w.src.Sessions != nil {
		for typeID, n := range w.src.Sessions.counts() {
			s.gauge("hookline_sessions", float64(n), typeID)
		}
	}
	if w.src.Traffic != nil {
		in, out := w.src.Traffic()
		s.counter("hookline_received_bytes_total", in)
		s.counter("hookline_sent_bytes_total", out)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// descriptions are the metrics of a watcher by name.
type descriptions map[string]*prometheus.Desc

func newDescriptions() descriptions {
	d := descriptions{}
	add := func(name, help string, labels ...string) {
		d[name] = prometheus.NewDesc(name, help, labels, nil)
	}
	add("hookline_build_info", "1, labelled with what was built.", "commit", "branch", "built")
	add("hookline_events_raised_total", "Events raised since the start.")
	add("hookline_events_shed_total", "Events not journaled because the journal was too slow, full or dead.")
	add("hookline_events_pending", "Events raised that are not durable yet.")
	add("hookline_events_reserved", "Room reserved for the last events of running publications.")
	add("hookline_hook_index", "The next hook_index.")
	add("hookline_sequencer_keys", "Stream keys remembered in memory.")
	add("hookline_journal_bytes", "Approximate size of the journal on disk.")
	add("hookline_journal_first_position", "Position of the oldest record.")
	add("hookline_journal_last_position", "Position of the newest durable record.")
	add("hookline_journal_healthy", "1 while events are journaled.")
	add("hookline_dead_letters", "Dead letters that are kept; counted at most twice a minute.", "endpoint")
	add("hookline_replays_running", "Replays under way.")
	add("hookline_replay_events", "Events that the running replays of an endpoint have selected.", "endpoint")
	add("hookline_replay_events_done", "Those of them that were accepted or given up.", "endpoint")
	add("hookline_streams", "Media sources: registered schemas of all streams.")
	add("hookline_publications", "Live publications.")
	add("hookline_viewers", "Viewers.")
	add("hookline_tls_certificate_expiry_seconds", "Unix time at which the first certificate of the TLS listeners expires.")
	add("hookline_viewers_waiting", "Players that wait for a stream.")
	add("hookline_media_bytes", "Media that all streams hold: cached groups of pictures, and what viewers have not taken yet.")
	add("hookline_sessions", "Sessions by class.", "type")
	add("hookline_received_bytes_total", "Media bytes received from publishers.")
	add("hookline_sent_bytes_total", "Media bytes sent to viewers.")
	for _, e := range endpointMetrics() {
		add(e.name, e.help, "endpoint")
	}
	return d
}

// endpointMetric is a value of delivery.Stats.
type endpointMetric struct {
	name, help string
	value      func(*EndpointStats) float64
	counter    bool
}

func endpointMetrics() []endpointMetric {
	gauge := func(name, help string, value func(*EndpointStats) float64) endpointMetric {
		return endpointMetric{"hookline_endpoint_" + name, help, value, false}
	}
	count := func(name, help string, value func(*EndpointStats) uint64) endpointMetric {
		return endpointMetric{
			"hookline_endpoint_" + name, help, func(e *EndpointStats) float64 { return float64(value(e)) }, true,
		}
	}
	return []endpointMetric{
		gauge("lag", "Positions of the journal that are not done: tail minus floor.",
			func(e *EndpointStats) float64 { return float64(lag(&e.Stats)) }),
		gauge("lag_seconds", "Age of the oldest event that still has to be sent.",
			func(e *EndpointStats) float64 { return lagSeconds(&e.Stats) }),
		gauge("lanes", "Streams with events to send.", func(e *EndpointStats) float64 { return float64(e.Stats.Lanes) }),
		gauge("lanes_parked", "Streams that are put aside because their events fail.",
			func(e *EndpointStats) float64 { return float64(e.Stats.Parked) }),
		gauge("held", "Events in memory.", func(e *EndpointStats) float64 { return float64(e.Stats.Held) }),
		gauge("in_flight", "Requests on their way.",
			func(e *EndpointStats) float64 { return float64(e.Stats.InFlight) }),
		gauge("down", "1 while a URL of the endpoint is down.",
			func(e *EndpointStats) float64 { return truth(e.Stats.Down) }),
		gauge("urls_gone", "URLs that are disabled because they answered 410.",
			func(e *EndpointStats) float64 { return float64(len(e.Stats.Gone)) }),
		gauge("store_failed", "1 when the endpoint's place could not be stored.",
			func(e *EndpointStats) float64 { return truth(e.Stats.StoreFailed) }),
		count("delivered_total", "Events accepted.", func(e *EndpointStats) uint64 { return e.Stats.Delivered }),
		count("refused_total", "Events accepted with a code that is not 0.",
			func(e *EndpointStats) uint64 { return e.Stats.Refused }),
		count("retries_total", "Attempts after the first.", func(e *EndpointStats) uint64 { return e.Stats.Retries }),
		count("dead_letters_total", "Events given up.", func(e *EndpointStats) uint64 { return e.Stats.DeadLetters }),
		count("gaps_total", "Gaps named.", func(e *EndpointStats) uint64 { return e.Stats.Gaps }),
	}
}

// sink turns values into metrics.
type sink struct {
	out  chan<- prometheus.Metric
	info descriptions
}

func (s *sink) gauge(name string, v float64, labels ...string) {
	s.put(name, prometheus.GaugeValue, v, labels...)
}

func (s *sink) counter(name string, v uint64) { s.put(name, prometheus.CounterValue, float64(v)) }

func (s *sink) put(name string, kind prometheus.ValueType, v float64, labels ...string) {
	m, err := prometheus.NewConstMetric(s.info[name], kind, v, labels...)
	if err != nil { // a label that is not UTF-8
		return
	}
	s.out <- m
}

func (s *sink) endpoint(e *EndpointStats) {
	for _, m := range endpointMetrics() {
		kind := prometheus.GaugeValue
		if m.counter {
			kind = prometheus.CounterValue
		}
		s.put(m.name, kind, m.value(e), e.Name)
	}
}
