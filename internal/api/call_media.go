package api

import (
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// filter returns what the parameters select.
func (c *call) filter() stream.Filter {
	return stream.Filter{
		Schema: c.text("schema"), Vhost: c.text("vhost"), App: c.text("app"), Stream: c.text("stream"),
	}
}

// target is filter for calls that name one stream: while vhosts are off, every vhost is the default one.
func (c *call) target() stream.Filter {
	f := c.filter()
	if !c.settings.EnableVhost {
		f.Vhost = fact.DefaultVhost
	}
	return f
}

func getMediaList(c *call) (any, error) {
	list := c.api.deps.Hub.List(c.filter())
	objects := make([]fact.StreamObject, len(list))
	for i := range list {
		objects[i] = list[i].StreamObject
	}
	return listed(objects), nil
}

// listed returns the answer with a list; one without elements has no data.
func listed[T any](list []T) answer {
	if len(list) == 0 {
		return answer{"code": CodeSuccess}
	}
	return answer{"code": CodeSuccess, "data": list}
}

func getMediaInfo(c *call) (any, error) {
	info, ok := c.api.deps.Hub.Get(c.target())
	if !ok {
		return nil, errNoStream()
	}
	return struct {
		Code Code `json:"code"`
		fact.StreamObject
	}{CodeSuccess, info.StreamObject}, nil
}

func isMediaOnline(c *call) (any, error) {
	_, ok := c.api.deps.Hub.Get(c.target())
	return answer{"code": CodeSuccess, "online": ok}, nil
}

func getMediaPlayerList(c *call) (any, error) {
	f := c.target()
	if _, ok := c.api.deps.Hub.Get(f); !ok {
		return nil, errNoStream()
	}
	players := c.api.deps.Hub.Players(f)
	if players == nil {
		players = []stream.Player{}
	}
	return answer{"code": CodeSuccess, "data": players}, nil
}

func closeStream(c *call) (any, error) {
	f := c.target()
	hit, closed := c.api.deps.Hub.CloseStreams(f, c.flag("force"), fact.EndKicked)
	switch {
	case hit == 0:
		return nil, errNoStream()
	case closed == 0:
		return answer{"code": CodeOtherFailed, "result": -1, "msg": "close failed"}, nil
	}
	return answer{"code": CodeSuccess, "result": 0, "msg": "success"}, nil
}

func closeStreams(c *call) (any, error) {
	hit, closed := c.api.deps.Hub.CloseStreams(c.filter(), c.flag("force"), fact.EndKicked)
	return answer{"code": CodeSuccess, "count_hit": hit, "count_closed": closed}, nil
}
