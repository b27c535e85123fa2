package config

import (
	"errors"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is the type of a value.
type Kind string

// The kinds.
const (
	KindString    Kind = "string"
	KindBool      Kind = "bool"
	KindInt       Kind = "int"
	KindFloat     Kind = "float"
	KindPort      Kind = "port"
	KindPortRange Kind = "port range"
	KindDuration  Kind = "duration"
	KindURL       Kind = "url"
	KindIP        Kind = "ip"
	KindIPRanges  Kind = "ip ranges"
	KindSchemas   Kind = "schemas"
	KindPath      Kind = "path"
	KindChoice    Kind = "choice"
)

// Hot says when a change of a key takes effect.
type Hot string

const (
	// Now: at the next use, anywhere.
	Now Hot = "now"
	// New: for streams, sessions and files that are created later.
	New Hot = "new"
	// Start: after a restart.
	Start Hot = "start"
)

// Key describes one key.
type Key struct {
	// Name is "section.key".
	Name string
	// Default is the value of a key that is not in the file.
	Default string
	// NoFile is the default when there is no file at all; empty: the same.
	NoFile string
	Kind   Kind
	// Allowed says in words which values there are.
	Allowed string
	Hot     Hot
	// Implemented is false while Hookline does not have the feature: the value is checked and kept, nothing else.
	Implemented bool
	// Own is true for the keys that ZLMediaKit does not have.
	Own bool
	// Doc says in a few words what it is for.
	Doc string

	// shipped is the value in ZLMediaKit's own config.ini, where it is not the default.
	shipped string
	// store checks the value and puts it into c, where c has a field for it.
	store func(c *Config, value string) error
}

var (
	errNotAllowed = errors.New("config: not allowed")
	errNotNumber  = errors.New("config: not a number")
)

// check says whether value is allowed.
func (k *Key) check(value string) error {
	var c Config
	return k.store(&c, value)
}

// same says whether a and b mean the same.
func (k *Key) same(a, b string) bool {
	if a == b {
		return true
	}
	if k.Kind == KindBool {
		x, errX := parseBool(a)
		y, errY := parseBool(b)
		return errX == nil && errY == nil && x == y
	}
	x, errX := parseNumber(a)
	y, errY := parseNumber(b)
	return errX == nil && errY == nil && x == y
}

// newKey makes a key whose feature exists.
func newKey(kind Kind, name, def string, hot Hot, doc, allowed string, store func(*Config, string) error) Key {
	return Key{
		Name: name, Default: def, Kind: kind, Allowed: allowed, Hot: hot, Implemented: true, Doc: doc,
		store: store,
	}
}

// planned marks keys whose feature does not exist yet.
func planned(keys ...Key) []Key {
	for i := range keys {
		keys[i].Implemented = false
	}
	return keys
}

// shippedAs names the value that ZLMediaKit's own file has.
func (k Key) shippedAs(value string) Key { k.shipped = value; return k }

// withoutFile sets the default for a server that was started without a file.
func (k Key) withoutFile(value string) Key { k.NoFile = value; return k }

// put stores v in the field, when there is one.
func put[T any](c *Config, field func(*Config) *T, v T) {
	if field != nil {
		*field(c) = v
	}
}

func textKey(name, def string, hot Hot, doc string, field func(*Config) *string) Key {
	return newKey(KindString, name, def, hot, doc, "any text on one line", func(c *Config, v string) error {
		put(c, field, v)
		return nil
	})
}

// nameKey is a text that must be short and printable.
func nameKey(name, def string, hot Hot, doc string, field func(*Config) *string) Key {
	const limit = 128
	return newKey(KindString, name, def, hot, doc, "up to 128 printable characters", func(c *Config, v string) error {
		if len(v) > limit || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return errNotAllowed
		}
		put(c, field, v)
		return nil
	})
}

func pathKey(name, def string, hot Hot, doc string, field func(*Config) *string) Key {
	k := textKey(name, def, hot, doc, field)
	k.Kind, k.Allowed = KindPath, "a path"
	inner := k.store
	k.store = func(c *Config, v string) error {
		if strings.ContainsRune(v, 0) {
			return errNotAllowed
		}
		return inner(c, v)
	}
	return k
}

// dirKey is a path that must not be empty.
func dirKey(name, def string, hot Hot, doc string, field func(*Config) *string) Key {
	k := pathKey(name, def, hot, doc, field)
	k.Allowed = "the path of a directory"
	inner := k.store
	k.store = func(c *Config, v string) error {
		if v == "" {
			return errNotAllowed
		}
		return inner(c, v)
	}
	return k
}

// commandKey is a template of a command line whose first word is replaced by the binary.
func commandKey(name, def, doc string) Key {
	k := textKey(name, def, Now, doc, nil)
	k.Allowed = "a command that starts with %s and has three of them"
	k.store = func(_ *Config, v string) error {
		const places = 3
		if !strings.HasPrefix(v, "%s") || strings.Count(v, "%s") != places {
			return errNotAllowed
		}
		return nil
	}
	return k
}

func boolKey(name, def string, hot Hot, doc string, field func(*Config) *bool) Key {
	return newKey(KindBool, name, def, hot, doc, "0, 1, true or false", func(c *Config, v string) error {
		b, err := parseBool(v)
		if err != nil {
			return err
		}
		put(c, field, b)
		return nil
	})
}

func parseBool(v string) (bool, error) {
	switch {
	case v == "1" || strings.EqualFold(v, "true"):
		return true, nil
	case v == "0" || strings.EqualFold(v, "false"):
		return false, nil
	}
	return false, errNotAllowed
}

