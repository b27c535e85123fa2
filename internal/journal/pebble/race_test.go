//go:build race

package pebble

// stride thins out the exhaustive tests, which the race detector makes ten times slower.
const stride = 13
