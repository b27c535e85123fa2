package ordercheck

import (
	"maps"
	"slices"

	"github.com/hookline/hookline/event"
)

// publication is what is known of one publication.
type publication struct {
	id string
	// begun: its claim or a register was seen. ended: its on_publication_ended was.
	begun, ended bool
	// early: a record was seen before any register.
	early bool
	// doubt: events of it may be missing or displaced.
	doubt   bool
	schemas map[string]schemaState
}

type schemaState uint8

const (
	live schemaState = iota + 1
	gone
)

// live returns a schema that is registered, or "".
func (p *publication) live() string {
	for _, s := range slices.Sorted(maps.Keys(p.schemas)) {
		if p.schemas[s] == live {
			return s
		}
	}
	return ""
}

func (p *publication) closed() bool {
	for _, st := range p.schemas {
		if st == gone {
			return true
		}
	}
	return false
}

func (p *publication) open(endsAreSent bool) bool {
	if p.live() != "" {
		return true
	}
	return endsAreSent && p.begun && !p.ended
}

// publication returns the state of the delivery's publication.
func (s *step) publication(k *key) *publication {
	id := s.env.Publication
	if p := k.publications[id]; p != nil {
		return p
	}
	p := &publication{id: id, schemas: map[string]schemaState{}, doubt: k.doubt}
	k.publications[id] = p
	k.order = append(k.order, id)
	s.c.report.Publications++
	if len(k.order) > s.c.opt.Publications {
		delete(k.publications, k.order[0])
		k.order = slices.Delete(k.order, 0, 1)
		k.doubt = true // a late report of the forgotten one would look like a new publication
	}
	return p
}

// lifecycle follows the publication of the event. judge is false for an event out of its turn: its effect is noted,
// but its place has been judged already.
func (s *step) lifecycle(k *key, judge bool) {
	if s.env.Publication == "" {
		return
	}
	p := s.publication(k)
	if p.ended && judge && s.needsLife() {
		s.violate(Lifecycle, "%s after on_publication_ended of publication %s", s.name(), p.id)
	}
	switch s.env.Type {
	case event.OnPublish:
		p.begun = true
	case event.OnStreamChanged:
		s.changed(k, p, judge)
	case event.OnFlowReport:
		if s.b.Player != nil && !*s.b.Player {
			s.published(p, judge)
		}
	case event.OnRecordMP4, event.OnRecordTS:
		p.early = p.early || len(p.schemas) == 0
	case event.OnPublicationEnded:
		if schema := p.live(); schema != "" && judge && !p.doubt {
			s.violate(Lifecycle, "publication %s ended while %s was registered", p.id, schema)
		}
		p.ended, s.c.anyEnded = true, true
	default:
	}
}

// needsLife says that the event may not follow the end of its publication. Reports of viewers may, and so may the
// outcomes of questions that were under way.
func (s *step) needsLife() bool {
	switch s.env.Type {
	case event.OnStreamChanged, event.OnRecordMP4, event.OnRecordTS, event.OnSendRTPStopped, event.OnPublicationEnded,
		event.OnPublish:
		return true
	case event.OnFlowReport:
		return s.b.Player != nil && !*s.b.Player
	default:
		return false
	}
}

// published handles the publisher's own report, which comes before its schemas leave.
func (s *step) published(p *publication, judge bool) {
	if judge && !p.doubt && p.closed() {
		s.violate(Lifecycle, "the publisher's on_flow_report after an unregister of publication %s", p.id)
	}
}

// changed handles register and unregister.
func (s *step) changed(k *key, p *publication, judge bool) {
	if s.b.Regist == nil {
		s.violate(Malformed, "on_stream_changed without regist")
		return
	}
	schema, was := s.b.Schema, p.schemas[s.b.Schema]
	if *s.b.Regist {
		p.begun = true
		if judge {
			s.registered(k, p)
		}
		if judge || was != gone {
			p.schemas[schema] = live
		}
		return
	}
	if judge && !p.doubt && was == 0 {
		s.violate(Lifecycle, "unregister of %s in publication %s without its register", schema, p.id)
	}
	if judge && was == gone {
		s.violate(Lifecycle, "second unregister of %s in publication %s", schema, p.id)
	}
	p.schemas[schema] = gone
}

func (s *step) registered(k *key, p *publication) {
	schema := s.b.Schema
	switch p.schemas[schema] {
	case live:
		s.violate(Lifecycle, "second register of %s in publication %s", schema, p.id)
	case gone:
		if !late(schema) {
			s.violate(Lifecycle, "register of %s after its unregister in publication %s", schema, p.id)
		}
	default:
		if p.early && !p.doubt && !late(schema) {
			s.violate(Lifecycle, "register of %s after a record of publication %s", schema, p.id)
		}
	}
	for _, id := range k.order {
		if other := k.publications[id]; other != p && !other.doubt && other.schemas[schema] == live {
			s.violate(Lifecycle, "register of %s in publication %s while publication %s has it", schema, p.id, id)
		}
	}
}

// late says of a schema that files make it: it can register after others were reported, and again after it was stopped.
func late(schema string) bool { return schema == "hls" || schema == "hls.fmp4" }

// name returns the type and, for on_stream_changed, its direction.
func (s *step) name() string {
	if what := What(s.b); what != "" {
		return string(s.env.Type) + " (" + what + ")"
	}
	return string(s.env.Type)
}