func intKey(name, def string, lo, hi int, hot Hot, doc string, field func(*Config) *int) Key {
	allowed := "a whole number from " + strconv.Itoa(lo) + " to " + strconv.Itoa(hi)
	return newKey(KindInt, name, def, hot, doc, allowed, func(c *Config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < lo || n > hi {
			return errNotAllowed
		}
		put(c, field, n)
		return nil
	})
}

func floatKey(name, def string, lo, hi float64, hot Hot, doc string, field func(*Config) *float64) Key {
	allowed := "a number from " + shortFloat(lo) + " to " + shortFloat(hi)
	return newKey(KindFloat, name, def, hot, doc, allowed, func(c *Config, v string) error {
		n, err := parseNumber(v)
		if err != nil || n < lo || n > hi {
			return errNotAllowed
		}
		put(c, field, n)
		return nil
	})
}

// parseNumber parses a plain decimal number: no exponent, no infinity, no hexadecimal.
func parseNumber(v string) (float64, error) {
	if v == "" || strings.Trim(v, "+-.0123456789") != "" {
		return 0, errNotNumber
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsInf(n, 0) {
		return 0, errNotNumber
	}
	return n, nil
}

func shortFloat(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// durationKey is a number of units; lo and hi count them. ZLMediaKit has decimals in some of its keys, here they
// are allowed in all.
func durationKey(
	name, def string, unit time.Duration, lo, hi float64, hot Hot, doc string, field func(*Config) *time.Duration,
) Key {
	k := floatKey(name, def, lo, hi, hot, doc, nil)
	k.Kind = KindDuration
	k.Allowed = "a number of " + unitName(unit) + " from " + shortFloat(lo) + " to " + shortFloat(hi)
	k.store = func(c *Config, v string) error {
		n, err := parseNumber(v)
		if err != nil || n < lo || n > hi {
			return errNotAllowed
		}
		put(c, field, time.Duration(n*float64(unit)))
		return nil
	}
	return k
}

func unitName(unit time.Duration) string {
	switch unit {
	case time.Millisecond:
		return "milliseconds"
	case time.Hour:
		return "hours"
	default:
		return "seconds"
	}
}

// sizeKey is a number of units of bytes, stored in bytes.
func sizeKey(
	name, def string, unit int64, unitText string, lo, hi float64, hot Hot, doc string, field func(*Config) *int64,
) Key {
	allowed := "a number of " + unitText + " from " + shortFloat(lo) + " to " + shortFloat(hi)
	return newKey(KindFloat, name, def, hot, doc, allowed, func(c *Config, v string) error {
		n, err := parseNumber(v)
		if err != nil || n < lo || n > hi {
			return errNotAllowed
		}
		put(c, field, int64(n*float64(unit)))
		return nil
	})
}

func portKey(name, def string, doc string, field func(*Config) *int) Key {
	k := intKey(name, def, 0, math.MaxUint16, Start, doc, field)
	k.Kind, k.Allowed = KindPort, "a port from 0 to 65535 (0: off)"
	return k
}

func portRangeKey(name, def string, least int, hot Hot, doc string, set func(c *Config, first, last int)) Key {
	allowed := "two ports first-last, at least " + strconv.Itoa(least) + " ports"
	return newKey(KindPortRange, name, def, hot, doc, allowed, func(c *Config, v string) error {
		a, b, _ := strings.Cut(v, "-")
		from, errA := strconv.ParseUint(strings.Trim(a, blank), 10, 16)
		to, errB := strconv.ParseUint(strings.Trim(b, blank), 10, 16)
		if errA != nil || errB != nil || from == 0 || to < from || int(to-from)+1 < least {
			return errNotAllowed
		}
		if set != nil {
			set(c, int(from), int(to))
		}
		return nil
	})
}

// urlKey is the URL of a hook, used as it is written.
func urlKey(name string, doc string, field func(*Config, string)) Key {
	return newKey(KindURL, name, "", Now, doc, "empty, or an http:// or https:// URL with a host",
		func(c *Config, v string) error {
			if !validURL(v) {
				return errNotAllowed
			}
			field(c, v)
			return nil
		})
}

func validURL(v string) bool {
	if v == "" {
		return true
	}
	u, err := url.Parse(v)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

func ipKey(name, def string, hot Hot, doc string, field func(*Config) *netip.Addr) Key {
	return newKey(KindIP, name, def, hot, doc, "an IPv4 or IPv6 address (:: is every address)",
		func(c *Config, v string) error {
			a, err := netip.ParseAddr(v)
			if err != nil {
				return errNotAllowed
			}
			put(c, field, a)
			return nil
		})
}

func ipRangesKey(name, def string, hot Hot, doc string, field func(*Config) *IPRanges) Key {
	allowed := "a comma list of addresses, ranges a-b and prefixes a/bits (empty: every address)"
	return newKey(KindIPRanges, name, def, hot, doc, allowed, func(c *Config, v string) error {
		r, err := ParseIPRanges(v)
		if err != nil {
			return err
		}
		put(c, field, r)
		return nil
	})
}

func schemasKey(name, def string, hot Hot, doc string, field func(*Config) *Schemas) Key {
	allowed := "a list of " + strings.Join(schemaNames(), "/") + ", separated by / (empty: all)"
	return newKey(KindSchemas, name, def, hot, doc, allowed, func(c *Config, v string) error {
		s, err := ParseSchemas(v)
		if err != nil {
			return err
		}
		put(c, field, s)
		return nil
	})
}

func choiceKey(name, def string, choices []string, hot Hot, doc string, field func(*Config) *string) Key {
	return newKey(KindChoice, name, def, hot, doc, "one of "+strings.Join(choices, ", "), func(c *Config, v string) error {
		if !slices.Contains(choices, v) {
			return errNotAllowed
		}
		put(c, field, v)
		return nil
	})
}
