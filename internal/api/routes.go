package api

import (
	"net/http"
	"slices"
	"strings"
)

// v1Route is one method of one resource. The OpenAPI document describes the same; a test compares them.
type v1Route struct {
	method string
	// pattern is the path below v1Prefix. {name} stands for one segment, {name...} for any number of them.
	pattern string
	// params are the parameters of the query, without secret.
	params []string
	// action is the name of what is changed, for the audit line; empty: nothing is.
	action string
	// platform says that the route needs Deps.Platform.
	platform bool
	// operations says that the route needs Deps.Operations.
	operations bool
	handle     func(*v1Call) error
}

// waits says whether a call may last: it has limits of its own.
func (r *v1Route) waits(c *v1Call) bool {
	return r.pattern == "events/stream" || r.pattern == "events" && (c.query.Get("wait") != "" || wantsStream(c.r))
}

// filterParams are the parameters that select events.
func filterParams(more ...string) []string {
	return append([]string{"stream", "type", "since", "until", "after", "before", "cursor"}, more...)
}

// v1Routes returns the table, the narrower patterns first.
func v1Routes() []v1Route {
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	page := []string{"limit", "cursor"}
	return []v1Route{
		{method: get, pattern: "openapi.json", handle: (*v1Call).openAPI},
		{method: get, pattern: "events/stream", params: filterParams("epoch"), handle: (*v1Call).streamEvents},
		{method: get, pattern: "events", params: filterParams("epoch", "limit", "order", "wait"), handle: (*v1Call).listEvents},
		{method: get, pattern: "events/{id}", handle: (*v1Call).getEvent},
		{method: get, pattern: "streams/{stream...}/timeline", params: page, handle: (*v1Call).timeline},
		{
			method: get, pattern: "attempts", params: []string{"endpoint", "stream", "event", "result", "limit"},
			handle: (*v1Call).listAttempts,
		},
		{method: get, pattern: "journal", handle: (*v1Call).journalState},

		{method: get, pattern: "snapshot", params: page, operations: true, handle: (*v1Call).snapshot},
		{
			method: get, pattern: "gaps", params: []string{"endpoint", "stream", "limit", "cursor"}, operations: true,
			handle: (*v1Call).listGaps,
		},
		{method: get, pattern: "queues", params: page, operations: true, handle: (*v1Call).queues},
		{method: get, pattern: "backups", operations: true, handle: (*v1Call).listBackups},
		{method: post, pattern: "backups", action: "backup.make", operations: true, handle: (*v1Call).backup},
		{
			method: del, pattern: "backups/{name}", action: "backup.remove", operations: true, handle: (*v1Call).removeBackup,
		},

		{method: get, pattern: "endpoints", handle: (*v1Call).listEndpoints},
		{method: get, pattern: "endpoints/{name}", platform: true, handle: (*v1Call).getEndpoint},
		{method: post, pattern: "endpoints", action: "endpoint.create", platform: true, handle: (*v1Call).createEndpoint},
		{method: put, pattern: "endpoints/{name}", action: "endpoint.put", platform: true, handle: (*v1Call).putEndpoint},
		{method: patch, pattern: "endpoints/{name}", action: "endpoint.change", platform: true, handle: (*v1Call).patchEndpoint},
		{method: del, pattern: "endpoints/{name}", action: "endpoint.remove", platform: true, handle: (*v1Call).deleteEndpoint},
		{method: post, pattern: "endpoints/{name}/pause", action: "endpoint.pause", platform: true, handle: pause(true)},
		{method: post, pattern: "endpoints/{name}/resume", action: "endpoint.resume", platform: true, handle: pause(false)},

		{
			method: get, pattern: "dead-letters", params: []string{"endpoint", "stream", "reason", "limit", "cursor"},
			handle: (*v1Call).listDeadLetters,
		},
		{
			method: post, pattern: "dead-letters/redrive", action: "dead_letters.redrive", platform: true,
			handle: (*v1Call).redriveMany,
		},
		{method: get, pattern: "dead-letters/{endpoint}/{position}", platform: true, handle: (*v1Call).getDeadLetter},
		{
			method: del, pattern: "dead-letters/{endpoint}/{position}", params: []string{"reason"},
			action: "dead_letter.discard", platform: true, handle: (*v1Call).discardDeadLetter,
		},
		{
			method: post, pattern: "dead-letters/{endpoint}/{position}/redrive", action: "dead_letter.redrive",
			platform: true, handle: (*v1Call).redriveDeadLetter,
		},

		{method: get, pattern: "replays", platform: true, handle: (*v1Call).listReplays},
		{method: post, pattern: "replays", action: "replay.start", platform: true, handle: (*v1Call).startReplay},
		{method: get, pattern: "replays/{id}", platform: true, handle: (*v1Call).getReplay},
		{method: del, pattern: "replays/{id}", action: "replay.cancel", platform: true, handle: (*v1Call).cancelReplay},
	}
}

// routeV1 returns the route of a path below v1Prefix and what stands in place of the names of its pattern. When the
// path exists, but not with this method, it returns the methods.
func (a *API) routeV1(method, path string) (found *v1Route, values, methods []string) {
	for i := range a.v1 {
		route := &a.v1[i]
		if route.platform && a.deps.Platform == nil || route.operations && a.deps.Operations == nil {
			continue
		}
		v, ok := matchPath(route.pattern, path)
		if !ok {
			continue
		}
		if route.method == method || route.method == http.MethodGet && method == http.MethodHead {
			return route, v, nil
		}
		methods = append(methods, route.method)
		if route.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	return nil, nil, slices.Compact(methods)
}

// matchPath returns what stands in place of the names of a pattern.
func matchPath(pattern, path string) (values []string, ok bool) {
	if open := strings.IndexByte(pattern, '{'); open >= 0 && strings.Contains(pattern, "...}") {
		rest, ok := strings.CutPrefix(path, pattern[:open])
		if !ok {
			return nil, false
		}
		rest, ok = strings.CutSuffix(rest, pattern[strings.IndexByte(pattern, '}')+1:])
		return []string{rest}, ok
	}
	for pattern != "" {
		var want, got string
		want, pattern, _ = strings.Cut(pattern, "/")
		var more bool
		got, path, more = strings.Cut(path, "/")
		if more != (pattern != "") || got == "" {
			return nil, false
		}
		if strings.HasPrefix(want, "{") {
			values = append(values, got)
		} else if want != got {
			return nil, false
		}
	}
	return values, true
}
