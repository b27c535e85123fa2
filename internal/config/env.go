package config

import (
	"regexp"
	"strings"
)

const (
	envPrefix   = "HOOKLINE_"
	environment = "environment"
	// ffmpegTemplates are keys that the file may invent.
	ffmpegTemplates = "ffmpeg.cmd_"
)

// EnvName returns the name of the environment variable that overrides the key: HOOKLINE_HOOK_ON_PLAY for
// hook.on_play. Everything but letters and digits becomes an underscore.
func EnvName(key string) string {
	return envPrefix + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

// override is a key that the environment sets.
type override struct {
	key   string
	env   string
	value string
}

// overrides finds the keys that environ sets. extra are keys of the file that the table does not know.
func (t *table) overrides(environ, extra []string) ([]override, Errors) {
	unknown := make(map[string]string, len(extra))
	for _, key := range extra {
		unknown[EnvName(key)] = key
	}
	var (
		out  []override
		errs Errors
	)
	for _, pair := range environ {
		env, value, ok := strings.Cut(pair, "=")
		if !ok || !strings.HasPrefix(env, envPrefix) || notOurs(env, value) {
			continue
		}
		key := t.keyOfEnv(env, unknown)
		if key == "" {
			errs = append(errs, &ValueError{File: environment, Key: env, Allowed: t.envHint(env), Unknown: true})
			continue
		}
		out = append(out, override{key: key, env: env, value: strings.Trim(value, blank)})
	}
	return out, errs
}

// keyOfEnv resolves a variable against the table, never by guessing where the section ends: rtp_proxy and
// port_range both have underscores.
func (t *table) keyOfEnv(env string, unknown map[string]string) string {
	upper := strings.ToUpper(env)
	if k := t.envs[upper]; k != nil {
		return k.Name
	}
	if key := unknown[upper]; key != "" {
		return key
	}
	if rest, ok := strings.CutPrefix(upper, EnvName(ffmpegTemplates)); ok && rest != "" {
		return ffmpegTemplates + strings.ToLower(rest)
	}
	return ""
}

// envHint names the variables that env may have been meant for.
func (t *table) envHint(env string) string {
	upper := strings.ToUpper(env)
	best, names := len(upper), []string(nil)
	for i := range t.keys {
		known := EnvName(t.keys[i].Name)
		switch d := editDistance(upper, known); {
		case d > max(1, (len(known)-len(envPrefix))/3) || d > best:
		case d < best:
			best, names = d, []string{known}
		default:
			names = append(names, known)
		}
	}
	hint := "HOOKLINE_<SECTION>_<KEY> of a known key, for example HOOKLINE_HOOK_ON_PLAY"
	if len(names) > 0 {
		hint += " (nearest: " + strings.Join(names, ", ") + ")"
	}
	return hint
}

// notOurs says whether the variable is no config key although it has the prefix: what the command line reads itself,
// and what Kubernetes puts into every container for a service that is named hookline or hookline-something.
func notOurs(env, value string) bool {
	if env == "HOOKLINE_URL" || env == "HOOKLINE_CONFIG" || strings.HasPrefix(env, "HOOKLINE_CONFIG_") {
		return true
	}
	for _, scheme := range []string{"tcp://", "udp://", "sctp://"} {
		if strings.HasPrefix(value, scheme) {
			return true
		}
	}
	return regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)_(ADDR|PORT|PROTO))$`).MatchString(env)
}
